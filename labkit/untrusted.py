"""Files that a stranger may have made or damaged: read within bounds and inside their folder, or refused."""

import json
from pathlib import Path
from typing import Any

import yaml

from labkit.errors import RequestError

LARGEST = 2**20  # bytes of a file of facts; larger is a mistake, or meant to do harm
LARGEST_YAML, DEEPEST = 2**16, 20  # bytes, lists in each other; PyYAML is slow, and slower the deeper they are


def file_in(folder: Path, name: str, largest: int = LARGEST) -> Path:
    """The file ``name`` of a folder; RequestError if it is no plain file, too large, or a link leads out of there."""
    path = folder / name
    try:
        found = path.resolve(strict=True)
        if not found.is_relative_to(folder.resolve()):
            raise ValueError("it leads out of its folder")
        if not found.is_file():  # a pipe would be waited for, a device has no end
            raise ValueError("it is no file")
        if found.stat().st_size > largest:
            raise ValueError(f"it has more than {largest:,} bytes")
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
        raise RequestError(f"{path} cannot be read ({why(error)}).") from None
    return path


def linked_file(path: Path, largest: int = LARGEST) -> Path:
    """A file of a data set, which may be a link to where the data are kept; else as ``file_in``."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise RequestError(f"{path} cannot be read ({why(error)}).") from None
    return file_in(real.parent, real.name, largest)


def read_json(path: Path) -> Any:
    """What a JSON file holds; RequestError if it holds none."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"{path} is not a JSON file ({why(error)}).") from None


def read_yaml(path: Path, loader: type[yaml.SafeLoader | yaml.BaseLoader]) -> Any:
    """What a YAML file holds, without aliases, by which a small file can stand for an endless one."""
    try:
        text = path.read_text("utf-8")
        _check_tokens(text, loader)
        return yaml.load(text, loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        colon = "; text with a colon in it belongs in quotes" if "mapping values" in str(error) else ""
        said = f"{line}{error.problem or why(error)}{colon}"
        raise RequestError(f"{path} is not a YAML file ({said}): mend it.") from None
    except Exception as error:  # beside YAMLError, PyYAML raises whatever a value makes Python's int or date raise
        raise RequestError(f"{path} is not a YAML file ({why(error)}): mend it.") from None


def _check_tokens(text: str, loader: type[yaml.SafeLoader | yaml.BaseLoader]) -> None:
    depth = 0
    for token in yaml.scan(text, loader):
        kind = type(token).__name__
        depth += kind.endswith("StartToken") - kind.endswith("EndToken")
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        if kind == "AliasToken":
            raise ValueError("it has an alias, *NAME")


def why(error: Exception) -> str:
    """What an error says, in a line."""
    said = error.strerror if isinstance(error, OSError) else str(error)
    return (said or type(error).__name__).splitlines()[0]
