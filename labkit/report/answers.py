"""What was predicted, written and answered in the exercises of a lab, from the run's ``exercises.json``."""

from collections import Counter

from pydantic import BaseModel, Field, ValidationError

from labkit.errors import LabError
from labkit.exercises import exercises_of
from labkit.exercises.checker import RECORD
from labkit.exercises.exercise import Exercise, Written
from labkit.exercises.verdict import MARKS, Verdict
from labkit.report import markdown as md
from labkit.results.finished import FinishedRun
from labkit.untrusted import file_in, read_json


class Record(BaseModel):
    """``exercises.json``: the last verdict on each exercise that was checked."""

    exercises: list[Verdict] = Field(max_length=100)


def attempted(run: FinishedRun) -> dict[str, Verdict]:
    """The last verdict on each exercise of the lab that was attempted; none if nothing readable says so."""
    known = exercises_of(run.manifest.notebook)
    try:
        record = Record.model_validate(read_json(file_in(run.folder, RECORD)))
    except (LabError, ValidationError):
        return {}
    return {v.exercise: v for v in record.exercises if v.exercise in known and v.state != "not attempted"}


def exercises_part(run: FinishedRun) -> str:
    """How far the exercises are, then each that was attempted; empty if none was."""
    known, done = exercises_of(run.manifest.notebook), attempted(run)
    if not done:
        return ""
    counts = Counter(verdict.state for verdict in done.values())
    counts["not attempted"] = len(known) - len(done)
    states = ", ".join(f"{counts[state]} {state}" for state in MARKS if counts[state])
    head = f"{len(known)} exercises, as the checks in the notebook found them: {states}.\n\n"
    return head + md.bullets([_entry(known[name], done[name]) for name in known if name in done])


def _entry(exercise: Exercise, verdict: Verdict) -> str:
    """Title and state; of a prediction how near it came, of a question the answer, of a function no word more."""
    said = "" if isinstance(exercise, Written) else verdict.answer if verdict.state == "answered" else verdict.hint
    return f"**{md.plain(exercise.title)}** ({verdict.state}){f': {md.plain(said)}' if said else ''}"
