"""What is done with finished runs: ``labkit predict``, ``compare``, ``report`` and ``figure``."""

from pathlib import Path

import click

from labkit.cli.common import FOUND, PATH, app, errors_as_sentences
from labkit.errors import RequestError

DOCUMENTS = ("pdf", "docx", "tex", "html")


@app.command()
@click.option("--run", "run_folder", required=True, type=FOUND, help="Folder of a finished run.")
@click.option("--image", required=True, type=PATH, help="An image, or a folder of images.")
@click.option("--output", type=PATH, help="Where the mask goes: a PNG file, or a folder for a folder.")
@click.option("--overlay", type=PATH, help="Also write the image with the mask in colour.")
@click.option("--probability", type=PATH, help="Also write the probability of every pixel, 0 to 255.")
@click.option("--device", default="auto", show_default=True, help="auto, cuda, mps or cpu.")
def predict(
    run_folder: Path, image: Path, output: Path | None, overlay: Path | None, probability: Path | None, device: str
) -> None:
    """Use the model of a run on new images: write masks of their own size, or print classes with probabilities."""
    with errors_as_sentences():
        from labkit.running.predict import predict as lines

        for line in lines(run_folder, image, {"mask": output, "overlay": overlay, "probability": probability}, device):
            click.echo(line)


@app.command()
@click.argument("runs", nargs=-1, required=True, type=FOUND)
@click.option("--csv", type=PATH, help="Also write the table of all runs.")
def compare(runs: tuple[Path, ...], csv: Path | None) -> None:
    """Put RUNS side by side: run folders, or folders of them. Two runs: also what differs between them."""
    with errors_as_sentences():
        from labkit.running.comparing import lines

        for line in lines(runs, csv):
            click.echo(line)


@app.command()
@click.argument("runs", nargs=-1, type=FOUND)
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
    with errors_as_sentences():
        from labkit.paths import project_root
        from labkit.report.build import build_report

        folder = (out or project_root() / "report").resolve()
        click.echo(f"Making the report in {folder} ...", err=True)
        for line in build_report(folder, root, runs, labs, pages, formats or DOCUMENTS):
            click.echo(line)


@app.command()
@click.argument("names", nargs=-1)
@click.option("--run", "run_folder", required=True, type=FOUND, help="Folder of a run.")
@click.option("--all", "every", is_flag=True, help="Draw every figure of the run.")
@click.option("--width", default="", help="85mm, 8.5cm, 3.3in, column, page or slide; left out: as in the notebook.")
@click.option("--format", "form", default="", help="pdf (if left out), png or svg.")
@click.option("--grey", is_flag=True, help="Without colours.")
@click.option("--output", type=PATH, help="The file to write; left out: NAME-WIDTH.FORMAT, here.")
def figure(
    names: tuple[str, ...], run_folder: Path, every: bool, width: str, form: str, grey: bool, output: Path | None
) -> None:
    """Draw figures NAMES of a run again from their tables, laid out anew at another width."""
    with errors_as_sentences():
        if every == bool(names):
            raise RequestError("Give the names of figures of the run, or --all for every one.")
        from labkit.running.figure import draw_again

        for path in draw_again(run_folder, names, width, form, grey, output):
            click.echo(path)
