"""Asking a notebook to stop, and seeing to it that it has heard. Light on purpose, as ``results.manifest``."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from labkit.results.manifest import FINISHED, progress_of, written_manifest

GRACE = 60.0  # seconds that an interrupted notebook has for finishing its step and saving
AGAIN = 5.0  # seconds after which a notebook that is not training is asked again
REPORTS = 3  # of a training's progress, by which one sees that it goes on; one that has heard makes one more at most


class Asked:
    """A kernel that was interrupted, as by the square button: a training saves and stops, any other cell just stops.

    Jupyter drops an interrupt that comes between two cells, so it may take another.
    """

    def __init__(self, folder: Path, kernel: int):
        """Interrupt the process ``kernel`` of the run in ``folder``."""
        self.folder, self.kernel = folder, kernel
        self.ask()

    def ask(self) -> None:
        """Interrupt it."""
        self.when, self.reports = time.monotonic(), {progress_of(self.folder)}
        with contextlib.suppress(OSError):
            os.kill(self.kernel, signal.SIGINT)

    def ask_again_if_unheard(self) -> None:
        """Interrupt it once more if it goes on as if nobody had."""
        self.reports.add(progress_of(self.folder))
        goes_on = len(self.reports) > REPORTS
        silent = self.reports == {""} and time.monotonic() - self.when > AGAIN
        if (goes_on or silent) and written_manifest(self.folder).get("status") not in FINISHED:
            self.ask()


def wait_for(asked: Iterable[Asked], goes_on: Callable[[Asked], bool]) -> None:
    """Wait until none of those that were asked goes on, GRACE at the longest, and see to it that they have heard."""
    end = time.monotonic() + GRACE
    while (left := list(filter(goes_on, asked))) and time.monotonic() < end:
        for one in left:
            one.ask_again_if_unheard()
        time.sleep(0.1)
