"""The doctor's checks of memory, cores, disks and graphics card.

How much is enough was measured with the experiment ``quick`` of labs 1 to 5 on the samples, one run each, float32 on 2
cores of an AMD EPYC (AVX2), no GPU: all processes of a run together peaked at 1,460 to 1,977 MiB (proportional set
size, looked at every 0.3 s), a run folder took 14 to 174 MiB, samples and decoded images of all labs 28 MiB.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labkit.paths import data_root, data_root_is_named, runs_root
from labkit.running import machine
from labkit.running.findings import Finding

GIB, MIB = 2**30, 2**20
NO_CARD = ("Found no NVIDIA driver", "No CUDA GPUs are available")  # what PyTorch says where there is none
MEMORY, RUN_ROOM, DATA_ROOM, TEMP_ROOM = 2 * GIB, 200 * MIB, 50 * MIB, 50 * MIB


def memory() -> tuple[float, float, bool]:
    """Bytes of memory that there are, bytes that are free, and whether a control group allows fewer than there are."""
    import psutil

    found, limit = psutil.virtual_memory(), machine.memory_limit()
    return min(found.total, limit), min(found.available, machine.memory_room()), limit < found.total


def check_memory() -> Iterator[Finding]:
    """Memory that is there, that a control group allows, and that is free."""
    total, free, limited = memory()
    by = ", as a container or batch system allows," if limited else ""
    has, need = f"{total / GIB:.1f} GiB of memory{by}", f"a small run takes up to {MEMORY / GIB:.1f} GiB"
    if total < MEMORY:
        yield Finding("wrong", f"There are {has} but {need}", "raise the limit or take another machine")
    elif free < MEMORY:
        what = f"Of {has} only {free / GIB:.1f} GiB are free, and {need}"
        yield Finding("note", what, "close other programs, and notebooks that are done")
    else:
        yield Finding("good", f"Of {has} {free / GIB:.1f} GiB are free")


def check_cores(threads: int) -> Iterator[Finding]:
    """Whether PyTorch, which starts ``threads``, uses the cores that it may use, and no more; 0: it does not say."""
    usable = machine.usable_cores()
    what = f"{usable} of {os.cpu_count()} cores may be used"
    if threads > usable:
        remedy = f"set OMP_NUM_THREADS={usable}, or threads will wait for one another"
        yield Finding("note", f"{what}, but PyTorch starts {threads} threads", remedy)
    elif 0 < threads < usable and os.environ.keys() & {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}:
        remedy = "unset OMP_NUM_THREADS and MKL_NUM_THREADS to use all"
        yield Finding("note", f"{what}, but the environment keeps PyTorch to {threads}", remedy)
    else:
        yield Finding("good", what)


def check_folder(name: str, folder: Path, room: float, remedy: str) -> Iterator[Finding]:
    """Whether ``folder`` can be written, or made, and its disk has ``room`` (bytes)."""
    if why := machine.write_error(folder):
        yield Finding("wrong", f"The {name} {folder} cannot be written ({why})", remedy)
        return
    free = machine.free_bytes(folder)
    what = f"The disk of the {name} {folder} has {free / MIB:,.0f} MiB of room"
    if free < room:
        yield Finding("wrong", f"{what} and {room / MIB:.0f} MiB are needed", f"make room there, or {remedy}")
    else:
        yield Finding("good", what)


def check_runs(out: str) -> Iterator[Finding]:
    """The folder of the runs."""
    yield from check_folder("folder of runs", runs_root(out), RUN_ROOM, "give another with --out or LABKIT_RUNS")


def check_data(root: str) -> Iterator[Finding]:
    """The data root; samples and decoded images go to the user's cache where it is read-only."""
    folder, remedy = data_root(root), "give another with --data or LABKIT_DATA"
    if data_root_is_named(root) and not folder.is_dir():
        yield Finding("wrong", f"The data folder {folder} does not exist", "give one that does, or leave it out")
        return
    import platformdirs

    cache = platformdirs.user_cache_path("labkit")
    if machine.write_error(folder) and not machine.write_error(cache):
        yield Finding("note", f"The data folder {folder} is read-only, so samples and decoded images go to {cache}")
        folder = cache
    yield from check_folder("data folder", folder, DATA_ROOM, remedy)


def check_temporary() -> Iterator[Finding]:
    """The folder of temporary files."""
    import tempfile

    remedy = "set TMPDIR to a folder of yours"
    try:
        yield from check_folder("temporary folder", Path(tempfile.gettempdir()), TEMP_ROOM, remedy)
    except FileNotFoundError as error:
        yield Finding("wrong", f"There is no temporary folder ({error.strerror})", remedy)


def graphics_cards() -> list[str]:
    """The NVIDIA cards that their driver lists, by name."""
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    return re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", listed.stdout, re.MULTILINE)


def first_sentence(message: str) -> str:
    """What a warning of PyTorch says first, without its prefix and its full stop."""
    words = " ".join(message.split()).removeprefix("CUDA initialization: ")
    return re.split(r"\.(?: (?=[A-Z(])|$)", words)[0]


def is_fault(said: str) -> bool:
    """Whether PyTorch warns of more than that there is no card."""
    return "CUDA" in said and not any(words in said for words in NO_CARD)


def check_graphics(facts: dict[str, Any], cards: list[str]) -> Iterator[Finding]:
    """Whether PyTorch can use the NVIDIA card that is there: its build, the driver, the card's age."""
    card = cards[0] if cards else facts.get("name", "")
    if facts["available"]:
        built_for = (re.match(r"sm_(\d+)", name) for name in facts["architectures"])  # sm_90a is one, too
        oldest = min((int(found[1]) for found in built_for if found), default=0)
        major, minor = facts["capability"]
        if 10 * major + minor < oldest:
            what = f"{card} has compute capability {major}.{minor}, and this PyTorch is built for {oldest / 10:.1f} on"
            yield Finding("wrong", what, "install an older PyTorch, or run on the processor with -p device cpu")
        else:
            yield Finding("good", f"PyTorch can use {card}, of compute capability {major}.{minor}")
    elif card and not facts["built"]:
        yield Finding("wrong", f"{card} is there, but this PyTorch is built without CUDA", "install a build with CUDA")
    elif card and os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        yield Finding("note", f"{card} is there, but CUDA_VISIBLE_DEVICES hides it", "unset it to use the card")
    elif card or any(map(is_fault, facts["says"])):
        said = first_sentence(next(iter(facts["says"]), "it does not say why"))
        remedy = "update the NVIDIA driver, or install a PyTorch that is built for an older CUDA"
        yield Finding("wrong", f"PyTorch cannot use {card or 'the graphics card'} ({said})", remedy)


def check_precision(facts: dict[str, Any]) -> Iterator[Finding]:
    """Whether 16 bits are faster than 32 here."""
    if facts["device"] == "cpu" and facts["precision"] == "float32":
        what = "This processor has neither AVX512-BF16 nor AMX, so runs take float32, which is slower"
        yield Finding("note", what)
