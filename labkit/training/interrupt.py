"""Ctrl-C between two steps instead of in the middle of one, so that what is saved can be gone on with to the bit."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SAVED = "stopped after the step at hand, and saved: run this again to go on"


class StoppedBetweenSteps(KeyboardInterrupt):
    """A stop that was asked for, at a place from which training can go on exactly."""


def stopped_in_order() -> KeyboardInterrupt:
    """The end of a training that was stopped and saved: IPython shows a sentence in place of a traceback.

    No class of its own, since papermill and the manifest know an interruption by its name.
    """
    error = KeyboardInterrupt(SAVED)
    error._render_traceback_ = lambda: [f"KeyboardInterrupt: {SAVED}"]
    return error


class Interrupt:
    """Whether somebody asked to stop; ``check`` is called where stopping is safe."""

    requested = False

    def check(self) -> None:
        """Raise StoppedBetweenSteps if a stop was asked for."""
        if self.requested:
            raise StoppedBetweenSteps


NEVER = Interrupt()


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Turn SIGINT and SIGTERM into a note that is read between steps; a second signal stops at once, unsaved."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield interrupt
        return

    def note(number: int, frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
