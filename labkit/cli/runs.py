"""``labkit run``, ``sweep`` and ``check``: what executes notebooks, and looks at those that were executed."""

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from labkit.cli.common import EXIT_CODES, FOUND, PATH, WithParameters, app, errors_as_sentences
from labkit.errors import RequestError


def _asked(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a run: it gets ``fresh``, and as ``asked`` the words for make_request, in order."""

    @click.option("-e", "--experiment", default="quick", show_default=True, help="Name of a parameter file.")
    @click.option("-p", "--parameter", type=(str, str), multiple=True, metavar="NAME VALUE", help="Set one.")
    @click.option("--data", default="", metavar="DIR", help="Folder of the data sets.")
    @click.option("--out", default="", metavar="DIR", help="Folder of the runs.")
    @click.option("--anyway", is_flag=True, help="Go on with what was stopped although the code has changed since.")
    @click.option("--fresh", is_flag=True, help="Start over, whatever an earlier run has left.")
    @functools.wraps(command)
    def with_asked(
        experiment: str, parameter: tuple[tuple[str, str], ...], data: str, out: str, anyway: bool, **others: Any
    ) -> None:
        command(asked=(experiment, parameter, data, out, anyway), **others)

    return with_asked


@app.command(cls=WithParameters)
@click.argument("notebook", required=False)
@click.option("--all", "every", is_flag=True, help="Run every notebook.")
@click.option("--jobs", type=int, default=1, show_default=True, help="--all: runs at once; they share the cores.")
@_asked
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=0, metavar="SECONDS", help="Stop a run after this long."
)
def run(notebook: str | None, every: bool, jobs: int, asked: tuple[Any, ...], fresh: bool, timeout: float) -> None:
    """Run NOTEBOOK (01, a name or a path) with an experiment's parameters, headlessly."""
    with errors_as_sentences():
        if every == bool(notebook):
            raise RequestError("Give one notebook (01, a name or a path), or --all for every one.")
        _check_jobs(jobs)
        if jobs > 1 and (timeout or not every):
            raise RequestError(f"--jobs is {jobs}, but more than one at once needs --all, and goes without --timeout.")
        from labkit.results.finished import READERS
        from labkit.running.request import find_notebook, make_parameters, make_request, notebooks

        names = [path.stem for path in notebooks()] if every else [notebook]
        readers = [name for name in names if every and name in READERS]  # their data are the runs of the others
        for name in readers:
            make_parameters(find_notebook(name), *asked)
        requests = [make_request(name, *asked) for name in names if name not in readers]
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # being told to end is as good as Ctrl-C
        codes = _run_together(requests, jobs, fresh) if jobs > 1 else _run_in_turn(requests, fresh, timeout)
        if EXIT_CODES["interrupted"] not in codes:
            try:
                codes += _run_in_turn((make_request(name, *asked) for name in readers), fresh, timeout)
            except RequestError as error:  # no run to read; that of the others is said already
                if not any(codes):
                    raise
                click.echo(str(error), err=True)
    sys.exit(max(codes))


def _check_jobs(jobs: int) -> None:
    if jobs < 1:
        raise RequestError(f"--jobs is {jobs}, but must be a whole number from 1.")


def _run_together(requests: Sequence[Any], jobs: int, fresh: bool) -> list[int]:
    """Run notebooks, ``jobs`` at once; return the exit codes."""
    from labkit.running.grid import Planned

    # Lab 5 takes longest: begun first, it leaves no core idle at the end.
    backwards = [Planned({}, request, request.notebook.stem) for request in reversed(requests)]
    rows = _carry_out(backwards, jobs, fresh)
    return [_say(row.planned.request, row.outcome) for row in reversed(rows)]


def _carry_out(runs: Sequence[Any], jobs: int, fresh: bool) -> list[Any]:
    """Do planned runs, ``jobs`` at once; whoever interrupts them hears how to go on."""
    from labkit.running.sweep import carry_out

    try:
        return carry_out(runs, jobs, fresh)
    except KeyboardInterrupt:
        again = "the same command again, without --fresh," if fresh else "the same command again"
        click.echo(f"stopped in order: {again} goes on, and repeats nothing", err=True)
        raise


def _run_in_turn(requests: Iterable[Any], fresh: bool, timeout: float) -> list[int]:
    """Run one notebook after the other, up to one that is interrupted; return the exit codes."""
    from labkit.running.execute import execute

    codes = []
    for request in requests:
        outcome = execute(request, fresh, timeout)
        code = _say(request, outcome)
        codes.append(EXIT_CODES["interrupted"] if outcome.stopped else code)  # it may have ended all the same
        if codes[-1] == EXIT_CODES["interrupted"]:
            break
    return codes


def _say(request: Any, outcome: Any) -> int:
    """Say in a line how a run ended, return its exit code."""
    title = f"{request.notebook.stem}  {request.params.experiment}"
    if outcome.status == "completed":
        score = outcome.score(request.lab.METRIC)
        click.echo("  ".join([title, request.source.name, score, str(outcome.folder)]))
    else:
        click.echo(f"{title}  {outcome.failure()}", err=True)
        if outcome.status == "failed":
            files = [str(path) for name in ("log.txt", "notebook.ipynb") if (path := outcome.folder / name).exists()]
            click.echo(f"  more in {' and '.join(files)}", err=True)
    return EXIT_CODES.get(outcome.status, 1)


@app.command(cls=WithParameters)
@click.argument("notebook")
@click.option("--grid", multiple=True, metavar="NAME=A,B", help="Values of a parameter to try; may be repeated.")
@click.option("--seeds", type=int, default=1, show_default=True, help="Runs of each combination, seed by seed.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Runs at once; they share the cores.")
@_asked
def sweep(notebook: str, grid: tuple[str, ...], seeds: int, jobs: int, asked: tuple[Any, ...], fresh: bool) -> None:
    """Run NOTEBOOK with every combination of values and every seed; the same command again does what is missing.

    Example: labkit sweep 04 --grid learning_rate=1e-3,1e-4 --grid width=8,16 --seeds 3 --jobs 2. A comma parts two
    values, so a value that has commas of its own makes no grid: set it with -p, one sweep for each.
    """
    with errors_as_sentences():
        _check_jobs(jobs)
        from labkit.running import sweep as sweeping
        from labkit.running.grid import plan

        runs = plan(notebook, grid, seeds, *asked)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        rows = _carry_out(runs, jobs, fresh)
        table = sweeping.merged(rows)
        if len(table):
            click.echo(sweeping.lines(table))
            click.echo(sweeping.star(table))
            click.echo(sweeping.write_table(table, runs))
        failed = [row for row in rows if row.outcome.status != "completed"]
        for row in failed:
            click.echo(f"{row.planned}  {row.state}", err=True)
    sys.exit(int(bool(failed)))


@app.command()
@click.argument("notebooks", nargs=-1, required=True, type=FOUND)
@click.option("--csv", type=PATH, help="Also write all rows; exercises.csv, here, if a folder is given.")
@click.option("--rerun", is_flag=True, help="Run each notebook again, and see whether it says the same.")
@click.option("--data", default="", metavar="DIR", help="--rerun: folder of the data sets.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=1800,
    show_default=True,
    metavar="SECONDS",
    help="--rerun: stop a notebook after this long; 0: never.",
)
def check(notebooks: tuple[Path, ...], csv: Path | None, rerun: bool, data: str, timeout: float) -> None:
    """Say how far the exercises of NOTEBOOKS are: files, or folders of what many students have handed in.

    Read from the outputs, which anyone can edit: nothing is executed. Only --rerun runs the students' code, with all
    that you may do on this machine yourself: do that in an account or a container that has nothing to lose.
    """
    from labkit.running import checking

    checked: list[checking.Checked] = []
    many = any(os.path.isdir(path) for path in notebooks)
    csv = csv or (Path("exercises.csv") if many else None)
    with errors_as_sentences():
        if csv:
            checking.check_place(csv)
        try:
            for path, name in checking.notebooks_in(notebooks):
                checked.append(checking.check(path, name, rerun, data, timeout))
                for line in [checking.summary(checked[-1])] if many else checking.lines(checked[-1]):
                    click.echo(line)
        finally:
            if csv and checked:
                checking.write_table(csv, checked)
                click.echo(csv)
    sys.exit(checking.exit_code(checked))
