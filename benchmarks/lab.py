"""What ``make lab`` takes once everything is installed: six labs, two at a time or in turn, and the report."""

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from timing import arguments, report

LABKIT = Path(sys.executable).parent / "labkit"


def seconds(words: Sequence[str], folder: str) -> float:
    """The time of a command of labkit that leaves its runs in ``folder``."""
    began = time.perf_counter()
    subprocess.run([LABKIT, *words], check=True, capture_output=True, env={**os.environ, "LABKIT_RUNS": folder})
    return time.perf_counter() - began


def training(folder: str) -> float:
    """Seconds of training, of all runs together."""
    histories = (path.open(encoding="utf-8") for path in Path(folder).rglob("history*.csv"))
    return sum(float(row["seconds"]) for file in histories for row in csv.DictReader(file) if row.get("seconds"))


def main() -> None:
    """Run everything, as often as asked for: two labs at once, as ``make lab`` does, and one after the other."""
    asked = arguments(__doc__, rounds=1)
    names = ("make lab", "labs, two at a time", "labs, one after the other", "report", "training, one after the other")
    measured: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as together, tempfile.TemporaryDirectory() as in_turn:
            measured["labs, two at a time"].append(seconds(["run", "--all", "--jobs", "2"], together))
            measured["report"].append(seconds(["report", "--out", f"{together}/report"], together))
            measured["labs, one after the other"].append(seconds(["run", "--all"], in_turn))
            measured["training, one after the other"].append(training(in_turn))
        measured["make lab"].append(measured["labs, two at a time"][-1] + measured["report"][-1])
    report("What make lab does, once installed", "s", measured)


if __name__ == "__main__":
    main()
