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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from labkit.files import write_atomic
from labkit.labs import common
from labkit.paths import data_root
from labkit.results.locks import lock
from labkit.results.manifest import (
    DEAD,
    FINISHED,
    STOPPED,
    TOKEN,
    end_from_outside,
    kernel_of,
    progress_of,
    read_manifest,
)
from labkit.results.run import Run
from labkit.running.asking import Asked, wait_for
from labkit.running.headless import UNFINISHED_NOTEBOOK
from labkit.running.machine import threads_within_quota
from labkit.running.outcome import Outcome, complete_already
from labkit.running.request import Request

LEAST_ROOM = 2**20  # bytes; a disk with less is full


def execute(request: Request, fresh: bool = False, timeout: float = 0.0) -> Outcome:
    """Run the notebook of ``request``; a run that is complete is not repeated unless ``fresh``.

    Ctrl-C is passed on to the notebook, which saves and stops; ``timeout`` (seconds, 0: none) does the same and counts
    as failure. RequestError if another process is at work in the folder, or it cannot be written.
    """
    if done := complete_already(request, fresh):
        return done
    started, why = Started(request, fresh, threads_within_quota()), None
    try:
        why = _watch(started.process, request.folder, started.token, timeout)
    finally:
        outcome = started.close(why)
    return replace(outcome, stopped=why is STOPPED)


class Started:
    """A notebook on its way in a process of its own; its run folder is kept from other starters until ``close``."""

    def __init__(self, request: Request, fresh: bool = False, threads: int = 0):
        """Start papermill, its kernel with so many ``threads`` (0: as many as it likes); errors as of ``execute``."""
        self.folder, self.token, self.began = request.folder, uuid.uuid4().hex, time.monotonic()
        facts = common.request_facts(request.lab, request.params, request.source)
        self.starter = lock(self.folder, ".starter")
        try:
            os.environ[TOKEN] = self.token
            anyway = getattr(request.params, "anyway", False)
            Run(self.folder, facts, fresh or request.params.fresh, anyway).release()
            (self.folder / "notebook.ipynb").unlink(missing_ok=True)  # that of an earlier try
            with open(self.folder / "log.txt", "ab") as log:
                self.process = _start(request, log, threads)
        except BaseException:
            self.starter.release()
            raise
        finally:
            os.environ.pop(TOKEN, None)

    def has_ended(self) -> bool:
        """Whether papermill has; the manifest then says how."""
        if self.process.poll() is None:
            return False
        _say_how_it_ended(self.process, self.folder, self.token)
        return True

    def close(self, error: dict[str, Any] | None = None) -> Outcome:
        """Leave no process behind, and the folder to others; ``error`` is why it ended, unless it says so itself."""
        try:
            try:
                _end(self.process, self.folder, self.token)
            finally:
                if error:  # a notebook that ran out of time says of itself that it was interrupted
                    end_from_outside(self.folder, self.token, error, FINISHED if error is STOPPED else ("completed",))
            (self.folder / "progress.txt").unlink(missing_ok=True)
        finally:
            self.process.stdin.close()
            self.starter.release()
        return Outcome(self.folder, read_manifest(self.folder), time.monotonic() - self.began)


def stop(runs: Sequence[Started]) -> list[Outcome]:
    """End runs in order, all at once: each finishes its step and saves; one that takes longer than GRACE is killed."""
    with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C does not wait
        _interrupt([(run.process, run.folder, run.token) for run in runs])
    return [run.close(STOPPED) for run in runs]


def _start(request: Request, log: Any, threads: int = 0) -> subprocess.Popen:
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
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # closes when this process ends, which papermill then sees
        stdout=log,
        stderr=log,
        env=environment,
        cwd=request.folder,
        start_new_session=True,
    )


def _watch(process: subprocess.Popen, folder: Path, token: str, timeout: float) -> dict[str, Any] | None:
    """Wait for papermill's end and show the progress; the error for which it was asked to stop, if it was.

    That is STOPPED after Ctrl-C in this process. If papermill ended by itself, the manifest says how.
    """
    began, shown = time.monotonic(), ""
    try:
        while process.poll() is None:
            time.sleep(0.2)
            shown = _show_progress(folder, shown)
            if timeout and time.monotonic() - began > timeout:
                _interrupt([(process, folder, token)])
                message = f"the run took longer than {timeout:g} s and was stopped"
                return {"type": "TimeoutError", "message": message, "cell": None}
        _say_how_it_ended(process, folder, token)
        return None
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C does not wait
            _interrupt([(process, folder, token)])
        return STOPPED
    finally:
        if shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _say_how_it_ended(process: subprocess.Popen, folder: Path, token: str) -> None:
    """See to it that the manifest of a run whose papermill has ended says how, if it does not say so itself."""
    kept = (folder / "notebook.ipynb").exists()  # without its notebook no run is complete
    unless = FINISHED if kept else ("failed", "interrupted")
    end_from_outside(folder, token, _last_error(folder, process.returncode), unless)


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


def _interrupt(runs: Sequence[tuple[subprocess.Popen, Path, str]]) -> None:
    """Ask notebooks to stop, all at once, and wait for them, GRACE at the longest; one without a kernel is left out."""
    asked = {Asked(folder, pid): process for process, folder, token in runs if (pid := kernel_of(folder, token))}
    wait_for(asked, lambda one: asked[one].poll() is None)


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
    line = progress_of(folder) or shown
    if line != shown:
        print(f"\r\033[K{folder.parent.name}  {line}", end="", file=sys.stderr, flush=True)
    return line
