"""Errors meant to be read: one sentence that says what is wrong, where, what was expected and what to do."""

from pathlib import Path


class LabError(Exception):
    """Something a user can mend; notebooks and the command line show its sentence and no traceback."""

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

    def __str__(self) -> str:
        return self.args[0]
