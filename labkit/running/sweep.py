"""Many runs, some at once, each in a process of its own; what is complete already is not repeated."""

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from labkit.errors import LabError
from labkit.files import write_atomic
from labkit.results.compare import question
from labkit.results.finished import FinishedRun, open_run
from labkit.results.locks import InUse, is_live
from labkit.results.manifest import progress_of
from labkit.results.words import many, name_of, score
from labkit.running import hardware
from labkit.running.execute import Started, stop
from labkit.running.grid import Planned
from labkit.running.machine import usable_cores
from labkit.running.outcome import Outcome, complete_already

PAUSE = 0.3  # seconds between two looks at the runs


class Row:
    """One run of a sweep: waiting, under way, in the hands of another process, or ended."""

    def __init__(self, planned: Planned):
        self.planned, self.started, self.outcome = planned, None, None
        self.state = "waits"

    def look(self) -> None:
        """Close the run if it has ended, else note how far it is."""
        if self.started and self.started.has_ended():
            self.end(self.started.close())
        elif self.started:
            self.state = progress_of(self.started.folder) or self.state

    def try_to_start(self, fresh: bool, threads: int) -> None:
        """Start the run, unless it is complete already or another process is at work on it."""
        request = self.planned.request
        live = is_live(request.folder)  # asked first: what another process ends in between is then complete
        if done := complete_already(request, fresh):
            return self.end(done)
        try:
            if live:
                self.state = "another process is at work on it"
                return None
            known = not fresh and request.folder.is_dir()
            self.started, self.state = Started(request, fresh, threads), "goes on" if known else "starts"
        except InUse:
            self.state = "another process is at work on it"
        except (LabError, OSError) as error:
            failure = {"type": type(error).__name__, "message": str(error)}
            self.end(Outcome(request.folder, {"status": "failed", "error": failure}))

    def end(self, outcome: Outcome) -> None:
        """The run is over, for better or worse."""
        self.started, self.outcome = None, outcome
        done = outcome.status == "completed"
        self.state = outcome.score(self.planned.request.lab.METRIC) if done else outcome.failure()


def threads_each(jobs: int) -> int:
    """Threads of each of so many runs at once: OMP_NUM_THREADS if the user set it (0: leave it), else a fair share."""
    return 0 if os.environ.get("OMP_NUM_THREADS") else max(1, usable_cores() // jobs)


def jobs_that_fit(jobs: int) -> int:
    """How many runs the free memory has room for, one at least and ``jobs`` at most; says so if that is fewer."""
    fitting = max(1, min(jobs, int(hardware.memory()[1] // hardware.MEMORY)))
    if fitting < jobs:
        said = f"{many(fitting, 'run')} at a time, not {jobs}: free memory has no room for more"
        print(f"{said} ({hardware.MEMORY // hardware.GIB} GiB each).", file=sys.stderr)
    return fitting


def carry_out(runs: Sequence[Planned], jobs: int, fresh: bool = False) -> list[Row]:
    """Do all runs, ``jobs`` at once; however this ends, each run that is under way is stopped in order."""
    rows, jobs, shown = [Row(run) for run in runs], min(jobs, len(runs)), Shown()
    jobs = jobs_that_fit(jobs)
    threads = threads_each(jobs)
    try:
        while True:
            for row in rows:
                row.look()
            for row in (row for row in rows if not row.started and not row.outcome):
                if sum(bool(other.started) for other in rows) < jobs:
                    row.try_to_start(fresh, threads)
            shown.update(rows)
            if all(row.outcome for row in rows):
                return rows
            time.sleep(PAUSE)
    finally:
        stop([row.started for row in rows if row.started])


class Shown:
    """What is shown of a sweep: a live table at a terminal, else a line at the start and the end of each run."""

    def __init__(self) -> None:
        self.live, self.height, self.said = sys.stderr.isatty(), 0, {}

    def update(self, rows: Sequence[Row]) -> None:
        """Show how the runs stand now."""
        if self.live:
            size = os.get_terminal_size(sys.stderr.fileno())
            wide, high = (size.columns or 80) - 1, max(1, (size.lines or 24) - 2)  # some say that they have no size
            ordered = sorted(rows, key=lambda row: not row.started) if len(rows) > high else rows
            lines = [f"{row.planned}  {row.state}"[:wide] for row in ordered][:high]
            up = f"\033[{self.height}F\033[J" if self.height else ""
            print(up + "\n".join(lines), file=sys.stderr, flush=True)
            self.height = len(lines)
            return
        for row in rows:
            if (row.outcome or "epoch" not in row.state) and self.said.get(id(row), "waits") != row.state:
                self.said[id(row)] = row.state
                print(f"{row.planned}  {row.state}", file=sys.stderr, flush=True)


def merged(rows: Sequence[Row]) -> pd.DataFrame:
    """One row a combination over its complete runs: mean and standard deviation of validation and test score, best.

    ``best`` is marked by the validation score, among combinations whose runs are all complete, and only if all were
    validated and tested on the same images. Columns: the grid's, seeds, metric, validation, validation_sd, …
    """
    found = [(row.planned, open_run(row.outcome.folder)) for row in rows if row.outcome.status == "completed"]
    wanted = pd.Series([tuple(row.planned.point.items()) for row in rows]).value_counts()
    table = []
    for point in dict.fromkeys(tuple(planned.point.items()) for planned, _ in found):
        runs = [run for planned, run in found if tuple(planned.point.items()) == point]
        metric = runs[0].metric
        scores = {
            "validation": pd.Series([run.chosen[f"val_{metric}"] for run in runs]),
            "test": pd.Series([run.score.value for run in runs]),
        }
        line = dict(point) | {"seeds": len(runs), "metric": metric}
        for part, values in scores.items():
            line |= {part: values.mean(), f"{part}_sd": values.std(ddof=1)}
        table.append(line | {"best": len(runs) == wanted[point]})
    merged = pd.DataFrame(table)
    if len(merged):
        whole = merged.loc[merged["best"], "validation"]
        merged["best"] &= comparable(found) & (merged["validation"] == whole.max())
    return merged


def comparable(found: Sequence[tuple[Planned, FinishedRun]]) -> bool:
    """Whether the runs answer one question, and those of a seed were validated on the same images, not on the test."""
    validated = {(planned.seed, run.manifest.data.splits.get("validation")) for planned, run in found}
    asked, seeds = {question(run) for _, run in found}, {planned.seed for planned, _ in found}
    return not any(run.chosen_on_test for _, run in found) and len(asked) == 1 and len(validated) == len(seeds)


def lines(table: pd.DataFrame) -> str:
    """The table of ``merged`` for a terminal: ``95.10 % ± 0.40 %``, and a star at the best."""
    metric = table["metric"].iloc[0]
    shown = table.drop(columns=["metric", "validation", "validation_sd", "test", "test_sd", "best"])
    for part in ("validation", "test"):
        pairs = zip(table[part], table[f"{part}_sd"], strict=True)
        texts = [score(metric, mean) + (f" ± {score(metric, sd)}" if sd == sd else "") for mean, sd in pairs]
        shown[f"{part} {name_of(metric)}"] = texts
    return shown.assign(best=table["best"].map({True: "*", False: ""})).to_string(index=False)


def star(table: pd.DataFrame) -> str:
    """What the star of ``lines`` means, or why there is none."""
    if table["best"].any():
        return "* best by the validation score; the test score chose nothing"
    return (
        "None is marked as best: none is complete, or the test images chose the epochs, or not all runs were asked the "
        "same question of the same images"
    )


def write_table(table: pd.DataFrame, runs: Sequence[Planned]) -> Path:
    """Write the merged table beside its runs, under a name that only these runs have."""
    folder, names = runs[0].request.folder.parent, sorted(run.request.folder.name for run in runs)
    digest = hashlib.sha256("".join(names).encode()).hexdigest()[:8]
    path = folder / f"sweep-{runs[0].request.params.experiment}-{digest}.csv"
    write_atomic(path, table.to_csv(index=False, lineterminator="\n"))
    return path
