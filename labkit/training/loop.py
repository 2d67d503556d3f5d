"""The training loop: one file, to be read from top to bottom.

``fit`` trains a model for some epochs, scores it on validation data after each, keeps the best weights, and can be
stopped and taken up again at any step. It has no random state of its own: order, augmentation and dropout of every
step follow from (seed, epoch, step), so a resumed training repeats the uninterrupted one, on a CPU to the bit.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from labkit.data.loading import Batches
from labkit.draws import step_seed
from labkit.errors import RequestError, TrainingError
from labkit.training.checkpoint import load_checkpoint, save_checkpoint
from labkit.training.interrupt import NEVER, Interrupt, StoppedBetweenSteps, deferred_interrupt
from labkit.training.optim import Schedule
from labkit.training.precision import Precision
from labkit.training.stopping import Row, Stop, never

LOOK_EVERY = 0.2  # seconds between two looks at the losses
PerImage = Callable[[Tensor, Tensor], Tensor]  # (logits, targets) -> one value per image, (N,)


@dataclass
class Recipe:
    """How a model is trained: all that ``fit`` needs beside the model and the data."""

    optimiser: torch.optim.Optimizer
    learning_rate: float  # the peak; the schedule's factor multiplies it
    schedule: Schedule
    epochs: int
    objective: PerImage  # what training makes small (a smoothed loss, say)
    loss: PerImage  # what is written down, in training and validation alike
    metric: PerImage  # the higher the better; it chooses the best epoch
    metric_name: str
    precision: Precision
    seed: int = 0
    stop_early: Stop = never


@dataclass
class State:
    """Where a training stands: ``step`` steps into ``epoch`` (both from 0), with the sums of that epoch so far."""

    epoch: int = 0
    step: int = 0
    images: int = 0
    loss_sum: float = 0.0
    metric_sum: float = 0.0
    seconds: float = 0.0
    history: list[Row] = field(default_factory=list)

    def scores(self, name: str) -> list[float]:
        """The validation scores of the epochs finished so far."""
        return [row[f"val_{name}"] for row in self.history]


class Observer(Protocol):
    """Who watches a training: the progress bar, history.csv, TensorBoard."""

    def on_step(self, state: State, steps: int) -> None:
        """A few times a second; ``steps`` is the number of steps in an epoch."""

    def on_epoch(self, history: list[Row], val_scores: np.ndarray) -> None:
        """After each epoch: its row is the last of ``history``; the validation metric of each image, (N,)."""


def fit(
    model: nn.Module, train: Batches, val: Batches, recipe: Recipe, folder: Path, observers: Sequence[Observer] = ()
) -> list[Row]:
    """Train ``model`` by ``recipe`` and return the history, one row per epoch; the model then holds the best weights.

    ``folder`` receives ``best.safetensors`` (weights of the epoch with the highest validation metric; of equals, the
    lower validation loss) and ``last.safetensors`` (everything needed to go on). If ``last`` is there already,
    training goes on from it. Ctrl-C, "interrupt kernel" and SIGTERM save after the step at hand, then stop.
    Raises TrainingError where the loss is no longer a finite number.
    """
    best, last = folder / "best.safetensors", folder / "last.safetensors"
    model.to(recipe.precision.device, memory_format=torch.channels_last)
    scaler, state = recipe.precision.scaler(), State()
    if last.exists():
        facts = load_checkpoint(last, model, recipe.optimiser)
        check_precision(facts["precision"], recipe.precision, last)
        state = State(**facts["state"])
        scaler.load_state_dict(facts["scaler"])

    def save_last() -> None:
        facts = {"state": asdict(state), "scaler": scaler.state_dict(), "precision": recipe.precision.name}
        save_checkpoint(last, model, facts, recipe.optimiser)

    with deferred_interrupt() as interrupt:
        try:
            while state.epoch < recipe.epochs and not recipe.stop_early(state.history):
                train_epoch(model, train, recipe, state, scaler, observers, interrupt)
                val_losses, val_scores = evaluate(model, val, recipe.loss, recipe.metric, recipe.precision, interrupt)
                if finish_epoch(state, recipe, float(val_losses.mean()), float(val_scores.mean())):
                    save_checkpoint(best, model, state.history[-1])
                for observer in observers:
                    observer.on_epoch(state.history, val_scores)
                save_last()
            interrupt.check()  # a stop that came while the last epoch was saved
        except StoppedBetweenSteps as stopped:
            save_last()
            raise KeyboardInterrupt(*stopped.args) from None
    load_checkpoint(best, model)
    return state.history


def train_epoch(
    model: nn.Module,
    train: Batches,
    recipe: Recipe,
    state: State,
    scaler: torch.amp.GradScaler,
    observers: Sequence[Observer] = (),
    interrupt: Interrupt = NEVER,
) -> None:
    """Take the steps of ``state.epoch`` from ``state.step`` on; ``state`` is true after every step."""
    device, pending = recipe.precision.device, []
    began = watched = time.perf_counter()
    model.train()
    for images, targets in train.from_step(state.epoch, state.step):
        set_learning_rate(recipe, state, len(train))
        torch.manual_seed(step_seed(recipe.seed, state.epoch, state.step))  # dropout
        images = images.to(device, memory_format=torch.channels_last)  # (N, C, H, W)
        targets = targets.to(device)
        with recipe.precision.autocast():
            logits = model(images).float()
        objective = recipe.objective(logits, targets).mean()
        scaler.scale(objective).backward()
        scaler.step(recipe.optimiser)
        scaler.update()
        recipe.optimiser.zero_grad(set_to_none=True)
        state.step += 1

        # Reading a number back makes a GPU wait, so the losses stay on the device and are read a few times a second.
        pending.append(measure(recipe, objective.detach(), logits.detach(), targets))
        now = time.perf_counter()
        if now - watched > LOOK_EVERY or state.step == len(train) or interrupt.requested:
            watched = now
            state.seconds, began = state.seconds + now - began, now
            add_up(pending, state, recipe, train)
            for observer in observers:
                observer.on_step(state, len(train))
            interrupt.check()


@torch.no_grad()
def measure(recipe: Recipe, objective: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Objective, loss and metric of one batch, three numbers on the device: (3,)."""
    return torch.stack([objective, recipe.loss(logits, targets).mean(), recipe.metric(logits, targets).mean()])


def check_precision(before: str, now: Precision, path: Path) -> None:
    """Training goes on only in the number format it began in; RequestError else."""
    if before != now.name:
        raise RequestError(
            f"The training in {path} began in {before} and cannot go on in {now.name}: set precision = {before!r}, or "
            f"start over with fresh = True (--fresh)."
        )


def set_learning_rate(recipe: Recipe, state: State, steps: int) -> None:
    """Set the optimiser's rate for the coming step."""
    for group in recipe.optimiser.param_groups:
        group["lr"] = rate_at(recipe, state, state.step / steps)


def rate_at(recipe: Recipe, state: State, share: float) -> float:
    """The learning rate when a ``share`` of the epoch at hand is over: the peak times the schedule's factor."""
    return recipe.learning_rate * recipe.schedule(state.epoch + share, state.scores(recipe.metric_name))


def add_up(pending: list[Tensor], state: State, recipe: Recipe, train: Batches) -> None:
    """Add the measurements of the last steps to the epoch's sums, and empty ``pending``.

    An objective that is NaN or infinite stops the training and names its step.
    """
    first = state.step - len(pending)
    for step, (objective, loss, metric) in enumerate(torch.stack(pending).tolist(), start=first):
        if not math.isfinite(objective):
            raise diverged(f"training loss became {objective} at step {step + 1} of {len(train)}", state, recipe)
        images = train.bounds[step + 1] - train.bounds[step]
        state.images += images
        state.loss_sum += loss * images
        state.metric_sum += metric * images
    pending.clear()


def diverged(what: str, state: State, recipe: Recipe) -> TrainingError:
    """The error for a number that is none, with all one needs to know about it."""
    rate = recipe.optimiser.param_groups[0]["lr"]
    return TrainingError(
        f"The {what} in epoch {state.epoch + 1} (learning rate {rate:.3g}, precision {recipe.precision.name}); what "
        f"was saved before is kept: try a lower learning rate, a warm-up, or precision float32."
    )


def finish_epoch(state: State, recipe: Recipe, val_loss: float, val_metric: float) -> bool:
    """Write the epoch's row, move ``state`` to the start of the next; tell whether this epoch is the best so far."""
    name = recipe.metric_name
    if not math.isfinite(val_loss):
        raise diverged(f"validation loss became {val_loss}", state, recipe)
    row = {
        "epoch": state.epoch + 1,
        "train_loss": state.loss_sum / state.images,
        f"train_{name}": state.metric_sum / state.images,
        "val_loss": val_loss,
        f"val_{name}": val_metric,
        "learning_rate": rate_at(recipe, state, (state.step - 1) / state.step),  # of the last step
        "seconds": round(state.seconds, 3),
        "images_per_second": round(state.images / state.seconds, 1),
    }
    is_best = all(rank(row, name) > rank(earlier, name) for earlier in state.history)
    state.history.append(row)
    state.epoch, state.step, state.images = state.epoch + 1, 0, 0
    state.loss_sum = state.metric_sum = state.seconds = 0.0
    return is_best


def rank(row: Row, metric_name: str) -> tuple[float, float]:
    """What makes an epoch better: a higher validation metric; of equals, the lower validation loss."""
    return row[f"val_{metric_name}"], -row["val_loss"]


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Batches,
    loss: PerImage,
    metric: PerImage,
    precision: Precision,
    interrupt: Interrupt = NEVER,
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and metric of every image, two arrays (N,) in the order of ``batches``."""
    parts = []
    for images, targets in batches.from_step(epoch=0):
        targets = targets.to(precision.device)
        logits = forward(model, images, precision)
        parts.append(torch.stack([loss(logits, targets), metric(logits, targets)]))
        interrupt.check()
    losses, metrics = torch.cat(parts, dim=1).cpu().double().numpy()
    return losses, metrics


@torch.inference_mode()
def predict(model: nn.Module, batches: Batches, precision: Precision) -> Tensor:
    """The logits of all images, float32 on the CPU, in the order of ``batches``: (N, K)."""
    return torch.cat([forward(model, images, precision).cpu() for images, _ in batches.from_step(epoch=0)])


@torch.inference_mode()
def forward(model: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """One forward pass of images (N, C, H, W) in evaluation mode and the given precision; float32 logits."""
    images = images.to(precision.device, memory_format=torch.channels_last)
    with precision.autocast():
        return model.eval()(images).float()
