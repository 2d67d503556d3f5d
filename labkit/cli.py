"""The command ``labkit``. Exit codes: 0 done, 1 the run failed, 2 the request was wrong, 130 interrupted."""

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from labkit.errors import LabError, RequestError

PATH = click.Path(path_type=Path)
DOCUMENTS = ("pdf", "docx", "tex", "html")
EXIT_CODES = {"completed": 0, "failed": 1, "interrupted": 130}


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    try:
        yield
    except LabError as error:
        click.echo(f"labkit: {error}", err=True)
        sys.exit(2 if isinstance(error, RequestError) else 1)
    except KeyboardInterrupt:
        click.echo("labkit: interrupted", err=True)
        sys.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def app() -> None:
    """Run the notebooks of the workbook and look after their data."""


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


@app.command()
@click.argument("notebook", required=False)
@click.option("--all", "every", is_flag=True, help="Run every notebook.")
@_asked
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=0, metavar="SECONDS", help="Stop a run after this long."
)
def run(notebook: str | None, every: bool, asked: tuple[Any, ...], fresh: bool, timeout: float) -> None:
    """Run NOTEBOOK (01, a name or a path) with an experiment's parameters, headlessly."""
    with _errors_as_sentences():
        if every == bool(notebook):
            raise RequestError("Give one notebook (01, a name or a path), or --all for every one.")
        from labkit.results.finished import READERS
        from labkit.running.request import find_notebook, make_parameters, make_request, notebooks

        names = [path.stem for path in notebooks()] if every else [notebook]
        readers = READERS if every else ()  # their data are the runs of the others, which come first
        for name in readers:
            make_parameters(find_notebook(name), *asked)
        requests = {name: make_request(name, *asked) for name in names if name not in readers}
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # being told to end is as good as Ctrl-C
        codes = []
        for name in names:
            codes.append(_run_one(requests.get(name) or make_request(name, *asked), fresh, timeout))
            if codes[-1] == EXIT_CODES["interrupted"]:
                break
    sys.exit(max(codes))


def _run_one(request: Any, fresh: bool, timeout: float) -> int:
    """Run one notebook, say in a line how it ended, return its exit code."""
    from labkit.running.execute import execute

    outcome, title = execute(request, fresh, timeout), f"{request.notebook.stem}  {request.params.experiment}"
    if outcome.status == "completed":
        score = outcome.score(request.lab.METRIC)
        click.echo("  ".join([title, request.source.name, score, str(outcome.folder)]))
    else:
        click.echo(f"{title}  {outcome.failure()}", err=True)
        files = [str(path) for name in ("log.txt", "notebook.ipynb") if (path := outcome.folder / name).exists()]
        click.echo(f"  more in {' and '.join(files)}", err=True)
    return EXIT_CODES.get(outcome.status, 1)


@app.command()
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
    with _errors_as_sentences():
        if jobs < 1:
            raise RequestError(f"--jobs is {jobs}, but must be a whole number from 1.")
        from labkit.running import sweep as sweeping
        from labkit.running.grid import plan

        runs = plan(notebook, grid, seeds, *asked)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        rows = sweeping.carry_out(runs, jobs, fresh)
        table = sweeping.merged(rows)
        if len(table):
            click.echo(sweeping.lines(table))
            click.echo("* best by the validation score; the test score chose nothing")
            click.echo(sweeping.write_table(table, runs))
        failed = [row for row in rows if row.outcome.status != "completed"]
        for row in failed:
            click.echo(f"{row.planned}  {row.state}", err=True)
    sys.exit(int(bool(failed)))


@app.command()
@click.option("--run", "run_folder", required=True, type=PATH, help="Folder of a finished run.")
@click.option("--image", required=True, type=PATH, help="An image, or a folder of images.")
@click.option("--output", type=PATH, help="Where the mask goes: a PNG file, or a folder for a folder.")
@click.option("--overlay", type=PATH, help="Also write the image with the mask in colour.")
@click.option("--probability", type=PATH, help="Also write the probability of every pixel, 0 to 255.")
@click.option("--device", default="auto", show_default=True, help="auto, cuda, mps or cpu.")
def predict(
    run_folder: Path, image: Path, output: Path | None, overlay: Path | None, probability: Path | None, device: str
) -> None:
    """Use the model of a run on new images: write masks of their own size, or print classes with probabilities."""
    with _errors_as_sentences():
        from labkit.running.predict import predict as lines

        for line in lines(run_folder, image, {"mask": output, "overlay": overlay, "probability": probability}, device):
            click.echo(line)


@app.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--csv", type=PATH, help="Also write the table of all runs.")
def compare(runs: tuple[Path, ...], csv: Path | None) -> None:
    """Put RUNS side by side: run folders, or folders of them. Two runs: also what differs between them."""
    with _errors_as_sentences():
        from labkit.running.comparing import lines

        for line in lines(runs, csv):
            click.echo(line)


@app.command()
@click.argument("runs", nargs=-1, type=PATH)
@click.option("--runs", "root", default="", metavar="DIR", help="Folder of the runs, if none are named.")
@click.option("--out", type=PATH, help="Folder of the report; report/ of the project if left out.")
@click.option("--lab", "labs", multiple=True, metavar="NN", help="Only this lab (01, 02, …); may be repeated.")
@click.option("--pages", type=click.IntRange(min=0), default=0, help="The longest that the PDF may be; 0: any length.")
@click.option("--format", "formats", multiple=True, type=click.Choice(DOCUMENTS), help="Only this.")
def report(
    runs: tuple[Path, ...], root: str, out: Path | None, labs: tuple[str, ...], pages: int, formats: tuple[str, ...]
) -> None:
    """Make a report of finished runs, as PDF, Word, LaTeX and HTML: of RUNS, or of all under --runs.

    Fill in report.yaml and text/*.md in the report's folder: they are placed in the report and never changed.
    """
    with _errors_as_sentences():
        from labkit.paths import project_root
        from labkit.report.build import build_report

        folder = (out or project_root() / "report").resolve()
        for line in build_report(folder, root, runs, labs, pages, formats or DOCUMENTS):
            click.echo(line)


@app.command()
@click.argument("names", nargs=-1)
@click.option("--run", "run_folder", required=True, type=PATH, help="Folder of a run.")
@click.option("--all", "every", is_flag=True, help="Draw every figure of the run.")
@click.option("--width", default="", help="85mm, 8.5cm, 3.3in, column, page or slide; left out: as in the notebook.")
@click.option("--format", "form", default="", help="pdf (if left out), png or svg.")
@click.option("--grey", is_flag=True, help="Without colours.")
@click.option("--output", type=PATH, help="The file to write; left out: NAME-WIDTH.FORMAT, here.")
def figure(
    names: tuple[str, ...], run_folder: Path, every: bool, width: str, form: str, grey: bool, output: Path | None
) -> None:
    """Draw figures NAMES of a run again from their tables, laid out anew at another width."""
    with _errors_as_sentences():
        if every == bool(names):
            raise RequestError("Give the names of figures of the run, or --all for every one.")
        from labkit.running.figure import draw_again

        for path in draw_again(run_folder, names, width, form, grey, output):
            click.echo(path)


@app.command()
@click.option("--data", "root", default="", metavar="DIR", help="Folder of the data sets.")
@click.option("--out", default="", metavar="DIR", help="Folder of the runs.")
def doctor(root: str, out: str) -> None:
    """Say what is wrong on this machine and how to mend it, and what a run would use."""
    from labkit.running.doctor import examine, used
    from labkit.running.findings import exit_code

    findings, steps = examine(root, out)
    for finding in findings:
        click.echo(finding)
    click.echo("\nA run would use")
    for line in used(root, out, steps):
        click.echo(f"  {line}")
    sys.exit(exit_code(findings))


@app.group()
def data() -> None:
    """Look at the data sets, and fetch them."""


@data.command("list")
@click.option("--data", "root", default="", metavar="DIR", help="Folder of the data sets.")
def data_list(root: str) -> None:
    """Say which data sets are there, and whether they are the published ones."""
    with _errors_as_sentences():
        from labkit.data.finders import FIND
        from labkit.data.sources import registry
        from labkit.paths import data_root, data_root_is_named

        for name, facts in registry().items():
            try:
                found = FIND[name](data_root(root), "official", data_root_is_named(root))
                state = f"{found.name}. {found.caveat()}".replace("**", "")
            except LabError as error:
                state = str(error)
            click.echo(f"{name}  {facts['what']} ({facts['licence']}, {facts['megabytes']} MB)\n  {state}")


@data.command("check")
@click.argument("names", nargs=-1, type=click.Choice(["mnist", "liver", "cifar10", "pets"]))
@click.option("--data", "root", default="", metavar="DIR", help="Folder of the data sets.")
@click.option(
    "--pictures", is_flag=False, flag_value="auto", default="", metavar="[FILE.png]", help="Also draw what is odd."
)
def data_check(names: tuple[str, ...], root: str, pictures: str) -> None:
    """Look at every picture of the data sets NAMES, or of all that are there, and say what is damaged or odd."""
    with _errors_as_sentences():
        from labkit.running.data_check import check
        from labkit.running.findings import exit_code

        findings = []
        for text, found in check(names, root, pictures):
            click.echo(f"{text}\n")
            findings += found
    sys.exit(exit_code(findings))


@data.command("get")
@click.argument("name", type=click.Choice(["mnist", "liver", "cifar10", "pets"]))
@click.option("--data", "root", default="", metavar="DIR", help="Folder of the data sets.")
def data_get(name: str, root: str) -> None:
    """Download a data set and check it; go on where an earlier call ended. LABKIT_MIRROR: an address tried first."""
    with _errors_as_sentences():
        from labkit.data import cifar10, liver, mnist, pets
        from labkit.paths import data_root

        sets = {"mnist": mnist, "liver": liver, "cifar10": cifar10, "pets": pets}
        source = sets[name].find(data_root(root), "download")
        click.echo(f"{source.name}: complete and checked in {source.root}")
