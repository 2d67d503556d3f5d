"""What a notebook says of its exercises: read within bounds, nothing of it is run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from labkit.errors import RequestError, one_line
from labkit.exercises import exercises_of
from labkit.exercises.checker import cell_mark
from labkit.exercises.exercise import Exercise, Written
from labkit.exercises.verdict import MIME, Verdict
from labkit.labs import LABS
from labkit.untrusted import file_in, read_json

LARGEST = 2**26  # bytes of an executed notebook with its pictures; ours have 1 to 4 million
CHECKED = re.compile(r"\bcheck\(\s*[\"'](\w+)[\"']")


class Cell(BaseModel):
    """The part of a cell that is looked at."""

    cell_type: str = Field(max_length=20)
    source: str | list[str] = ""
    outputs: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The source as one text."""
        return self.source if isinstance(self.source, str) else "".join(self.source)

    @property
    def tags(self) -> list[Any]:
        """The tags; none if they are no list."""
        tags = self.metadata.get("tags", [])
        return tags if isinstance(tags, list) else []


class Contents(BaseModel):
    """The part of a notebook file that is looked at; of old notebooks, which have no cells, nothing is left."""

    cells: list[Cell] = Field(max_length=5000)
    nbformat: Literal[4]


@dataclass(frozen=True)
class Submission:
    """A notebook that was handed in: the file, the lab it is of, and its cells."""

    path: Path
    notebook: str
    cells: list[Cell]


@dataclass(frozen=True)
class Row:
    """One exercise of a submission. Beside the states of a verdict: not run, stopped (by an error), missing."""

    exercise: str
    state: str
    hint: str = ""
    answer: str = ""


def read_submission(path: Path) -> Submission:
    """A notebook of this workbook; RequestError says why a file is none."""
    try:
        content = Contents.model_validate(read_json(file_in(path.parent, path.name, LARGEST)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RequestError(f"{path} is no notebook ({f'{place}: ' if place else ''}{first['msg']}).") from None
    cells = [cell for cell in content.cells if cell.cell_type == "code"]
    return Submission(path, notebook_of(path, cells), cells)


def notebook_of(path: Path, cells: list[Cell]) -> str:
    """Which lab a notebook is of, by the exercises it checks, else by its name; RequestError if none."""
    named = {name for cell in cells for name in CHECKED.findall(cell.text)}
    most = max(LABS, key=lambda notebook: len(named & exercises_of(notebook).keys()))
    if named & exercises_of(most).keys():
        return most
    found = [notebook for notebook in LABS if notebook in path.stem]
    if not found:
        raise RequestError(f"{path} is no notebook of this workbook: it has none of the exercises.")
    return found[0]


def rows(submission: Submission) -> list[Row]:
    """What the notebook's own outputs say of each exercise, in the order of the lab; a student may have edited them."""
    return [row(exercise, submission.cells) for exercise in exercises_of(submission.notebook).values()]


def row(exercise: Exercise, cells: list[Cell]) -> Row:
    """What the outputs say of one exercise."""
    own = [cell for cell in cells if exercise.name in CHECKED.findall(cell.text)]
    if not own:
        return Row(exercise.name, "missing", "Its cell is not in the notebook: take it from the workbook's.")
    cell, found = own[-1], list(verdicts(own[-1], exercise.name))
    if found and found[-1].cell in ("", cell_mark(cell.text)):
        return told(found[-1], exercise)
    if found:
        return Row(exercise.name, "not run", "The cell was changed after it was run: run it again and save.")
    error = next((output for output in cell.outputs if output.get("output_type") == "error"), None)
    if error:
        said = one_line(f"{error.get('ename')}: {error.get('evalue')}")[:300]
        return Row(exercise.name, "stopped", f"The cell stops with {said}.")
    if cell.text.strip() == exercise.starter().strip():
        return Row(exercise.name, "not attempted")
    return Row(exercise.name, "not run", "Run the notebook and save it.")


def verdicts(cell: Cell, name: str) -> Iterator[Verdict]:
    """The verdicts on an exercise among the outputs of a cell; what is none is passed over."""
    for output in cell.outputs:
        data = output.get("data")
        if isinstance(data, dict) and MIME in data:
            try:
                verdict = Verdict.model_validate(data[MIME])
            except ValidationError:
                continue
            if verdict.exercise == name:
                yield verdict


def told(verdict: Verdict, exercise: Exercise) -> Row:
    """A verdict as a row; the hint on a usual mistake is ours, whatever the output says, and what is right has none."""
    mistakes = exercise.mistakes if isinstance(exercise, Written) else {}
    if verdict.state == "right":
        return Row(exercise.name, verdict.state)
    hint = mistakes[verdict.mistake].hint if verdict.mistake in mistakes else verdict.hint
    return Row(exercise.name, verdict.state, hint, verdict.answer)
