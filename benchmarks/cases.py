"""The labs' networks at the reports' sizes, on random pixels: how fast they train depends on shapes, not on content."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from labkit.data.loading import Batches, Preprocessing, Split
from labkit.labs import lab_of
from labkit.labs.parameters import Parameters
from labkit.running.request import find_notebook, make_parameters
from labkit.training.loop import Recipe
from labkit.training.precision import DTYPES, Precision, choose_device, choose_precision

MEAN, STD = 0.13, 0.31


@dataclass(frozen=True)
class Case:
    """One of the reports' trainings: its network, its batch, its loss and its optimiser, on ``steps`` batches."""

    title: str
    params: Parameters
    precision: Precision
    build: Callable[[], nn.Module]
    recipe: Callable[[nn.Module], Recipe]
    pixels: np.ndarray  # (N, H, W, C) uint8
    targets: Tensor  # (N,) or (N, H, W) uint8

    @property
    def batch(self) -> int:
        """Images a step."""
        return self.params.batch_size

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """A mean and a standard deviation per channel."""
        channels = self.pixels.shape[-1]
        return (MEAN,) * channels, (STD,) * channels

    def batches(self) -> Batches:
        """What labkit trains on: whole batches."""
        images = torch.from_numpy(self.pixels).permute(0, 3, 1, 2).contiguous()
        split = Split(images, self.targets, np.arange(len(self.pixels)))
        preparation = Preprocessing(self.params.image_size, *self.statistics)
        return Batches(split, self.batch, preparation, shuffle=True, workers=self.params.num_workers)


# name -> notebook, experiment, channels, and what the network answers: classes of images, or of pixels
CASES = {
    "resnet18": ("01", "adam_steplr", 1, 10, "image"),
    "unet": ("02", "dice_ce", 1, 2, "pixel"),
    "resnet34_unet": ("03", "resnet34_unet", 3, 2, "pixel"),
    "block_cnn": ("04", "cifar10", 3, 10, "image"),
    "two_decoders": ("05", "two_decoders", 3, 20, "pixel"),
}
PRECISIONS = ("auto", *DTYPES)


def case_options(what: str, rounds: int = 3, steps: int = 0) -> argparse.ArgumentParser:
    """The options of every script that measures a case; ``steps`` of a round, where one may choose them."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds that count (default {rounds})")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    if steps:
        parser.add_argument("--steps", type=int, default=steps, help=f"steps of a round (default {steps})")
    return parser


def case(name: str, steps: int, precision: str = "auto", changes: tuple[tuple[str, str], ...] = ()) -> Case:
    """A case by name, with ``steps`` batches; ``changes`` are parameters that differ from the report's experiment."""
    notebook, experiment, channels, classes, kind = CASES[name]
    path = find_notebook(notebook)
    lab = lab_of(path.stem)
    here = [("source", "sample"), ("device", "cpu"), ("precision", precision)]  # one processor for all sides
    params = make_parameters(path, experiment, [*here, *changes])
    chosen = choose_precision(precision, choose_device("cpu"))
    rng, number, side = np.random.default_rng(0), steps * params.batch_size, params.image_size
    shape = (number,) if kind == "image" else (number, side, side)
    return Case(
        title=f"{name}, {side}×{side}, batch {params.batch_size}, {chosen.name}",
        params=params,
        precision=chosen,
        build=lambda: lab.build_model(params, fetch=False),
        recipe=lambda model: lab.build_recipe(params, model),
        pixels=rng.integers(0, 256, (number, side, side, channels), np.uint8),
        targets=torch.from_numpy(rng.integers(0, classes, shape, np.uint8)),
    )
