"""Figures of many runs side by side. Each takes one tidy table; labs with other scores get axes of their own."""

import textwrap
from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from labkit.results import style
from labkit.results.style import BLACK, BLUE, GREY, LINES, axes_for, beside, figure_size, literal, whole_ticks
from labkit.results.words import name_of


def name(text: object) -> str:
    """A name beside a row, on as many lines as it takes to leave the larger part of the page to the row."""
    return literal(textwrap.fill(str(text), style.letters(0.42)))


def in_legend(text: object) -> str:
    """A text for a legend, which does not break lines by itself."""
    return literal(textwrap.fill(str(text), 42))


def legend_under(ax: Axes) -> None:
    """A legend below the axes and their label, one line an entry."""
    drop = ScaledTranslation(0, -3.7 * mpl.rcParams["font.size"] / 72, ax.figure.dpi_scale_trans)
    where = {"bbox_to_anchor": (0, 0), "bbox_transform": ax.transAxes + drop, "borderaxespad": 0}
    ax.legend(fontsize="x-small", loc="upper left", **where)


def panels_of(table: pd.DataFrame) -> tuple[Figure, Iterator[tuple[Axes, pd.DataFrame]]]:
    """A figure with axes for each value of the column panel, two in a row, and those axes with their rows."""
    groups = list(table.groupby("panel", sort=False))
    columns = min(2, beside(len(groups), 3.0))
    rows = -(-len(groups) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=figure_size(4.5 * columns, 2.8 * rows), squeeze=False)
    for ax in axes.flat[len(groups) :]:
        ax.axis("off")
    for ax, (title, _) in zip(axes.flat, groups, strict=False):
        ax.set_title(literal(title), fontsize="medium")
    return figure, ((ax, part) for ax, (_, part) in zip(axes.flat, groups, strict=False))


def plot_learning_curves(table: pd.DataFrame, *, x: str = "epoch") -> Figure:
    """Validation score of several runs by ``x``: columns panel, label, metric, score, and epoch or seconds."""
    figure, parts = panels_of(table)
    for ax, part in parts:
        draw_learning_curves(ax, part, x)
        legend_under(ax)
    return figure


def draw_learning_curves(ax: Axes, part: pd.DataFrame, x: str) -> None:
    """The curves of one panel of ``plot_learning_curves``, without their legend."""
    for i, (label, run) in enumerate(part.groupby("label", sort=False)):
        look = LINES[i % len(LINES)]
        ax.plot(run[x], run["score"], **look, markevery=max(1, len(run) // 10), label=in_legend(label))
    ax.set(xlabel="seconds of training" if x == "seconds" else x)
    ax.set_ylabel(f"validation {name_of(part['metric'].iloc[0])}")
    if x == "epoch":
        whole_ticks(ax.xaxis)


def rows_of_names(count: int, extra: float) -> Axes:
    """Axes with room for so many names down the side, which a narrow page breaks into lines, and ``extra`` inches."""
    return plt.subplots(figsize=figure_size(8.0, extra + 0.4 * count, least=1))[1]


def plot_gaps(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Training, validation and test score of each run at its chosen epoch: columns label, train, validation, score."""
    ax = ax or rows_of_names(len(table), 1.6)
    place = np.arange(len(table))[::-1]
    ends = table[["train", "validation", "score"]]
    ax.hlines(place, ends.min(axis=1), ends.max(axis=1), color=GREY, lw=1.5, zorder=1)
    said = {"train": "training", "validation": "validation", "score": "test"}
    for (column, part), look in zip(said.items(), LINES, strict=False):
        ax.plot(table[column], place, **look | {"ls": "none"}, label=part)
    ax.set_yticks(place, table["label"].map(name))
    ax.set(xlabel="score at the chosen epoch", title="Seen and unseen images")
    ax.grid(axis="y", visible=False)
    ax.legend()
    style.legend_below_axes(ax)
    return ax


def plot_scores(table: pd.DataFrame) -> Figure:
    """Test scores with their 95 % intervals: columns panel, label, mean, low, high, n (runs); one row a recipe."""
    groups = list(table.groupby("panel", sort=False))
    sizes = [len(part) + 2 for _, part in groups]
    size = figure_size(8.0, 0.42 * sum(sizes) + 0.3, least=1)
    figure, axes = plt.subplots(len(groups), figsize=size, height_ratios=sizes, squeeze=False)
    for ax, (panel, part) in zip(axes.flat, groups, strict=True):
        forest(ax, part["label"] + part["n"].map(lambda n: f", n = {n}"), part["mean"], part["low"], part["high"])
        ax.set_title(literal(panel), fontsize="medium")
    return figure


def plot_effects(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What each change did to the test score: columns change, difference, low, high (shares)."""
    ax = ax or rows_of_names(len(table), 1.4)
    forest(ax, table["change"], 100 * table["difference"], 100 * table["low"], 100 * table["high"])
    ax.axvline(0, color=BLACK, lw=0.8)
    ax.set(xlabel="change of the test score (points)", title="What each change did, with its 95 % interval")
    return ax


def forest(ax: Axes, labels: pd.Series, middle: pd.Series, low: pd.Series, high: pd.Series) -> None:
    """A dot and an interval a row, the first row on top; no line where the interval is not known."""
    place = np.arange(len(labels))[::-1]
    ax.hlines(place, low.fillna(middle), high.fillna(middle), color=BLUE, lw=2)
    ax.plot(middle, place, color=BLUE, marker="o", ls="none")
    ax.set_yticks(place, labels.map(name), fontsize="small")
    ax.set_ylim(-0.6, len(labels) - 0.4)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.grid(axis="y", visible=False)


def plot_cost_against_score(table: pd.DataFrame) -> Figure:
    """Test score against minutes of training: columns panel, label, minutes, score, metric; one point a run."""
    figure, parts = panels_of(table)
    for ax, part in parts:
        for i, (label, runs) in enumerate(part.groupby("label", sort=False)):
            look = LINES[i % len(LINES)] | {"ls": "none"}
            ax.plot(runs["minutes"], runs["score"], **look, label=in_legend(label))
        ax.margins(y=0.3)
        ax.set(xlabel="training (minutes)", xlim=(0, 1.15 * part["minutes"].max()))
        ax.set_ylabel(f"test {name_of(part['metric'].iloc[0])}")
        legend_under(ax)
    return figure


def plot_speed(table: pd.DataFrame) -> Figure:
    """Training speed and memory by batch size: columns precision, batch_size, images/s, memory (MiB)."""
    figure, (left, right) = style.panels(2, 9, 3.2)
    for (precision, part), look in zip(table.groupby("precision", sort=False), LINES, strict=False):
        left.plot(part["batch_size"], part["images/s"], **look, label=precision)
    one = table[table["precision"] == table["precision"].iloc[0]]
    right.plot(one["batch_size"], one["memory (MiB)"], color=BLACK, marker="o")
    left.set(ylabel="images/s in training", title="Speed", ylim=(0, None))
    right.set(ylabel="kept for the backward pass (MiB)", title="Memory of a step in float32", ylim=(0, None))
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set_xticks(one["batch_size"], one["batch_size"].astype(str))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("batch size")
    left.legend()
    return figure


def plot_pull(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of the gradient that comes from the foreground: columns loss, foreground, pull (shares)."""
    ax = axes_for(ax, 6.0, 3.2)
    shares = table["foreground"].unique()
    for (loss, part), look in zip(table.groupby("loss", sort=False), LINES, strict=False):
        ax.plot(100 * part["foreground"], 100 * part["pull"], **look, label=loss)
    ax.set(xlabel="foreground (% of the pixels)", ylabel="pull of the foreground (%)", ylim=(0, 100))
    ax.set(title="How loudly a small organ speaks", xscale="log")
    ax.set_xticks(100 * shares, [f"{100 * share:.0f}" for share in shares])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.legend()
    return ax
