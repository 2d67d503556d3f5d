"""What this process may use of the machine: memory, cores and disk, also where a container or a batch system says less.

Linux keeps such limits in control groups: files in the folder of the process's own group and in those above it.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

GROUPS = Path("/sys/fs/cgroup")


def group_folders(text: str, controller: str) -> list[Path]:
    """Where limits of ``controller`` (cpu, memory) may stand, by the text of ``/proc/self/cgroup``; own group first.

    Its lines are ``4:memory:/a/b`` in version 1, with a mount a controller, and ``0::/a/b`` in version 2.
    """
    folders = []
    for _, controllers, path in (line.split(":", 2) for line in text.splitlines()):
        if controller in controllers.split(",") or not controllers:
            own = PurePosixPath(path.lstrip("/"))
            mount = GROUPS / (controller if controllers else "")
            folders += [mount / level for level in (own, *own.parents)]
    return folders


def bytes_in(words: list[str]) -> float:
    """The limit in ``memory.max``, or in ``memory.limit_in_bytes``, which is near 2^63 where there is none."""
    return math.inf if words[0] == "max" or int(words[0]) >= 2**60 else int(words[0])


def room_in(words: list[str]) -> float:
    """Limit less use: ``memory.max`` and ``memory.current``, then the names and numbers of ``memory.stat``.

    Pages of files that nobody has used for a while count as use, but the system drops them when it needs memory.
    """
    told = dict(zip(words[2::2], words[3::2], strict=False))
    return bytes_in(words) - int(words[1]) + int(told.get("total_inactive_file", told.get("inactive_file", 0)))


def cores_in(words: list[str]) -> float:
    """Quota by period, as in ``cpu.max`` ("150000 100000") or in the two files of version 1 (-1: no quota)."""
    return math.inf if words[0] in ("max", "-1") else int(words[0]) / int(words[1])


def _least(controller: str, files: tuple[tuple[str, ...], ...], parse: Callable[[list[str]], float]) -> float:
    """The least that ``parse`` makes of ``files`` in the groups of this process; infinity where there are none."""
    try:
        folders = group_folders(Path("/proc/self/cgroup").read_text("utf-8"), controller)
    except OSError:
        return math.inf
    places = [[folder / name for name in names] for folder in folders for names in files]
    texts = [" ".join(path.read_text() for path in place) for place in places if all(map(Path.is_file, place))]
    return min((parse(text.split()) for text in texts), default=math.inf)


def memory_limit() -> float:
    """Bytes that this process and its like may take together; infinity without a limit."""
    return _least("memory", (("memory.max",), ("memory.limit_in_bytes",)), bytes_in)


def memory_room() -> float:
    """Bytes that this process and its like may still take; infinity without a limit."""
    files = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    return _least("memory", tuple((*names, "memory.stat") for names in files), room_in)


def core_quota() -> float:
    """Processor seconds a second that the control group may take; infinity without a limit."""
    return _least("cpu", (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")), cores_in)


def bound_cores() -> int:
    """The cores that the system lets this process run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cores() -> int:
    """How many threads can work at once: bound cores, or the quota of the control group rounded up if that is less."""
    return max(1, min(bound_cores(), math.ceil(min(core_quota(), 2**20))))


def threads_within_quota() -> int:
    """Threads for one run: what a quota allows, which PyTorch does not look at; 0 where its own choice is right."""
    within, asked = usable_cores(), any(map(os.environ.get, ("OMP_NUM_THREADS", "MKL_NUM_THREADS")))
    return within if within < bound_cores() and not asked else 0


def there(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists: where ``path`` would be made."""
    return next(level for level in (path, *path.parents) if level.exists())


def write_error(folder: Path) -> str:
    """Why no file can be written into ``folder`` or where it would be made; "" if one can."""
    try:
        with tempfile.TemporaryFile(dir=there(folder)):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__


def free_bytes(folder: Path) -> int:
    """Room on the disk of ``folder``, for this user."""
    return shutil.disk_usage(there(folder)).free
