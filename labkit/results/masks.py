"""Figures of masks: outlines, what was missed and what is false, and how scores spread over the images.

True outlines are yellow and solid, predicted ones red and dashed; what was missed is filled yellow, what is false, red.
Yellow is much lighter than red, so that a grey print and a colour-blind reader tell them apart.
"""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from labkit.results.style import (
    BLACK,
    BLUE,
    GREY,
    LINES,
    ORANGE,
    RED,
    SKY,
    YELLOW,
    axes_for,
    figure_size,
    grid,
    legend_below_axes,
    literal,
    panels,
    whole_ticks,
)
from labkit.results.words import name_of

TRUE, PREDICTED = YELLOW, RED
LEGEND = [
    Line2D([], [], color=TRUE, lw=2, label="true outline"),
    Line2D([], [], color=PREDICTED, lw=2, ls="--", label="predicted outline"),
    Patch(color=TRUE, alpha=0.6, label="missed"),
    Patch(color=PREDICTED, alpha=0.6, label="false"),
]


def show(ax: Axes, image: np.ndarray) -> None:
    """Draw an image (H, W) or (H, W, 3) uint8."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def outline(ax: Axes, mask: np.ndarray, colour: str, style: str = "-") -> None:
    """Draw the outline of a mask (H, W) bool; nothing where it is empty or full."""
    if mask.any() and not mask.all():
        ax.contour(mask, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.2)


def fill(ax: Axes, mask: np.ndarray, colour: str, opacity: float = 0.6) -> None:
    """Cover a mask (H, W) bool with a colour that lets the image through; ``opacity`` 1 hides it, 0 is no cover."""
    cover = np.zeros((*mask.shape, 4))
    cover[mask] = (*to_rgb(colour), opacity)
    ax.imshow(cover, interpolation="nearest")


def draw_case(
    ax: Axes, image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, *, view: str = "error", opacity: float = 0.6
) -> None:
    """One image (H, W) uint8 with its masks (H, W) bool.

    ``view`` is ``true`` or ``predicted`` for one mask, filled; or ``error``: both outlines, filled what was missed and
    what is false.
    """
    show(ax, image)
    if view != "predicted":
        fill(ax, truth if view == "true" else truth & ~predicted, TRUE, opacity)
    if view != "true":
        fill(ax, predicted if view == "predicted" else predicted & ~truth, PREDICTED, opacity)
    if view != "predicted":
        outline(ax, truth, TRUE)
    if view != "true":
        outline(ax, predicted, PREDICTED, "--")


def plot_outlines(table: pd.DataFrame, *, title: str, columns: int = 6) -> Figure:
    """Pictures with the outline of their true masks: columns ``title``, ``image`` and ``mask``."""
    figure, places = grid(len(table), columns, title=title, side=1.9, legend=LEGEND[:1])
    for ax, row in zip(places, table.itertuples(), strict=False):
        show(ax, row.image)
        outline(ax, row.mask, TRUE)
        ax.set_title(literal(row.title), fontsize="small", loc="center")
    return figure


def plot_overlays(table: pd.DataFrame, *, title: str) -> Figure:
    """Pictures with both outlines, and with what was missed and what is false filled; a row for each case.

    Columns ``case``, ``title``, ``image`` (best in grey), and the masks ``truth`` and ``predicted``.
    """
    columns = int(table["case"].value_counts().max())
    figure, places = grid(len(table), columns, title=title, side=2.3, legend=LEGEND)
    for ax, row in zip(places, table.itertuples(), strict=False):
        draw_case(ax, row.image, row.truth, row.predicted)
        ax.set_title(literal(row.title), fontsize="small", loc="center")
    return figure


def plot_volumes(slices: pd.DataFrame, *, limit: float | None) -> Figure:
    """Where patients begin: columns ``slice``, ``change`` (to the slice before), ``group``, ``share`` (liver, 0…1).

    Above, the change, with the ``limit`` that cut the volumes if any did; below, how much of each slice is liver.
    """
    figure, (above, below) = plt.subplots(2, 1, figsize=figure_size(8, 4.4), sharex=True)
    above.vlines(slices["slice"], 0, slices["change"], color=BLUE, lw=1.2)
    above.set(ylabel="change (grey values)", title="Change to the slice before")
    if limit is not None:
        above.axhline(limit, color=ORANGE, ls="--", label=f"limit: {limit:.1f}")
        above.legend(loc="upper right")
    for (name, part), look in zip(slices.groupby("group", sort=False), LINES * 20, strict=False):
        below.plot(part["slice"], 100 * part["share"], color=look["color"], ls=look["ls"], label=name)
    below.set(xlabel="slice number in train", ylabel="liver (% of the pixels)")
    below.set_ylim(0, None)
    if slices["group"].nunique() <= 6:
        legend_below_axes(below)
    return figure


def plot_score_spread(table: pd.DataFrame, *, pooled: float, metric: str = "dice", ax: Axes | None = None) -> Axes:
    """How many images have which score, with the mean over images and the ``pooled`` score of all pixels together."""
    ax = axes_for(ax, 6.0, 3.0)
    ax.hist(table[metric], bins=np.linspace(0, 1, 41), color=SKY, edgecolor="white")
    ax.axvline(table[metric].mean(), color=BLUE, label=f"mean over images {table[metric].mean():.3f}")
    ax.axvline(pooled, color=BLACK, ls="--", label=f"pooled pixels {pooled:.3f}")
    low = min(max(0.0, np.floor(10 * table[metric].min()) / 10), 0.9)
    ax.set(xlabel=name_of(metric), ylabel="test images", xlim=(low, 1), title=f"{name_of(metric)} image by image")
    whole_ticks(ax.yaxis)
    legend_below_axes(ax)
    return ax


def plot_score_against_size(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Dice of each image against how much of it is truly foreground; one marker a group, up to six of them."""
    ax = axes_for(ax, 6.0, 3.4)
    groups = list(table.groupby("group", sort=True)) if table["group"].nunique() <= 6 else [("test images", table)]
    for (name, part), look in zip(groups, LINES, strict=False):
        look = {"color": look["color"], "marker": look["marker"]}
        ax.scatter(
            100 * part["true_share"],
            part["dice"],
            s=mpl.rcParams["lines.markersize"] ** 2,
            label=name,
            alpha=0.8,
            **look,
        )
    ax.set(xlabel="true foreground (% of the pixels)", ylabel="Dice", title="Dice against size")
    if len(groups) > 1:
        legend_below_axes(ax)
    return ax


def plot_thresholds(curve: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Mean Dice, precision and recall by threshold: columns ``threshold``, ``dice``, ``precision``, ``recall``."""
    ax = axes_for(ax, 6.0, 3.2)
    for name, look in zip(("dice", "precision", "recall"), LINES, strict=False):
        ax.plot(curve["threshold"], curve[name], color=look["color"], ls=look["ls"], label=name_of(name))
    best, size = curve.loc[curve["dice"].idxmax()], 2 * mpl.rcParams["lines.markersize"]
    label = f"best Dice, at {best['threshold']:.2f}"
    ax.plot(best["threshold"], best["dice"], "o", ms=size, mfc="none", mec="black", label=label)
    ax.axvline(0.5, color=GREY, lw=0.8)
    ax.set(xlabel="threshold on the probability", ylabel="mean over images", title="What the threshold trades")
    legend_below_axes(ax)
    return ax


def plot_sigmoids(curves: pd.DataFrame) -> Figure:
    """Loss and gradient of a foreground pixel by its logit: columns ``sigmoids``, ``logit``, ``loss``, ``gradient``."""
    figure, (left, right) = panels(2, 9, 3.2)
    for (count, part), look in zip(curves.groupby("sigmoids"), LINES, strict=False):
        look = {"color": look["color"], "ls": look["ls"], "label": "one sigmoid" if count == 1 else "two sigmoids"}
        left.plot(part["logit"], part["loss"], **look)
        right.plot(part["logit"], -part["gradient"], **look)
    left.set(xlabel="logit of a foreground pixel", ylabel="cross-entropy (nats)", title="Loss")
    right.set(xlabel="logit of a foreground pixel", ylabel="pull towards the truth", title="Gradient")
    legend_below_axes(left)
    return figure


def plot_rivals(histories: pd.DataFrame, *, metric: str, held_out: str = "validation") -> Figure:
    """Score of the ``held_out`` images by epoch and by seconds, from the histories of each ``model`` (a column)."""
    figure, (left, right) = panels(2, 9, 3.2, sharey=True)
    for (model, table), look in zip(histories.groupby("model", sort=False), LINES, strict=False):
        left.plot(table["epoch"], table[f"val_{metric}"], label=model, **look)
        right.plot(table["seconds"].cumsum(), table[f"val_{metric}"], label=model, **look)
    left.set(xlabel="epoch", ylabel=f"{held_out} {name_of(metric)}", title="By epoch")
    whole_ticks(left.xaxis)
    right.set(xlabel="seconds of training", ylabel=f"{held_out} {name_of(metric)}", title="By time")
    legend_below_axes(left)
    return figure
