"""The section "Exercises" of the notebooks, written from the exercises: ``python -m labkit.exercises.cells``.

The cells stand in the notebooks so that a student can fill them in, but they are made here. Run this after every change
of an exercise; a test compares. What was filled in is lost: it is for the notebooks of the workbook, not for copies.
"""

import json
from pathlib import Path
from typing import Any

from labkit.exercises import exercises_of, more_of
from labkit.files import write_atomic
from labkit.labs import LABS
from labkit.paths import project_root
from labkit.results.machine import STUDENT

HEADING = "## Exercises"
INTRODUCTION = f"""{HEADING}

Fill in a cell and run it: `check` says whether it is right, and where to look if it is not. Cells left as they are do
no harm. A guess is judged when the notebook has run to its end. Import what you need in the cell. `labkit check
NOTEBOOK` lists how far you are; save the notebook first."""
OPEN = """from labkit.exercises.checker import Checker

check = Checker(run)"""
TAGS = [STUDENT, "raises-exception"]  # an error in a student's cell does not keep the next ones from running


def section(notebook: str) -> list[dict[str, Any]]:
    """The cells of the section, for a notebook's stem."""
    lab = f"lab{int(notebook[:2])}"
    cells = [markdown(f"{lab}-exercises", INTRODUCTION), code(f"{lab}-check", OPEN)]
    for number, exercise in enumerate(exercises_of(notebook).values(), start=1):
        text = f"### {number}. {exercise.title}\n\n{exercise.text}"
        cells.append(markdown(f"{lab}-{exercise.name}", text))
        cells.append(code(f"{lab}-{exercise.name}-answer", exercise.starter(), TAGS))
    return [*cells, markdown(f"{lab}-more", more_of(notebook))]


def markdown(name: str, text: str) -> dict[str, Any]:
    """A cell of text as it stands in a file."""
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text.splitlines(keepends=True)}


def code(name: str, source: str, tags: list[str] | None = None) -> dict[str, Any]:
    """A cell of code, not yet run."""
    metadata = {"tags": tags} if tags else {}
    lines = source.splitlines(keepends=True)
    cell = {"cell_type": "code", "execution_count": None, "id": name, "metadata": metadata, "outputs": []}
    return cell | {"source": lines}


def before(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells in front of the section; all of them where there is none yet."""
    places = [i for i, cell in enumerate(cells) if "".join(cell["source"]).startswith(HEADING)]
    return cells[: places[0]] if places else cells


def write(path: Path) -> None:
    """Put the section at the end of a notebook, in place of the one that is there."""
    notebook = json.loads(path.read_text("utf-8"))
    notebook["cells"] = before(notebook["cells"]) + section(path.stem)
    write_atomic(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for name in LABS:
        write(project_root() / "notebooks" / f"{name}.ipynb")
