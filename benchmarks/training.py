"""Training throughput of two models of the reports: their own way against labkit's.

The reports' way: float32, images in memory channel by channel, transforms an image at a time, and a loss that is read
back after every step. labkit's: the precision that the processor multiplies fastest, channels last, whole-batch
operations, and losses that are read a few times a second. Model, batch, optimiser and learning rate are the same.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from pipeline import OneByOne
from timing import in_turn, report
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from labkit.data.loading import Batches, Preprocessing, Split
from labkit.models import UNet, resnet18
from labkit.training import losses
from labkit.training.loop import Recipe, train_epoch
from labkit.training.metrics import accuracy, dice
from labkit.training.optim import constant, make_optimiser
from labkit.training.precision import choose_device, choose_precision
from labkit.training.resume import State

MEAN, STD = 0.1307, 0.3081
CASES = {  # name -> model, image side, batch, steps a round, loss, metric
    "resnet18": (lambda: resnet18(1, 10), 28, 128, 10, losses.cross_entropy, accuracy),
    "unet": (lambda: UNet(1), 512, 4, 1, losses.SEGMENTATION["bce"], dice),
}


class Pairs(OneByOne):
    """Images with targets."""

    def __init__(self, images: np.ndarray, targets: Tensor):
        super().__init__(images, transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)]))
        self.targets = targets

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return super().__getitem__(i)[0], self.targets[i].long()


def the_reports_way(model: nn.Module, loader: DataLoader, loss: Callable) -> Callable[[], float]:
    """Images a second of one epoch of the loop that the reports have."""
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)

    def measure() -> float:
        began, total, count = time.perf_counter(), 0.0, 0
        model.train()
        for images, targets in loader:
            optimiser.zero_grad()
            value = loss(model(images), targets).mean()
            value.backward()
            optimiser.step()
            total += value.item()
            count += len(images)
        return count / (time.perf_counter() - began)

    return measure


def labkits_way(model: nn.Module, batches: Batches, recipe: Recipe) -> Callable[[], float]:
    """Images a second of one epoch of labkit's loop."""
    model.to(recipe.precision.device, memory_format=torch.channels_last)
    scaler = recipe.precision.scaler()

    def measure() -> float:
        began = time.perf_counter()
        train_epoch(model, batches, recipe, State(), scaler)
        return len(batches.split) / (time.perf_counter() - began)

    return measure


def main() -> None:
    """Measure the case that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    asked = parser.parse_args()
    build, side, batch, steps, loss, metric = CASES[asked.case]
    rng, number = np.random.default_rng(0), batch * steps
    pixels = rng.integers(0, 256, (number, side, side), np.uint8)
    shape, classes = ((number,), 10) if asked.case == "resnet18" else ((number, side, side), 2)
    targets = torch.from_numpy(rng.integers(0, classes, shape, np.uint8))
    split = Split(torch.from_numpy(pixels)[:, None], targets, np.arange(number))
    model = build()
    precision = choose_precision(asked.precision, choose_device("cpu"))
    optimiser = make_optimiser("adam", model, 1e-3)
    recipe = Recipe(optimiser, 1e-3, constant(), 1, loss, loss, metric, "score", precision)
    batches = Batches(split, batch, Preprocessing(side, (MEAN,), (STD,)), shuffle=True)
    sides = {
        "the reports' way": the_reports_way(build(), DataLoader(Pairs(pixels, targets), batch, shuffle=True), loss),
        f"labkit ({precision.name})": labkits_way(model, batches, recipe),
    }
    title = f"Training {asked.case}, {side}×{side}, batch {batch}"
    report(f"training-{asked.case}", title, "images/s", in_turn(sides, asked.rounds), precision=precision.name)


if __name__ == "__main__":
    main()
