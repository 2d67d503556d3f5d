"""Whether ``torch.compile`` earns its warm-up: labkit's training of a lab's network, as it is and compiled.

Beside images a second stands the time of the first, compiling, epoch, and after how many images it is earned.
"""

import statistics
from dataclasses import replace

import torch
from cases import case, case_options
from sides import labkit
from timing import in_turn, report, seconds_of


def main() -> None:
    """Measure the case that is asked for."""
    asked = case_options(__doc__, steps=4).parse_args()
    plain = case(asked.case, asked.steps, asked.precision)
    compiled = replace(plain, build=lambda: torch.compile(plain.build()))
    measures = {"as it is": labkit(plain), "compiled": labkit(compiled)}
    warm_up = seconds_of(measures["compiled"])
    measured = in_turn(measures, asked.rounds)
    slow, fast = (statistics.median(values) for values in measured.values())
    report(f"Training {plain.title}, torch.compile", "images/s", measured, warm_up=warm_up)
    saved = 1 / slow - 1 / fast  # seconds an image
    lost = warm_up - len(plain.pixels) / fast  # what the first epoch took longer than a later one
    earned = f"earned after {lost / saved:,.0f} images" if saved > 0 else "never earned"
    print(f"\nthe first epoch of {len(plain.pixels)} images took {warm_up:.0f} s, compiled: {earned}")


if __name__ == "__main__":
    main()
