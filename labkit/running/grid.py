"""From what was typed to the runs of a sweep: all combinations of values and seeds, each checked. None is started."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.errors import RequestError
from labkit.labs import common
from labkit.labs.parameters import Parameters
from labkit.results.finished import READERS
from labkit.running.machine import write_error
from labkit.running.request import Request, find_notebook, make_parameters, make_request

MOST = 1000  # runs of one sweep
NO_GRID = {  # parameters that make no grid, and what to say instead
    "seed": "say how many with --seeds, and the first with -p seed",
    "experiment": "sweep one experiment at a time, with -e",
    "fresh": "start over with --fresh",
    "anyway": "go on with changed code with --anyway",
    "data_root": "name the folder of the data with --data",
}


@dataclass(frozen=True)
class Planned:
    """One of several runs: its place in a grid, as values of parameters, its request, and what it is called."""

    point: dict[str, Any]
    request: Request
    name: str = ""  # else its place and seed

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.request.params.seed

    def __str__(self) -> str:
        return self.name or " ".join(f"{name}={value}" for name, value in [*self.point.items(), ("seed", self.seed)])


def plan(
    name: str,
    grid: Sequence[str],
    seeds: int = 1,
    experiment: str = "quick",
    overrides: Sequence[tuple[str, str]] = (),
    data: str = "",
    out: str = "",
    anyway: bool = False,
) -> list[Planned]:
    """The runs of a sweep over ``grid``, texts of the form ``NAME=A,B``, seed by seed within each combination.

    RequestError says what is wrong: a text that is no grid, a value that is not allowed, two runs that are one, data
    or a device that are not there, a folder that cannot be written.
    """
    values, notebook = parse(grid), find_notebook(name)
    if notebook.stem in READERS:
        raise RequestError(f"{notebook.stem} trains nothing, so there is nothing to sweep: give another notebook.")
    if twice := sorted(values.keys() & dict(overrides).keys()):
        raise RequestError(f"Parameter {twice[0]!r} is set by --grid and by -p: leave one of them out.")
    if seeds < 1:
        raise RequestError(f"--seeds is {seeds}, but must be a whole number from 1.")
    count = seeds * math.prod(map(len, values.values()))
    if count > MOST:
        raise RequestError(
            f"This sweep would be {count:,} runs, but {MOST:,} are the most: take fewer values or seeds."
        )
    asked = (experiment, data, out, anyway)
    points = [tuple(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]
    checked = {point: make_parameters(notebook, experiment, [*overrides, *point], data, out) for point in points}
    runs = [run for point, params in checked.items() for run in _runs(name, point, params, seeds, overrides, asked)]
    _check(runs)
    return runs


def parse(grid: Sequence[str]) -> dict[str, list[str]]:
    """The values to try of each parameter, as typed."""
    values: dict[str, list[str]] = {}
    for text in grid:
        name, equals, rest = (part.strip() for part in text.partition("="))
        options = [option.strip() for option in rest.split(",")]
        if not name or not equals or not all(options):
            raise RequestError(f"--grid {text!r} is no list of values: write NAME=A,B, a value between any two commas.")
        if len(set(options)) < len(options):
            raise RequestError(f"--grid {text!r} has a value twice: leave one out.")
        if name in values:
            raise RequestError(f"Parameter {name!r} has two grids: put all its values into one, --grid {name}=A,B.")
        if name in NO_GRID:
            raise RequestError(f"Parameter {name!r} makes no grid: {NO_GRID[name]}.")
        values[name] = options
    return values


def _runs(
    name: str,
    point: Sequence[tuple[str, str]],
    params: Parameters,
    seeds: int,
    overrides: Sequence[tuple[str, str]],
    asked: tuple[str, str, str, bool],
) -> Iterator[Planned]:
    """The runs of one combination, from the seed of its parameters on."""
    experiment, *places = asked
    typed: Mapping[str, Any] = {key: getattr(params, key) for key, _ in point}
    source = None  # all seeds have the same data, which are found and read once
    for seed in range(params.seed, params.seed + seeds):
        changes = [*overrides, *point, ("seed", str(seed))]
        request = make_request(name, experiment, changes, *places, source=source)
        source = request.source
        yield Planned(dict(typed), request)


def _check(runs: Sequence[Planned]) -> None:
    """RequestError where two runs are one, this machine cannot do one, or its folder cannot be written."""
    folders: dict[Any, Planned] = {}
    for run in runs:
        request = run.request
        if request.folder in folders:
            raise RequestError(f"The grid asks for the run {run} twice: leave out a value that is there already.")
        folders[request.folder] = run
        common.request_facts(request.lab, request.params, request.source)
    if why := write_error(runs[0].request.folder):
        raise RequestError(
            f"The run folder {runs[0].request.folder} cannot be written ({why}): give another place with --out, or set "
            f"LABKIT_RUNS to a folder of yours."
        )
