"""What ``fit`` costs beside the bare loop (progress, history, checkpoints, the search for NaN), and a checkpoint alone.

Both sides train the same ResNet18 on the same batches in the same precision; the bare loop does nothing else. A
checkpoint is compared with ``torch.save``, which has no checksum and does not wait for the disk.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from timing import arguments, in_turn, report, seconds_of

from labkit.data.loading import Batches, Preprocessing, Split
from labkit.models import resnet18
from labkit.results.run import History
from labkit.training.loop import Recipe, evaluate, fit
from labkit.training.losses import cross_entropy
from labkit.training.metrics import accuracy
from labkit.training.optim import constant, make_optimiser
from labkit.training.precision import choose_device, choose_precision
from labkit.training.progress import Progress
from labkit.training.resume import Checkpoints, State

STEPS, BATCH = 40, 128
PRECISION = choose_precision("auto", choose_device("cpu"))


def split(number: int) -> Split:
    """Random digits."""
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (number, 1, 28, 28), np.uint8))
    return Split(pixels, torch.from_numpy(rng.integers(0, 10, number)), np.arange(number))


def seconds(train: Callable[[Batches, Batches, Recipe, torch.nn.Module], None]) -> Callable[[], float]:
    """A measurement of one epoch with validation, on a fresh model."""

    def measure() -> float:
        preparation = Preprocessing(28, (0.13,), (0.31,))
        batches = Batches(split(STEPS * BATCH), BATCH, preparation, shuffle=True)
        val, model = Batches(split(256), 256, preparation), resnet18(1, 10)
        optimiser = make_optimiser("adam", model, 1e-3)
        recipe = Recipe(optimiser, 1e-3, constant(), 1, cross_entropy, cross_entropy, accuracy, "accuracy", PRECISION)
        return seconds_of(lambda: train(batches, val, recipe, model))

    return measure


def bare(batches: Batches, val: Batches, recipe: Recipe, model: torch.nn.Module) -> None:
    """The loop that a tutorial would have."""
    model.to(memory_format=torch.channels_last).train()
    for images, targets in batches.from_step(0):
        with recipe.precision.autocast():
            logits = model(images.to(memory_format=torch.channels_last)).float()
        cross_entropy(logits, targets).mean().backward()
        recipe.optimiser.step()
        recipe.optimiser.zero_grad(set_to_none=True)
    evaluate(model, val, recipe.loss, recipe.metric, recipe.precision)


def with_everything(batches: Batches, val: Batches, recipe: Recipe, model: torch.nn.Module) -> None:
    """labkit's loop with all that a run has."""
    with tempfile.TemporaryDirectory() as folder:
        fit(model, batches, val, recipe, Path(folder), [Progress(1, "accuracy"), History(Path(folder))])


def checkpointing(folder: Path) -> dict[str, Callable[[], float]]:
    """Measurements of writing and reading ResNet18 with Adam's two moments, 134 MB in float32."""
    model = resnet18(1, 10)
    optimiser, scaler = make_optimiser("adam", model, 1e-3), torch.amp.GradScaler("cpu", enabled=False)
    model(torch.zeros(2, 1, 28, 28)).sum().backward()
    optimiser.step()
    plain, checkpoints = folder / "plain.pt", Checkpoints(folder, {})

    acts = {
        "torch.save": lambda: torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict()}, plain),
        "labkit, saved": lambda: checkpoints.save(model, optimiser, scaler.state_dict(), State()),
        "torch.load": lambda: torch.load(plain),
        "labkit, read back": lambda: checkpoints.load(model, optimiser, scaler, print),
    }
    return {name: partial(seconds_of, act) for name, act in acts.items()}


def main() -> None:
    """Measure both."""
    asked = arguments(__doc__, rounds=5)
    measured = in_turn({"bare loop": seconds(bare), "fit": seconds(with_everything)}, asked.rounds)
    report(f"One epoch of ResNet18, {STEPS} steps of {BATCH} images, {PRECISION.name}", "s", measured)
    with tempfile.TemporaryDirectory() as folder:
        measured = in_turn(checkpointing(Path(folder)), asked.rounds)
    report("A checkpoint of ResNet18 with Adam", "s", measured)


if __name__ == "__main__":
    main()
