"""``check`` of the notebooks: says of an answer whether it is right, and keeps what it said in the run folder."""

import difflib
import hashlib
from typing import Any

from IPython import get_ipython

from labkit.errors import RequestError
from labkit.exercises import exercises_of
from labkit.files import write_json
from labkit.results.run import Run

RECORD = "exercises.json"


class Checker:
    """Judges the answers of one notebook: ``check = Checker(run)``, then ``check("name", answer)``."""

    def __init__(self, run: Run):
        self.folder, self.exercises = run.folder, exercises_of(run.manifest["notebook"])
        self.record: dict[str, dict[str, str]] = {}

    def __call__(self, name: str, answer: Any, measured: Any = None) -> None:
        """Show the verdict on ``answer`` and write all verdicts so far to ``exercises.json``."""
        if name not in self.exercises:
            near = difflib.get_close_matches(str(name), self.exercises, n=1, cutoff=0.0)[0]
            raise RequestError(f"There is no exercise {name!r} in this notebook: did you mean {near!r}?")
        verdict = self.exercises[name].judge(answer, measured).model_copy(update={"cell": cell_mark(running_cell())})
        self.record[name] = verdict.model_dump()
        write_json(self.folder / RECORD, {"exercises": list(self.record.values())})
        verdict.show()


def running_cell() -> str:
    """The source of the cell that is being run; empty where there is no notebook."""
    shell = get_ipython()
    history = getattr(shell, "history_manager", None)
    return history.input_hist_raw[-1] if history else ""


def cell_mark(source: str) -> str:
    """A fingerprint of a cell."""
    return hashlib.sha256(source.strip().encode("utf-8", "replace")).hexdigest()[:16] if source else ""
