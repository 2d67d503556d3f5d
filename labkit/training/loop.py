"""The training loop: one file, to be read from top to bottom.

``fit`` trains a model for some epochs, scores it on validation data after each, keeps the best weights, and can be
stopped and taken up again at any step. It has no random state of its own: order, augmentation and dropout of every
step follow from (seed, epoch, step), so a resumed training repeats the uninterrupted one, on a CPU to the bit.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labkit.data.loading import Batches, killed_workers_named
from labkit.draws import step_seed
from labkit.errors import TrainingError
from labkit.training.checkpoint import DamagedError, load_checkpoint, save_checkpoint
from labkit.training.interrupt import NEVER, Interrupt, StoppedBetweenSteps, deferred_interrupt, stopped_in_order
from labkit.training.memory import TOO_SMALL, freed_memory_kept, is_out_of_memory, reason
from labkit.training.optim import Schedule
from labkit.training.precision import Precision
from labkit.training.resume import Autosave, Checkpoints, Observer, State
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
    held_out: str = "validation"  # what the images are called that choose the epoch: the test may do it
    identity: Mapping[str, Any] = field(default_factory=dict)  # parameters and data; other ones cannot be gone on with


def fit(
    model: nn.Module, train: Batches, val: Batches, recipe: Recipe, folder: Path, observers: Sequence[Observer] = ()
) -> list[Row]:
    """Train ``model`` by ``recipe`` and return the history, one row per epoch; the model then holds the best weights.

    ``folder`` receives ``best.safetensors`` (weights of the epoch with the highest validation metric; of equals, the
    lower validation loss) and ``last.safetensors`` (everything needed to go on, written after each epoch and now and
    then within one). If ``last`` is there already, training goes on from it. Ctrl-C, "interrupt kernel" and SIGTERM
    save after the step at hand, then stop. Raises TrainingError where the loss is no longer a finite number or the
    memory does not suffice, RequestError where what is there belongs to another training.
    """
    best, optimiser = folder / "best.safetensors", recipe.optimiser
    model.to(recipe.precision.device, memory_format=torch.channels_last)
    scaler = recipe.precision.scaler()
    checkpoints = Checkpoints(folder, {**recipe.identity, "precision": recipe.precision.name})
    state = checkpoints.load(model, optimiser, scaler, lambda text: warn(observers, text))
    if state.complete:
        load_best(best, model, state.history, recipe.metric_name)
        return state.history

    def save_last() -> None:
        checkpoints.save(model, optimiser, scaler.state_dict(), state)

    observers = [*observers, Autosave(save_last)]
    for observer in observers:
        observer.on_begin(state, len(train))
    with deferred_interrupt() as interrupt, killed_workers_named(train.workers), freed_memory_kept():
        try:
            keep_if_best(best, model, state, recipe.metric_name)  # an earlier session may have ended just before this
            while state.epoch < recipe.epochs and not recipe.stop_early(state.history):
                train_epoch(model, train, recipe, state, scaler, observers, interrupt)
                val_losses, val_scores = evaluate(model, val, recipe.loss, recipe.metric, recipe.precision, interrupt)
                finish_epoch(state, recipe, float(val_losses.mean()), float(val_scores.mean()))
                for observer in observers:
                    observer.on_epoch(state.history, val_scores)
                save_last()
                keep_if_best(best, model, state, recipe.metric_name)
            load_best(best, model, state.history, recipe.metric_name)
            checkpoints.complete(state)  # only now: it takes away the last weights
            interrupt.check()  # a stop that came while the last epoch was saved
        except StoppedBetweenSteps:
            if not state.complete:
                save_last()
            raise stopped_in_order() from None
    return state.history


def warn(observers: Sequence[Observer], text: str) -> None:
    """Tell everyone who watches."""
    for observer in observers:
        observer.on_warning(text)


def keep_if_best(path: Path, model: nn.Module, state: State, metric_name: str) -> None:
    """Write the weights to ``path`` if an epoch has just ended that is better than all before it."""
    ranks = [rank(row, metric_name) for row in state.history]
    if ranks and state.step == 0 and all(ranks[-1] > earlier for earlier in ranks[:-1]):
        save_checkpoint(path, model, state.history[-1])


def load_best(path: Path, model: nn.Module, history: Sequence[Row], metric_name: str) -> None:
    """Put the weights of the best epoch into ``model``; DamagedError if ``path`` holds those of another epoch."""
    row, chosen = load_checkpoint(path, model), best_of(history, metric_name)
    if row != chosen:
        raise DamagedError(path, f"it holds epoch {row.get('epoch')}, but epoch {chosen['epoch']} was the best")


def train_epoch(
    model: nn.Module,
    train: Batches,
    recipe: Recipe,
    state: State,
    scaler: torch.amp.GradScaler,
    observers: Sequence[Observer] = (),
    interrupt: Interrupt = NEVER,
) -> None:
    """Take the steps of ``state.epoch`` from ``state.step`` on; ``state`` is true whenever observers are called."""
    pending = []
    began = watched = time.perf_counter()
    model.train()
    for images, targets in train.from_step(state.epoch, state.step):
        set_learning_rate(recipe, state, len(train))
        measured = learn_within_memory(model, images, targets, recipe, state, scaler, observers)
        take_step(recipe.optimiser, scaler)
        state.step += 1

        # Reading a number back makes a GPU wait, so the losses stay on the device and are read a few times a second.
        pending.append(measured)
        if time.perf_counter() - watched > LOOK_EVERY or state.step == len(train) or interrupt.requested:
            add_up(pending, state, recipe, train)
            watched = now = time.perf_counter()
            state.seconds, began = state.seconds + now - began, now
            for observer in observers:
                observer.on_step(state, len(train))
            interrupt.check()


def take_step(optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
    """Move the weights; TrainingError where there is no memory for what the optimiser keeps, twice the weights."""
    try:
        scaler.step(optimiser)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"The memory does not suffice for the optimiser's running means ({reason(error)}): take a smaller network, "
            f"or the optimiser sgd, or a machine with more memory."
        ) from error
    scaler.update()
    optimiser.zero_grad(set_to_none=True)


def learn_within_memory(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    state: State,
    scaler: torch.amp.GradScaler,
    observers: Sequence[Observer],
) -> Tensor:
    """``learn``; where the memory does not suffice, again in twice as many parts, and so from then on.

    TrainingError if it does not suffice for parts of two images, the fewest that batch normalisation can work with.
    """
    while True:
        try:
            return learn(model, images, targets, recipe, state, scaler)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            why = reason(error)
        recipe.optimiser.zero_grad(set_to_none=True)  # out here nothing holds the failed pass in memory any longer
        if state.parts * 2 > len(targets) // 2:
            raise TrainingError(f"{TOO_SMALL.format(min(2, len(targets)))} ({why}).")
        state.parts *= 2
        warn(
            observers,
            f"The memory did not suffice for a step ({why}): from epoch {state.epoch + 1}, step {state.step + 1} on "
            f"a batch goes through the network in {state.parts} parts, whose gradients are added up. That is the same "
            f"step, but for batch normalisation, which sees one part at a time.",
        )


def learn(
    model: nn.Module, images: Tensor, targets: Tensor, recipe: Recipe, state: State, scaler: torch.amp.GradScaler
) -> Tensor:
    """Forward and backward pass of a batch, in ``state.parts`` parts; returns what ``measure`` says of it, (3,)."""
    torch.manual_seed(step_seed(recipe.seed, state.epoch, state.step))  # dropout
    parts = max(1, min(state.parts, len(targets) // 2))
    measured = torch.zeros(3, device=recipe.precision.device)
    for x, y in zip(images.tensor_split(parts), targets.tensor_split(parts), strict=True):
        x, y = recipe.precision.place(x), recipe.precision.place(y)  # (B, C, H, W), targets
        with recipe.precision.autocast():
            logits = model(x).float()
        objective = recipe.objective(logits, y)  # (B,)
        share = len(y) / len(targets)
        scaler.scale(share * objective.mean()).backward()
        measured += share * measure(recipe, objective.detach(), logits.detach(), y)
    return measured


@torch.no_grad()
def measure(recipe: Recipe, objective: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Mean objective, loss and metric of one batch, on the device: (3,); ``objective`` (B,) is that of each image."""
    loss = objective if recipe.loss is recipe.objective else recipe.loss(logits, targets)
    return torch.stack([objective.mean(), loss.mean(), recipe.metric(logits, targets).mean()])


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


def finish_epoch(state: State, recipe: Recipe, val_loss: float, val_metric: float) -> None:
    """Write the epoch's row and move ``state`` to the start of the next."""
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
    state.history.append(row)
    state.epoch, state.step, state.images = state.epoch + 1, 0, 0
    state.loss_sum = state.metric_sum = state.seconds = 0.0


def best_of(history: Sequence[Row], metric_name: str) -> Row:
    """The row of the epoch whose weights are kept; of equals, the first."""
    return max(history, key=lambda row: rank(row, metric_name))


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
        targets = precision.place(targets)
        logits = forward(model, images, precision)
        parts.append(torch.stack([loss(logits, targets), metric(logits, targets)]))
        interrupt.check()
    losses, metrics = torch.cat(parts, dim=1).cpu().double().numpy()
    return losses, metrics


@torch.inference_mode()
def predict(model: nn.Module, batches: Batches, precision: Precision) -> Tensor:
    """The logits of all images, float32 on the CPU, in the order of ``batches``: (N, K), of pixels (N, K, H, W)."""
    return torch.cat([forward(model, images, precision).cpu() for images, _ in batches.from_step(epoch=0)])


@torch.inference_mode()
def forward(model: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """One forward pass of images (N, C, H, W) in evaluation mode and the given precision; float32 logits.

    Where the memory does not suffice they go half by half, which changes no score. TrainingError for a single image.
    """
    try:
        x = precision.place(images)
        with precision.autocast():
            return model.eval()(x).float()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(images) == 1:
            raise TrainingError(f"{TOO_SMALL.format(1)} ({reason(error)}).") from error
    return torch.cat([forward(model, half, precision) for half in images.tensor_split(2)])
