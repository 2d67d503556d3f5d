"""Run a notebook through papermill in a process of its own, and keep the manifest true whatever becomes of it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from labkit.files import write_atomic
from labkit.labs import common
from labkit.paths import data_root
from labkit.results.locks import lock
from labkit.results.machine import code_version
from labkit.results.run import DEAD, FINISHED, TOKEN, Run, end_from_outside, read_manifest
from labkit.running.headless import UNFINISHED_NOTEBOOK
from labkit.running.request import Request

LEAST_ROOM = 2**20  # bytes; a disk with less is full
GRACE = 60.0  # seconds that an interrupted notebook has for finishing its step and saving


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    manifest: dict[str, Any]
    seconds: float = 0.0
    reused: bool = False

    @property
    def status(self) -> str:
        """completed, failed or interrupted."""
        return self.manifest.get("status", "failed")

    def reuse(self) -> str:
        """What to say of a run that was not repeated."""
        same = self.manifest["code"]["sha256"] == code_version(self.manifest["notebook"])["sha256"]
        return "complete already" + ("" if same else ", by other code") + ": --fresh runs it again"

    def results(self) -> dict[str, Any]:
        """``results.json``; ``{}`` if the run did not get so far."""
        try:
            return json.loads((self.folder / "results.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}


def execute(request: Request, fresh: bool = False, timeout: float = 0.0) -> Outcome:
    """Run the notebook of ``request``; a run that is complete is not repeated unless ``fresh``.

    Ctrl-C is passed on to the notebook, which saves and stops; ``timeout`` (seconds, 0: none) does the same and counts
    as failure. RequestError if another process is at work in the folder, or it cannot be written.
    """
    fresh = fresh or request.params.fresh
    manifest = read_manifest(request.folder)
    if manifest.get("status") == "completed" and (request.folder / "results.json").exists() and not fresh:
        return Outcome(request.folder, manifest, reused=True)
    began, token = time.monotonic(), uuid.uuid4().hex
    facts = common.request_facts(request.lab, request.params, request.source)
    starter = lock(request.folder, ".starter")
    try:
        os.environ[TOKEN] = token
        (request.folder / "notebook.ipynb").unlink(missing_ok=True)  # that of an earlier try
        Run(request.folder, facts, fresh, getattr(request.params, "anyway", False)).release()
        with open(request.folder / "log.txt", "ab") as log:
            process = _start(request, log)
            try:
                _watch(process, request.folder, token, timeout)
            finally:
                _end(process, request.folder, token)
                process.stdin.close()
        (request.folder / "progress.txt").unlink(missing_ok=True)
    finally:
        os.environ.pop(TOKEN, None)
        starter.release()
    return Outcome(request.folder, read_manifest(request.folder), time.monotonic() - began)


def _start(request: Request, log: Any) -> subprocess.Popen:
    """papermill in a session of its own, so that Ctrl-C at the terminal reaches only us; stdout and stderr are kept."""
    given = request.folder / "parameters.yaml"
    values = {name: value for name, value in request.given.items() if name != "fresh"}
    write_atomic(given, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))
    output = request.folder / UNFINISHED_NOTEBOOK
    options = ["-f", str(given), "--no-progress-bar", "--log-level", "WARNING", "--autosave-cell-every", "30"]
    # papermill takes braces in a path for a place to fill in
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (request.notebook, output)]
    # Nothing is imported from the run folder (-P), and the notebook's place is its own folder, as in Jupyter.
    options += ["--cwd", str(request.notebook.parent)]
    command = [sys.executable, "-P", "-m", "labkit.running.headless", *paths, *options]
    data = data_root(getattr(request.params, "data_root", ""))
    roots = {"LABKIT_RUNS": str(request.folder.parents[1]), "LABKIT_DATA": str(data)}
    environment = os.environ | roots | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # closes when this process ends, which papermill then sees
        stdout=log,
        stderr=log,
        env=environment,
        cwd=request.folder,
        start_new_session=True,
    )


def _watch(process: subprocess.Popen, folder: Path, token: str, timeout: float) -> None:
    """Wait for papermill's end, show the progress, and see to it that the manifest says how it ended."""
    began, shown = time.monotonic(), ""
    try:
        while process.poll() is None:
            time.sleep(0.2)
            shown = _show_progress(folder, shown)
            if timeout and time.monotonic() - began > timeout:
                _interrupt(process, folder, token)
                message = f"the run took longer than {timeout:g} s and was stopped"
                error = {"type": "TimeoutError", "message": message, "cell": None}
                return end_from_outside(folder, token, error, unless=("completed",))
        kept = (folder / "notebook.ipynb").exists()  # without its notebook no run is complete
        unless = FINISHED if kept else ("failed", "interrupted")
        return end_from_outside(folder, token, _last_error(folder, process.returncode), unless)
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C does not wait
            _interrupt(process, folder, token)
        error = {"type": "KeyboardInterrupt", "message": "stopped by the user", "cell": None}
        return end_from_outside(folder, token, error)
    finally:
        if shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _last_error(folder: Path, code: int) -> dict[str, Any]:
    """The error that the executed notebook shows; without one, its kernel died before it could say anything."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        for cell in json.loads((folder / "notebook.ipynb").read_text("utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    return {"type": output["ename"], "message": output["evalue"], "cell": cell["execution_count"]}
    if shutil.disk_usage(folder).free < LEAST_ROOM:
        message = f"there is no room left on the disk of {folder} (No space left on device): make some and run again"
        return {"type": "StorageError", "message": message, "cell": None}
    return {"type": "KernelDied", "message": f"{DEAD} (papermill's exit code: {code})", "cell": None}


def kernel_of(folder: Path, token: str) -> int:
    """The process of the run's kernel; 0 if it has not got so far, or if the folder is no longer ours."""
    manifest = read_manifest(folder)
    pid = manifest.get("pid", 0) if manifest.get("token") == token else 0
    return 0 if pid == os.getpid() else pid


def _interrupt(process: subprocess.Popen, folder: Path, token: str) -> None:
    """What the "interrupt kernel" button does; the training saves its checkpoint and stops."""
    if pid := kernel_of(folder, token):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def _end(process: subprocess.Popen, folder: Path, token: str) -> None:
    """Leave no process behind."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if pid := kernel_of(folder, token):
        for _ in range(50):  # papermill shuts its kernel down; after 5 s it is stopped
            if not _alive(pid):
                return
            time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _show_progress(folder: Path, shown: str) -> str:
    """Redraw one line at a terminal, from what the notebook says of itself."""
    if not sys.stderr.isatty():
        return shown
    try:
        line = (folder / "progress.txt").read_text("utf-8")
    except OSError:
        return shown
    if line != shown:
        print(f"\r\033[K{folder.parent.name}  {line}", end="", file=sys.stderr, flush=True)
    return line
