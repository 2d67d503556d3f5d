"""What a notebook says and shows: source code, the banner of a run, figures and tables that are kept as they appear."""

import inspect
import io
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython import get_ipython
from IPython.display import Image, Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from labkit.data.sources import Source
from labkit.files import write_atomic
from labkit.results.run import Run

FORMATS = ("png", "pdf", "svg")
TIMELESS = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}  # the same figure is the same file
MARKS = {
    "sample": "sample data, not the real data set",
    "official": "not the published data set",
    "mixed": "in part sample data",
}
FORMATTERS: dict[str, Callable[[Any], str]] = {
    "percent": lambda value: f"{100 * value:.2f} %",
    "loss": lambda value: f"{value:.4f}",
    "short": lambda value: f"{value:.3g}",
    "rate": lambda value: f"{value:.2g}",
    "count": lambda value: f"{value:,.0f}",
}


def show_source(*things: Any) -> None:
    """Show the source code of classes and functions of labkit: the very code that runs."""
    source = "\n\n".join(inspect.getsource(thing) for thing in things)
    # Styles within the tags, since JupyterLab, GitHub and HTML exports each style code their own way, or not at all.
    html = highlight(
        source, PythonLexer(), HtmlFormatter(noclasses=True, nobackground=True, prestyles="font-family: monospace")
    )
    display({"text/plain": source, "text/html": html}, raw=True)


def say(text: str) -> None:
    """Show a sentence of Markdown whose numbers were computed."""
    display(Markdown(text))


def banner(run: Run, source: Source) -> None:
    """Say what this run stands on: data, device, precision, folder, and whether an earlier run is gone on with."""
    facts = run.manifest
    say(
        f"> {source.caveat()}\n>\n> Data: {source.name}. Device: "
        f"{facts['device']}, {facts['precision']}: {facts['precision_reason']}. "
        f"{run.story()}\n>\n> Run folder: `{run.folder}`"
    )


def figure(run: Run, name: str, plot: Figure | Axes, data: pd.DataFrame, alt: str) -> None:
    """Show a figure and keep it: ``figures/NAME.{png,pdf,svg}``, its numbers as CSV and its description for the blind.

    A figure of anything but the published data says so in its corner.
    """
    drawn = plot if isinstance(plot, Figure) else plot.figure
    source = run.manifest["data"]
    if not (source["verified"] or source.get("complete")):
        drawn.supxlabel(MARKS[source["kind"]], x=0.99, ha="right", fontsize=7, color="#666666")
    folder = run.folder / "figures"
    for form in FORMATS:
        content = io.BytesIO()
        drawn.savefig(content, format=form, metadata=TIMELESS.get(form))
        write_atomic(folder / f"{name}.{form}", content.getvalue())
    write_atomic(folder / f"{name}.csv", data.to_csv(index=False, lineterminator="\n"))
    write_atomic(folder / f"{name}.alt.txt", alt + "\n")
    width = round(drawn.get_size_inches()[0] * 96)
    plt.close(drawn)
    display(Image((folder / f"{name}.png").read_bytes(), width=width, alt=alt))


def table(run: Run, name: str, frame: pd.DataFrame, **formats: str) -> None:
    """Show a table and keep it as ``tables/NAME.{csv,tex}``; a format is percent, loss, short, rate or count."""
    formatters = {column: FORMATTERS[kind] for column, kind in formats.items()}
    write_atomic(run.folder / "tables" / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    texts = {"subset": [c for c in frame if c not in formats and not pd.api.types.is_numeric_dtype(frame[c])]}
    styled = frame.style.format(formatters, na_rep="–", escape=None).hide(axis="index")
    styled = styled.set_properties(**texts, **{"text-align": "left"})
    styled = styled.set_table_styles({c: [{"selector": "th", "props": "text-align: left"}] for c in texts["subset"]})
    escaped = {column: lambda value, form=form: form(value).replace("%", r"\%") for column, form in formatters.items()}
    latex = frame.style.format(escaped, na_rep="--", escape="latex").format_index(escape="latex", axis=1)
    write_atomic(run.folder / "tables" / f"{name}.tex", latex.hide(axis="index").to_latex(hrules=True))
    display(styled)


def watch_cells(run: Run) -> None:
    """Let the manifest know when a cell of this notebook fails: its error, and which cell it was."""
    shell = get_ipython()
    if shell is None:
        return

    def after_cell(result: Any) -> None:
        error = result.error_in_exec or result.error_before_exec
        if error is not None:
            run.fail(error, cell=result.execution_count)

    for earlier in getattr(shell, "_labkit_watchers", []):
        shell.events.unregister("post_run_cell", earlier)
    shell._labkit_watchers = [after_cell]
    shell.events.register("post_run_cell", after_cell)
