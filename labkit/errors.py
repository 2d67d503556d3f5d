"""Errors meant to be read: one sentence that says what is wrong, where, what was expected and what to do."""

import re
from pathlib import Path

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")  # what is no writing
LONGEST = 2000  # characters of a sentence


def one_line(text: str) -> str:
    """A text on one line, with nothing in it that a terminal or a document would not take for writing."""
    return CONTROL.sub(" ", text)


class LabError(Exception):
    """Something a user can mend; notebooks and the command line show its sentence and no traceback."""

    def __str__(self) -> str:
        """The sentence on one line: it may quote a stranger's file."""
        said = one_line(str(self.args[0]) if self.args else "")
        return said if len(said) <= LONGEST else f"{said[:LONGEST]} …"

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class RequestError(LabError):
    """The request was wrong, so nothing was started: a parameter, an experiment, a folder (exit code 2)."""


class DataError(RequestError):
    """A data file is missing, damaged or not what its name says; found before training starts."""


class TrainingError(LabError):
    """Training could not go on (exit code 1); the last good checkpoint is kept."""


class StorageError(LabError, OSError):
    """A file could not be written (exit code 1): the disk is full, say. What was there before is untouched."""

    def __init__(self, path: Path, cause: OSError):
        reason = cause.strerror or str(cause)
        super().__init__(
            f"{path} could not be written ({reason}): make room or give another folder, then run again; what was "
            f"saved before is untouched, and a training goes on from it."
        )
        self.errno, self.strerror = cause.errno, reason
