"""Tables and sentences of the segmentation labs, all made from the per-image table of ``labs.segmentation.score``."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from labkit.results.words import name_of
from labkit.training.losses import pixel_cross_entropy
from labkit.training.metrics import OVERLAPS, bootstrap

COUNTS = ["tp", "fp", "fn", "tn"]


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
        over = "mean over test images" + (" at network size" if name == "loss" else "")
        results[name] = _result(mean, len(known), bootstrap(known), over)
    counts = table[COUNTS].to_numpy(dtype=float)
    for name in ("dice", "iou"):
        interval = bootstrap(counts, lambda rows, name=name: pooled(rows, name))
        results[f"{name}_pooled"] = _result(pooled(counts, name), len(table), interval, "all test pixels together")
    return results


def _result(value: float, n: int, interval: tuple[float, float], over: str) -> dict[str, Any]:
    low, high = interval
    return {"value": value, "n": n, "low": low, "high": high, "interval": "95 % bootstrap", "over": over}


def mask_shares(data: Any) -> pd.DataFrame:
    """Images in each part, from which groups, and how much of their pixels is foreground; empty masks counted."""
    rows = []
    for name, split in data.parts().items():
        share = split.targets.float().mean(dim=(1, 2))
        groups = list(dict.fromkeys(data.groups[i] for i in split.samples))
        row = {"part": name, "images": len(split), "from": ", ".join(groups) if len(groups) < 5 else f"{len(groups)}"}
        row |= {"foreground": float(share.mean()), "least": float(share.min()), "most": float(share.max())}
        rows.append(row | {"empty masks": int((share == 0).sum())})
    return pd.DataFrame(rows)


def by_group(table: pd.DataFrame) -> pd.DataFrame:
    """Mean test Dice and IoU of each patient or breed, with a 95 % bootstrap interval of the Dice."""
    rows = []
    for name, part in table.groupby("group"):
        low, high = bootstrap(part["dice"].to_numpy())
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


def say_shares(shares: pd.DataFrame) -> str:
    """The table of ``mask_shares``."""
    test = shares.set_index("part").loc["test"]
    return (
        f"**{100 * test['foreground']:.1f} % of the test pixels are foreground**, between {100 * test['least']:.1f} % "
        f"and {100 * test['most']:.1f} % in an image. Calling every pixel background would be right for "
        f"{100 * (1 - test['foreground']):.1f} % of the pixels, and find nothing."
    )


def say_results(table: pd.DataFrame, results: Mapping[str, Mapping[str, Any]], trivial: pd.DataFrame) -> str:
    """Mean and pooled Dice, what a trivial predictor gets, and how many empty masks there were."""
    mean, together = results["dice"], results["dice_pooled"]
    best = trivial.loc[trivial["dice"].idxmax()]
    empty = table["tp"] + table["fn"] == 0
    left_alone = int((empty & (table["fp"] == 0)).sum())
    policy = (
        f"{int(empty.sum())} of the {len(table)} true masks are empty; {left_alone} of them were left empty and count "
        f"as Dice 1, the others as 0."
        if empty.any()
        else "No true mask is empty."
    )
    return (
        f"**Dice {mean['value']:.4f}** as the mean over {mean['n']} test images (95 % interval {mean['low']:.4f} to "
        f"{mean['high']:.4f}), **{together['value']:.4f}** for all pixels pooled. The best predictor that never looks "
        f"at an image ({best['predictor']}) gets {best['dice']:.4f}. {policy}"
    )


def say_averages(table: pd.DataFrame, results: Mapping[str, Mapping[str, Any]]) -> str:
    """What IoU a Dice implies, and how the two kinds of average differ in this run."""
    d, i = results["dice"]["value"], results["iou"]["value"]
    dp, ip = results["dice_pooled"]["value"], results["iou_pooled"]["value"]
    return (
        f"Pooled: Dice {dp:.4f} and IoU {ip:.4f}, and Dice / (2 − Dice) = {dp / (2 - dp):.4f}, the same. Image-wise: "
        f"Dice {d:.4f} and IoU {i:.4f}, though {d:.4f} / (2 − {d:.4f}) = {d / (2 - d):.4f}: a mean of ratios is no "
        f"ratio of means, and the mean IoU is never below what the mean Dice implies."
    )


def say_spread(table: pd.DataFrame, over_all: float) -> str:
    """The distribution of the per-image Dice."""
    d = table["dice"]
    worst, best = table.loc[d.idxmin()], table.loc[d.idxmax()]
    return (
        f"Dice of {len(d)} test images: mean {d.mean():.3f}, median {d.median():.3f}, from {worst['dice']:.3f} "
        f"({worst['image']}) to {best['dice']:.3f} ({best['image']}); pooled {over_all:.3f}."
    )


def say_size(table: pd.DataFrame) -> str:
    """How Dice goes with the true size of the foreground: rank correlation, and halves compared."""
    if table["true_share"].nunique() < 3 or table["dice"].nunique() < 3:
        return f"With {len(table)} images that differ so little, nothing can be said about Dice and size."
    rank = table["true_share"].corr(table["dice"], method="spearman")
    small = table["true_share"] <= table["true_share"].median()
    low, high = table.loc[small, "dice"].mean(), table.loc[~small, "dice"].mean()
    return (
        f"The half of the images with less foreground has a mean Dice of {low:.3f}, the other half {high:.3f} "
        f"(rank correlation of size and Dice {rank:+.2f}, n = {len(table)})."
    )


def say_thresholds(curve: pd.DataFrame) -> str:
    """The threshold curve: where Dice is highest, and how flat it is."""
    best, half = curve.loc[curve["dice"].idxmax()], curve.loc[(curve["threshold"] - 0.5).abs().idxmin()]
    near = curve.loc[curve["dice"] >= best["dice"] - 0.01, "threshold"]
    return (
        f"Mean Dice is highest at the threshold {best['threshold']:.2f} with {best['dice']:.4f}; at 0.50 it is "
        f"{half['dice']:.4f}. Thresholds from {near.min():.2f} to {near.max():.2f} reach within 0.01 of the best."
    )


def say_cases(cases: pd.DataFrame) -> str:
    """What the overlay grid shows, for those who cannot see it, and which kind of error prevails."""
    lines = []
    for kind, rows in cases.groupby("case", sort=False):
        named = ", ".join(f"{row.image} (Dice {row.dice:.3f})" for row in rows.itertuples())
        lines.append(f"{kind}: {named}")
    missed, false = int(cases["fn"].sum()), int(cases["fp"].sum())
    return f"True and predicted outlines. {'; '.join(lines)}. Missed pixels: {missed:,}; false pixels: {false:,}."


def say_errors(table: pd.DataFrame) -> str:
    """Whether more is missed or more is false, over all test images."""
    missed, false, there = (int(table[c].sum()) for c in ("fn", "fp", "tp"))
    there += missed
    more = "more is missed than false" if missed > false else "more is false than missed"
    distance = table["hausdorff95"].median()
    known = f" The outlines are {distance:.1f} pixels apart (median 95 % Hausdorff distance)." if distance >= 0 else ""
    return (
        f"Over the test images **{more}**: {100 * missed / max(there, 1):.1f} % of the true foreground is missed, and "
        f"false pixels amount to {100 * false / max(there, 1):.1f} % of it.{known}"
    )


def say_leak(by_patient: np.ndarray, at_random: np.ndarray) -> str:
    """Dice of copied masks when validation is another patient, and when it is random slices."""
    return (
        f"Copying the mask of the most similar training slice gives a mean Dice of **{at_random.mean():.3f}** on "
        f"random slices (n = {len(at_random)}) and **{by_patient.mean():.3f}** on another patient "
        f"(n = {len(by_patient)}). "
        f"Nothing was learnt in either case: the difference is what a leaky split gives away for free."
    )


def say_rivals(names: tuple[str, str], scores: tuple[pd.DataFrame, pd.DataFrame]) -> str:
    """Two networks on the same test images: paired difference of the Dice with its interval."""
    ours, theirs = (table.set_index("sample")["dice"] for table in scores)
    difference = (ours - theirs).to_numpy()
    low, high = bootstrap(difference)
    told = "chance alone could explain it" if low <= 0 <= high else "more than chance between these two trainings"
    return (
        f"{names[0]} has a mean test Dice of {ours.mean():.4f}, {names[1]} of {theirs.mean():.4f}: a difference of "
        f"**{difference.mean():+.4f}** (95 % interval over {len(difference)} paired images {low:+.4f} to {high:+.4f}): "
        f"{told}. Other seeds would move both; `docs/results.md` has three."
    )


def say_convergence(histories: Mapping[str, pd.DataFrame]) -> str:
    """Who reaches the lower of the two best validation scores first, in epochs and in seconds of training."""
    level, lines = min(table["val_dice"].max() for table in histories.values()), []
    for name, table in histories.items():
        place = int((table["val_dice"] >= level).to_numpy().argmax())
        seconds = table["seconds"].cumsum().iloc[place]
        lines.append(f"{name} after {place + 1} epochs and {seconds:.0f} s (best {table['val_dice'].max():.3f})")
    return f"A validation Dice of {level:.3f} is reached by " + " and by ".join(lines) + "."


def say_targets(table: pd.DataFrame, trained_for: str) -> str:
    """The table of ``target_scores``."""
    scores = ", ".join(f"{row.target} {row.dice:.3f}" for row in table.itertuples())
    return f"Trained for {trained_for}, the same masks get a mean test Dice of: {scores}."


def say_costs(costs: pd.DataFrame) -> str:
    """Two rows of ``cost_table`` as ratios."""
    a, b = costs.iloc[0], costs.iloc[1]
    ratios = {
        "parameters": "parameters",
        "multiply-adds": "multiply-adds (10⁹)",
        "memory in training": "memory (MiB)",
        "images/s in training": "training images/s",
        "images/s at test": "test images/s",
    }
    listed = ", ".join(f"{a[column] / b[column]:.2f} times the {name}" for name, column in ratios.items())
    return f"Measured here, {a['model']} has, against {b['model']}: {listed}."


def say_outlines(names: list[str], shares: np.ndarray, what: str) -> str:
    """Images with the outline of their masks."""
    listed = ", ".join(f"{name} ({100 * share:.1f} %)" for name, share in zip(names, shares, strict=True))
    return f"{what} with the outline of the true mask; in brackets its share of the pixels: {listed}."


def say_sigmoids(curves: pd.DataFrame) -> str:
    """What the second sigmoid does to loss and gradient."""
    one, two = (part.set_index("logit") for _, part in curves.groupby("sigmoids"))
    floor = two["loss"].min()
    return (
        f"With two sigmoids, the loss of a foreground pixel cannot fall below {floor:.3f}, however sure the network "
        f"is, and a confident mistake (logit −8) pulls with a gradient of {-two['gradient'].iloc[0]:.5f} instead of "
        f"{-one['gradient'].iloc[0]:.3f}."
    )


def say_metric(metric: str, result: Mapping[str, Any]) -> str:
    """A test score in a line: ``accuracy`` in percent, overlap scores as they are."""
    unit, scale, digits = (" %", 100, 2) if metric.endswith("accuracy") else ("", 1, 4)
    value, low, high = (f"{scale * result[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"test {name_of(metric)} {value}{unit} ({result['interval']} {low} to {high}, n = {result['n']:,})"
