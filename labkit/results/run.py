"""The run folder: everything one run leaves behind, and a manifest that is true at every moment.

The manifest says ``running`` only while a process holds the folder's lock; a run whose kernel was killed is therefore
found out by the next reader, whoever it is, and never looks complete.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.errors import RequestError
from labkit.files import remove_unfinished, write_atomic, write_json
from labkit.results.locks import lock
from labkit.results.machine import code_version, environment, training_code
from labkit.results.manifest import FINISHED, RESERVE, TOKEN, read_results, status_after, timestamp, written_manifest
from labkit.results.words import many
from labkit.training.resume import Observer, can_go_on, differences
from labkit.untrusted import why

EMPTYING = ".emptying"  # the manifest of a run that is being deleted


def folder_name(notebook: str, identity: Mapping[str, Any], fingerprint: str) -> str:
    """``<experiment>-seed<seed>-<hash8>``: the hash is of notebook, parameters and data."""
    text = json.dumps([notebook, dict(identity), fingerprint], sort_keys=True)
    return f"{identity['experiment']}-seed{identity['seed']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class History(Observer):
    """The course of one training, kept in ``folder`` as it goes."""

    def __init__(
        self,
        folder: Path,
        log: Callable[[str], None] = lambda line: None,
        warn: Callable[[str], None] = lambda line: None,
    ):
        self.folder, self.log, self.on_warning = folder, log, warn

    @property
    def checkpoints(self) -> Path:
        """The folder for ``best.safetensors`` and ``last.safetensors``."""
        return self.folder / "checkpoints"

    def on_epoch(self, history: Sequence[Mapping[str, float]], val_scores: np.ndarray) -> None:
        """Write ``history.csv``, the validation metric of each image, and a line of ``log.txt``."""
        content = io.BytesIO()
        np.save(content, val_scores.astype(np.float32))
        write_atomic(self._val_scores(len(history)), content.getvalue())
        self.save_csv("history", pd.DataFrame(history))
        self.log("  ".join(f"{name} {value:.6g}" for name, value in history[-1].items()))

    def val_scores(self, epochs: int) -> np.ndarray:
        """The validation metric of each image after each epoch, (epochs, N)."""
        try:
            return np.stack([np.load(self._val_scores(epoch)) for epoch in range(1, epochs + 1)])
        except (OSError, ValueError, EOFError) as error:  # ValueError: no array, or one that would be unpickled
            raise RequestError(
                f"{self.folder / 'validation'} does not hold the scores of {epochs} epochs ({why(error)}): train again "
                f"with fresh = True (--fresh)."
            ) from error

    def save_results(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Write ``results.json``: ``{metric: {value, n, low, high, interval, over}}``."""
        write_json(self.folder / "results.json", results)

    def save_csv(self, name: str, table: pd.DataFrame) -> None:
        """Write a table of the folder's own: ``per_image``, ``per_class``."""
        write_atomic(self.folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))

    def _val_scores(self, epoch: int) -> Path:
        return self.folder / "validation" / f"epoch-{epoch:04}.npy"


class Run(History):
    """One run folder, open for writing by this process; the training it keeps is its own."""

    def __init__(self, folder: Path, facts: Mapping[str, Any], fresh: bool = False, anyway: bool = False):
        """Claim ``folder`` for this process and say in its manifest that the run is under way.

        ``facts`` is the request: notebook, experiment, parameters, seed, device, precision, data. A run that was
        completed before stays ``completed``; one that was stopped goes on from its checkpoint, if the code is still
        the same (or ``anyway``); ``fresh`` empties the folder first. RequestError if the code has changed, the folder
        cannot be written, or another process is at work in it.
        """
        self.folder = folder
        self.lock = lock(folder)
        try:
            self._claim(facts, fresh, anyway)
        except BaseException:
            self.release()
            raise

    def _claim(self, facts: Mapping[str, Any], fresh: bool, anyway: bool) -> None:
        folder = self.folder
        remove_unfinished(folder)
        before = written_manifest(folder)
        if fresh or os.path.lexists(folder / EMPTYING) or _lost_its_training(folder, before):
            _empty(folder)
            before = {}
        elif before.get("status") == "completed" and not read_results(folder):
            before["status"] = "failed"  # the training is there still; what follows it is done again
        self.before = before.get("status", "")
        self.code, self.training_code = code_version(facts["notebook"]), training_code(facts["notebook"])
        self.same_code = before.get("code", {}).get("sha256") in (None, self.code["sha256"])
        if self.goes_on() and not anyway:
            self._check_code(before.get("training_code", {}))
        self.began, self.has_results = time.monotonic(), False
        self.manifest = before or {"status": "running", **facts, "started": timestamp(), "seconds": 0.0, "sessions": []}
        if self.before != "completed":
            write_atomic(folder / RESERVE, bytes(2**16))
            token = os.environ.get(TOKEN, "")
            now = {"status": "running", "finished": None, "error": None, "pid": os.getpid(), "token": token}
            self.manifest |= {**facts, **now}
        self._write()

    def goes_on(self) -> bool:
        """Whether the folder holds a training that was stopped."""
        return bool(self.before) and self.before != "completed" and can_go_on(self.checkpoints)

    def _check_code(self, then: Mapping[str, str]) -> None:
        """RequestError, with the names of what has changed, unless the code that teaches is what it was."""
        changed = differences(then, self.training_code)
        if changed and then:
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            raise RequestError(
                f"The training in {self.folder} was stopped, and since then {', '.join(changed[:5])}{more} changed: go "
                f"on all the same with anyway = True (--anyway), or start over with fresh = True (--fresh)."
            )

    def begin_session(self) -> None:
        """Write down that somebody sat down to this run or went on with it, on which machine and with which code."""
        self.log(f"opened: {self.story()}")
        if self.before != "completed":
            session = {"started": timestamp(), "code": self.code["sha256"]}
            session |= {name: self.manifest[name] for name in ("device", "precision")}
            session["went_on"] = self.goes_on()
            self.record(
                code=self.code,
                training_code=self.training_code,
                environment=environment(),
                sessions=[*self.manifest["sessions"], session],
            )

    def go_on(self) -> None:
        """The training is under way (again): a failed or interrupted run is running once more."""
        if self.manifest["status"] in ("failed", "interrupted"):
            self.record(status="running", error=None, finished=None)

    def beside(self, name: str) -> History:
        """A second training of this run, kept in a folder of its own."""
        return History(self.folder / name, lambda line: self.log(f"{name}: {line}"), self.on_warning)

    def story(self) -> str:
        """One sentence: is this run new, gone on with, or complete already?"""
        other = "" if self.same_code else ", which other code had written"
        if self.before == "completed":
            return f"This run is complete{other}: its training is read, not repeated (fresh = True starts over)."
        if self.goes_on():
            return f"An earlier run of the same parameters was stopped: it goes on from its last checkpoint{other}."
        return "A new run."

    def log(self, line: str) -> None:
        """Add a line with its time to ``log.txt``, if there is room: no training ends for want of a line."""
        with contextlib.suppress(OSError), open(self.folder / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{timestamp()}  {line}\n")

    def on_warning(self, text: str) -> None:
        """Write a warning into the manifest, from which the report takes it, and into ``log.txt``."""
        self.log(f"warning: {text}")
        self.record(warnings=[*self.manifest.get("warnings", []), text])

    def record(self, **facts: Any) -> None:
        """Add facts to the manifest."""
        self.manifest |= facts
        self._write()

    def note_progress(self, line: str) -> None:
        """Leave word of the progress for whoever watches from another process, if there is room."""
        with contextlib.suppress(OSError):
            (self.folder / "progress.txt").write_text(line, "utf-8")

    def save_results(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Write ``results.json``, without which a run is not complete."""
        super().save_results(results)
        self.has_results = True

    def summary(self) -> str:
        """What the run left behind, as Markdown."""
        names = sorted({path.name.split(".")[0] for path in (self.folder / "figures").glob("*.png")})
        kept = [n for n in ("results.json", "history.csv", "manifest.json") if (self.folder / n).exists()]
        return (
            f"The run is **{self.manifest['status']}** after {self.manifest['seconds']:.0f} s. `{self.folder}` holds "
            f"{many(len(names), 'figure')} ({', '.join(names)}), the tables, {', '.join(f'`{name}`' for name in kept)}."
        )

    def finish(self) -> None:
        """The last cell was reached: the run is complete. RequestError if training or evaluation was left out."""
        if not self.has_results or self.manifest["status"] in ("failed", "interrupted"):
            raise RequestError(f"The run in {self.folder} is not complete: run the cells above first, from the top.")
        self._close("completed", None)

    def fail(self, error: BaseException, cell: int | None = None) -> None:
        """Say in the manifest how and where the run ended; a run that was complete stays so."""
        if self.before == "completed" or self.manifest["status"] in FINISHED:
            return
        kind, message = type(error).__name__, re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # some messages bring colours
        self._close(status_after(kind), {"type": kind, "message": message, "cell": cell})

    def release(self) -> None:
        """Give up the folder."""
        self.lock.release()

    def _close(self, status: str, error: dict[str, Any] | None) -> None:
        if self.before != "completed":  # to read a complete run again takes no part of its time
            seconds = self.manifest["seconds"] + time.monotonic() - self.began
            self.manifest |= {"finished": timestamp(), "seconds": round(seconds, 2)}
        self.began = time.monotonic()
        self.manifest |= {"status": status, "error": error}
        (self.folder / RESERVE).unlink(missing_ok=True)
        self._write()
        (self.folder / "progress.txt").unlink(missing_ok=True)
        self.log(status if error is None else f"{status}: {error['type']}: {error['message']}")

    def _write(self) -> None:
        write_json(self.folder / "manifest.json", self.manifest)


def _lost_its_training(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a run that calls itself complete has had its checkpoint deleted since."""
    trained = (folder / "history.csv").exists()
    return manifest.get("status") == "completed" and trained and not can_go_on(folder / "checkpoints")


def _empty(folder: Path) -> None:
    """Delete everything but the locks; broken off, it is taken up by the next run: the rest must not look like one."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder / "manifest.json", folder / EMPTYING)
    for path in sorted(folder.iterdir(), key=lambda path: path.name == EMPTYING):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (".lock", ".starter"):
            path.unlink()
