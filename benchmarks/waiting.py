"""How much of a training step is waiting for data: every lab, its sample, the parameters of one of its experiments.

The batches are made as in the notebook, in the process that trains (``num_workers = 0``), so that making them and
waiting for them are the same thing.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from timing import report

from labkit.labs import lab_of
from labkit.running.request import find_notebook, make_parameters
from labkit.training.loop import train_epoch
from labkit.training.memory import freed_memory_kept
from labkit.training.precision import choose_device, choose_precision
from labkit.training.resume import State

LABS = {"01": "best", "02": "best", "03": "best", "04": "best_cifar10", "05": "best"}


class Watched:
    """Batches that add up the seconds it takes to make them."""

    def __init__(self, batches: Any, steps: int):
        self.batches, self.waited = batches, 0.0
        self.bounds = batches.bounds[: steps + 1]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def from_step(self, epoch: int, step: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The first few batches of the epoch."""
        found = self.batches.from_step(epoch, step)
        for _ in range(len(self)):
            began = time.perf_counter()
            batch = next(found)
            self.waited += time.perf_counter() - began
            yield batch


def share(number: str, experiment: str, steps: int) -> float:
    """The share of the time of ``steps`` steps, in per cent, in which the next batch was made."""
    notebook = find_notebook(number)
    lab = lab_of(notebook.stem)
    params = make_parameters(notebook, experiment, [("source", "sample"), ("num_workers", "0")])
    data = lab.load_data(params, lab.find_data(params))
    model = lab.build_model(params, fetch=False)
    recipe = lab.build_recipe(params, model)
    model.to(recipe.precision.device, memory_format=torch.channels_last)
    preparation = [] if number == "01" else [lab.preprocessing(params, data)]
    train = data.compose if number == "05" else True
    watched = Watched(lab.batches(params, data.train, *preparation, train), steps)
    with freed_memory_kept():  # as in ``fit``
        for epoch in range(2):  # the first warms up
            watched.waited, began = 0.0, time.perf_counter()
            train_epoch(model, watched, recipe, State(epoch=epoch), recipe.precision.scaler())
        return 100 * watched.waited / (time.perf_counter() - began)


def main() -> None:
    """Measure all labs, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    asked = parser.parse_args()
    found: dict[str, list[float]] = {f"lab {number}, {name}": [] for number, name in LABS.items()}
    for _ in range(asked.rounds):
        for (number, experiment), values in zip(LABS.items(), found.values(), strict=True):
            values.append(share(number, experiment, asked.steps))
    precision = choose_precision("auto", choose_device("auto")).name
    report(f"Waiting for data, share of a training step, {precision}", "%", found)


if __name__ == "__main__":
    main()
