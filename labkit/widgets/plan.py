"""One function a widget, one line in a notebook: what training will do, tried out before it does it."""

import math
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
from ipywidgets import Checkbox, Dropdown, FloatLogSlider, FloatSlider, IntSlider
from ipywidgets.widgets.valuewidget import ValueWidget
from matplotlib.figure import Figure

from labkit.data.loading import Split
from labkit.labs.common import build_schedule
from labkit.labs.parameters import TrainingParameters
from labkit.results import tables, words
from labkit.results.picture_tables import pictures
from labkit.results.plots import draw_images, plot_learning_rate
from labkit.results.style import GREY
from labkit.training.loop import Recipe
from labkit.widgets.explorer import WIDE, Explorer, places
from labkit.widgets.frontend import offered

SCHEDULES = ("constant", "step", "plateau", "one_cycle")
CUT = ("step", "plateau")  # schedules that cut the rate after step_size epochs
EPOCHS = 8  # that the augmentation playground shows


def changed(params: TrainingParameters, values: dict[str, Any]) -> TrainingParameters:
    """The parameters with some values in place of others; RequestError if they are not allowed."""
    return type(params).checked(params.model_dump() | values)


@offered
def schedule(params: TrainingParameters, recipe: Recipe, steps: int) -> Explorer:
    """The learning rate over a training of ``steps`` steps an epoch, by the function that the training itself calls."""
    own = tables.planned_rates(recipe, steps)

    def draw(figure: Figure, **values: Any) -> str:
        values["learning_rate"] = float(f"{values['learning_rate']:.3g}")
        tried = changed(params, values)
        facts = {"epochs": tried.epochs, "learning_rate": tried.learning_rate, "schedule": build_schedule(tried)}
        rates = tables.planned_rates(replace(recipe, **facts), steps)
        ax = plot_learning_rate(rates, ax=figure.add_subplot())
        ax.plot(own["epoch"], own["learning_rate"], color=GREY, ls="--", lw=1, label="parameters cell of this notebook")
        ax.lines[0].set_label("controls")
        figure.legend(loc="outside lower left", ncols=2)
        if tried.schedule not in CUT:
            del values["step_size"]  # which it would not look at
        chosen = ", ".join(f"{name} = {value!r}" for name, value in values.items())
        unknown = " When a plateau cuts it depends on the scores." if tried.schedule == "plateau" else ""
        return f"{words.learning_rate(rates)}{unknown} For the parameters cell: {chosen}."

    longest = max(20, 2 * params.epochs)
    cut = params.step_size if params.schedule in CUT else max(1, params.epochs // 3)  # is to be seen
    power = math.log10(params.learning_rate)
    controls = {
        "schedule": Dropdown(options=SCHEDULES, value=params.schedule, description="schedule", **WIDE),
        "learning_rate": FloatLogSlider(
            params.learning_rate, min=min(-5, power), max=max(0, power), description="highest rate", **WIDE
        ),
        "epochs": IntSlider(params.epochs, 1, longest, description="epochs", **WIDE),
        "warmup_epochs": FloatSlider(
            params.warmup_epochs,
            min=0,
            max=max(longest / 2, params.warmup_epochs),
            step=0.1,
            description="warm-up (epochs)",
            **WIDE,
        ),
        "step_size": IntSlider(cut, 1, max(longest, cut), description="step (epochs)", **WIDE),
    }
    return Explorer(draw, controls, (6.5, 3.4))


@offered
def augmentation(params: TrainingParameters, lab: ModuleType, split: Split) -> Explorer:
    """One training image as the first epochs show it, by the augmentation that training calls.

    ``lab`` has ``augmentation(params)``; there is a control for each of its ranges that these parameters have.
    """

    def draw(figure: Figure, place: int, **values: Any) -> str:
        tried = changed(params, values)
        one = split.subset(np.array([place - 1]))
        images = [
            lab.augmentation(tried)(one.images[:] / 255, one.targets, params.seed, epoch, one.samples)[0]
            for epoch in range(EPOCHS)
        ]
        titles = [f"epoch {epoch + 1}" for epoch in range(EPOCHS)]
        table = pd.DataFrame({"title": titles, "image": pictures(torch.cat(images))})
        draw_images(places(figure, 2, EPOCHS // 2), table)
        chosen = ", ".join(f"{name} = {value!r}" for name, value in values.items())
        return f"Training image {place} in {EPOCHS} epochs. For the parameters cell: {chosen}."

    ranges = range_controls()
    for name in ranges.keys() - type(params).model_fields.keys():
        ranges.pop(name).close()  # a widget that is open is kept for good
    for name, control in ranges.items():
        value = getattr(params, name)
        if not isinstance(control, Checkbox):
            control.max = max(control.max, value)
        control.value = value
    place = IntSlider(1, 1, len(split), description="training image", **WIDE)
    return Explorer(draw, {"place": place, **ranges}, (6.0, 3.4))


def range_controls() -> dict[str, ValueWidget]:
    """A control for each range of augmentation that a parameters cell may have, by its name there."""
    return {
        "rotate": FloatSlider(min=0, max=180, step=1, description="rotate (degrees)", **WIDE),
        "shift": FloatSlider(min=0, max=0.5, step=0.01, description="shift (of the side)", **WIDE),
        "zoom": FloatSlider(min=0, max=1, step=0.01, description="zoom", **WIDE),
        "flip": Checkbox(description="flip left-right", **WIDE),
        "crop": IntSlider(min=0, max=12, description="crop (pixels)", **WIDE),
        "erase": IntSlider(min=0, max=24, description="erase (pixels)", **WIDE),
    }
