"""Tables: plain data frames for the notebook, the run folder and the report."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from labkit.data.loading import Split
from labkit.training.loop import Recipe, best_of
from labkit.training.metrics import FEW_IMAGES, bootstrap, confusion_matrix, per_class, wilson

REPORTED_EPOCHS = (1, 5, 10, 15, 20, 30, 40, 50)  # the reports print these


def part_sizes(parts: Mapping[str, Split]) -> pd.DataFrame:
    """Number of images and their shape in each part."""
    rows = [
        {"part": name, "images": len(s), "shape": " × ".join(map(str, s.images.shape[1:]))} for name, s in parts.items()
    ]
    return pd.DataFrame(rows)


def class_counts(parts: Mapping[str, Split], class_names: list[str]) -> pd.DataFrame:
    """Images per class (rows) in each part (columns)."""
    counts = {name: np.bincount(split.targets, minlength=len(class_names)) for name, split in parts.items()}
    return pd.DataFrame({"class": class_names, **counts})


def batch_statistics(images: Tensor) -> pd.DataFrame:
    """Shape, type and range of a batch (N, C, H, W): a look that finds most mistakes of data loading."""
    facts = {
        "shape": " × ".join(map(str, images.shape)),
        "type": str(images.dtype).removeprefix("torch."),
        "mean": f"{images.mean().item():z.3f}",
        "standard deviation": f"{images.std().item():.3f}",
        "smallest": f"{images.min().item():z.3f}",
        "largest": f"{images.max().item():z.3f}",
    }
    return pd.DataFrame([facts])


def predictions(logits: Tensor, labels: Tensor, samples: np.ndarray, class_names: list[str]) -> pd.DataFrame:
    """One row per image from logits (N, K): sample, true and predicted class, confidence, loss in nats, correct."""
    log_p = logits.double().log_softmax(dim=1)
    p, predicted = log_p.exp().max(dim=1)
    names = np.asarray(class_names)
    return pd.DataFrame(
        {
            "sample": samples,
            "true": names[labels],
            "predicted": names[predicted],
            "confidence": p,
            "loss": -log_p.gather(1, labels[:, None])[:, 0],
            "correct": predicted == labels,
        }
    )


def answers(logits: Tensor, class_names: list[str]) -> pd.DataFrame:
    """One row per image without a label, from logits (N, K): the answer and the network's confidence in it."""
    confidence, answer = logits.double().softmax(dim=1).max(dim=1)
    return pd.DataFrame({"answer": np.asarray(class_names)[answer], "confidence": confidence})


def estimate(
    value: float, n: int, interval: tuple[float, float], over: str, kind: str = "95 % bootstrap"
) -> dict[str, Any]:
    """An entry of ``results.json``: a value, of how many, its interval of what ``kind``, and what it was taken over."""
    kind = f"{kind} of too few images" if "bootstrap" in kind and n < FEW_IMAGES else kind
    return {"value": float(value), "n": n, "low": interval[0], "high": interval[1], "interval": kind, "over": over}


def classification_results(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """``results.json`` of a classification from the table of ``predictions``."""
    n, right = len(table), int(table["correct"].sum())
    over = "mean over test images"
    return {
        "accuracy": estimate(right / n, n, wilson(right, n), over, "95 % Wilson"),
        "loss": estimate(table["loss"].mean(), n, bootstrap(table["loss"].to_numpy()), over),
    }


def confusion(table: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """Confusion matrix of counts from the table of ``predictions``: rows true, columns predicted."""
    codes = [pd.Categorical(table[column], class_names).codes for column in ("true", "predicted")]
    return pd.DataFrame(confusion_matrix(*codes, len(class_names)), class_names, class_names)


def with_classes(matrix: pd.DataFrame) -> pd.DataFrame:
    """A confusion matrix with its true classes as first column, for a file; no folder, so no class, has that name."""
    return matrix.reset_index(names="true / predicted")


def class_scores(matrix: pd.DataFrame) -> pd.DataFrame:
    """Per class: n, accuracy with interval, precision, F1, from a confusion matrix."""
    return pd.DataFrame({"class": matrix.index, **per_class(matrix.to_numpy())})


def accuracy_by_class(tables: Mapping[str, pd.DataFrame], class_names: list[str]) -> pd.DataFrame:
    """Accuracy of each class (rows) in several tables of ``predictions`` (columns)."""
    columns = {name: table.groupby("true")["correct"].mean().reindex(class_names) for name, table in tables.items()}
    return pd.DataFrame(columns).rename_axis("class").reset_index()


def results_table(results: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """``results.json`` as a table: quantity, value, interval, n."""
    rows = [
        {"quantity": name, **{k: r[k] for k in ("value", "low", "high", "interval", "n")}}
        for name, r in results.items()
    ]
    return pd.DataFrame(rows)


def planned_rates(recipe: Recipe, steps: int) -> pd.DataFrame:
    """The learning rate before training begins (a plateau cannot be foreseen): columns epoch, learning_rate."""
    times = np.linspace(0, recipe.epochs - 1 / steps, min(200, recipe.epochs * steps))
    return pd.DataFrame(
        {"epoch": times, "learning_rate": [recipe.learning_rate * recipe.schedule(t, []) for t in times]}
    )


def chosen_epoch(history: pd.DataFrame, metric: str) -> int:
    """The epoch whose weights were kept."""
    return int(best_of(history.to_dict("records"), metric)["epoch"])


def loss_accuracy_points(
    history: pd.DataFrame, results: Mapping[str, Mapping[str, Any]], reported: tuple[float, float]
) -> pd.DataFrame:
    """(accuracy, loss) of every epoch in training and validation, of the test set, and of a reported pair."""
    training = [("training", row.train_accuracy, row.train_loss) for row in history.itertuples()]
    validation = [("validation", row.val_accuracy, row.val_loss) for row in history.itertuples()]
    test = [("test", results["accuracy"]["value"], results["loss"]["value"])]
    points = [*training, *validation, *test, ("reported", *reported)]
    return pd.DataFrame(points, columns=["what", "accuracy", "loss"])


def progress_table(history: pd.DataFrame, metric: str, held_out: str = "validation") -> pd.DataFrame:
    """The rows the reports print: epochs 1, 5, 10, … as far as they were run, the last, and the one that was chosen.

    Of a few epochs all are shown.
    ``held_out`` images have chosen it: ``validation``, or ``test``, which the columns then say.
    """
    epochs = [*REPORTED_EPOCHS, chosen_epoch(history, metric), history["epoch"].max()]
    if len(history) <= len(REPORTED_EPOCHS):
        epochs = history["epoch"]
    shown = history.loc[history["epoch"].isin(epochs)]
    shown = shown[["epoch", "train_loss", f"train_{metric}", "val_loss", f"val_{metric}", "learning_rate"]]
    names = {f"val_{name}": f"test_{name}" for name in ("loss", metric)}
    return shown.rename(columns=names) if held_out == "test" else shown


def progress_formats(metric: str) -> dict[str, str]:
    """How the columns of ``progress_table`` are printed."""
    score, parts = "percent" if metric.endswith("accuracy") else "loss", ("train", "val", "test")
    scores = {f"{part}_{name}": form for part in parts for name, form in (("loss", "loss"), (metric, score))}
    return scores | {"learning_rate": "rate"}
