"""``labkit check``: what notebooks say of their exercises, for a student as a table, for staff as CSV."""

import ast
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.errors import LabError, RequestError, one_line
from labkit.exercises.submitted import Cell, Row, Submission, read_submission, rows
from labkit.files import write_asked, write_atomic
from labkit.labs import LABS
from labkit.labs.parameters import assigned
from labkit.paths import runs_root
from labkit.results.finished import READERS
from labkit.running.execute import execute
from labkit.running.machine import write_error
from labkit.running.request import Request, make_request
from labkit.untrusted import why

COLUMNS = ("student", "path", "notebook", "exercise", "state", "hint", "answer", "rerun", "match", "problem")
HERE_ONLY = ("data_root", "runs_root", "fresh")  # parameters that mean something on the student's machine alone
COPY = re.compile(r"[ _-]*(\(\d+\)|-Copy\d+)$")  # what browsers and JupyterLab add to the name of a copy
FORMULA = ("=", "+", "-", "@", "\t")  # how a cell begins that a spreadsheet would compute


@dataclass(frozen=True)
class Checked:
    """One notebook that was looked at: its rows, those of a second execution if asked for, and what went wrong."""

    path: Path
    name: str  # the path as it is shown
    notebook: str = ""
    rows: tuple[Row, ...] = ()
    again: tuple[Row, ...] = ()
    problem: str = ""

    def pairs(self) -> list[tuple[Row, Row | None]]:
        """Each row with that of the second execution."""
        later = {row.exercise: row for row in self.again}
        return [(row, later.get(row.exercise)) for row in self.rows]


def notebooks_in(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """The notebooks that are named or lie in named folders, hidden ones aside, with the names to show.

    A folder in there that may not be read is in the list, too, for ``check`` to say so. Names are told from what all
    ``paths`` have in common, so that ``handed_in/*`` are called as they would be in ``handed_in``.
    """
    found = []
    for path in paths:
        if os.path.isdir(path):
            found += sorted(_inside(path), key=lambda inside: str(inside).casefold())
        elif os.path.exists(path):
            found.append(path)
        else:
            raise RequestError(f"There is no {path}, or it may not be read: give notebooks, or folders of notebooks.")
    if not found:
        raise RequestError(f"There is no notebook in {', '.join(map(str, paths))}: give another folder.")
    folders = [os.path.abspath(path if os.path.isdir(path) else path.parent) for path in paths]
    base = os.path.commonpath(folders)
    alone = len(paths) == 1 and not os.path.isdir(paths[0])
    return [(path, one_line(str(path) if alone else Path(os.path.relpath(path, base)).as_posix())) for path in found]


def _inside(folder: Path) -> Iterator[Path]:
    """Notebooks somewhere in a folder, and folders there that may not be read."""
    refused: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=lambda error: refused.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in files if name.endswith(".ipynb") and not name.startswith("."))
    yield from refused


def check(path: Path, name: str, rerun: bool, data: str = "", timeout: float = 0) -> Checked:
    """Look at one notebook and, with ``rerun``, run it; whatever is wrong with it is its ``problem``, in a sentence."""
    notebook, found = "", ()
    try:
        if path.is_dir():
            raise RequestError(f"{path} may not be read: ask for the right to, or leave it out.")
        submission = read_submission(path)
        notebook, found = submission.notebook, tuple(rows(submission))
        again = tuple(run_again(submission, data, timeout)) if rerun else ()
    except LabError as error:
        return Checked(path, name, notebook, found, problem=str(error))
    except Exception as error:  # whatever it is, the other notebooks are looked at
        return Checked(path, name, notebook, found, problem=one_line(f"{path} cannot be looked at ({why(error)})."))
    return Checked(path, name, notebook, found, again)


def run_again(submission: Submission, data: str, timeout: float) -> list[Row]:
    """The rows of a second execution, of a copy without outputs, in a folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="labkit-check-") as place:
        copy = Path(place) / f"{submission.notebook}.ipynb"
        write_atomic(copy, json.dumps(bare(submission.path)))
        outcome = execute(request_for(submission, copy, data, place), fresh=True, timeout=timeout)
        if outcome.stopped:
            raise KeyboardInterrupt
        if outcome.status != "completed":
            raise LabError(f"Run again, it {outcome.failure()}")
        return rows(read_submission(outcome.folder / "notebook.ipynb"))


def request_for(submission: Submission, copy: Path, data: str, place: str) -> Request:
    """What to run: the student's parameters, on our data; an analysis reads our runs."""
    given = {name: value for name, value in injected(submission.cells).items() if name not in HERE_ONLY}
    roots = {"runs_root": str(runs_root())} if submission.notebook in READERS else {"data_root": ""}
    overrides = list((given | roots | {"fresh": False}).items())
    return make_request(str(copy), "quick", overrides, data, f"{place}/runs")


def injected(cells: Sequence[Cell]) -> dict[str, Any]:
    """The parameters that papermill has put into a notebook; none where it was run by hand."""
    source = next((cell.text for cell in cells if "injected-parameters" in cell.tags), "")
    try:
        return {name: ast.literal_eval(value) for name, value in assigned(source).items()}
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise RequestError(f"The parameters that were injected into the notebook cannot be read ({error}).") from None


def bare(path: Path) -> dict[str, Any]:
    """A notebook without outputs and without injected parameters, as JSON."""
    content = json.loads(path.read_bytes())
    cells = []
    for cell in content["cells"]:
        kept = {key: cell[key] for key in ("cell_type", "source", "metadata") if key in cell}
        tags = kept.get("metadata", {}).get("tags", [])
        if "injected-parameters" in tags:
            continue
        cells.append(kept | ({"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}


def table(checked: Sequence[Checked]) -> pd.DataFrame:
    """One row an exercise of each notebook; one for a notebook with a problem; texts that no spreadsheet computes."""
    lines = []
    for one in checked:
        whose = {"student": student_of(one), "path": one.name, "notebook": one.notebook, "problem": one.problem}
        lines += [whose | _cells(*pair) for pair in one.pairs()] or [whose]
    frame = pd.DataFrame([dict.fromkeys(COLUMNS, "") | line for line in lines], columns=list(COLUMNS))
    return frame.map(lambda text: f"'{text}" if str(text).startswith(FORMULA) else text)


def _cells(row: Row, again: Row | None) -> dict[str, str]:
    own = {"exercise": row.exercise, "state": row.state, "hint": row.hint, "answer": row.answer}
    if again is None:
        return own
    return own | {"rerun": again.state, "match": "yes" if matches(row, again) else "no"}


def matches(row: Row, again: Row) -> bool:
    """Whether a second execution says the same: the state, and what is not measured anew."""
    return (row.state, row.answer) == (again.state, again.answer)


def student_of(one: Checked) -> str:
    """What a path says beside the notebook's name: the folder of a student, or a name in the file's own."""
    path = Path(one.name)
    names = [*path.relative_to(path.anchor).parts[:-1], COPY.sub("", path.stem)]
    known = next((lab for lab in LABS if lab in names[-1]), names[-1] if len(names) > 1 else "")
    names[-1] = names[-1].replace(known, "").strip(" _-.") if known else names[-1]
    return "/".join(name for name in names if name)


def lines(one: Checked) -> Iterator[str]:
    """The table of one notebook for a student."""
    yield one.name
    if one.problem:
        yield f"  {one.problem}"
    wide = max((len(row.exercise) for row in one.rows), default=0)
    for row, again in one.pairs():
        other = "" if again is None or matches(row, again) else f" Run again, it is: {again.state}."
        yield f"  {row.exercise:{wide}}  {row.state:13}  {row.hint}{other}".rstrip()
    done = sum(row.state in ("right", "answered", "predicted") for row in one.rows)
    if one.rows:
        yield f"  {done} of {len(one.rows)} done"


def summary(one: Checked) -> str:
    """One notebook of many, in a line."""
    if one.problem and not one.rows:
        return f"{one.name}  {one.problem}"
    counts = pd.Series([row.state for row in one.rows]).value_counts(sort=False)
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    differ = [row.exercise for row, again in one.pairs() if again and not matches(row, again)]
    other = f"  run again, other: {', '.join(differ)}" if differ else ""
    return f"{one.name}  {said}{other}{f'  {one.problem}' if one.problem else ''}"


def check_place(path: Path) -> None:
    """RequestError if no table can be written there: known before what may take hours."""
    if fault := "it is a folder" if path.is_dir() else write_error(path.parent):
        raise RequestError(f"{path} cannot be written ({fault}): give another --csv.")


def write_table(path: Path, checked: Sequence[Checked]) -> None:
    """The table as CSV; the mark at its beginning tells spreadsheets that it is UTF-8."""
    write_asked(path, "\ufeff" + table(checked).to_csv(index=False, lineterminator="\n"), "--csv")


def exit_code(checked: Sequence[Checked]) -> int:
    """1 if a notebook could not be read or run, or says other than its second execution; else 0."""
    differ = any(again and not matches(row, again) for one in checked for row, again in one.pairs())
    return int(differ or any(one.problem for one in checked))
