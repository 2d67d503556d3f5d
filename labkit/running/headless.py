"""papermill, as ``labkit run`` starts it: ``python -m labkit.running.headless`` and papermill's own words.

The notebook is written under another name and gets its own when papermill is through, so it is whole or not there.

papermill lives no longer than its starter. The starter holds the other end of the standard input, which closes with it,
however it ends; the kernel is then interrupted, so that a training saves where it stands, and the run says so.
"""

import contextlib
import json
import os
import runpy
import signal
import sys
import threading
from pathlib import Path

from labkit.errors import LabError
from labkit.files import UNFINISHED
from labkit.results.manifest import STOPPED, TOKEN, end_from_outside, kernel_of
from labkit.running.asking import Asked, wait_for

UNFINISHED_NOTEBOOK = f".notebook.ipynb{UNFINISHED}"


def main() -> None:
    """Run papermill on the run folder, which is the working directory, and watch over the starter."""
    watch = Watch(Path.cwd(), os.environ[TOKEN])
    watch.start()
    # jsonschema imports it if it is there, which takes seconds, to check web addresses in schemas; notebooks have none.
    sys.modules["rfc3987_syntax"] = None
    try:
        runpy.run_module("papermill", run_name="__main__", alter_sys=True)
    finally:
        with contextlib.suppress(OSError, ValueError):
            json.loads((watch.folder / UNFINISHED_NOTEBOOK).read_text("utf-8"))
            os.replace(watch.folder / UNFINISHED_NOTEBOOK, watch.folder / "notebook.ipynb")
        if watch.alone:
            watch.say_that_it_was_stopped()


class Watch(threading.Thread):
    """Waits until the starter is gone, then stops the run in order, or at once if its kernel has not begun."""

    def __init__(self, folder: Path, token: str):
        super().__init__(daemon=True)
        self.folder, self.token, self.alone = folder, token, False
        self.starter = kernel_of(folder, token)  # whose number stands there until the kernel has begun

    def run(self) -> None:
        """End this process and its kernel GRACE after the starter at the latest, as the starter would."""
        while os.read(0, 1024):  # not sys.stdin, whose lock would still be held when Python shuts down
            pass
        self.alone = True
        kernel = kernel_of(self.folder, self.token)
        if kernel not in (0, self.starter):
            # This process ends with its notebook, unless a step takes longer than anybody waits.
            wait_for([Asked(self.folder, kernel)], lambda asked: True)
            with contextlib.suppress(OSError):
                os.kill(kernel, signal.SIGKILL)
        self.say_that_it_was_stopped()
        os.killpg(os.getpid(), signal.SIGKILL)

    def say_that_it_was_stopped(self) -> None:
        """The manifest says so, unless it says how the run ended."""
        with contextlib.suppress(LabError, OSError):
            end_from_outside(self.folder, self.token, STOPPED)
            (self.folder / "progress.txt").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
