"""Figures of many runs side by side. Each takes one tidy table; labs with other scores get axes of their own."""

import textwrap
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from labkit.results.plots import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, axes_for
from labkit.results.words import name_of

LOOKS = [
    (BLUE, "-", "o"),
    (RED, "--", "s"),
    (GREEN, ":", "^"),
    (ORANGE, "-.", "D"),
    (PURPLE, (0, (5, 1, 1, 1)), "v"),
    (SKY, (0, (1, 2)), "P"),
]


def literal(text: object, width: int = 90) -> str:
    """A text as it is, wrapped, for matplotlib: names come from run folders, and a $ would begin mathematics."""
    return textwrap.fill(str(text), width).replace("$", r"\$")


def panels(table: pd.DataFrame) -> tuple[Figure, Iterator[tuple[Axes, pd.DataFrame]]]:
    """A figure with axes for each value of the column panel, two in a row, and those axes with their rows."""
    groups = list(table.groupby("panel", sort=False))
    rows = -(-len(groups) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(9, 2.8 * rows), squeeze=False)
    for ax in axes.flat[len(groups) :]:
        ax.axis("off")
    for ax, (name, _) in zip(axes.flat, groups, strict=False):
        ax.set_title(literal(name, 44), fontsize=9)
    return figure, ((ax, part) for ax, (_, part) in zip(axes.flat, groups, strict=False))


def plot_learning_curves(table: pd.DataFrame, *, x: str = "epoch") -> Figure:
    """Validation score of several runs by ``x``: columns panel, label, metric, score, and epoch or seconds."""
    figure, parts = panels(table)
    for ax, part in parts:
        for i, (label, run) in enumerate(part.groupby("label", sort=False)):
            colour, style, marker = LOOKS[i % len(LOOKS)]
            every = max(1, len(run) // 10)
            ax.plot(
                run[x],
                run["score"],
                color=colour,
                ls=style,
                marker=marker,
                ms=4,
                markevery=every,
                label=literal(label, 40),
            )
        ax.set(xlabel="seconds of training" if x == "seconds" else x)
        ax.set_ylabel(f"validation {name_of(part['metric'].iloc[0])}")
        if x == "epoch":
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.25), borderaxespad=0)
    return figure


def plot_gaps(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Training, validation and test score of each run at its chosen epoch: columns label, train, validation, score."""
    ax = axes_for(ax, 8.0, 0.8 + 0.34 * len(table))
    place = np.arange(len(table))[::-1]
    ends = table[["train", "validation", "score"]]
    ax.hlines(place, ends.min(axis=1), ends.max(axis=1), color="#999999", lw=1.5, zorder=1)
    for column, name, colour, marker in (
        ("train", "training", BLUE, "o"),
        ("validation", "validation", ORANGE, "D"),
        ("score", "test", RED, "s"),
    ):
        ax.scatter(table[column], place, color=colour, marker=marker, s=34, label=name, zorder=2)
    ax.set_yticks(place, table["label"].map(literal))
    ax.set(xlabel="score at the chosen epoch (accuracy, or Dice)", title="Seen and unseen images")
    ax.grid(axis="y", visible=False)
    ax.figure.legend(ncols=3, fontsize=8, loc="outside upper right")
    return ax


def plot_scores(table: pd.DataFrame) -> Figure:
    """Test scores with their 95 % intervals: columns panel, label, mean, low, high, n (runs); one row a recipe."""
    groups = list(table.groupby("panel", sort=False))
    sizes = [len(part) + 2 for _, part in groups]
    figure, axes = plt.subplots(len(groups), figsize=(8, 0.34 * sum(sizes)), height_ratios=sizes, squeeze=False)
    for ax, (panel, part) in zip(axes.flat, groups, strict=True):
        forest(ax, part["label"] + part["n"].map(lambda n: f", n = {n}"), part["mean"], part["low"], part["high"])
        ax.set_title(literal(panel), fontsize=9)
    return figure


def plot_effects(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What each change did to the test score: columns change, difference, low, high (shares)."""
    ax = axes_for(ax, 8.0, 1.2 + 0.34 * len(table))
    forest(ax, table["change"], 100 * table["difference"], 100 * table["low"], 100 * table["high"])
    ax.axvline(0, color="black", lw=0.8)
    ax.set(xlabel="change of the test score (points)", title="What each change did, with its 95 % interval")
    return ax


def forest(ax: Axes, labels: pd.Series, middle: pd.Series, low: pd.Series, high: pd.Series) -> None:
    """A dot and an interval a row, the first row on top; no line where the interval is not known."""
    place = np.arange(len(labels))[::-1]
    ax.hlines(place, low.fillna(middle), high.fillna(middle), color=BLUE, lw=2)
    ax.scatter(middle, place, color=BLUE, zorder=2, s=30)
    ax.set_yticks(place, [literal(text, 46) for text in labels], fontsize=8)
    ax.set_ylim(-0.6, len(labels) - 0.4)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.grid(axis="y", visible=False)


def plot_cost_against_score(table: pd.DataFrame) -> Figure:
    """Test score against minutes of training: columns panel, label, minutes, score, metric; one point a run."""
    figure, parts = panels(table)
    for ax, part in parts:
        for i, (label, runs) in enumerate(part.groupby("label", sort=False)):
            colour, _, marker = LOOKS[i % len(LOOKS)]
            ax.scatter(runs["minutes"], runs["score"], color=colour, marker=marker, s=40, label=literal(label, 40))
        ax.margins(y=0.4)
        ax.set(xlabel="training (minutes)", xlim=(0, 1.15 * part["minutes"].max()))
        ax.set_ylabel(f"test {name_of(part['metric'].iloc[0])}")
        ax.legend(fontsize=8)
    return figure


def plot_speed(table: pd.DataFrame) -> Figure:
    """Training speed and memory by batch size: columns precision, batch_size, images/s, memory (MiB)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    for (name, part), (colour, style, marker) in zip(table.groupby("precision", sort=False), LOOKS, strict=False):
        left.plot(part["batch_size"], part["images/s"], color=colour, ls=style, marker=marker, label=name)
    one = table[table["precision"] == table["precision"].iloc[0]]
    right.plot(one["batch_size"], one["memory (MiB)"], color="black", marker="o")
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
    for (name, part), (colour, style, marker) in zip(table.groupby("loss", sort=False), LOOKS, strict=False):
        ax.plot(100 * part["foreground"], 100 * part["pull"], color=colour, ls=style, marker=marker, label=name)
    ax.set(xlabel="foreground (% of the pixels)", ylabel="pull of the foreground (%)", ylim=(0, 100))
    ax.set_title("How loudly a small organ speaks")
    ax.set_xscale("log")
    ax.set_xticks(100 * part["foreground"], [f"{100 * share:.0f}" for share in part["foreground"]])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.legend()
    return ax
