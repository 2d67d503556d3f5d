"""Loss and metric while a network trains, and a button that stops it in order.

While a cell trains, the kernel's main thread hears nothing: a click is handled after the cell, in JupyterLab too if a
cell has made the button (ipykernel 7.4; tried). But every message to the kernel first passes a thread that hands it on,
and that thread asks the button's own channel (its comm) where to: there the click is seen. It does what the square
button does and nothing else, an interrupt, which the training reads between two steps (``training.interrupt``): no
event loop within the event loop, no polling, and nothing but the click is taken out of turn. Where that thread does not
ask (ipykernel before 7.4; not tried), JupyterLab has the click handled in another thread, which does the same; other
front ends have it handled after the cell, when there is nothing to stop: the square button remains.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from ipywidgets import HTML, Button, VBox
from matplotlib.figure import Figure

from labkit.results.plots import draw_running
from labkit.training.loop import Recipe
from labkit.training.resume import Observer, State
from labkit.training.stopping import Row
from labkit.widgets import frontend
from labkit.widgets.explorer import as_html

LEAST = 1.0  # seconds between two drawings
SHARE = 0.03  # of the time that drawing may take
POINTS = 400  # drawn of a curve


class StopButton:
    """A button that interrupts the training while it runs, once."""

    def __init__(self) -> None:
        self.button = Button(description="Stop training", icon="stop", tooltip="finishes the step at hand and saves")
        self.training, self.pressed = True, False
        self.button.on_click(lambda button: self.press())
        hear(self.button, self.press)

    def press(self) -> None:
        """Interrupt; a second time, or after the training, nothing: it would hit the next cell."""
        if self.training and not self.pressed:
            self.pressed = True
            os.kill(os.getpid(), signal.SIGINT)


def hear(button: Button, pressed: Callable[[], None]) -> None:
    """Call ``pressed`` as soon as the kernel gets a click, in the thread that hands messages on."""
    if (route := getattr(button.comm, "_reply_subshell_for", None)) is None:
        return

    def look_and_route(data: Any, default: str | None) -> str | None:
        if isinstance(data, dict) and data.get("content") == {"event": "click"}:
            pressed()
        return route(data, default)

    button.comm._reply_subshell_for = look_and_route


class Live(Observer):
    """Draws loss and metric of the epoch so far, and of the epochs before, a button below."""

    def __init__(self, recipe: Recipe):
        self.epochs, self.metric, self.held_out = recipe.epochs, recipe.metric_name, recipe.held_out
        self.stop, self.view = StopButton(), HTML()
        self.running: list[dict[str, float]] = []
        self.history: list[Row] = []
        self.cost, self.drawn = 0.0, -LEAST
        self.box = VBox([self.view, self.stop.button])

    def on_begin(self, state: State, steps: int) -> None:
        """Show what an earlier session has left."""
        self.history = list(state.history)
        if self.history:
            self.draw()

    def on_step(self, state: State, steps: int) -> None:
        """Note the means of the epoch so far, and draw them if it is time to."""
        means = {"loss": state.loss_sum / state.images, self.metric: state.metric_sum / state.images}
        self.running.append({"epoch": state.epoch + state.step / steps, **means})
        if time.monotonic() - self.drawn > max(LEAST, self.cost / SHARE):
            self.draw()

    def on_epoch(self, history: Sequence[Row], val_scores: np.ndarray) -> None:
        """Draw the scores of the epoch."""
        self.history = list(history)
        self.draw()

    def draw(self) -> None:
        """Draw what is known by now."""
        began, figure = time.monotonic(), Figure((8.0, 2.9), layout="constrained")
        shown = self.running[:: max(1, len(self.running) // POINTS)]
        running = pd.DataFrame(shown, columns=["epoch", "loss", self.metric])
        for ax, name in zip(figure.subplots(1, 2), ("loss", self.metric), strict=True):
            draw_running(ax, running, pd.DataFrame(self.history), name)
        self.view.value = as_html(figure, self.sentence())
        self.drawn = time.monotonic()
        self.cost = self.drawn - began

    def sentence(self) -> str:
        """Where the training is."""
        done = f"{len(self.history)} of {self.epochs} epochs done"
        if not self.history:
            return f"{done}."
        last = self.history[-1]
        return f"{done}; {self.held_out} loss {last['val_loss']:.4f}, {self.metric} {last[f'val_{self.metric}']:.4f}."


@contextmanager
def training(recipe: Recipe) -> Iterator[list[Observer]]:
    """Observers for a training within: curves and a button that stops it; none without a front end.

    In the end they leave the notebook, which shows the whole history as a figure; a training that was stopped leaves
    its curves as a picture.
    """
    if not frontend.is_there():
        yield []
        return
    live = Live(recipe)
    place, left = frontend.show(live.box), {"text/plain": ""}
    try:
        yield [live]
    except BaseException:
        if len(live.running) > 1:  # one point makes no curve
            left = {"text/plain": live.sentence(), "text/html": live.view.value}
        raise
    finally:
        live.stop.training = False
        place.update(left, raw=True)
        frontend.close(live.box)
