"""What was predicted, written and answered in the exercises of a lab, from the run's ``exercises.json``."""

from collections import Counter
from pathlib import Path

from labkit.exercises import exercises_of
from labkit.exercises.checker import recorded
from labkit.exercises.exercise import Exercise, Written
from labkit.exercises.verdict import MARKS, Verdict
from labkit.report import markdown as md
from labkit.results.finished import READERS


def attempted(notebook: str, folder: Path) -> dict[str, Verdict]:
    """The last verdict on each exercise of the lab that was attempted; none if nothing readable says so."""
    known = exercises_of(notebook)
    return {name: v for name, v in recorded(folder).items() if name in known and v.state != "not attempted"}


def analysis_exercises(root: Path) -> str:
    """``exercises_part`` of that analysis under ``root`` in which most was attempted; empty if none was."""
    (notebook,) = READERS
    folders = sorted((root / notebook).glob("[!.]*"))
    most = max(folders, key=lambda folder: len(attempted(notebook, folder)), default=None)
    return exercises_part(notebook, most) if most else ""


def exercises_part(notebook: str, folder: Path) -> str:
    """How far the exercises of a run folder are, then each that was attempted; empty if none was."""
    known, done = exercises_of(notebook), attempted(notebook, folder)
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
