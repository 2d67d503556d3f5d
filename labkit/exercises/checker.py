"""``check`` of the notebooks: says of an answer whether it is right, and keeps what it said in the run folder."""

import difflib
import hashlib
from pathlib import Path
from typing import Any

from IPython import get_ipython
from pydantic import BaseModel, Field, ValidationError

from labkit.errors import LabError, RequestError
from labkit.exercises import exercises_of
from labkit.exercises.exercise import Prediction
from labkit.exercises.verdict import Verdict
from labkit.files import write_json
from labkit.results.run import Run
from labkit.untrusted import file_in, read_json

RECORD = "exercises.json"


class Record(BaseModel):
    """``exercises.json``: the last verdict on each exercise that was checked."""

    exercises: list[Verdict] = Field(max_length=100)


def recorded(folder: Path) -> dict[str, Verdict]:
    """The last verdict on each exercise by name; none if nothing readable says so."""
    try:
        return {v.exercise: v for v in Record.model_validate(read_json(file_in(folder, RECORD))).exercises}
    except (LabError, ValidationError):
        return {}


class Checker:
    """Judges the answers of one notebook: ``check = Checker(run)``, then ``check("name", answer)``."""

    def __init__(self, run: Run):
        self.folder, self.exercises = run.folder, exercises_of(run.manifest["notebook"])
        self.record = {name: v for name, v in recorded(run.folder).items() if name in self.exercises}

    def __call__(self, name: str, answer: Any, measured: Any = None) -> None:
        """Show the verdict on ``answer`` and write all verdicts so far to ``exercises.json``."""
        if name not in self.exercises:
            near = difflib.get_close_matches(str(name), self.exercises, n=1, cutoff=0.0)[0]
            raise RequestError(f"There is no exercise {name!r} in this notebook: did you mean {near!r}?")
        exercise = self.exercises[name]
        verdict = exercise.judge(answer, measured).model_copy(update={"cell": cell_mark(running_cell())})
        if isinstance(exercise, Prediction):
            verdict = verdict.after(self.record.get(name))
        self.record[name] = verdict
        write_json(self.folder / RECORD, Record(exercises=[*self.record.values()]).model_dump())
        verdict.show()


def running_cell() -> str:
    """The source of the cell that is being run; empty where there is no notebook."""
    shell = get_ipython()
    history = getattr(shell, "history_manager", None)
    return history.input_hist_raw[-1] if history else ""


def cell_mark(source: str) -> str:
    """A fingerprint of a cell."""
    return hashlib.sha256(source.strip().encode("utf-8", "replace")).hexdigest()[:16] if source else ""
