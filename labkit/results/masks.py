"""Figures of masks: outlines, what was missed and what is false, and how scores spread over the images.

True outlines are yellow and solid, predicted ones red and dashed; what was missed is filled yellow, what is false, red.
Yellow is much lighter than red, so that a grey print and a colour-blind reader tell them apart.
"""

from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from labkit.results.plots import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, axes_for
from labkit.results.words import name_of

YELLOW = "#F0E442"
TRUE, PREDICTED = YELLOW, RED
LARGEST = 256  # pixels: what is drawn need not be sharper
LEGEND = [
    Line2D([], [], color=TRUE, lw=2, label="true outline"),
    Line2D([], [], color=PREDICTED, lw=2, ls="--", label="predicted outline"),
    Patch(color=TRUE, alpha=0.6, label="missed"),
    Patch(color=PREDICTED, alpha=0.6, label="false"),
]


def smaller(image: np.ndarray) -> np.ndarray:
    """Every k-th pixel of an image (H, W, …), so that no side is above LARGEST."""
    step = -(-max(image.shape[:2]) // LARGEST)
    return image[::step, ::step]


def grid(
    count: int, columns: int, title: str, legend: Sequence = (), side: float = 1.9
) -> tuple[Figure, Iterator[Axes]]:
    """A figure with ``count`` empty places for pictures, a title and a legend below; and its axes, one by one."""
    rows = -(-count // columns)
    figure, places = plt.subplots(
        rows, columns, figsize=(side * columns, (side + 0.25) * rows + 0.35 + 0.3 * bool(legend)), squeeze=False
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    for ax in places.flat:
        ax.axis("off")
    if legend:
        figure.legend(
            handles=list(legend), loc="outside lower center", ncols=len(legend), facecolor="#909090", frameon=True
        )
    return figure, iter(places.flat)


def show(ax: Axes, image: np.ndarray, grey: bool = False) -> None:
    """Draw an image (H, W) or (H, W, 3) uint8; ``grey`` takes its colours away."""
    image = image.mean(axis=-1) if grey and image.ndim == 3 else image
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def outline(ax: Axes, mask: np.ndarray, colour: str, style: str = "-") -> None:
    """Draw the outline of a mask (H, W) bool; nothing where it is empty or full."""
    if mask.any() and not mask.all():
        ax.contour(mask, levels=[0.5], colors=[colour], linestyles=[style], linewidths=1.2)


def fill(ax: Axes, mask: np.ndarray, colour: str) -> None:
    """Cover a mask (H, W) bool with a colour that lets the image through."""
    cover = np.zeros((*mask.shape, 4))
    cover[mask] = (*to_rgb(colour), 0.6)
    ax.imshow(cover, interpolation="nearest")


def plot_outlines(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray], titles: Sequence[str], *, title: str, columns: int = 6
) -> Figure:
    """Images (H, W) or (H, W, 3) uint8 with the outline of their true masks (H, W) bool."""
    figure, places = grid(len(images), columns, title, LEGEND[:1])
    for ax, image, mask, name in zip(places, images, masks, titles, strict=False):
        show(ax, smaller(image))
        outline(ax, smaller(mask), TRUE)
        ax.set_title(name, fontsize=9, loc="center")
    return figure


def plot_overlays(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    title: str,
    columns: int = 4,
) -> Figure:
    """Images in grey with both outlines, and with what was missed and what is false filled; masks (H, W) bool."""
    figure, places = grid(len(images), columns, title, LEGEND, side=2.3)
    for ax, image, truth, predicted, name in zip(places, images, truths, predictions, titles, strict=False):
        truth, predicted = smaller(truth), smaller(predicted)
        show(ax, smaller(image), grey=True)
        fill(ax, truth & ~predicted, TRUE)
        fill(ax, predicted & ~truth, PREDICTED)
        outline(ax, truth, TRUE)
        outline(ax, predicted, PREDICTED, "--")
        ax.set_title(name, fontsize=9, loc="center")
    return figure


def plot_volumes(slices: pd.DataFrame, limit: float) -> Figure:
    """Where patients begin: columns ``slice``, ``change`` (to the slice before), ``group``, ``share`` (liver, 0…1).

    Above, the change that cut the volumes, with the ``limit``; below, how much of each slice is liver.
    """
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 4.4), sharex=True)
    above.vlines(slices["slice"], 0, slices["change"], color=BLUE, lw=1.2)
    above.axhline(limit, color=RED, ls="--", lw=1, label=f"limit: {limit:.1f}")
    above.set(ylabel="change (grey values)", title="Change to the slice before")
    above.legend(loc="upper right")
    for (name, part), colour, style in zip(
        slices.groupby("group", sort=False),
        (BLUE, ORANGE, GREEN, PURPLE, SKY, RED) * 20,
        ("-", "--", ":") * 40,
        strict=False,
    ):
        below.plot(part["slice"], 100 * part["share"], color=colour, ls=style, lw=2, label=name)
    below.set(xlabel="slice number in train", ylabel="liver (% of the pixels)")
    below.set_ylim(0, 130 * slices["share"].max() or 1)  # room for the legend
    if slices["group"].nunique() <= 6:
        below.legend(ncols=3, loc="upper right")
    return figure


def plot_score_spread(table: pd.DataFrame, pooled: float, *, metric: str = "dice", ax: Axes | None = None) -> Axes:
    """How many images have which score, with the mean over images and the ``pooled`` score of all pixels together."""
    ax = axes_for(ax, 6.0, 3.0)
    ax.hist(table[metric], bins=np.linspace(0, 1, 41), color=SKY, edgecolor="white")
    ax.axvline(table[metric].mean(), color=BLUE, lw=2, label=f"mean over images {table[metric].mean():.3f}")
    ax.axvline(pooled, color=RED, lw=2, ls="--", label=f"pooled pixels {pooled:.3f}")
    low = min(max(0.0, np.floor(10 * table[metric].min()) / 10), 0.9)
    ax.set(xlabel=name_of(metric), ylabel="test images", xlim=(low, 1), title=f"{name_of(metric)} image by image")
    ax.legend(loc="upper left")
    return ax


def plot_score_against_size(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Dice of each image against how much of it is truly foreground; one marker a group, up to six of them."""
    ax = axes_for(ax, 6.0, 3.4)
    groups = list(table.groupby("group", sort=True)) if table["group"].nunique() <= 6 else [("test images", table)]
    for (name, part), colour, marker in zip(groups, (BLUE, RED, GREEN, ORANGE, PURPLE, SKY), "os^DvP", strict=False):
        ax.scatter(100 * part["true_share"], part["dice"], s=22, color=colour, marker=marker, label=name, alpha=0.8)
    ax.set(xlabel="true foreground (% of the pixels)", ylabel="Dice", title="Dice against size")
    if len(groups) > 1:
        ax.legend(loc="lower right")
    return ax


def plot_thresholds(curve: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Mean Dice, precision and recall by threshold: columns ``threshold``, ``dice``, ``precision``, ``recall``."""
    ax = axes_for(ax, 6.0, 3.2)
    styles = {"dice": (BLUE, "-"), "precision": (RED, "--"), "recall": (GREEN, ":")}
    for name, (colour, style) in styles.items():
        ax.plot(curve["threshold"], curve[name], color=colour, ls=style, lw=2, label=name_of(name))
    best = curve.loc[curve["dice"].idxmax()]
    ax.plot(best["threshold"], best["dice"], "o", ms=9, mfc="none", mec="black")
    ax.annotate(
        f"best {best['threshold']:.2f}",
        (best["threshold"], best["dice"]),
        (0, -14),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=9,
    )
    ax.axvline(0.5, color="#666666", lw=0.8)
    ax.set(xlabel="threshold on the probability", ylabel="mean over images", title="What the threshold trades")
    ax.legend(loc="lower center", ncols=3)
    return ax


def plot_sigmoids(curves: pd.DataFrame) -> Figure:
    """Loss and gradient of a foreground pixel by its logit: columns ``sigmoids``, ``logit``, ``loss``, ``gradient``."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    for (count, part), colour, style in zip(curves.groupby("sigmoids"), (BLUE, RED), ("-", "--"), strict=True):
        label = "one sigmoid" if count == 1 else "two sigmoids"
        left.plot(part["logit"], part["loss"], color=colour, ls=style, lw=2, label=label)
        right.plot(part["logit"], -part["gradient"], color=colour, ls=style, lw=2, label=label)
    left.set(xlabel="logit of a foreground pixel", ylabel="cross-entropy (nats)", title="Loss")
    right.set(xlabel="logit of a foreground pixel", ylabel="pull towards the truth", title="Gradient")
    left.legend()
    return figure


def plot_rivals(histories: dict[str, pd.DataFrame], name: str = "dice") -> Figure:
    """Validation score of several trainings, by epoch and by seconds of training."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
    for (model, table), colour, style, marker in zip(
        histories.items(), (BLUE, RED, GREEN), ("-", "--", ":"), "os^", strict=False
    ):
        left.plot(table["epoch"], table[f"val_{name}"], color=colour, ls=style, marker=marker, ms=4, label=model)
        right.plot(
            table["seconds"].cumsum(), table[f"val_{name}"], color=colour, ls=style, marker=marker, ms=4, label=model
        )
    left.set(xlabel="epoch", ylabel=f"validation {name_of(name)}", title="By epoch")
    left.xaxis.get_major_locator().set_params(integer=True)
    right.set(xlabel="seconds of training", title="By time")
    left.legend(loc="lower right")
    return figure
