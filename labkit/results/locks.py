"""One run folder, one writer. The locks are the operating system's, so a process that dies leaves none behind."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from labkit.errors import RequestError

_LOCKS: dict[Path, FileLock] = {}


class InUse(RequestError):
    """Another process is at work in a run folder."""


def lock(folder: Path, name: str = ".lock") -> FileLock:
    """Lock ``folder`` for this process; a notebook cell that is run twice finds its own lock again.

    ``.lock`` is held by the process that writes; ``.starter`` by the one that started it from the command line, which
    keeps a second starter out also while the notebook is still on its way.
    """
    path = folder / name
    found = _LOCKS.setdefault(path, FileLock(path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not found.is_locked:
            found.acquire(timeout=0.5)  # a reader may try the lock for a moment
    except Timeout:
        raise InUse(
            f"The run folder {folder} is in use by another process: wait for it or stop it, or change a parameter "
            f"(another seed, say) to get a folder of its own."
        ) from None
    except OSError as error:
        raise RequestError(
            f"The run folder {folder} cannot be written ({error.strerror}): give another place with --out, or set "
            f"LABKIT_RUNS to a folder of yours."
        ) from None
    return found


def is_live(folder: Path) -> bool:
    """Whether some process is at work in ``folder`` now, or has just started one that will be."""
    return any(_is_held(folder / name) for name in (".lock", ".starter") if (folder / name).exists())


def _is_held(path: Path) -> bool:
    """Asked with a lock that readers share: it keeps no other reader out, and the file need not be writable."""
    try:
        import fcntl
    except ImportError:  # Windows, where another reader may be taken for a writer
        return _is_locked_for_all(path)
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # the latter for a pipe, which a stranger may have put there
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def _is_locked_for_all(path: Path) -> bool:
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
