"""Live progress: a bar with loss, metric and time left in Jupyter and a terminal, else a plain line per epoch."""

import functools
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labkit.training.resume import Observer, State


class Progress(Observer):
    """Shows how a training goes."""

    def __init__(
        self,
        epochs: int,
        metric_name: str,
        note: Callable[[str], None] = lambda line: None,
        held_out: str = "validation",
    ):
        """``note`` receives every line that is shown, for whoever watches from another process."""
        self.epochs, self.metric_name, self.note, self.held_out = epochs, metric_name, note, held_out
        self.began: tuple[float, float] | None = None
        self.shown = 0.0
        self.handle = _display_handle()
        self.live = self.handle is not None or sys.stderr.isatty()

    def on_begin(self, state: State, steps: int) -> None:
        """Say where an earlier session is taken up."""
        if state.epoch or state.step:
            print(f"goes on after step {state.step} of {steps} in epoch {state.epoch + 1}", flush=True)

    def on_step(self, state: State, steps: int) -> None:
        """Redraw the bar, twice a second at most."""
        now, done = time.monotonic(), state.epoch + state.step / steps
        self.began = self.began or (now, done)
        if now - self.shown > 0.5 or state.step == steps:
            self.shown = now
            line = self.line(state, steps, self.seconds_left(now, done))
            self.note(line)
            if self.live:
                self._draw(done, line)

    def on_epoch(self, history: Sequence[Mapping[str, float]], val_scores: np.ndarray) -> None:
        """Close the epoch: its scores on a line."""
        line = self.epoch_line(history[-1])
        if self.handle is None:
            print(("\r\033[K" if self.live else "") + line, flush=True)

    def on_warning(self, text: str) -> None:
        """Show it, and leave it there."""
        print(("\r\033[K" if self.live and self.handle is None else "") + text, flush=True)

    def close(self, history: Sequence[Mapping[str, float]]) -> None:
        """Say how the training ended, also if there was nothing left to train."""
        self.note("")  # what comes now is no training
        line = self.epoch_line(history[-1])
        if self.began is None:
            line = f"trained before, read from the run folder; {line}"
        if self.live:
            self._draw(self.epochs, line)

    def seconds_left(self, now: float, done: float) -> float:
        """Time to the last epoch at the pace so far; ``done`` is in epochs."""
        began, done_then = self.began or (now, done)
        return (self.epochs - done) * (now - began) / (done - done_then) if done > done_then else math.nan

    def line(self, state: State, steps: int, left: float) -> str:
        """``epoch 2/4, step 17/60: loss 0.123, accuracy 0.967, 0:48 left``."""
        loss, metric = state.loss_sum / state.images, state.metric_sum / state.images
        return (
            f"epoch {state.epoch + 1}/{self.epochs}, step {state.step}/{steps}: loss {loss:.3f}, "
            f"{self.metric_name} {metric:.3f}, {clock(left)} left"
        )

    def epoch_line(self, row: Mapping[str, float]) -> str:
        """``epoch 2/4: train loss 0.211 accuracy 0.941, val loss 0.140 accuracy 0.958 (12 s)``."""
        metric, part = self.metric_name, "val" if self.held_out == "validation" else self.held_out
        return (
            f"epoch {row['epoch']}/{self.epochs}: train loss {row['train_loss']:.4f} {metric} "
            f"{row[f'train_{metric}']:.4f}, {part} loss {row['val_loss']:.4f} {metric} {row[f'val_{metric}']:.4f} "
            f"({row['seconds']:.0f} s, {row['images_per_second']:.0f} images/s)"
        )

    def _draw(self, done: float, line: str) -> None:
        if self.handle is not None:
            html = (
                f'<progress value="{done:.3f}" max="{self.epochs}" style="width: 16em"></progress> <code>{line}</code>'
            )
            self.handle.update({"text/plain": line, "text/html": html}, raw=True)
            return
        filled = round(24 * done / self.epochs)
        print(f"\r\033[K[{'█' * filled}{'·' * (24 - filled)}] {line}", end="", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    if math.isnan(seconds):
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _display_handle() -> Any:
    """A place in the notebook's output that can be redrawn; None outside a notebook."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return display({"text/plain": "starting"}, raw=True, display_id=True)


class TensorBoard(Observer):
    """Writes loss, metric and learning rate of every epoch for TensorBoard, and a picture."""

    def __init__(self, folder: Path, picture: Callable[[], np.ndarray] | None = None):
        from torch.utils.tensorboard import SummaryWriter  # an extra: only those who ask for it need it

        self.open, self.writer, self.picture = functools.partial(SummaryWriter, folder), None, picture

    def on_begin(self, state: State, steps: int) -> None:
        """Open the file; epochs that will be repeated replace what was written of them before."""
        self.writer = self.open(purge_step=state.epoch + 1)

    def on_epoch(self, history: Sequence[Mapping[str, float]], val_scores: np.ndarray) -> None:
        """Add the epoch's numbers and picture."""
        row = history[-1]
        for name, value in row.items():
            if name != "epoch":
                self.writer.add_scalar(name, value, row["epoch"])
        if self.picture:
            self.writer.add_image("image, true mask, predicted mask", self.picture(), row["epoch"], dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        """Write what is left, and end the thread that writes."""
        if self.writer:
            self.writer.close()
