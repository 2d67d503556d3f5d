"""A small table and options for every plot function, by its name."""

from typing import Any

import numpy as np
import pandas as pd

from labkit.results import tables

RANDOM = np.random.default_rng(0)
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
DIGITS = [str(i) for i in range(10)]
EPOCHS = 6
HISTORY = pd.DataFrame(
    {
        "epoch": range(1, EPOCHS + 1),
        "train_loss": np.linspace(2.3, 0.1, EPOCHS),
        "train_dice": np.linspace(0.2, 0.97, EPOCHS),
        "val_loss": [1.9, 1.1, 0.8, 0.7, 0.9, 1.0],
        "val_dice": [0.3, 0.6, 0.8, 0.85, 0.83, 0.84],
        "seconds": [3.1, 3.0, 3.2, 3.0, 3.1, 3.0],
    }
)
SCORES = pd.DataFrame(
    {
        "image": [f"val/{i:03}" for i in range(20)],
        "dice": RANDOM.beta(8, 2, 20),
        "true_share": RANDOM.uniform(0, 0.3, 20),
    }
)
THRESHOLDS = np.arange(100) / 100


def pictures(count: int, *shape: int) -> list[np.ndarray]:
    return list(RANDOM.integers(0, 256, (count, *shape), dtype=np.uint8))


def masks(count: int, side: int = 24) -> list[np.ndarray]:
    rows, columns = np.mgrid[:side, :side]
    return [np.hypot(rows - 10 - i % 3, columns - 11) < 6 for i in range(count)]


def counts(names: list[str]) -> pd.DataFrame:
    matrix = RANDOM.integers(0, 12, (len(names), len(names))) + 880 * np.eye(len(names), dtype=int)
    return tables.with_classes(pd.DataFrame(matrix, names, names))


def cases() -> pd.DataFrame:
    kinds = [kind for kind in ("worst", "median", "best") for _ in range(4)]
    titles = [f"{kind}: american_bulldog_{100 + i}\nDice 0.{i:03}, nothing to find" for i, kind in enumerate(kinds)]
    return pd.DataFrame({"case": kinds, "title": titles, "image": pictures(12, 24, 24)})


def pair_cases() -> pd.DataFrame:
    said = {
        "digit": DIGITS[:4] * 3,
        "photo": CLASSES[1:5] * 3,
        "said_digit": DIGITS[4:8] * 3,
        "said_photo": "automobile",
    }
    wrong = {"wrong_source": masks(12), "wrong_class": [~mask for mask in masks(12)]}
    return cases().assign(**said, **wrong, pixel_accuracy=np.linspace(0, 1, 12))


RUNS = ["quick (unet)", "quick (unet): augmentation = none, width = 32 and 2 more", "best (resnet34_unet)"]
PANELS = ["Lab 02: Dice on 20 test images of liver CT"] * 2 + ["Lab 03: Dice on 266 test images of Oxford-IIIT Pet"]


def run_curves() -> pd.DataFrame:
    parts = [
        HISTORY.assign(panel=panel, label=label, metric="dice", score=HISTORY["val_dice"] - i / 10)
        for i, (panel, label) in enumerate(zip(PANELS, RUNS, strict=True))
    ]
    return pd.concat(parts)


LIMITS = ["always the most frequent class", "knows the mask and the photo, guesses the digit", "this network"]
EXAMPLES: dict[str, tuple[pd.DataFrame, dict[str, Any]]] = {
    "curve": (HISTORY, {"name": "loss", "chosen": 4}),
    "history": (HISTORY, {"metric": "dice", "chosen": 4}),
    "stops": (
        HISTORY,
        {
            "factor": 1.1,
            "stops": {
                "loss above 1.1 × its minimum for 5 epochs (switched off)": 5,
                "no better accuracy for 5 epochs": 6,
            },
        },
    ),
    "learning_rate": (pd.DataFrame({"epoch": [0.0, 0.3, 1.0], "learning_rate": [1e-4, 1e-3, 1e-6]}), {}),
    "class_counts": (pd.DataFrame({"class": CLASSES, "training": 4000, "validation": 1000, "test": 1000}), {}),
    "images": (
        pd.DataFrame({"title": [f"{name} →\n{name} (0.99)" for name in CLASSES], "image": pictures(10, 8, 8, 3)}),
        {"title": "Most confident mistakes"},
    ),
    "feature_maps": (
        pd.DataFrame(
            {"map": [f"after block {i}" for i in range(5)], "lowest": -1.5, "highest": 2.25, "image": pictures(5, 6, 6)}
        ),
        {},
    ),
    "confusion": (counts(CLASSES), {}),
    "per_class": (
        pd.DataFrame({"class": CLASSES, "accuracy": 0.9, "low": 0.85, "high": 0.93, "reported": 0.95}),
        {},
    ),
    "paired_bars": (
        pd.DataFrame({"class": CLASSES, "as written": 0.9, "mirrored": 0.4}),
        {"title": "Test accuracy, as written and mirrored", "ylabel": "accuracy (%)"},
    ),
    "loss_against_accuracy": (
        pd.DataFrame(
            {
                "what": ["training", "training", "validation", "validation", "test", "reported"],
                "accuracy": [0.6, 0.98, 0.7, 0.97, 0.96, 0.9706],
                "loss": [1.2, 0.05, 0.9, 0.1, 0.12, 0.8225],
            }
        ),
        {},
    ),
    "outlines": (
        pd.DataFrame(
            {"title": [f"american_bulldog_{100 + i}" for i in range(6)], "image": pictures(6, 24, 24), "mask": masks(6)}
        ),
        {"title": "Training slices, liver outlined"},
    ),
    "overlays": (
        cases().assign(truth=masks(12), predicted=[np.roll(mask, 3, axis=0) for mask in masks(12)]),
        {"title": "Worst, median and best test images"},
    ),
    "volumes": (
        pd.DataFrame(
            {
                "slice": range(60),
                "change": [15.0 if i % 20 == 0 else 4.0 for i in range(60)],
                "group": [f"patient {1 + i // 20}" for i in range(60)],
                "share": [0.08 * np.sin(np.pi * (i % 20) / 19) for i in range(60)],
            }
        ),
        {"limit": 10.0},
    ),
    "score_spread": (SCORES[["image", "dice"]], {"pooled": 0.83}),
    "score_against_size": (SCORES.assign(group=[f"breed {i % 6}" for i in range(20)]), {}),
    "thresholds": (
        pd.DataFrame(
            {
                "threshold": THRESHOLDS,
                "dice": 0.9 - (THRESHOLDS - 0.4) ** 2,
                "precision": THRESHOLDS,
                "recall": 1 - THRESHOLDS,
            }
        ),
        {},
    ),
    "sigmoids": (
        pd.DataFrame(
            {"sigmoids": [1, 1, 2, 2], "logit": [-8.0, 8.0] * 2, "loss": [8, 0, 0.7, 0.3], "gradient": [-1, 0, -0.1, 0]}
        ),
        {},
    ),
    "rivals": (
        pd.concat([HISTORY.assign(model=name) for name in ("resnet34_unet", "unet", "other")]),
        {"metric": "dice"},
    ),
    "pairs": (
        pd.DataFrame(
            {"digit": DIGITS[:8], "photo": CLASSES[:8], "image": pictures(8, 24, 24, 3), "mask": masks(8)},
        ),
        {},
    ),
    "pair_errors": (pair_cases(), {}),
    "confusion_blocks": (counts(DIGITS + CLASSES), {"num_classes": 10}),
    "limits": (pd.DataFrame({"predictor": LIMITS, "pixel accuracy": [0.1, 0.6, 0.7]}), {}),
    "learning_curves": (run_curves(), {"x": "seconds"}),
    "gaps": (
        pd.DataFrame({"label": RUNS, "train": [0.99, 0.8, 0.7], "validation": [0.9, 0.85, 0.6], "score": 0.5}),
        {},
    ),
    "scores": (
        pd.DataFrame(
            {
                "panel": PANELS,
                "label": RUNS,
                "mean": [0.9, 0.8, 0.7],
                "low": [0.85, None, 0.6],
                "high": [0.92, None, 0.9],
                "n": [3, 2, 1],
            }
        ),
        {},
    ),
    "effects": (
        pd.DataFrame({"change": RUNS, "difference": [0.02, -0.1, 0], "low": -0.15, "high": [0.05, -0.05, 0.1]}),
        {},
    ),
    "cost_against_score": (
        pd.DataFrame(
            {"panel": PANELS, "label": RUNS, "metric": "dice", "minutes": [1.0, 5, 2], "score": [0.7, 0.9, 0.8]}
        ),
        {},
    ),
    "speed": (
        pd.DataFrame(
            {
                "precision": ["float32"] * 3 + ["bfloat16"] * 3,
                "batch_size": [1, 2, 4] * 2,
                "images/s": [10.0, 14, 15, 20, 30, 33],
                "memory (MiB)": [5.0, 10, 20] * 2,
            }
        ),
        {},
    ),
    "pull": (
        pd.DataFrame(
            {
                "loss": ["cross-entropy"] * 2 + ["Dice loss"] * 2,
                "foreground": [0.01, 0.5] * 2,
                "pull": [0.01, 0.5, 0.5, 0.75],
            }
        ),
        {},
    ),
}
