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
import threading
import time
from pathlib import Path

from labkit.files import UNFINISHED
from labkit.results.manifest import STOPPED, TOKEN, kernel_of

UNFINISHED_NOTEBOOK = f".notebook.ipynb{UNFINISHED}"
GRACE = 60.0  # seconds that an interrupted notebook has for finishing its step and saving


def main() -> None:
    """Run papermill on the run folder, which is the working directory, and watch over the starter."""
    folder = Path.cwd()
    threading.Thread(target=end_with_starter, args=(folder,), daemon=True).start()
    try:
        runpy.run_module("papermill", run_name="__main__", alter_sys=True)
    finally:
        with contextlib.suppress(OSError, ValueError):
            json.loads((folder / UNFINISHED_NOTEBOOK).read_text("utf-8"))
            os.replace(folder / UNFINISHED_NOTEBOOK, folder / "notebook.ipynb")


def end_with_starter(folder: Path) -> None:
    """Wait until the starter is gone, then stop the run in ``folder`` in order, or at once if no cell has run yet."""
    while os.read(0, 1024):  # not sys.stdin, whose lock would still be held when Python shuts down
        pass
    token = os.environ[TOKEN]
    if pid := kernel_of(folder, token):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        time.sleep(GRACE)  # longer only if the interrupt came at the edge of a cell, where Jupyter loses it
        from labkit.results.run import end_from_outside  # brings PyTorch, which a run that ends well does not need here

        end_from_outside(folder, token, STOPPED)
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
