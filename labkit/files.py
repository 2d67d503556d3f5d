"""Files that are whole or not there: written under another name, flushed to the disk, then renamed."""

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from labkit.errors import RequestError, StorageError

UNFINISHED = ".unfinished"  # how names end under which files are written


@contextlib.contextmanager
def whole_file(path: Path, before: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A name to write to; what lies there at the end becomes ``path``, so nobody ever sees half of it.

    ``before`` is called when the new file is safe on the disk and about to take its place.
    StorageError where there is no room or no permission; ``path`` is then as it was before.
    """
    path, name = Path(path), ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:30]}.", suffix=UNFINISHED, dir=path.parent)
        os.close(handle)
        yield Path(name)
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        before()
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise StorageError(path, error) from error
        raise


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` so that a reader, or a crash, sees the old file or the new one and nothing in between."""
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def write_asked(path: Path, content: bytes | str, option: str) -> None:
    """``write_atomic`` for a file that was asked for by ``option``; RequestError if it cannot be written."""
    try:
        write_atomic(path, content)
    except OSError as error:
        raise RequestError(f"{path} cannot be written ({error.strerror}): give another {option}.") from None


def remove_unfinished(folder: Path) -> None:
    """Clear away what killed processes were writing in ``folder``; only for who is its one writer."""
    for path in folder.rglob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, keys in the order given; NaN and infinity, which JSON lacks, become null."""
    write_atomic(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    return checksum(path, "sha256")


def checksum(path: Path, method: str) -> str:
    """A checksum of a file's content, ``sha256`` or ``md5``, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, method).hexdigest()
