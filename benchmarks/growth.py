"""How time and memory of a training step grow with each thing that one can turn, as exponents fitted on log-log scales.

An exponent of 1 means twice as much for twice the value, 2 four times as much. Seconds are medians of rounds in turn;
memory is what a step keeps for its backward pass, counted exactly (``labkit.training.cost``). The network is lab 2's
UNet at a width of 16, 128×128, batches of 4, unless it is the thing that varies.
"""

import numpy as np
import torch
from cases import Case, case
from sides import labkit
from timing import arguments, in_turn, report

from labkit.training.cost import kept_for_backward, training_step

BASE = {"width": 16, "image_size": 128, "batch_size": 4, "images": 16, "num_workers": 0}
VALUES = {
    "width": (8, 16, 32, 64),
    "image_size": (64, 128, 256, 512),
    "batch_size": (2, 4, 8, 16),
    "images": (16, 32, 64, 128),
    "num_workers": (0, 1, 2),
}


def asked_case(varied: str, value: int) -> Case:
    """The case with one value changed."""
    chosen = BASE | {varied: value}
    steps = chosen.pop("images") // chosen["batch_size"]
    return case("unet", steps, "float32", tuple((name, str(value)) for name, value in chosen.items()))


def epoch_seconds(asked: Case) -> float:
    """Seconds of one epoch of a fresh network, the start of its workers included."""
    return len(asked.pixels) / labkit(asked)()


def kept(asked: Case) -> float:
    """MiB that one step keeps for its backward pass."""
    model = asked.build().to(memory_format=torch.channels_last)
    recipe, (images, targets) = asked.recipe(model), asked.batches()[0]
    run = lambda: training_step(model, images, targets, recipe.loss, recipe.precision, back=False)  # noqa: E731
    return kept_for_backward(model, run) / 2**20


def exponent(values: tuple[int, ...], measured: list[float]) -> float:
    """The slope of log(measured) over log(value), by least squares."""
    return float(np.polyfit(np.log(values), np.log(measured), 1)[0])


def main() -> None:
    """Vary each thing alone."""
    asked, lines = arguments(__doc__, rounds=3), []
    for varied, values in VALUES.items():
        cases = {f"{varied} {value}": asked_case(varied, value) for value in values}
        sides = {name: lambda one=one: epoch_seconds(one) for name, one in cases.items()}
        measured = in_turn(sides, asked.rounds)
        memory = {name: kept(one) for name, one in cases.items()}
        facts = {"kept_mib": memory}
        if 0 not in values:
            seconds = [float(np.median(times)) for times in measured.values()]
            facts["exponents"] = {
                "seconds": exponent(values, seconds),
                "memory": exponent(values, list(memory.values())),
            }
            lines.append(f"{varied:14} {facts['exponents']['seconds']:10.2f} {facts['exponents']['memory']:10.2f}")
        report(f"An epoch of UNet against {varied}, float32", "s", measured, **facts)
    print(f"\nfitted exponents\n{'':14} {'seconds':>10} {'memory':>10}\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
