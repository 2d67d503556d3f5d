"""Lab 5: figures, results and sentences of digits on photos, where every pixel has one of 2·K classes."""

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from labkit.results.masks import fill, show
from labkit.results.plots import draw_matrix
from labkit.results.style import (
    BLUE,
    RED,
    SKY,
    YELLOW,
    axes_for,
    beside,
    figure_size,
    grid,
    legend_below,
    literal,
    panels,
)
from labkit.results.tables import estimate
from labkit.results.words import percent
from labkit.training.metrics import bootstrap

SCORES = {  # columns of the table of ``pixel_table``, and over what each is a mean
    "pixel_accuracy": "mean over test images of the share of right pixels",
    "digit_accuracy": "mean over test images of the share of the digit's pixels that are right",
    "photo_accuracy": "mean over test images of the share of the photo's pixels that are right",
    "source_accuracy": "mean over test images of the share of pixels rightly told to be digit or photo",
}
WRONG_SOURCE, WRONG_CLASS = YELLOW, RED


def pair_results(
    table: pd.DataFrame, losses: np.ndarray, overlaps: np.ndarray, mean_iou: Callable[[np.ndarray], float]
) -> dict[str, dict[str, Any]]:
    """``results.json``: image-wise means, the loss, and the mean IoU of all pixels; bootstrap over images."""
    columns = {name: (table[name].to_numpy(), np.mean, over, 2000) for name, over in SCORES.items()}
    columns["loss"] = (losses, np.mean, "mean over test images", 2000)
    columns["mean_iou"] = (overlaps, mean_iou, "mean over the classes that occur, all test pixels together", 200)
    return {
        name: estimate(statistic(values), len(values), bootstrap(values, statistic, draws), over)
        for name, (values, statistic, over, draws) in columns.items()
    }


def plot_pairs(table: pd.DataFrame) -> Figure:
    """Digits on photos, each beside the mask of its digit and its class map, in which the names of the classes stand.

    Columns ``image`` (H, W, 3), ``mask`` of the digit, and the classes ``digit`` and ``photo``.
    """
    across = beside(min(2, len(table)), 3.2)
    rows = -(-len(table) // across)
    size = figure_size(4.2 * across, 1.45 * rows + 0.7)
    figure, places = plt.subplots(rows, 3 * across, figsize=size, squeeze=False)
    for ax in places.flat:
        ax.axis("off")
    for i, row in enumerate(table.itertuples()):
        image, mask, classes = places[i // across, 3 * (i % across) :][:3]
        image.imshow(row.image, interpolation="nearest")
        mask.imshow(row.mask, cmap="gray", interpolation="nearest")
        classes.imshow(~row.mask, cmap=ListedColormap([YELLOW, SKY]), interpolation="nearest")
        name_regions(classes, row.mask, str(row.digit), str(row.photo))
    for ax, title in zip(places[0], ("image", "mask of the digit", "class map") * across, strict=True):
        ax.set_title(title, fontsize="small", loc="center")
    legend_below(
        figure, [Patch(color=YELLOW, label="class of the digit"), Patch(color=SKY, label="class of the photo")]
    )
    figure.suptitle("Digits on photos: what the network gets, and what it shall say", x=0.01, ha="left")
    return figure


def name_regions(ax: Axes, mask: np.ndarray, digit: str, photo: str) -> None:
    """Write the digit's class on the middle one of its pixels, the photo's at the top or bottom, where more is free."""
    rows, columns = np.nonzero(mask)
    middle = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}
    look = {"ha": "center", "fontsize": "small", "bbox": box}
    ax.text(columns[middle], rows[middle], digit, va="center", weight="bold", **look)
    above = rows.min() > len(mask) - 1 - rows.max()
    y, side = (0, "top") if above else (len(mask) - 1, "bottom")
    ax.text((mask.shape[1] - 1) / 2, y, photo, va=side, **look)


def plot_pair_errors(cases: pd.DataFrame) -> Figure:
    """Test images in grey, a row for each case; wrong pixels are filled by the kind of mistake.

    Columns ``image``, the masks ``wrong_source`` and ``wrong_class``, and those of the table of scores with ``case``.
    """
    legend = [
        Patch(color=WRONG_SOURCE, alpha=0.6, label="digit and photo confused"),
        Patch(color=WRONG_CLASS, alpha=0.6, label="wrong class"),
    ]
    columns = int(cases["case"].value_counts().max())
    figure, places = grid(len(cases), columns, title="Worst, median and best test images", side=2.3, legend=legend)
    for ax, row in zip(places, cases.itertuples(), strict=False):
        show(ax, row.image)
        fill(ax, row.wrong_source, WRONG_SOURCE)
        fill(ax, row.wrong_class, WRONG_CLASS)
        said = f"said {row.said_digit} on {row.said_photo}, {100 * row.pixel_accuracy:.0f}\u00a0%"
        title = literal(f"{row.case}: {row.digit} on {row.photo}\n{said}")
        ax.set_title(title, fontsize="small", loc="center")
    return figure


def plot_confusion_blocks(confusion: pd.DataFrame, *, num_classes: int) -> Figure:
    """Two confusion matrices in percent of each true class: among the digits and among the photos.

    ``confusion`` counts pixels: the true class, then one for each of the 2 · ``num_classes`` predicted classes.
    """
    counts = confusion.set_index(confusion.columns[0])
    shares = 100 * counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    figure, axes = panels(2, 11, 5.2)
    for ax, part, title in zip(axes, (slice(num_classes), slice(num_classes, None)), ("Digits", "Photos"), strict=True):
        draw_matrix(ax, shares.iloc[part, part], least=0.5, form="{:.0f}".format)
        ax.set(xlabel="predicted", ylabel="true", title=f"{title}: % of the pixels of a true class")
    return figure


def plot_limits(limits: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Pixel accuracy of the predictors of ``what_limits``; those of the network itself are darker."""
    ax = axes_for(ax, 8.0, 3.0)
    own = limits["predictor"].str.startswith("this network")
    colours = [BLUE if mine else SKY for mine in own]
    ax.barh(range(len(limits)), 100 * limits["pixel accuracy"], color=colours, edgecolor="white")
    ax.set_yticks(range(len(limits)), limits["predictor"])
    for place, value in enumerate(limits["pixel accuracy"]):
        ax.text(100 * value + 0.8, place, f"{100 * value:.1f}", va="center", fontsize="small")
    ax.invert_yaxis()
    ax.set(xlim=(0, 110), xlabel="pixel accuracy (%)", title="What limits the score")
    ax.grid(axis="y", visible=False)
    return ax


def pairs_words(table: pd.DataFrame) -> str:
    """Which digit lies on which photo in the images that are shown: columns digit, photo, digit_share."""
    named = ", ".join(f"{row.digit} on {row.photo}" for row in table.itertuples())
    return f"{named}. The digit takes {percent(table['digit_share'].mean())} of these pixels."


def limits_words(limits: pd.DataFrame) -> str:
    """Which of the two sub-tasks costs more, by the table of ``what_limits``."""
    at = limits.set_index("predictor")["pixel accuracy"]
    mine, masked, classed = (
        at[name] for name in ("this network", "this network, told the mask", "this network's mask, told both classes")
    )
    limit = "Class and mask limit it alike."
    if masked != classed:
        limit = f"What limits it is **{'the class' if masked < classed else 'the mask'}**."
    return (
        f"This network is right about {percent(mine)} of the pixels. Told which pixels are the digit's, it would be "
        f"right about {percent(masked)}; told both classes, so that only its mask counts, about {percent(classed)}. "
        f"{limit}"
    )


def confusion_words(confusion: pd.DataFrame, num_classes: int) -> str:
    """How many pixels cross from the one block to the other, and the most frequent mistake within each."""
    counts = confusion.to_numpy()
    crossed = counts[:num_classes, num_classes:].sum() + counts[num_classes:, :num_classes].sum()
    parts = [f"{percent(crossed / counts.sum())} of the pixels are taken for digit instead of photo, or the reverse"]
    for title, part in (("digits", slice(num_classes)), ("photos", slice(num_classes, None))):
        block = confusion.iloc[part, part]
        wrong = block.to_numpy() * ~np.eye(len(block), dtype=bool)
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        if wrong.any():
            mistake = f"{block.index[row]} called {block.columns[column]}"
            parts.append(f"among the {title} the most frequent mistake is {mistake}")
    return "; ".join(parts) + "."


def results_words(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The scores in a sentence."""
    value = {name: percent(result["value"]) for name, result in results.items() if name.endswith("accuracy")}
    return (
        f"**{value['pixel_accuracy']} of the pixels are right**: {value['digit_accuracy']} of the digit's, "
        f"{value['photo_accuracy']} of the photo's. Digit and photo are told apart on "
        f"{value['source_accuracy']} of the pixels."
    )


def cases_words(cases: pd.DataFrame) -> str:
    """The images that are shown, by case."""
    said = [
        f"{row.case}: {row.digit} on {row.photo}, said {row.said_digit} on {row.said_photo}, "
        f"{percent(row.pixel_accuracy)}"
        for row in cases.itertuples()
    ]
    return f"Test images with their wrong pixels marked. {'; '.join(said)}."
