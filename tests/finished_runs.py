"""Run folders as the labs leave them, small and with scores that a test can work out by hand."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.labs import lab_of
from labkit.labs.common import notebook_defaults
from labkit.running.request import find_notebook

MACHINE = {"python": "3.11.7", "torch": "2.14.1", "platform": "Linux", "cpu": "CPU", "threads": 2, "gpu": None}


def write_run(
    root: Path,
    lab: str = "02",
    seed: int = 0,
    scores: tuple[float, ...] = (0.8, 0.9, 1.0),
    obstacle: str = "sample data",
    status: str = "completed",
    experiment: str = "quick",
    epochs: int = 2,
    test_images: str = "t" * 64,
    metric: str = "",
    **parameters: Any,
) -> Path:
    """A finished run of a lab on three test images (or as many as there are ``scores``); returns its folder."""
    notebook = find_notebook(lab)
    changed = "".join(re.sub(r"\W", "", f"_{name}{value}") for name, value in parameters.items())
    folder = root / notebook.stem / f"{experiment}-seed{seed}{changed and '-' + changed}"
    folder.mkdir(parents=True)
    metric = metric or lab_of(notebook.stem).METRIC
    values = notebook_defaults(notebook) | {"experiment": experiment, "seed": seed, "epochs": epochs} | parameters
    if "rival" in values:
        values["rival"] = parameters.get("rival", "none")
    data = {
        "name": "made-up slices (sample)" if obstacle else "the published set",
        "kind": "sample" if obstacle == "sample data" else "official",
        "fingerprint": ("f" if obstacle else "0") * 64,
        "verified": not obstacle or obstacle.startswith("only "),
        "obstacle": obstacle,
        "counts": {"train": 10, "validation": 3, "test": len(scores)},
        "splits": {"train": "a" * 64, "validation": "b" * 64, "test": test_images},
    }
    manifest = {
        "status": status,
        "notebook": notebook.stem,
        "experiment": experiment,
        "seed": seed,
        "device": "cpu",
        "precision": "float32",
        "started": f"2026-01-0{seed + 1}T10:00:00+00:00",
        "seconds": 60.0,
        "parameters": values,
        "changed": list(parameters),
        "environment": MACHINE,
        "code": {"commit": "c" * 40, "dirty": False, "sha256": "d" * 64},
        "data": data,
        "sessions": [{"started": "2026-01-01T10:00:00+00:00"}],
        "error": None if status == "completed" else {"type": "RuntimeError", "message": "it broke", "cell": 3},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_training(folder, metric, scores, epochs)
    return folder


def write_training(folder: Path, metric: str, scores: tuple[float, ...], epochs: int = 2) -> None:
    """results.json, history.csv and per_image.csv of a training, as a run or its rival has them."""
    folder.mkdir(exist_ok=True)
    mean = float(np.mean(scores))
    result = {"value": mean, "low": mean - 0.1, "high": mean + 0.1, "n": len(scores), "interval": "95 % bootstrap"}
    results = {metric: result | {"over": "mean over test images"}}
    if metric == "dice":
        results["pixel_accuracy"] = results["dice"] | {"value": 0.97}
    (folder / "results.json").write_text(json.dumps(results))
    columns = ["epoch", "train_loss", f"train_{metric}", "val_loss", f"val_{metric}", "learning_rate", "seconds"]
    rows = [[e, 1 / e, 0.5 + 0.1 * e, 1.2 / e, 0.4 + 0.1 * e, 0.001, 30.0, 20.0] for e in range(1, epochs + 1)]
    history = pd.DataFrame(rows, columns=[*columns, "images_per_second"])
    history.to_csv(folder / "history.csv", index=False)
    column = "correct" if metric == "accuracy" else metric
    images = pd.DataFrame({"sample": range(len(scores)), "image": [f"val/{i:03}" for i in range(len(scores))]})
    images.assign(**{column: scores}).to_csv(folder / "per_image.csv", index=False)
