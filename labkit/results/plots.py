"""Figures. Each function takes one tidy table, draws on ``ax`` (or on a new one) and returns it; none shows or saves.

What else a figure needs are keyword options that JSON can hold, so that a figure is kept as the name of its function, a
table and options, and drawn again from them (``figures``). Cells of a table may be pictures: uint8 or bool arrays.
"""

from collections.abc import Callable, Iterable, Mapping

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from labkit.results.style import (
    BARS,
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LINES,
    axes_for,
    figure_size,
    grid,
    legend_above,
    legend_below_axes,
    literal,
    panels,
    use_style,
    whole_ticks,
)
from labkit.results.words import SWITCHED_OFF, name_of

__all__ = ["use_style"]  # for the notebooks, which draw with this module alone


def _plain_log_ticks(axis: Axis) -> None:
    """Label some of 1, 1.5, 2, 3, 5 and 7 of every decade in plain numbers; over a short range, round numbers."""
    low, high = axis.get_view_interval()
    subs = (1, 1.5, 2, 3, 5, 7) if high < 20 * low else (1, 2, 5) if high < 1000 * low else (1,)
    axis.set_major_locator(LogLocator(subs=subs) if high > 4 * low else MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def plot_curve(
    history: pd.DataFrame,
    *,
    name: str,
    chosen: int | None = None,
    held_out: str = "validation",
    ax: Axes | None = None,
) -> Axes:
    """``name`` (``loss`` or a metric) of the training and the ``held_out`` images by epoch; ``chosen``: the best."""
    ax = axes_for(ax)
    ax.plot(history["epoch"], history[f"train_{name}"], **LINES[0], label="training")
    ax.plot(history["epoch"], history[f"val_{name}"], **LINES[1], label=held_out)
    if chosen is not None:
        y = history.loc[history["epoch"] == chosen, f"val_{name}"].iloc[0]
        ring = {"marker": "o", "ms": 2.7 * mpl.rcParams["lines.markersize"], "mfc": "none", "mec": "black"}
        ax.plot(chosen, y, ls="none", label=f"chosen epoch {chosen}", **ring)
    shown = name_of(name)
    ax.set_xlim(0.5, len(history) + 0.5)
    whole_ticks(ax.xaxis)
    unit = " (nats)" if name == "loss" and any(column.endswith("accuracy") for column in history) else ""  # or Dice
    ax.set(xlabel="epoch", ylabel=shown + unit, title=f"{shown[0].upper()}{shown[1:]} by epoch")
    if name == "loss":
        ax.set_yscale("log")
        _plain_log_ticks(ax.yaxis)
    ax.legend()
    return ax


def draw_running(ax: Axes, running: pd.DataFrame, history: pd.DataFrame, name: str) -> None:
    """``plot_curve`` of a training under way, with the means of each epoch so far.

    ``running`` has ``name`` by ``epoch``, which is a fraction within the epoch; ``history`` may be empty.
    """
    if len(history):
        plot_curve(history, name=name, ax=ax)
    else:
        ax.set(xlabel="epoch", ylabel=name_of(name), title="The first epoch")
    ax.plot([], [], color=GREY, lw=1, label="training, epoch so far")
    for _, part in running.groupby(np.ceil(running["epoch"])):
        ax.plot(part["epoch"], part[name], color=GREY, lw=1)
    ax.set_xlim(0, len(history) + 1)
    ax.legend()


def plot_history(
    history: pd.DataFrame, *, metric: str, chosen: int | None = None, held_out: str = "validation"
) -> Figure:
    """Loss and metric by epoch, side by side; ``held_out`` images chose the epoch (``validation``, or ``test``)."""
    figure, (left, right) = panels(2, 9, 3.2)
    for ax, name in ((left, "loss"), (right, metric)):
        plot_curve(history, name=name, chosen=chosen, held_out=held_out, ax=ax)
    right.get_legend().remove()
    legend_below_axes(left)
    return figure


def plot_stops(
    history: pd.DataFrame,
    *,
    factor: float,
    stops: Mapping[str, int | None],
    held_out: str = "validation",
    ax: Axes | None = None,
) -> Axes:
    """Losses by epoch, ``factor`` times the lowest ``held_out`` loss so far, and the epoch where each rule stops."""
    ax = plot_curve(history, name="loss", held_out=held_out, ax=axes_for(ax, 7.0, 3.2))
    limit = factor * history["val_loss"].cummin()
    ax.step(history["epoch"], limit, where="mid", color=GREY, lw=1, label=f"{factor:g} × lowest so far")
    for (name, epoch), colour, style in zip(stops.items(), (GREEN, BLACK), ("-.", ":"), strict=False):
        if epoch is not None:
            word = "off" if name.endswith(SWITCHED_OFF) else "stop"
            ax.axvline(epoch, color=colour, ls=style, label=f"{word}: {name.removesuffix(SWITCHED_OFF)}")
    ax.set_title("Where early stopping falls")
    legend_below_axes(ax)
    return ax


def plot_learning_rate(rates: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Learning rate against time: columns ``epoch`` (a fraction within the epoch) and ``learning_rate``."""
    ax = axes_for(ax, 6.0, 2.6)
    ax.plot(rates["epoch"], rates["learning_rate"], color=BLUE)
    ax.set(xlabel="time (epochs)", ylabel="learning rate", ylim=(0, None), title="Learning rate over the training")
    return ax


def _grouped_bars(ax: Axes, table: pd.DataFrame, scale: float = 1) -> None:
    """Bars side by side: the first column names the groups, each other column is a series, drawn ``scale`` times."""
    series = table.columns[1:]
    width = 0.8 / len(series)
    for i, (name, look) in enumerate(zip(series, BARS, strict=False)):
        place = np.arange(len(table)) + (i - (len(series) - 1) / 2) * width
        ax.bar(place, scale * table[name], width, label=name, **look)
    ax.set_xticks(range(len(table)), table.iloc[:, 0].map(literal))
    ax.grid(axis="x", visible=False)
    legend_above(ax)


def plot_class_counts(counts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Images per class in each part: columns ``class``, then one column a part (training, validation, test)."""
    ax = axes_for(ax, 7.0, 3.0)
    ax.set(xlabel="class", ylabel="images", title="Images per class")
    _grouped_bars(ax, counts)
    whole_ticks(ax.yaxis)
    return ax


def plot_paired_bars(table: pd.DataFrame, *, title: str, ylabel: str, ax: Axes | None = None) -> Axes:
    """Two or more bars a row: the first column names the row, each other column is a series of shares, in percent."""
    ax = axes_for(ax, 7.0, 3.0)
    ax.set(xlabel=table.columns[0], ylabel=ylabel, title=title)
    _grouped_bars(ax, table, scale=100)
    return ax


def plot_images(table: pd.DataFrame, *, title: str, columns: int = 8) -> Figure:
    """A grid of pictures: columns ``image``, (H, W) or (H, W, 3) uint8, and ``title``."""
    figure, places = grid(len(table), columns, title=title, side=1.15)
    draw_images(places, table)
    return figure


def draw_images(places: Iterable[Axes], table: pd.DataFrame) -> None:
    """The pictures of ``plot_images``, one into each of ``places``."""
    for ax, row in zip(places, table.itertuples(), strict=False):
        ax.imshow(row.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(literal(row.title), fontsize="small", loc="center")


def plot_feature_maps(maps: pd.DataFrame) -> Figure:
    """Feature maps, each on its own grey scale with its range below: what a block adds to its input.

    Columns ``map`` (its name), ``image`` (H, W) uint8, and the values of its black and its white, ``lowest`` and
    ``highest``.
    """
    figure, axes = plt.subplots(1, len(maps), figsize=figure_size(2.2 * len(maps), 2.7, least=0.75), squeeze=False)
    for ax, row in zip(axes.flat, maps.itertuples(), strict=True):
        ax.imshow(row.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(row.map, loc="center")
        ax.set(xticks=[], yticks=[], xlabel=f"{row.lowest:.2f} … {row.highest:.2f}")
        ax.grid(visible=False)
    return figure


def plot_confusion(confusion: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """A confusion matrix of counts: the true class, then one column for each predicted class.

    Mistakes are shaded, the diagonal is not: hits are a hundred times more frequent, and one scale for both would show
    nothing but the diagonal.
    """
    ax = axes_for(ax, 5.2, 4.8)
    matrix = confusion.set_index(confusion.columns[0])
    draw_matrix(ax, matrix, least=1, form="{:.0f}".format)
    ax.set(xlabel="predicted", ylabel="true", title="Confusion matrix: number of test images")
    return ax


def draw_matrix(ax: Axes, matrix: pd.DataFrame, least: float, form: Callable[[float], str]) -> None:
    """A square matrix with its numbers from ``least`` on written in their cells; what is off the diagonal is shaded."""
    values = matrix.to_numpy()
    wrong = np.where(np.eye(len(values), dtype=bool), 0, values)
    ax.imshow(wrong, cmap="Oranges", vmax=max(1, wrong.max()))
    letters = max(len(form(value)) for value in values.flat)
    side = 72 / ax.figure.dpi * min(ax.bbox.size) / len(values)  # of a cell, in points
    size = min(0.9 * mpl.rcParams["font.size"], side / (0.65 * max(letters, 2)))
    for (row, column), value in np.ndenumerate(values):
        if value >= least and size > 3:
            dark = row != column and value > 0.6 * wrong.max()
            look = {"weight": "bold" if row == column else "normal", "color": "white" if dark else "black"}
            ax.text(column, row, form(value), ha="center", va="center", fontsize=size, **look)
    ax.set_xticks(range(len(matrix.columns)), map(literal, matrix.columns))
    ax.set_yticks(range(len(matrix)), map(literal, matrix.index))
    ax.grid(visible=False)


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
    ax.set_xticks(place, table["class"].map(literal))
    ax.set(xlabel="class", ylabel="accuracy (%)", title="Test accuracy per class")
    ax.grid(axis="x", visible=False)
    if "reported" in table:
        ax.plot(place + 0.2, 100 * table["reported"], "x", color=BLACK, label="reported")
        legend_above(ax)
    return ax


def plot_loss_against_accuracy(points: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Mean loss against error rate, both on logarithmic axes: columns ``what``, ``accuracy``, ``loss``."""
    ax = axes_for(ax, 5.6, 3.6)
    kinds = dict.fromkeys(points["what"])
    looks = [{"color": look["color"], "marker": look["marker"]} for look in LINES[:3]]
    area = 2 * mpl.rcParams["lines.markersize"] ** 2
    for kind, look in zip(kinds, [*looks, {"color": BLACK, "marker": "X"}], strict=False):
        part = points[points["what"] == kind]
        ax.scatter(100 * (1 - part["accuracy"]), part["loss"], s=area, label=kind, zorder=3, **look)
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
