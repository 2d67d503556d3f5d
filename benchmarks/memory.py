"""Peak memory of training a lab's network at its report's size: each way in a process of its own, two steps.

Counted is the most that the process had in memory at once (resident set, all of it: interpreter, libraries, weights,
optimiser, activations), and the same less what it had before the first step was taken.
"""

import resource
import subprocess
import sys
from pathlib import Path

from cases import case, case_options
from sides import SIDES, here
from timing import report

UNIT = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss: bytes on macOS, KiB elsewhere
WAYS = {name: (name, "false") for name in SIDES} | {"labkit, checkpointing": ("labkit", "true")}


def peak() -> float:
    """The most memory this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNIT


def train_two_steps(name: str, way: str, precision: str) -> None:
    """Print the peak before and after two steps; called in a process of its own."""
    side, checkpointing = WAYS[way]
    changes = (("checkpointing", checkpointing),) if "unet" in name else ()
    measure = SIDES[side](case(name, 2, precision, changes))
    before = peak()
    measure()
    print(f"\npeaks {before} {peak()}")


def peaks(name: str, way: str, precision: str) -> tuple[float, float]:
    """MiB at the most: in all, and on top of what was there before the first step."""
    command = [sys.executable, Path(__file__), name, "--precision", precision, "--way", way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("peaks "))
    before, after = map(float, line.split()[1:])
    return after, after - before


def main() -> None:
    """Measure the case that is asked for, or, with ``--way``, be the process that is measured."""
    parser = case_options(__doc__, rounds=2)
    parser.add_argument("--way", default="", help="only this one, in this process")
    asked = parser.parse_args()
    if asked.way:
        train_two_steps(asked.case, asked.way, asked.precision)
        return
    found = {way: [] for way in here(WAYS) if "unet" in asked.case or "checkpointing" not in way}
    for _ in range(asked.rounds):
        for way, values in found.items():
            values.append(peaks(asked.case, way, asked.precision))
    title = case(asked.case, 1, asked.precision).title
    for i, label in enumerate(("in all", "on top of what was there before the first step")):
        sides = {way: [pair[i] for pair in values] for way, values in found.items()}
        report(f"Peak memory of two steps, {title}, {label}", "MiB", sides)


if __name__ == "__main__":
    main()
