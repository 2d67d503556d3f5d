"""What ``labkit run`` costs over the same code as a script: papermill, a kernel, and a notebook that is written.

Lab 1 on its sample with one epoch of 200 images; the script is the notebook's own code, run by IPython.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nbconvert import PythonExporter
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from timing import arguments, in_turn, report

from labkit.running.request import find_notebook

CHANGES = {"limit": 200, "epochs": 1}
BIN = Path(sys.executable).parent


def seconds(command: list[str | Path]) -> float:
    """The time of a command that leaves its run in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        environment = {**os.environ, "LABKIT_RUNS": folder}
        subprocess.run(command, check=True, capture_output=True, env=environment, cwd=find_notebook("01").parent)
        return time.perf_counter() - began


def main() -> None:
    """Measure both."""
    asked = arguments(__doc__, rounds=3)
    notebook = parameterize_notebook(load_notebook_node(str(find_notebook("01"))), CHANGES)
    options = [word for name, value in CHANGES.items() for word in ("-p", name, str(value))]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "lab.py"
        script.write_text(PythonExporter().from_notebook_node(notebook)[0], "utf-8")
        sides: dict[str, Callable[[], float]] = {
            "the notebook's code as a script": lambda: seconds([BIN / "ipython", script]),
            "labkit run": lambda: seconds([BIN / "labkit", "run", "01", *options]),
        }
        report("Lab 1, one epoch of 180 images, all figures", "s", in_turn(sides, asked.rounds))


if __name__ == "__main__":
    main()
