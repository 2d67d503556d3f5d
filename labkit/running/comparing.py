"""Runs side by side at the command line: the lines that ``labkit compare`` prints."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from labkit.errors import RequestError
from labkit.files import write_asked
from labkit.results import compare
from labkit.results.finished import READERS, FinishedRun, folders_in, open_runs, run_folders
from labkit.results.run_words import points, span
from labkit.results.words import score

COLUMNS = ("run", "seed", "score", "95 % interval", "n", "epochs", "minutes", "precision")


def find(paths: Sequence[Path]) -> tuple[list[FinishedRun], pd.DataFrame]:
    """The finished runs in run folders and folders of such, each once; RequestError if there are none."""
    folders = dict.fromkeys(folder.resolve() for path in paths for folder in _runs_in(path))
    runs, left_out = open_runs(folder for folder in folders if folder.parent.name not in READERS)
    if not runs:
        reasons = "; ".join(f"{row.folder}: {row.reason}" for row in left_out.head(3).itertuples())
        where = ", ".join(map(str, paths))
        raise RequestError(f"There is no finished run in {where}{f' ({reasons})' if reasons else ''}: make one first.")
    return runs, left_out


def _runs_in(path: Path) -> Iterable[Path]:
    """The run that a folder is, or those of the lab whose folder it is, or those of all labs."""
    if os.path.exists(path / "manifest.json"):
        return [path]
    inside = folders_in(path)
    return inside if any(os.path.exists(run / "manifest.json") for run in inside) else run_folders(path)


def lines(paths: Sequence[Path], csv: Path | None = None) -> Iterator[str]:
    """What may be compared in one table each, what was left out, and for two runs what differs between them."""
    runs, left_out = find(paths)
    for row in left_out.itertuples():
        yield f"left out  {row.folder}: {row.reason}"
    for asked, group in compare.by_question(runs):
        yield f"\n{asked}"
        yield _table(compare.runs_table(group))
    for row in compare.effects(runs).itertuples():
        yield f"\n{row.change} against {row.against}: {points(row.difference, 2)} points ({span(row._asdict())})"
    asked_for = [run for run in runs if not run.is_rival]
    if len(asked_for) == 2:
        yield f"\n{compare.differences_words(*asked_for)}"
        yield compare.differences(*asked_for).to_string(index=False)
    if csv:
        write_asked(csv, compare.runs_table(runs).to_csv(index=False, lineterminator="\n"), "--csv")
        yield f"\n{csv}"


def _table(table: pd.DataFrame) -> str:
    metric = table["metric"].iloc[0]
    spans = [f"{score(metric, a)} to {score(metric, b)}" for a, b in zip(table["low"], table["high"], strict=True)]
    shown = table.assign(score=table["score"].map(lambda value: score(metric, value)), **{"95 % interval": spans})
    return shown[list(COLUMNS)].round({"minutes": 2}).to_string(index=False)
