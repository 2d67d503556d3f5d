"""What ``make lab`` takes once everything is installed: six labs and the report, and how much of it is training."""

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from timing import arguments, report

from labkit.running.request import notebooks

LABKIT = Path(sys.executable).parent / "labkit"


def seconds(words: Sequence[str], folder: str) -> float:
    """The time of a command of labkit that leaves its runs in ``folder``."""
    began = time.perf_counter()
    subprocess.run([LABKIT, *words], check=True, capture_output=True, env={**os.environ, "LABKIT_RUNS": folder})
    return time.perf_counter() - began


def training(folder: str) -> float:
    """Seconds of training and validation, of all runs together."""
    histories = (path.open(encoding="utf-8") for path in Path(folder).rglob("history*.csv"))
    return sum(float(row["seconds"]) for file in histories for row in csv.DictReader(file) if row.get("seconds"))


def main() -> None:
    """Run everything, as often as asked for."""
    asked = arguments(__doc__, rounds=1)
    labs = [path.stem for path in notebooks()]
    measured: dict[str, list[float]] = {name: [] for name in ("all", *labs, "report", "training, in all")}
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for lab in labs:
                measured[lab].append(seconds(["run", lab], folder))
            measured["report"].append(seconds(["report", "--out", f"{folder}/report"], folder))
            measured["training, in all"].append(training(folder))
        measured["all"].append(sum(measured[name][-1] for name in (*labs, "report")))
    report("lab", "What make lab does, once installed", "s", measured)


if __name__ == "__main__":
    main()
