"""How a run stands, read and set from outside. Light on purpose: who stops a run must not wait for PyTorch."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit.errors import RequestError
from labkit.files import write_json
from labkit.results.locks import is_live
from labkit.untrusted import file_in, read_json

FINISHED = ("completed", "failed", "interrupted")
TOKEN = "LABKIT_TOKEN"  # environment variable by which a starter knows its own run
DEAD = "the process of the run ended without a word: it was killed, perhaps since the memory ran out"
RESERVE = ".reserve"  # room for saying how the run ended, should the disk be full by then
NESTED = ("code", "training_code")  # what has entries of its own, in a manifest that nobody has damaged
STOPPED = {"type": "KeyboardInterrupt", "message": "stopped by the user", "cell": None}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder; ``{}`` if there is none or it cannot be read.

    One that says ``running`` while no process is at work there is that of a run whose process was killed: ``failed``.
    """
    manifest = written_manifest(folder)
    if manifest.get("status") == "running" and not is_live(folder):
        manifest = written_manifest(folder)  # it may have ended in order since it was read
    if manifest.get("status") == "running" and not is_live(folder):
        manifest |= {"status": "failed", "error": {"type": "KernelDied", "message": DEAD, "cell": None}}
    return manifest


def written_manifest(folder: Path) -> dict[str, Any]:
    """The manifest as it was written, though the process may be dead that wrote it; ``{}`` if it cannot be read."""
    facts = _facts(folder, "manifest.json")
    damaged = {name: {} for name in NESTED if not isinstance(facts.get(name, {}), dict)}
    return facts | damaged


def read_results(folder: Path) -> dict[str, Any]:
    """``results.json`` of a run folder; ``{}`` if there is none or it cannot be read."""
    return _facts(folder, "results.json")


def _facts(folder: Path, name: str) -> dict[str, Any]:
    try:
        facts = read_json(file_in(folder, name))
    except RequestError:
        return {}
    return facts if isinstance(facts, dict) else {}


def progress_of(folder: Path) -> str:
    """What the training under way in a run folder says of itself; empty if there is none."""
    try:
        return (folder / "progress.txt").read_text("utf-8")
    except OSError:
        return ""


def kernel_of(folder: Path, token: str) -> int:
    """The process of the run's kernel; 0 if it has not got so far, or if the folder is no longer ours."""
    manifest = written_manifest(folder)
    pid = manifest.get("pid", 0) if manifest.get("token") == token else 0
    return 0 if pid == os.getpid() else pid


def end_from_outside(folder: Path, token: str, error: Mapping[str, Any], unless: Sequence[str] = FINISHED) -> None:
    """Say in the manifest of a run whose process is gone how it ended, unless it says one of ``unless`` itself.

    ``token`` proves that the run is the caller's own: another process may have taken the folder since.
    """
    manifest = written_manifest(folder)
    if manifest and manifest.get("token") == token and manifest.get("status") not in unless:
        ending = {"status": status_after(error["type"]), "error": dict(error), "finished": timestamp()}
        (folder / RESERVE).unlink(missing_ok=True)
        write_json(folder / "manifest.json", manifest | ending)


def status_after(error: str) -> str:
    """What a run is after an error of this type."""
    return "interrupted" if error == "KeyboardInterrupt" else "failed"


def timestamp() -> str:
    """The time as it stands in a manifest."""
    return datetime.now(UTC).isoformat(timespec="seconds")
