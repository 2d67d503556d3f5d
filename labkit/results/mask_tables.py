"""Tables of the segmentation labs, made from the per-image table of ``labs.segmentation.score``."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from labkit.results.tables import estimate
from labkit.training.losses import pixel_cross_entropy
from labkit.training.metrics import COUNTS, OVERLAPS, bootstrap, bootstrap_of_enough

OVER = {  # what "mean over test images" leaves unsaid
    "precision": " with a predicted pixel",
    "recall": " with a true pixel",
    "hausdorff95": " with a true and a predicted pixel, in pixels of the original image",
    "loss": " at network size",
}


def pooled(counts: np.ndarray, metric: str = "dice") -> float:
    """The score of all pixels of all images taken together, from counts (N, 4) float64."""
    return float(OVERLAPS[metric](torch.from_numpy(counts.sum(axis=0))))


def segmentation_results(table: pd.DataFrame, losses: np.ndarray) -> dict[str, dict[str, Any]]:
    """``results.json`` of a segmentation: image-wise means, and Dice and IoU of the pooled pixels as well.

    ``losses`` (N,) are the test losses at network size. An image for which a score is not defined (no precision
    without a predicted pixel) is left out of its mean: ``n`` counts the others.
    """
    scores = {name: table[name] for name in [*OVERLAPS, "hausdorff95"]} | {"loss": pd.Series(losses)}
    results = {}
    for name, values in scores.items():
        known = values.dropna().to_numpy()
        mean = float(known.mean()) if len(known) else np.nan
        over = "mean over test images" + OVER.get(name, "")
        results[name] = estimate(mean, len(known), bootstrap(known), over)
    counts = table[list(COUNTS)].to_numpy(dtype=float)
    for name in ("dice", "iou"):
        interval = bootstrap(counts, lambda rows, name=name: pooled(rows, name))
        results[f"{name}_pooled"] = estimate(pooled(counts, name), len(table), interval, "all test pixels together")
    return results


def mask_shares(data: Any) -> pd.DataFrame:
    """Images in each part, from which groups, and how much of their pixels is foreground; empty masks counted."""
    rows = []
    for name, split in data.parts().items():
        share = split.targets.sum(dim=(1, 2)) / split.targets[0].numel()
        groups = list(dict.fromkeys(data.groups[i] for i in split.samples))
        row = {"part": name, "images": len(split), "from": ", ".join(groups) if len(groups) < 5 else f"{len(groups)}"}
        row |= {"foreground": float(share.mean()), "least": float(share.min()), "most": float(share.max())}
        rows.append(row | {"empty masks": int((share == 0).sum())})
    return pd.DataFrame(rows)


def by_group(table: pd.DataFrame) -> pd.DataFrame:
    """Mean test Dice and IoU of each patient or breed, with a 95 % bootstrap interval of the Dice, if it has enough."""
    rows = []
    for name, part in table.groupby("group"):
        low, high = bootstrap_of_enough(part["dice"].to_numpy())
        scores = {"dice": part["dice"].mean(), "low": low, "high": high, "iou": part["iou"].mean()}
        rows.append({"group": name, "n": len(part), **scores})
    return pd.DataFrame(rows)


def sigmoid_curves() -> pd.DataFrame:
    """Loss and gradient of one foreground pixel by its logit, with one sigmoid and with two."""
    logits, parts = torch.linspace(-8, 8, 161), []
    for count in (1, 2):
        x = logits.clone().requires_grad_()
        seen = x if count == 1 else torch.sigmoid(x)
        loss = pixel_cross_entropy(seen.view(-1, 1, 1, 1), torch.ones(len(x), 1, 1))
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        parts.append({"sigmoids": count, "logit": logits, "loss": loss.detach(), "gradient": gradient})
    return pd.concat(pd.DataFrame(part) for part in parts)
