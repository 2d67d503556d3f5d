"""Lab 6: from finished runs to understanding. It trains nothing: its data are the run folders of the other labs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import pandas as pd
from pydantic import model_validator

from labkit.data.sources import Source, fingerprint_of
from labkit.errors import DataError
from labkit.files import sha256
from labkit.labs import LABS
from labkit.labs.parameters import Parameters as AnyParameters
from labkit.labs.parameters import text, whole
from labkit.paths import runs_root
from labkit.results.claims import gains_over, is_unchanged_experiment
from labkit.results.finished import READERS, FinishedRun, find_runs
from labkit.results.reported import claims_of
from labkit.results.words import many

NOTEBOOK = "06_analysis"
METRIC = "claims_tried"
READ = ("manifest.json", "results.json", "history.csv")  # what makes a run this run
HALVED = 16  # a UNet of four levels halves four times


class Parameters(AnyParameters):
    """The parameters of notebook 06."""

    runs_root: text("folder of the runs; empty: LABKIT_RUNS, else runs/")
    labs: text("which labs, empty: all", r"^(\d\d(,\d\d)*)?$", "numbers such as 02,03")
    experiments: text("which experiments, empty: all", r"^([\w.-]+(,[\w.-]+)*)?$", "names separated by commas")
    measure_side: whole(0, 512, "measure speed and memory on images of this side, in pixels; 0: do not")

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        if 0 < self.measure_side < 2 * HALVED:
            raise ValueError(
                f"Parameter 'measure_side' is {self.measure_side}, but must be 0 or at least {2 * HALVED}: the UNet "
                f"that is measured halves its images to a {HALVED}th, and batch normalisation needs more than a pixel."
            )
        return self


@dataclass(frozen=True)
class Runs(Source):
    """The finished runs under a folder as a source of data."""

    def caveat(self) -> str:
        """What a reader must know of these runs before any score."""
        if self.kind == "official" and self.verified:
            return "All runs are on complete published data."
        part = {"sample": "All", "mixed": "Some", "official": "None"}[self.kind]
        rest = "" if self.kind != "official" else " But some are on a part of the data or on other files."
        return (
            f"**{part} of these runs are on sample data.**{rest} Tables and figures name the data of each run, and no "
            f"report is judged by a run on anything but the complete published data."
        )


@dataclass(frozen=True)
class Data:
    """The finished runs, and the folders that hold none, with the reason."""

    runs: list[FinishedRun]
    left_out: pd.DataFrame

    def facts(self, source: Source) -> dict[str, Any]:
        """For the manifest: where the runs lie, and which they are."""
        counts = {"runs": len(self.runs), "left_out": len(self.left_out)}
        return source.facts() | {"counts": counts, "runs": [run.name for run in self.runs]}


def known(runs: Sequence[FinishedRun], left_out: pd.DataFrame) -> tuple[list[FinishedRun], pd.DataFrame]:
    """The runs of labs that this workbook has; the others join what was left out."""
    foreign = [
        {"folder": run.name, "reason": f"it is of {run.manifest.notebook!r}, which is no lab of this workbook."}
        for run in runs
        if run.manifest.notebook not in LABS
    ]
    kept = [run for run in runs if run.manifest.notebook in LABS]
    return kept, pd.concat([left_out, pd.DataFrame(foreign, columns=left_out.columns)], ignore_index=True)


def wanted(params: Parameters) -> Data:
    """The runs that the parameters ask for."""
    root = runs_root(params.runs_root)
    runs, left_out = known(*find_runs(root))
    labs, experiments = (set(text.split(",")) - {""} for text in (params.labs, params.experiments))
    runs = [run for run in runs if not labs or run.manifest.notebook[:2] in labs]
    runs = [run for run in runs if not experiments or run.manifest.experiment in experiments]
    if not runs:
        such = " of these labs and experiments" if labs or experiments else ""
        raise DataError(f"There are no finished runs{such} under {root}: make some first, with labkit run --all.")
    return Data(runs, left_out)


def find_data(params: Parameters) -> Runs:
    """Find the finished runs; DataError if there are none."""
    runs = wanted(params).runs
    kinds = {run.manifest.data.kind for run in runs}
    paths = {f"{run.name}/{name}": run.folder / name for run in runs for name in READ}
    files = {name: sha256(path) for name, path in paths.items() if path.exists()}  # a rival shares its run's manifest
    labs = len({run.manifest.notebook for run in runs})
    return Runs(
        name=f"{many(len(runs), 'trained network')} of {many(labs, 'lab')}",
        kind=kinds.pop() if len(kinds) == 1 else "mixed",
        verified=not any(run.manifest.data.obstacle for run in runs),
        root=runs_root(params.runs_root),
        fingerprint=fingerprint_of(files),
        files=files,
    )


def load_data(params: Parameters, source: Source) -> Data:
    """The runs once more, as ``find_data`` has found them: without those that have ended since."""
    found = wanted(params)
    return replace(found, runs=[run for run in found.runs if f"{run.name}/results.json" in source.files])


def results(claims: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """``results.json``: how many of the reported numbers have been tried, and how many were reproduced or passed."""
    tried = claims[claims["verdict"] != "not run"]
    held = tried["verdict"].str.startswith(("reproduced", "better")).sum()
    whole = {"low": None, "high": None, "interval": ""}
    return {
        METRIC: {"value": float(len(tried)), "n": len(claims), **whole, "over": "reported numbers"},
        "claims_reproduced_or_passed": {"value": float(held), "n": len(tried), **whole, "over": "numbers tried"},
    }


def missing(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """What is not there yet, and the command that makes it: labs, then experiments of the reports."""
    done = {(run.manifest.notebook, run.manifest.experiment) for run in runs if is_unchanged_experiment(run)}
    tried = {run.manifest.notebook for run in runs}
    rows = []
    for notebook in (name for name in LABS if name not in READERS):
        number = notebook[:2]
        if notebook not in tried:
            rows.append({"lab": number, "missing": "any run", "command": f"labkit run {number}"})
        table = claims_of(notebook)
        for experiment in dict.fromkeys([*table["experiment"], *gains_over(notebook)]):
            if (notebook, experiment) not in done:
                command = f"labkit run {number} -e {experiment} --data DIR"
                rows.append({"lab": number, "missing": f"{experiment}, as reported", "command": command})
    return pd.DataFrame(rows, columns=["lab", "missing", "command"])
