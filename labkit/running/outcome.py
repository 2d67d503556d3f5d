"""How a run ended, and what is said of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import one_line
from labkit.results.machine import code_version
from labkit.results.manifest import read_manifest, read_results
from labkit.results.words import test_score
from labkit.running.request import Request


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    manifest: dict[str, Any]
    seconds: float = 0.0
    reused: bool = False
    stopped: bool = False  # by whoever waited for it

    @property
    def status(self) -> str:
        """completed, failed or interrupted."""
        return self.manifest.get("status", "failed")

    def reuse(self) -> str:
        """What to say of a run that was not repeated."""
        same = self.manifest.get("code", {}).get("sha256") == code_version(self.manifest.get("notebook", ""))["sha256"]
        return "complete already" + ("" if same else ", by other code") + ": --fresh runs it again"

    def score(self, metric: str) -> str:
        """What a completed run has scored, and how long it took or that it was not repeated."""
        took = self.reuse() if self.reused else f"{self.seconds:.0f} s"
        return f"{test_score(metric, self.results()[metric])}  {took}"

    def failure(self) -> str:
        """How a run ended that is not complete: ``failed in cell 12: TrainingError: …``."""
        error = self.manifest.get("error")
        error = error if isinstance(error, dict) else {}
        where = f" in cell {error['cell']}" if error.get("cell") else ""
        return one_line(f"{self.status}{where}: {error.get('type')}: {error.get('message')}")

    def results(self) -> dict[str, Any]:
        """``results.json``; ``{}`` if the run did not get so far."""
        return read_results(self.folder)


def complete_already(request: Request, fresh: bool = False) -> Outcome | None:
    """The outcome of an earlier run of the same request, if it is complete and may be kept."""
    found = Outcome(request.folder, read_manifest(request.folder), reused=True)
    score = found.results().get(request.lab.METRIC, {})
    kept = found.manifest.get("status") == "completed" and {"value", "n", "interval"} <= score.keys()
    return found if kept and not (fresh or request.params.fresh) else None
