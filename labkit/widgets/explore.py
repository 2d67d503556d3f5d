"""One function a widget, one line in a notebook: looking at what a network was given and what it made of it."""

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from ipywidgets import Dropdown, FloatSlider, IntSlider, SelectMultiple
from matplotlib.figure import Figure
from torch import Tensor

from labkit.data.loading import Split
from labkit.errors import RequestError
from labkit.labs.scoring import at_size
from labkit.labs.segmentation import Data
from labkit.results.masks import draw_case
from labkit.results.picture_tables import in_grey, pictures
from labkit.results.plots import draw_images
from labkit.results.run_plots import draw_learning_curves
from labkit.results.style import literal
from labkit.training.metrics import dice_of, pixel_counts
from labkit.widgets.explorer import WIDE, Explorer, places
from labkit.widgets.frontend import offered

VIEWS = {"error": "error", "true mask": "true", "predicted mask": "predicted"}
COLOURS = {
    "error": "Yellow: true outline and what was missed; red: predicted outline and what is false.",
    "true": "Yellow: the true mask.",
    "predicted": "Red: the predicted mask.",
}
PAGE, ROW = 16, 8  # images on a page of the prediction browser, and in a row of it
ORDERS = {
    "highest loss first": ("loss", False),
    "lowest loss first": ("loss", True),
    "as in the data": ("sample", True),
}
ANY = "any class"
MOST = 6  # runs that are chosen at first: so many line styles differ


@offered
def masks(data: Data, maps: Tensor, each: str) -> Explorer:
    """Any test image with its masks at any threshold; ``each`` is what an image is called, a slice, say.

    ``maps`` (N, h, w) are foreground logits of the images of ``data.test``.
    """

    @functools.lru_cache(maxsize=1)
    def case(place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sample = data.test.samples[place - 1]
        truth = data.truth(sample)
        return in_grey(data.picture(sample)), truth, at_size(maps[place - 1], truth.shape)

    def draw(figure: Figure, place: int, threshold: float, view: str, opacity: float) -> str:
        image, truth, probability = case(place)
        predicted, sample = probability > threshold, data.test.samples[place - 1]
        figure.set_layout_engine("none")  # half of the time that a redraw takes
        figure.text(0.01, 0.95, literal(f"{data.names[sample]} ({each} {place} of {len(data.test)})"))
        ax = figure.add_axes((0.01, 0.01, 0.98, 0.92))
        ax.set_axis_off()
        draw_case(ax, image, truth, predicted, view=view, opacity=opacity)
        return f"{overlap(predicted, truth)} {COLOURS[view]}"

    last = len(data.test)
    controls = {
        "place": IntSlider((last + 1) // 2, 1, last, description=each, **WIDE),
        "threshold": FloatSlider(0.5, min=0.01, max=0.99, step=0.01, description="threshold", **WIDE),
        "view": Dropdown(options=VIEWS, description="view", **WIDE),
        "opacity": FloatSlider(0.6, min=0, max=1, step=0.05, description="opacity", **WIDE),
    }
    return Explorer(draw, controls, (4.5, 4.5))


def overlap(predicted: np.ndarray, truth: np.ndarray) -> str:
    """How well two masks (H, W) bool agree, as a sentence."""
    counts = pixel_counts(*(torch.from_numpy(mask)[None] for mask in (predicted, truth)))
    tp, fp, fn, _ = map(int, counts[0])
    return f"Dice {float(dice_of(counts)[0]):.3f}: {tp:,} pixels found, {fn:,} missed, {fp:,} false."


@offered
def predictions(per_image: pd.DataFrame, split: Split, class_names: Sequence[str]) -> Explorer:
    """Test images with what the network said of them, by loss and by class.

    ``per_image`` is the table of ``tables.predictions``, row for row the images of ``split``.
    """

    def draw(figure: Figure, order: str, true: str, said: str, page: int) -> str:
        found = chosen(per_image, ORDERS[order], true, said)
        controls["page"].max = last = max(1, -(-len(found) // PAGE))
        start = PAGE * (min(page, last) - 1)
        rows = found.iloc[start : start + PAGE]
        if len(rows):
            images = pictures(split.subset(rows.index.to_numpy(copy=True)).images[:])
            titles = [f"{row.true} →\n{row.predicted} ({row.loss:.2f})" for row in rows.itertuples()]
            draw_images(places(figure, PAGE // ROW, ROW), pd.DataFrame({"image": images, "title": titles}))
        many, mistakes = len(found), int((~found["correct"]).sum())
        shown = f"Images {start + 1} to {start + len(rows)} of {many:,} ({mistakes:,} of the {many:,} wrong)"
        return f"{shown if len(rows) else 'No such image'}. True class → answer (loss in nats)."

    names = [ANY, *class_names]
    controls = {
        "order": Dropdown(options=list(ORDERS), description="order", **WIDE),
        "true": Dropdown(options=names, description="true class", **WIDE),
        "said": Dropdown(options=names, description="answer", **WIDE),
        "page": IntSlider(1, 1, max(1, -(-len(per_image) // PAGE)), description="page", **WIDE),
    }
    return Explorer(draw, controls, (8.0, 2.9))


def chosen(per_image: pd.DataFrame, order: tuple[str, bool], true: str, said: str) -> pd.DataFrame:
    """The rows with these classes, in this order: a column, and whether its smallest values come first."""
    keep = pd.Series(True, per_image.index)
    for column, name in (("true", true), ("predicted", said)):
        keep &= (per_image[column] == name) | (name == ANY)
    column, ascending = order
    return per_image[keep].sort_values(column, ascending=ascending, kind="stable")


@offered
def runs(curves: pd.DataFrame) -> Explorer:
    """Validation scores of chosen runs on the same axes; ``curves`` is the table of ``run_tables.curves``."""
    panels = list(curves["panel"].unique())

    def draw(figure: Figure, panel: str, names: tuple[str, ...], x: str) -> str:
        part = curves[curves["panel"] == panel]
        labels = list(part["label"].unique())
        if list(controls["names"].options) != labels:  # another lab was chosen
            with controls["names"].hold_sync():  # told of the options alone, a browser takes all choices back
                controls["names"].options, controls["names"].value = labels, labels[:MOST]
        part = part[part["label"].isin(controls["names"].value)].reset_index(drop=True)
        if part.empty:
            raise RequestError("Choose a run; several with Ctrl or Shift.")
        ax = figure.add_subplot(title=literal(panel))
        draw_learning_curves(ax, part, x)
        figure.legend(loc="outside lower left", fontsize="x-small")
        best = part.loc[part.groupby("label", sort=False)["score"].idxmax()]
        return "; ".join(f"{row.label}: best {row.score:.3f} in epoch {row.epoch}" for row in best.itertuples()) + "."

    wide = {"style": WIDE["style"], "layout": {"width": "40em"}}
    controls = {
        "panel": Dropdown(options=panels, description="lab and data", **wide),
        "names": SelectMultiple(options=[], description="runs", rows=8, **wide),
        "x": Dropdown(options=["epoch", "seconds"], description="against", **WIDE),
    }
    return Explorer(draw, controls, (6.0, 4.2))
