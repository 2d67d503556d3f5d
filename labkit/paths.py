"""Where things lie: the project, the data root and the folder of runs."""

import os
from pathlib import Path

from labkit.errors import RequestError

PACKAGE = Path(__file__).resolve().parent


def project_root() -> Path:
    """The checkout labkit was installed from, wherever the caller stands; the working directory if there is none."""
    return PACKAGE.parent if (PACKAGE.parent / "notebooks").is_dir() else Path.cwd()


def data_root(parameter: str = "") -> Path:
    """The parameter ``data_root`` if given, else the variable LABKIT_DATA, else ``data/`` of the project."""
    return _choose(parameter, "LABKIT_DATA", "data")


def data_root_is_named(parameter: str = "") -> bool:
    """Whether the user named the data root; the default one may be missing, a named one must be there."""
    return bool(parameter or os.environ.get("LABKIT_DATA"))


def runs_root(parameter: str = "") -> Path:
    """The option ``--out`` if given, else the variable LABKIT_RUNS, else ``runs/`` of the project."""
    return _choose(parameter, "LABKIT_RUNS", "runs")


def _choose(parameter: str, variable: str, default: str) -> Path:
    given = parameter or os.environ.get(variable, "")
    try:
        return Path(given).expanduser().resolve() if given else project_root() / default
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: ~nobody, or links in a circle
        raise RequestError(f"{given!r} is not the path of a folder ({error}): give another one.") from None
