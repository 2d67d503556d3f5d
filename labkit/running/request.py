"""From what was typed to a checked request: notebook, experiment, parameters, data, run folder. Nothing is started."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from labkit.data.sources import Source
from labkit.errors import RequestError
from labkit.labs import LABS, common, lab_of
from labkit.labs.common import notebook_defaults
from labkit.labs.parameters import Parameters
from labkit.paths import data_root, project_root, runs_root


@dataclass(frozen=True)
class Request:
    """A notebook to run, with parameters that were found good and data that were found whole."""

    notebook: Path
    lab: ModuleType
    params: Parameters
    given: dict[str, Any]  # the parameters that differ from the notebook's own defaults
    source: Source
    folder: Path


def make_request(
    name: str,
    experiment: str = "quick",
    overrides: Sequence[tuple[str, str]] = (),
    data: str = "",
    out: str = "",
    anyway: bool = False,
    source: Source | None = None,
) -> Request:
    """Check a request and find its run folder and its data, unless that is ``source``.

    RequestError says what is wrong with it.
    """
    notebook = find_notebook(name)
    lab, defaults = lab_of(notebook.stem), notebook_defaults(notebook)
    params = make_parameters(notebook, experiment, overrides, data, out, anyway)
    source = source or common.find_data(lab, params)
    given = {key: value for key, value in params.model_dump().items() if value != defaults.get(key)}
    return Request(notebook, lab, params, given, source, common.run_folder(lab, params, source, out))


def make_parameters(
    notebook: Path,
    experiment: str,
    overrides: Sequence[tuple[str, str]],
    data: str = "",
    out: str = "",
    anyway: bool = False,
) -> Parameters:
    """The checked parameters of a request, with absolute folders.

    ``data`` and ``out`` go to labs that read there, ``anyway`` to those that train.
    """
    lab = lab_of(notebook.stem)
    asked = common.read_experiment(notebook, experiment) | dict(overrides)
    for name, folder, place in (("data_root", data, data_root), ("runs_root", out, runs_root)):
        given = asked.get(name) or folder
        if given and name in lab.Parameters.model_fields:
            asked[name] = str(place(str(given)))
    if anyway and "anyway" in lab.Parameters.model_fields:
        asked["anyway"] = True
    return lab.Parameters.checked(notebook_defaults(notebook) | asked)


def notebooks() -> list[Path]:
    """The workbook's notebooks, in order."""
    return [path for path in sorted((project_root() / "notebooks").glob("[0-9]*.ipynb")) if path.stem in LABS]


def find_notebook(name: str) -> Path:
    """A notebook by path, stem or number (``01``)."""
    path = Path(name)
    if path.suffix == ".ipynb" and path.stem in LABS and os.path.isfile(path):
        return path.resolve()
    for known in notebooks():
        if name in (known.stem, known.name) or known.stem.split("_")[0] == name.zfill(2):
            return known
    if path.stem.split("_")[0] in ("0", "00"):
        raise RequestError(
            f"Notebook {name!r} is no lab and leaves no run: open it with 'make jupyter', or execute it with papermill."
        )
    if path.suffix == ".ipynb" and os.path.isfile(path):
        raise RequestError(
            f"The name of {name!r} does not say which notebook it is: give it the name that it had, in a folder of its "
            f"own, or run it by papermill."
        )
    names = ", ".join(known.stem for known in notebooks())
    raise RequestError(f"There is no notebook {name!r}: give a number, a name or a path of one of {names}.")
