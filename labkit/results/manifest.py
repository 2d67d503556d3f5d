"""Reading how a run stands. Light on purpose: who stops a run must not wait for PyTorch to be imported."""

import os
from pathlib import Path
from typing import Any

from labkit.errors import RequestError
from labkit.results.locks import is_live
from labkit.untrusted import file_in, read_json

FINISHED = ("completed", "failed", "interrupted")
TOKEN = "LABKIT_TOKEN"  # environment variable by which a starter knows its own run
DEAD = "the process of the run ended without a word: it was killed, perhaps since the memory ran out"
STOPPED = {"type": "KeyboardInterrupt", "message": "stopped by the user", "cell": None}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder; ``{}`` if there is none or it cannot be read.

    One that says ``running`` while no process is at work there is that of a run whose process was killed: ``failed``.
    """
    manifest = written_manifest(folder)
    if manifest.get("status") == "running" and not is_live(folder):
        manifest |= {"status": "failed", "error": {"type": "KernelDied", "message": DEAD, "cell": None}}
    return manifest


def written_manifest(folder: Path) -> dict[str, Any]:
    """The manifest as it was written, though the process may be dead that wrote it; ``{}`` if it cannot be read."""
    try:
        manifest = read_json(file_in(folder, "manifest.json"))
    except RequestError:
        return {}
    return manifest if isinstance(manifest, dict) else {}


def kernel_of(folder: Path, token: str) -> int:
    """The process of the run's kernel; 0 if it has not got so far, or if the folder is no longer ours."""
    manifest = read_manifest(folder)
    pid = manifest.get("pid", 0) if manifest.get("token") == token else 0
    return 0 if pid == os.getpid() else pid
