"""Figures. Each function takes one tidy table, draws on ``ax`` (or on a new one) and returns it; none shows or saves.

Colours are Okabe and Ito's, told apart by people with colour-blindness; where two series share axes they also
differ in line style or marker, so that a grey print can be read.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from labkit.results.words import name_of

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "legend.frameon": False,
    "axes.prop_cycle": mpl.cycler(color=[BLUE, RED, GREEN, ORANGE, PURPLE, SKY]),
    "pdf.fonttype": 42,
    "svg.hashsalt": "labkit",
}


def use_style() -> None:
    """Set the workbook's look for all figures drawn from now on."""
    mpl.rcParams.update(STYLE)


def axes_for(ax: Axes | None, width: float = 5.0, height: float = 3.2) -> Axes:
    """``ax``, or new axes of this size in inches."""
    return ax if ax is not None else plt.subplots(figsize=(width, height))[1]


def _plain_log_ticks(axis: Axis) -> None:
    """Label 1, 1.5, 2, 3, 5 and 7 of every decade, in plain numbers: scores often span less than one decade."""
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def plot_curve(history: pd.DataFrame, name: str, *, chosen: int | None = None, ax: Axes | None = None) -> Axes:
    """Training and validation ``name`` (``loss`` or a metric) by epoch; ``chosen`` marks the epoch that is kept."""
    ax = axes_for(ax)
    ax.plot(history["epoch"], history[f"train_{name}"], color=BLUE, marker="o", ms=4, label="training")
    ax.plot(history["epoch"], history[f"val_{name}"], color=RED, marker="s", ms=4, ls="--", label="validation")
    if chosen is not None:
        y = history.loc[history["epoch"] == chosen, f"val_{name}"].iloc[0]
        ax.plot(chosen, y, marker="o", ms=12, mfc="none", mec="black", ls="none", label=f"chosen epoch {chosen}")
    shown = name_of(name)
    ax.set_xlim(0.5, len(history) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    unit = " (nats)" if name == "loss" else ""
    ax.set(xlabel="epoch", ylabel=shown + unit, title=f"{shown[0].upper()}{shown[1:]} by epoch")
    if name == "loss":
        ax.set_yscale("log")
        _plain_log_ticks(ax.yaxis)
    ax.legend()
    return ax


def plot_history(history: pd.DataFrame, metric: str, *, chosen: int | None = None) -> Figure:
    """Loss and metric by epoch, side by side."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    plot_curve(history, "loss", chosen=chosen, ax=left)
    plot_curve(history, metric, chosen=chosen, ax=right)
    return figure


def plot_stops(
    history: pd.DataFrame, factor: float, stops: Mapping[str, int | None], *, ax: Axes | None = None
) -> Axes:
    """Losses by epoch, ``factor`` times the lowest validation loss so far, and the epoch where each rule stops."""
    ax = plot_curve(history, "loss", ax=axes_for(ax, 7.0, 3.6))
    limit = factor * history["val_loss"].cummin()
    ax.step(history["epoch"], limit, where="mid", color="#666666", lw=1, label=f"{factor:g} × lowest so far")
    for (name, epoch), colour, style in zip(stops.items(), (ORANGE, GREEN), ("-", ":"), strict=False):
        if epoch is not None:
            ax.axvline(epoch, color=colour, ls=style, lw=2, label=f"stop: {name}")
    ax.set_title("Where early stopping falls")
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return ax


def plot_learning_rate(rates: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Learning rate against time: columns ``epoch`` (a fraction within the epoch) and ``learning_rate``."""
    ax = axes_for(ax, 6.0, 2.6)
    ax.plot(rates["epoch"], rates["learning_rate"], color=BLUE)
    ax.set(xlabel="time (epochs)", ylabel="learning rate", ylim=(0, None), title="Learning rate over the training")
    return ax


def plot_class_counts(counts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Images per class in each part: columns ``class``, then one column a part (train, validation, test)."""
    ax = axes_for(ax, 7.0, 3.0)
    parts = [name for name in counts.columns if name != "class"]
    width = 0.8 / len(parts)
    for i, (part, colour, hatch) in enumerate(zip(parts, (BLUE, ORANGE, GREEN), ("", "//", "xx"), strict=False)):
        place = np.arange(len(counts)) + (i - (len(parts) - 1) / 2) * width
        ax.bar(place, counts[part], width, color=colour, hatch=hatch, edgecolor="white", label=part)
    ax.set_xticks(range(len(counts)), counts["class"])
    ax.set(xlabel="class", ylabel="images", title="Images per class")
    ax.grid(axis="x", visible=False)
    ax.legend(ncols=len(parts), loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return ax


def pictures(images: Tensor) -> np.ndarray:
    """Images (N, C, H, W) uint8 as they are drawn, in [0, 1]: (N, H, W) if they are grey, (N, H, W, 3) in colour."""
    shown = images.permute(0, 2, 3, 1).numpy() / 255
    return shown[..., 0] if shown.shape[-1] == 1 else shown


def plot_images(images: np.ndarray, titles: Sequence[str], *, title: str, columns: int = 8) -> Figure:
    """A grid of images (N, H, W) or (N, H, W, 3) in [0, 1], one title each."""
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.15 * columns, 1.4 * rows + 0.3), squeeze=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=9, loc="center")
    return figure


def plot_feature_maps(maps: dict[str, np.ndarray]) -> Figure:
    """Named feature maps (H, W), each on its own grey scale with its range below: what a block adds to its input."""
    figure, axes = plt.subplots(1, len(maps), figsize=(2.2 * len(maps), 2.7), squeeze=False)
    for ax, (name, values) in zip(axes.flat, maps.items(), strict=True):
        ax.imshow(values, cmap="gray", interpolation="nearest")
        ax.set_title(name, loc="center")
        ax.set(xticks=[], yticks=[], xlabel=f"{values.min():.2f} … {values.max():.2f}")
        ax.grid(visible=False)
    return figure


def plot_confusion(confusion: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """A confusion matrix of counts, true classes down, predicted across; mistakes are shaded, the diagonal is not.

    Hits are a hundred times more frequent than mistakes, and one scale for both would show nothing but the diagonal.
    """
    ax = axes_for(ax, 5.2, 4.8)
    counts = confusion.to_numpy()
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    ax.imshow(mistakes, cmap="Oranges", vmax=max(1, mistakes.max()))
    size = 9 if len(counts) <= 12 else 5
    for (row, column), count in np.ndenumerate(counts):
        dark = row != column and count > 0.6 * mistakes.max()
        weight = "bold" if row == column else "normal"
        if count:
            ax.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                fontsize=size,
                weight=weight,
                color="white" if dark else "black",
            )
    ax.set_xticks(
        range(len(counts)), confusion.columns, rotation=0 if max(map(len, map(str, confusion.columns))) < 4 else 90
    )
    ax.set_yticks(range(len(counts)), confusion.index)
    ax.set(xlabel="predicted", ylabel="true", title="Confusion matrix: number of test images")
    ax.grid(visible=False)
    return ax


def plot_per_class(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Accuracy of each class with its 95 % interval: columns ``class``, ``accuracy``, ``low``, ``high`` (shares).

    A column ``reported``, if there, is drawn as crosses.
    """
    ax = axes_for(ax, 7.0, 3.0)
    place, percent = np.arange(len(table)), 100 * table[["accuracy", "low", "high"]]
    errors = [
        (percent["accuracy"] - percent["low"]).clip(lower=0),
        (percent["high"] - percent["accuracy"]).clip(lower=0),
    ]
    ax.errorbar(place, percent["accuracy"], errors, fmt="o", color=BLUE, capsize=3, label="ours, 95 % interval")
    if "reported" in table:
        ax.plot(place + 0.2, 100 * table["reported"], "x", color=RED, ms=7, label="reported")
        ax.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    ax.set_xticks(place, table["class"])
    ax.set(xlabel="class", ylabel="accuracy (%)", title="Test accuracy per class")
    ax.grid(axis="x", visible=False)
    return ax


def plot_paired_bars(table: pd.DataFrame, *, title: str, ylabel: str, ax: Axes | None = None) -> Axes:
    """Two or more bars a row: the first column names the row, each other column is a series of shares, in percent."""
    ax = axes_for(ax, 7.0, 3.0)
    rows, series = table.iloc[:, 0].astype(str), table.columns[1:]
    width = 0.8 / len(series)
    for i, (name, colour, hatch) in enumerate(zip(series, (BLUE, ORANGE, GREEN), ("", "//", "xx"), strict=False)):
        ax.bar(
            np.arange(len(table)) + (i - (len(series) - 1) / 2) * width,
            100 * table[name],
            width,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            label=name,
        )
    ax.set_xticks(range(len(table)), rows)
    ax.set(xlabel=table.columns[0], ylabel=ylabel, title=title)
    ax.grid(axis="x", visible=False)
    ax.legend(ncols=len(series), loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return ax


def plot_loss_against_accuracy(points: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Mean loss against error rate, both on logarithmic axes: columns ``what``, ``accuracy``, ``loss``."""
    ax = axes_for(ax, 5.6, 3.6)
    kinds = dict.fromkeys(points["what"])
    for kind, colour, marker in zip(kinds, (BLUE, GREEN, ORANGE, RED), "os^X", strict=False):
        part = points[points["what"] == kind]
        ax.scatter(100 * (1 - part["accuracy"]), part["loss"], color=colour, marker=marker, s=45, label=kind, zorder=3)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="error rate (%)",
        ylabel="mean cross-entropy (nats)",
        title="Loss and accuracy belong together",
    )
    for axis in (ax.xaxis, ax.yaxis):
        _plain_log_ticks(axis)
    ax.legend(loc="lower right")
    return ax
