"""What one waits for before anything is computed: imports, the command's help, and the first figure of each lab."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from papermill.iorw import load_notebook_node
from timing import arguments, in_turn, report, seconds_of

from labkit.running.request import find_notebook

IMPORTS = {
    "import torch": "import torch",
    "import labkit": "import labkit, labkit.models, labkit.training.loop",
    "import the labs": "from labkit.labs import LABS, lab_of; [lab_of(name) for name in LABS]",
    "labkit --help": "import sys; sys.argv = ['labkit', '--help']; from labkit.cli import app; app()",
}


def process(code: str) -> Callable[[], float]:
    """The time of a Python process that does this and ends."""
    command = [sys.executable, "-c", code]
    return lambda: seconds_of(lambda: subprocess.run(command, check=True, capture_output=True))


def cells(notebook: NotebookNode, folder: Path, until: Callable[[NotebookNode], bool]) -> float:
    """The time from the start of a kernel to the end of the first cell ``until`` which holds; runs are left nowhere."""
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    with tempfile.TemporaryDirectory() as runs:
        began = time.perf_counter()
        with client.setup_kernel(env={**os.environ, "LABKIT_RUNS": runs}):
            for i, cell in enumerate(notebook.cells):
                if cell.cell_type == "code":
                    client.execute_cell(cell, i)
                    if until(cell):
                        return time.perf_counter() - began
    raise SystemExit(f"No cell of the notebook in {folder} is the one that was waited for.")


def first_figure(path: Path) -> float:
    """The time from the start of a kernel to the first figure of a lab's notebook."""
    draws = lambda cell: any("image/png" in output.get("data", {}) for output in cell.outputs)  # noqa: E731
    return cells(load_notebook_node(str(path)), path.parent, draws)


def torch_in_a_kernel() -> float:
    """The time from the start of a kernel to where it has PyTorch, which no lab can do without."""
    return cells(new_notebook(cells=[new_code_cell("import torch")]), Path.cwd(), lambda cell: True)


def main() -> None:
    """Measure both."""
    asked = arguments(__doc__, rounds=5)
    imports = in_turn({name: process(code) for name, code in IMPORTS.items()}, asked.rounds)
    report("A process that", "s", imports)
    paths = [find_notebook(f"{lab:02}") for lab in range(1, 6)]
    figures = {path.stem: lambda path=path: first_figure(path) for path in paths}
    kernels = in_turn({"a kernel with PyTorch": torch_in_a_kernel, **figures}, asked.rounds)
    report("From the start of a kernel to the first figure, on sample data", "s", kernels)


if __name__ == "__main__":
    main()
