"""What lab 6 and the report ask of many runs: cost, curves, pairs, class imbalance; and two measurements of its own."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd
import torch

from labkit.errors import RequestError
from labkit.labs import lab_of
from labkit.labs.common import understood, weights
from labkit.labs.parameters import Parameters
from labkit.models import UNet
from labkit.results import compare
from labkit.results.finished import FinishedRun
from labkit.results.words import name_of, score
from labkit.training.cost import cost_table
from labkit.training.losses import dice_loss, pixel_cross_entropy
from labkit.training.precision import Precision, choose_device, choose_precision

BATCHES = (1, 2, 4, 8)


def parameters_of(run: FinishedRun) -> Parameters | None:
    """The parameters of a run as its lab understands them today; None if it was made by other code."""
    try:
        return understood(lab_of(run.manifest.notebook), run.manifest.parameters)
    except RequestError:
        return None


def parameter_count(run: FinishedRun) -> int | None:
    """Trainable parameters of a run's network, built anew from the parameters of the run; None if that cannot be."""
    params = parameters_of(run)
    try:
        return None if params is None else weights(lab_of(run.manifest.notebook), params)
    except (ValueError, RuntimeError):  # a shape that the network of today does not take
        return None


def costs(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """What each network is, costs and scores: one row a run, the score with the name of its metric."""
    rows, names = [], compare.labels(runs)
    for run in runs:
        data, parameters = run.manifest.data, run.manifest.parameters
        rows.append(
            {
                "lab": run.manifest.notebook[:2],
                "network": names[run.name],
                "data": data.name,
                "parameters": parameter_count(run),
                "input": f"{parameters.get('image_size')}²",
                "images": data.counts.get("train", 0),
                "minutes": run.history["seconds"].sum() / 60,
                "batch": parameters.get("batch_size"),
                "workers": parameters.get("num_workers"),
                "precision": run.manifest.precision,
                "images/s": run.history["images_per_second"].median(),
                "test score": f"{name_of(run.metric)} {score(run.metric, run.score.value)}",
            }
        )
    return pd.DataFrame(rows)


def curves(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Validation score of each run by epoch and by seconds of training; panel is lab and data.

    ``run`` is the same for two networks that were trained side by side. A training that was done again, with other
    workers say, has a number in its label.
    """
    parts, names, seen = [], compare.labels(runs), Counter()
    for run in runs:
        label = f"{names[run.name]}, seed {run.manifest.seed}"
        seen[panel(run), label] += 1
        again = seen[panel(run), label]
        part = run.history[["epoch"]].assign(
            panel=panel(run),
            label=label + (f" ({again})" if again > 1 else ""),
            run="/".join(run.name.split("/")[:2]),
            metric=run.metric,
            score=run.history[f"val_{run.metric}"],
            seconds=run.history["seconds"].cumsum(),
        )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def points(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """``compare.runs_table`` with panel and label for figures; a panel is a question: what may be compared."""
    names = compare.labels(runs)
    asked = {run.name: question for question, group in compare.by_question(runs) for run in group}
    return compare.runs_table(runs).assign(
        panel=[asked[run.name] for run in runs], label=[names[run.name] for run in runs]
    )


def panel(run: FinishedRun) -> str:
    """What runs of one axes have in common: lab and data."""
    return f"Lab {run.manifest.notebook[:2]}: {run.manifest.data.name}"


def pairs(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The runs that trained two networks side by side: both of each."""
    names = {run.name.rsplit("/", 1)[0] for run in runs if run.is_rival}
    return [run for run in runs if run.name in names or run.is_rival]


def two_alike(runs: Sequence[FinishedRun]) -> tuple[FinishedRun, FinishedRun]:
    """The first two runs that answer the same question; without such, the first two (or the first twice)."""
    for _, group in compare.by_question(runs):
        if len(group) > 1:
            return group[0], group[1]
    return runs[0], runs[min(1, len(runs) - 1)]


def imbalance(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Foreground share of the test images of each segmentation, and what finding nothing would score."""
    rows, names = [], compare.labels(runs)
    for run in runs:
        share, pixels = test_foreground(run), run.results.get("pixel_accuracy")
        if run.metric != "dice" or share is None or pixels is None:
            continue
        row = {"lab": run.manifest.notebook[:2], "network": names[run.name], "data": run.manifest.data.name}
        row |= {"loss": run.manifest.parameters.get("loss"), "foreground": share, "nothing found": 1 - share}
        row |= {"pixel accuracy": pixels.value, "Dice": run.score.value}
        rows.append(row)
    return pd.DataFrame(rows)


def test_foreground(run: FinishedRun) -> float | None:
    """The foreground's share of the test pixels, from the table of parts; None if it does not say."""
    parts = run.table("tables/parts") if run.has_table("tables/parts") else pd.DataFrame()
    if not {"part", "foreground"} <= set(parts):
        return None
    shares = parts.loc[parts["part"] == "test", "foreground"].dropna()
    return float(shares.iloc[0]) if len(shares) else None


def pull_of_foreground(side: int = 64) -> pd.DataFrame:
    """Which share of the gradient comes from foreground pixels when all logits are 0: columns loss, foreground, pull.

    The gradient of labkit's own losses by the logits (1, 1, side, side) of one image, absolute values added up.
    """
    rows = []
    for name, loss in {"cross-entropy": pixel_cross_entropy, "Dice loss": dice_loss}.items():
        for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5):
            mask = (torch.arange(side * side) < share * side * side).long().view(1, side, side)
            logits = torch.zeros(1, 1, side, side, requires_grad=True)
            loss(logits, mask).sum().backward()
            size = logits.grad.abs()[0, 0]
            foreground = float(mask.double().mean())
            rows.append({"loss": name, "foreground": foreground, "pull": float(size[mask[0] == 1].sum() / size.sum())})
    return pd.DataFrame(rows)


def speed_and_memory(side: int) -> pd.DataFrame:
    """What a batch size and a precision cost: one row each for a small UNet on images of ``side`` × ``side`` pixels.

    Columns precision, batch_size, images/s in training, MiB that a step keeps for its backward pass in all.
    """
    device = choose_device("auto")
    chosen = choose_precision("auto", device)
    half = chosen if chosen.name != "float32" else Precision("bfloat16", device, "to see what it costs here")
    rows = []
    for precision in (choose_precision("float32", device), half):
        for size in BATCHES:
            torch.manual_seed(0)
            images, masks = torch.randn(size, 1, side, side), (torch.rand(size, side, side) < 0.2).long()
            network = UNet(1, 1, features=[16, 32, 64, 128], bottleneck=256)
            cost = cost_table({"UNet": network}, images, masks, pixel_cross_entropy, precision, rounds=2).iloc[0]
            row = {"precision": precision.name, "batch_size": size, "images/s": cost["training images/s"]}
            rows.append(row | {"memory (MiB)": size * cost["memory (MiB)"]})
    return pd.DataFrame(rows)
