"""Two or more ways of doing the same thing, timed in turn in one process, so that a machine that slows down slows all.

Every script in this folder but ``score.py`` prints a table and writes it as JSON into ``results/``. What counts is the
ratio, taken round by round; seconds depend on the machine and on its other work.
"""

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labkit.results.machine import environment

RESULTS = Path(__file__).parent / "results"


def arguments(what: str, rounds: int) -> argparse.Namespace:
    """The options that every script has."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds that count (default {rounds})")
    return parser.parse_args()


def seconds_of(act: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def in_turn(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call every side once to warm up, then ``rounds`` times in turn; each returns its own measurement."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, measure in sides.items():
            value = measure()
            if turn:
                measured[name].append(value)
    return measured


def report(title: str, unit: str, measured: Mapping[str, list[float]], **facts: Any) -> None:
    """Print median, lowest and highest of each side, and its ratio to the first; write all of it as JSON.

    The title names the file, so it has to say all that sets this measurement apart from others.
    """
    first, base = next(iter(measured.items()))
    rows, here = {}, environment()
    print(f"\n{title} ({unit}; {len(base)} rounds in turn; {machine(here)})\n")
    print(f"{'':34} {'median':>10} {'lowest':>10} {'highest':>10}   ratio to '{first}' (lowest to highest)")
    for side, values in measured.items():
        ratios = [value / other for value, other in zip(values, base, strict=True)]
        middle, ratio = statistics.median(values), statistics.median(ratios)
        print(f"{side:34} {middle:10.3f} {min(values):10.3f} {max(values):10.3f}   ", end="")
        print(f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        rows[side] = {"median": middle, "values": values, "ratio": ratio, "ratios": ratios}
    RESULTS.mkdir(exist_ok=True)
    content = {"title": title, "unit": unit, "sides": rows, "machine": here, **facts}
    name = re.sub(r"\W+", "-", title.lower())
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def machine(facts: Mapping[str, Any]) -> str:
    """``2 threads of AMD EPYC, no GPU, torch 2.14.1, Python 3.11.7``, from what ``environment`` found."""
    cpu, gpu = f"{facts['threads']} threads of {facts['cpu']}", facts["gpu"] or "no GPU"
    return f"{cpu}, {gpu}, torch {facts['torch']}, Python {facts['python']}"
