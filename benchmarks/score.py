"""Seconds of training to a score: an experiment of a lab, run as ``labkit run`` for some seeds, against a bar.

``python benchmarks/score.py 02 one_minute 0.9156 --data DIR`` asks whether each seed passes the liver report's Dice on
the test slices, and how long it trained. Runs that are there already are read, not repeated.
"""

import argparse
import csv
import statistics
import sys

from timing import machine

from labkit.running.execute import execute
from labkit.running.request import make_request


def main() -> None:
    """Run what is missing, and print a line per seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook")
    parser.add_argument("experiment")
    parser.add_argument("bar", type=float, help="the score to pass, such as 0.9156")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", default="runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-p", dest="changes", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    asked = parser.parse_args()
    scores, seconds, machines = [], [], set()
    for seed in range(asked.seeds):
        changes = [*map(tuple, asked.changes), ("seed", str(seed))]
        request = make_request(asked.notebook, asked.experiment, changes, asked.data, asked.out)
        outcome = execute(request)
        if outcome.status != "completed":
            sys.exit(f"seed {seed}: {outcome.status}, see {request.folder}")
        rows = list(csv.DictReader((request.folder / "history.csv").open(encoding="utf-8")))
        scores.append(outcome.results()[request.lab.METRIC]["value"])
        seconds.append(sum(float(row["seconds"]) for row in rows))
        machines.add(machine(outcome.manifest["environment"]))
        verdict = "passes" if scores[-1] >= asked.bar else "does not pass"
        print(f"seed {seed}: {scores[-1]:.4f} after {len(rows)} epochs, {seconds[-1]:.0f} s: {verdict}", flush=True)
    passed = sum(score >= asked.bar for score in scores)
    print(
        f"{passed} of {len(scores)} seeds pass {asked.bar}; median {statistics.median(scores):.4f}, median training "
        f"{statistics.median(seconds):.0f} s; {' and '.join(sorted(machines))}"
    )


if __name__ == "__main__":
    main()
