"""Sentences of the segmentation labs, made from their numbers: captions, findings, alternative text."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from labkit.results.words import many, race, signed


def shares(shares: pd.DataFrame) -> str:
    """The table of ``mask_shares``."""
    train = shares.set_index("part").loc["training"]
    return (
        f"**{100 * train['foreground']:.1f} % of the training pixels are foreground**, between "
        f"{100 * train['least']:.1f} % and {100 * train['most']:.1f} % in an image. Calling every pixel background "
        f"would be right for {100 * (1 - train['foreground']):.1f} % of the pixels, and find nothing."
    )


def results(table: pd.DataFrame, results: Mapping[str, Mapping[str, Any]], trivial: pd.DataFrame) -> str:
    """Mean and pooled Dice, what a trivial predictor gets, and how many empty masks there were."""
    mean, together = results["dice"], results["dice_pooled"]
    best = trivial.loc[trivial["dice"].idxmax()]
    empty = table["tp"] + table["fn"] == 0
    left_alone = int((empty & (table["fp"] == 0)).sum())
    policy = "No true mask is empty."
    if empty.any():
        policy = (
            f"Empty: {int(empty.sum())} of the {len(table)} true masks. Such an image has a Dice of 1 if the "
            f"network marks nothing in it ({left_alone or 'none'} of them), and of 0 if it marks anything."
        )
    return (
        f"**Dice {mean['value']:.4f}** as the mean over {mean['n']} test images (95 % interval {mean['low']:.4f} to "
        f"{mean['high']:.4f}), **{together['value']:.4f}** for all pixels pooled. The best predictor that never looks "
        f"at an image ({best['predictor']}) gets {best['dice']:.4f}. {policy}"
    )


def averages(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What IoU a Dice implies, and how the two kinds of average differ in this run."""
    d, i = results["dice"]["value"], results["iou"]["value"]
    dp, ip = results["dice_pooled"]["value"], results["iou_pooled"]["value"]
    implied = d / (2 - d)
    pooled = f"Pooled: Dice {dp:.4f} and IoU {ip:.4f}, and Dice / (2 − Dice) = {dp / (2 - dp):.4f}, the same."
    if round(i, 4) == round(implied, 4):
        return f"{pooled} Image-wise it is the same in this run: Dice {d:.4f} and IoU {i:.4f}."
    return (
        f"{pooled} Image-wise: Dice {d:.4f} and IoU {i:.4f}, though {d:.4f} / (2 − {d:.4f}) = {implied:.4f}: a mean of "
        f"ratios is no ratio of means, and the mean IoU is never below what the mean Dice implies."
    )


def spread(table: pd.DataFrame, over_all: float) -> str:
    """The distribution of the per-image Dice."""
    d = table["dice"]
    worst, best = table.loc[d.idxmin()], table.loc[d.idxmax()]
    return (
        f"Dice of {len(d)} test images: mean {d.mean():.3f}, median {d.median():.3f}, from {worst['dice']:.3f} "
        f"({worst['image']}) to {best['dice']:.3f} ({best['image']}); pooled {over_all:.3f}."
    )


def size(table: pd.DataFrame) -> str:
    """How Dice goes with the true size of the foreground: rank correlation, and halves compared."""
    if table["true_share"].nunique() < 3 or table["dice"].nunique() < 3:
        return f"With {len(table)} images that differ so little, nothing can be said about Dice and size."
    rank = table["true_share"].corr(table["dice"], method="spearman")
    small = table["true_share"].rank(method="first") <= len(table) / 2
    low, high = table.loc[small, "dice"].mean(), table.loc[~small, "dice"].mean()
    if abs(rank) * np.sqrt(len(table) - 1) < 1.96:  # the normal approximation for a rank correlation of nothing
        verdict = "Chance alone would often do as much: nothing is shown either way"
    elif rank > 0:
        verdict = "The smaller score lower"
    else:
        verdict = "Against what we expected, the smaller score higher here"
    return (
        f"The half of the images with less foreground has a mean Dice of {low:.3f}, the other half {high:.3f} "
        f"(rank correlation of size and Dice {signed(rank)}, n = {len(table)}). {verdict}."
    )


def thresholds(curve: pd.DataFrame) -> str:
    """The threshold curve: where Dice is highest, and how flat it is."""
    best, half = curve.loc[curve["dice"].idxmax()], curve.loc[(curve["threshold"] - 0.5).abs().idxmin()]
    near = curve.loc[curve["dice"] >= best["dice"] - 0.01, "threshold"]
    width = f"Thresholds from {near.min():.2f} to {near.max():.2f} reach" if len(near) > 1 else "No other reaches"
    return (
        f"Mean Dice is highest at the threshold {best['threshold']:.2f} with {best['dice']:.4f}; at 0.50 it is "
        f"{half['dice']:.4f}. {width} within 0.01 of the best."
    )


def cases(cases: pd.DataFrame) -> str:
    """What the overlay grid shows, for those who cannot see it, and which kind of error prevails."""
    lines = []
    for kind, rows in cases.groupby("case", sort=False):
        named = ", ".join(f"{row.image} (Dice {row.dice:.3f})" for row in rows.itertuples())
        lines.append(f"{kind}: {named}")
    missed, false = int(cases["fn"].sum()), int(cases["fp"].sum())
    return f"True and predicted outlines, {'; '.join(lines)}. Missed pixels: {missed:,}; false pixels: {false:,}."


def errors(table: pd.DataFrame) -> str:
    """Whether more is missed or more is false, over all test images."""
    missed, false, there = (int(table[c].sum()) for c in ("fn", "fp", "tp"))
    there += missed
    more = "as much is missed as is false"
    if missed != false:
        more = "more is missed than false" if missed > false else "more is false than missed"
    apart = table["hausdorff95"].dropna()
    half = f"half of the {len(apart)} images" if len(apart) > 1 else "the one image"
    known = (
        f" In {half} with a true and a predicted outline, 95 % of the points of each lie "
        f"within {apart.median():.1f} pixels of the other (the median of the 95 % Hausdorff distance)."
        if len(apart)
        else ""
    )
    return (
        f"Over the test images **{more}**: {100 * missed / max(there, 1):.1f} % of the true foreground is missed, and "
        f"false pixels amount to {100 * false / max(there, 1):.1f} % of it.{known}"
    )


def leak(scores: tuple[np.ndarray, np.ndarray] | None) -> str:
    """Dice of copied masks when validation is another patient, and when it is random slices."""
    if scores is None:
        return "There is one patient only: nothing can be held out but slices, and every split leaks."
    by_patient, at_random = scores
    gap = at_random.mean() - by_patient.mean()
    verdict = (
        f"Nothing was learnt in either case, so these {gap:.2f} are what the neighbours give away."
        if gap > 0
        else "On these slices the neighbours give nothing away."
    )
    return (
        f"Copying the mask of the most similar training slice gives a mean Dice of **{at_random.mean():.3f}** on "
        f"random slices (n = {len(at_random)}, five draws) and **{by_patient.mean():.3f}** on another patient "
        f"(n = {len(by_patient)}). {verdict}"
    )


def convergence(histories: Mapping[str, pd.DataFrame]) -> str:
    """Which of two networks reaches the lower of their two best validation scores first."""
    curves = {
        name: history.assign(score=history["val_dice"], seconds=history["seconds"].cumsum())
        for name, history in histories.items()
    }
    return f"A {race('dice', curves)}."


def targets(table: pd.DataFrame, trained_for: str) -> str:
    """The table of ``target_scores``."""
    scores = ", ".join(f"{row.target} {row.dice:.3f}" for row in table.itertuples())
    return f"Trained for {trained_for}, the same masks get a mean test Dice of: {scores}."


def costs(costs: pd.DataFrame) -> str:
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


def outlines(table: pd.DataFrame, what: str) -> str:
    """The table of ``picture_tables.outlines``."""
    listed = ", ".join(f"{row.title} ({100 * row.share:.1f} %)" for row in table.itertuples())
    return f"{what} with the outline of the true mask; in brackets its share of the pixels: {listed}."


def sigmoids(curves: pd.DataFrame) -> str:
    """What the second sigmoid does to loss and gradient."""
    one, two = (part.set_index("logit") for _, part in curves.groupby("sigmoids"))
    floor = two["loss"].min()
    return (
        f"With two sigmoids, the loss of a foreground pixel cannot fall below {floor:.3f}, however sure the network "
        f"is, and a confident mistake (logit −8) pulls with a gradient of {-two['gradient'].iloc[0]:.5f} instead of "
        f"{-one['gradient'].iloc[0]:.3f}."
    )


def volumes(slices: pd.DataFrame, validation_volume: int) -> str:
    """Which patients there are, how clear the evidence is, and which of them validates."""
    ranges = slices.groupby("group", sort=False)["slice"].agg(["min", "max"])
    named = ", ".join(f"{name}: slices {row['min']}–{row['max']}" for name, row in ranges.iterrows())
    starts = slices["group"] != slices["group"].shift()
    within, between = slices["change"][1:][~starts[1:]], slices["change"][1:][starts[1:]]
    evidence = (
        f" Within a patient the largest change is {within.max():.1f} grey values, between patients the smallest is "
        f"{between.min():.1f}."
        if len(between)
        else ""
    )
    chosen = f"Patient {validation_volume} validates" if validation_volume else "Random slices validate"
    return f"{many(len(ranges), 'patient')} in train ({named}).{evidence} {chosen}; the test patient is none of them."
