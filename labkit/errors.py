"""Errors meant to be read: one sentence that says what is wrong, where, what was expected and what to do."""


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
