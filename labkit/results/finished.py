"""Finished runs, read back from their folders. What is not a finished run is named with the reason, and left out."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from labkit.data.cache import open_image
from labkit.errors import CONTROL, LabError, RequestError, one_line
from labkit.results.facts import HOW, WHERE, Manifest, Result, Results, check_history, check_images, read_table
from labkit.results.manifest import read_manifest
from labkit.training.loop import best_of
from labkit.untrusted import file_in

READERS = ("06_analysis",)  # notebooks that train nothing: they read the runs of the others
LARGEST_FIGURE = 20_000_000  # bytes
FIGURE_FILES = ("png", "pdf", "svg", "alt.txt")
NOT_LEARNED = (*WHERE, *HOW, "seed", "rival")


@dataclass(frozen=True)
class FinishedRun:
    """A completed run and its files; ``name`` is ``<notebook>/<run>``, for a rival ``<notebook>/<run>/<network>``."""

    name: str
    folder: Path
    manifest: Manifest
    results: dict[str, Result]
    history: pd.DataFrame
    images: pd.DataFrame  # per_image.csv

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
        return self.history.iloc[int(best_of(self.history.to_dict("records"), self.metric)["epoch"]) - 1]

    @property
    def chosen_on_test(self) -> bool:
        """Whether the test images chose the epoch."""
        return self.manifest.parameters.get("select_on") == "test"

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
        """``per_class`` or ``tables/NAME``; RequestError if it is missing or no table."""
        return read_table(self.folder, name)

    def has_table(self, name: str) -> bool:
        """Whether there is a file for ``table``."""
        return (self.folder / f"{name}.csv").is_file()

    def description(self, figure: str) -> str:
        """What a figure shows, in words; empty if the figure is not there whole."""
        try:
            files = [file_in(self.folder, f"figures/{figure}.{end}", LARGEST_FIGURE) for end in FIGURE_FILES]
            open_image(files[0])
            return one_line(files[-1].read_text("utf-8")[:2000]).replace("*", "").strip()
        except (LabError, OSError, ValueError):
            return ""


def hardware(run: FinishedRun) -> str:
    """``2 threads of AMD EPYC``, or the name of the graphics card."""
    machine = run.manifest.environment
    if run.manifest.device != "cpu" and machine.get("gpu"):
        return str(machine["gpu"])
    threads = machine.get("threads", "?")
    return f"{threads} {'thread' if threads == 1 else 'threads'} of {machine.get('cpu', 'unknown processor')}"


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder; RequestError if there is none that can be read."""
    if folder.is_dir() and not may_be_read(folder):
        raise RequestError(f"{folder} may not be read: ask for the right to.")
    found = read_manifest(folder)
    if not found:
        raise RequestError(f"{folder} is no run folder: it has no readable manifest.json; give a folder under runs/.")
    return found


def open_run(folder: Path) -> FinishedRun:
    """Read a finished run; RequestError says why it is none."""
    raw = manifest_of(folder)
    if raw.get("notebook") in READERS:
        raise RequestError(f"{folder} is an analysis of other runs, which has no score of its own.")
    if raw.get("status") != "completed":
        error = raw.get("error")
        status, message = (_text(of, key) for of, key in ((raw, "status"), (error, "message")))
        said = f" ({message.split(': run')[0]})" if isinstance(error, dict) else ""  # how to go on is said below
        raise RequestError(f"{folder} is no finished run but {status}{said}: run it again.")
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        raise unreadable(folder / "manifest.json", error) from None
    return _read(f"{folder.parent.name}/{folder.name}", folder, manifest)


def _text(facts: Any, name: str) -> str:
    value = facts.get(name) if isinstance(facts, dict) else ""
    return value[:120] if isinstance(value, str) else "?"


def rival_of(run: FinishedRun) -> FinishedRun | None:
    """The second network that a run has trained beside its own, read as a run like any other; None if there is none."""
    parameters = run.manifest.parameters
    other = str(parameters.get("rival", "none"))
    if other == "none" or not re.fullmatch(r"\w+", other) or not (run.folder / other).is_dir():
        return None
    if (run.folder / other).is_symlink():
        raise RequestError(f"{run.folder / other} leads out of its run: put the folder itself there.")
    swapped = {"parameters": parameters | {"model": other, "rival": run.model}}
    return _read(f"{run.name}/{other}", run.folder / other, run.manifest.model_copy(update=swapped))


def _read(name: str, folder: Path, manifest: Manifest) -> FinishedRun:
    if CONTROL.search(name):
        raise RequestError(f"{folder} has a name that cannot be printed: rename it.")
    path = folder / "results.json"
    try:
        content = file_in(folder, "results.json").read_bytes()
        results = Results.model_validate_json(b'{"scores": ' + content + b"}").scores
    except (ValidationError, OSError) as error:
        raise unreadable(path, error) from None
    history, images = read_table(folder, "history"), read_table(folder, "per_image")
    run = FinishedRun(name, folder, manifest, results, history, images)
    check_history(folder / "history.csv", history, run.metric)
    check_images(folder / "per_image.csv", images, run.score_column)
    for table in ("per_class", "tables/parts", "tables/reported", "tables/costs"):
        if run.has_table(table):
            run.table(table)
    return run


def unreadable(path: Path, error: ValidationError | OSError) -> RequestError:
    """What is wrong with a file of facts of a run, in a sentence."""
    first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": error.strerror}
    place = "".join(f"{part}: " for part in first["loc"])
    return RequestError(f"{path} cannot be read as that of a run of this workbook ({place}{first['msg']}).")


def run_folders(root: Path) -> Iterator[Path]:
    """The folders under ``root`` that hold, or should hold, a trained run: ``<notebook>/<run>``, hidden ones aside.

    The folder of a notebook that may not be read is among them, for ``open_runs`` to name it.
    """
    for lab in folders_in(root):
        if lab.name not in READERS:
            yield from folders_in(lab) if may_be_read(lab) else [lab]


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, hidden ones aside; none if it is not there."""
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


def may_be_read(folder: Path) -> bool:
    """Whether one may look into a folder."""
    try:
        os.scandir(folder).close()
    except PermissionError:
        return False
    return True


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
            place = one_line(f"{folder.parent.name}/{folder.name}")
            left_out.append({"folder": place, "reason": str(error).replace(str(folder.resolve()), "it", 1)})
    return runs, pd.DataFrame(left_out, columns=["folder", "reason"])
