"""Finished runs, read back from their folders. What is not a finished run is named with the reason, and left out."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, FiniteFloat, ValidationError

from labkit.errors import RequestError
from labkit.results.run import read_manifest
from labkit.training.loop import rank

READERS = ("06_analysis",)  # notebooks that train nothing: they read the runs of the others
FIGURE_FILES = ("png", "pdf", "svg", "alt.txt")
NOT_LEARNED = (
    *("seed", "data_root", "source", "fresh", "anyway"),
    *("device", "precision", "num_workers", "tensorboard", "rival"),
)


class DataFacts(BaseModel):
    """What the manifest says of the data; ``obstacle`` is what forbids comparing a score on them to a published one."""

    name: str
    kind: str
    fingerprint: str
    counts: dict[str, int]
    splits: dict[str, str]
    obstacle: str = "a run of an older workbook, which did not say how complete its data were"


class Manifest(BaseModel):
    """The part of a manifest that comparison and report rest on; read, never trusted."""

    status: str
    notebook: str
    experiment: str
    seed: int
    device: str
    precision: str
    started: str
    seconds: float
    parameters: dict[str, str | int | float | bool | None]
    environment: dict[str, str | int | None]
    code: dict[str, str | bool | None]
    data: DataFacts
    sessions: list[dict[str, Any]] = []
    warnings: list[str] = []


class Result(BaseModel):
    """One entry of ``results.json``."""

    value: FiniteFloat | None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    n: int = 0
    interval: str = ""
    over: str = ""


@dataclass(frozen=True)
class FinishedRun:
    """A completed run and its files; ``name`` is ``<notebook>/<run>``, for a rival ``<notebook>/<run>/<network>``."""

    name: str
    folder: Path
    manifest: Manifest
    results: dict[str, Result]
    history: pd.DataFrame

    @property
    def metric(self) -> str:
        """The score that chose the epoch: the first of ``results.json``."""
        return next(iter(self.results))

    @property
    def score(self) -> Result:
        """The test score in ``metric``."""
        return self.results[self.metric]

    @property
    def score_column(self) -> str:
        """The column of ``per_image.csv`` whose mean is ``score``."""
        return "correct" if self.metric == "accuracy" else self.metric

    @property
    def chosen(self) -> pd.Series:
        """The row of the history whose weights were kept."""
        best = max(range(len(self.history)), key=lambda i: rank(self.history.iloc[i], self.metric))
        return self.history.iloc[best]

    @property
    def model(self) -> str:
        """The network by name; empty where a lab has only one."""
        return str(self.manifest.parameters.get("model", ""))

    @property
    def is_rival(self) -> bool:
        """Whether this is the second network of a run."""
        return self.name.count("/") > 1

    def recipe(self) -> dict[str, Any]:
        """The parameters, but for the seed and for what does not change what is learned."""
        return {name: value for name, value in self.manifest.parameters.items() if name not in NOT_LEARNED}

    def table(self, name: str) -> pd.DataFrame:
        """``per_image``, ``per_class``, or ``tables/NAME``; RequestError if it is missing or no table."""
        return read_table(self.folder / f"{name}.csv")

    def has_table(self, name: str) -> bool:
        """Whether there is a file for ``table``."""
        return (self.folder / f"{name}.csv").is_file()

    def figures(self) -> list[str]:
        """The names of the figures that are there whole: three pictures and a description, none of them a link."""
        folder = self.folder / "figures"
        parts = {p.stem: [folder / f"{p.stem}.{end}" for end in FIGURE_FILES] for p in folder.glob("*.png")}
        whole = (name for name, paths in parts.items() if all(p.is_file() and not p.is_symlink() for p in paths))
        return sorted(whole)


def hardware(run: FinishedRun) -> str:
    """``2 × AMD EPYC``, or the name of the graphics card."""
    machine = run.manifest.environment
    if run.manifest.device != "cpu" and machine.get("gpu"):
        return str(machine["gpu"])
    return f"{machine.get('threads', '?')} × {machine.get('cpu', 'unknown processor')}"


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file of a run; RequestError if it is missing or cannot be read."""
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:  # ValueError: undecodable, empty, ragged
        raise RequestError(f"{path} is missing or not a table ({str(error).splitlines()[0]}): run it again.") from None


def open_run(folder: Path) -> FinishedRun:
    """Read a finished run; RequestError says why it is none."""
    raw = read_manifest(folder)
    if not raw:
        raise RequestError(f"{folder} is no run folder: it has no manifest.json that can be read.")
    if raw.get("notebook") in READERS:
        raise RequestError(f"{folder} is an analysis of other runs, which has no score of its own.")
    if raw.get("status") != "completed":
        error = raw.get("error")
        message = f" ({str(error.get('message'))[:120]})" if isinstance(error, dict) else ""
        raise RequestError(f"{folder} is no finished run but {raw.get('status')}{message}: run it again.")
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        raise _unreadable(folder / "manifest.json", error) from None
    return _read(f"{folder.parent.name}/{folder.name}", folder, manifest)


def rival_of(run: FinishedRun) -> FinishedRun | None:
    """The second network that a run has trained beside its own, read as a run like any other; None if there is none."""
    parameters = run.manifest.parameters
    other = str(parameters.get("rival", "none"))
    if other == "none" or not re.fullmatch(r"\w+", other) or not (run.folder / other).is_dir():
        return None
    swapped = {"parameters": parameters | {"model": other, "rival": run.model}}
    return _read(f"{run.name}/{other}", run.folder / other, run.manifest.model_copy(update=swapped))


def _read(name: str, folder: Path, manifest: Manifest) -> FinishedRun:
    path = folder / "results.json"
    try:
        results = _Results.model_validate_json(b'{"scores": ' + path.read_bytes() + b"}").scores
    except (ValidationError, OSError) as error:
        raise _unreadable(path, error) from None
    if not results or next(iter(results.values())).value is None:
        raise RequestError(f"{path} holds no score: run it again.")
    history = _checked(read_table(folder / "history.csv"), next(iter(results)), folder)
    run = FinishedRun(name, folder, manifest, results, history)
    images = run.table("per_image")
    if not {"sample", run.score_column} <= set(images):
        raise RequestError(f"{folder / 'per_image.csv'} has no columns sample and {run.score_column}: run it again.")
    return run


def _unreadable(path: Path, error: ValidationError | OSError) -> RequestError:
    first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": error.strerror}
    place = "".join(f"{part}: " for part in first["loc"])
    return RequestError(f"{path} cannot be read as that of a run of this workbook ({place}{first['msg']}).")


class _Results(BaseModel):
    scores: dict[str, Result]


def _checked(history: pd.DataFrame, metric: str, folder: Path) -> pd.DataFrame:
    """The history, if it holds one row an epoch with the columns that every run writes."""
    columns = ["epoch", "seconds", *(f"{part}_{name}" for part in ("train", "val") for name in ("loss", metric))]
    missing = [name for name in columns if name not in history]
    if missing or not len(history) or not all(pd.api.types.is_numeric_dtype(history[name]) for name in columns):
        what = f"lacks {', '.join(missing)}" if missing else "holds no epochs"
        raise RequestError(f"{folder / 'history.csv'} {what}: run it again.")
    return history


def run_folders(root: Path) -> Iterator[Path]:
    """The folders under ``root`` that hold, or should hold, a trained run: ``<notebook>/<run>``, hidden ones aside."""
    for path in sorted(root.glob("[!.]*/[!.]*")):
        if path.is_dir() and path.parent.name not in READERS:
            yield path


def find_runs(root: Path) -> tuple[list[FinishedRun], pd.DataFrame]:
    """The finished runs under ``root`` and their rivals, by name, and what was left out: columns folder, reason."""
    return open_runs(run_folders(root))


def open_runs(folders: Iterable[Path]) -> tuple[list[FinishedRun], pd.DataFrame]:
    """The finished runs among ``folders``, each before its rival, and what was left out: columns folder, reason."""
    runs, left_out = [], []
    for folder in folders:
        try:
            run = open_run(folder.resolve())
            runs += [run, other] if (other := rival_of(run)) else [run]
        except RequestError as error:
            place = f"{folder.parent.name}/{folder.name}"
            left_out.append({"folder": place, "reason": str(error).replace(str(folder.resolve()), "it", 1)})
    return runs, pd.DataFrame(left_out, columns=["folder", "reason"])
