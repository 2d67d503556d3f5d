"""What a notebook says and shows: source code, the banner of a run, figures and tables that are kept as they appear."""

import inspect
from collections.abc import Callable
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.display import Image, Markdown, display
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from labkit.data.sources import Source
from labkit.files import write_atomic
from labkit.results import figures
from labkit.results.run import Run
from labkit.results.words import heading_of

OPENS = "common.open_run("  # what stands in the cell that asks for a run
FORMATTERS: dict[str, Callable[[Any], str]] = {
    "percent": lambda value: f"{100 * value:.2f} %",
    "loss": lambda value: f"{value:.4f}",
    "short": lambda value: f"{value:.3g}",
    "rate": lambda value: f"{value:.2g}",
    "count": lambda value: f"{value:,.0f}",
    "number": lambda value: f"{value:.4g}",
}


def show_source(*things: Any) -> None:
    """Show the source code of classes and functions of labkit: the very code that runs."""
    source = "\n\n".join(inspect.getsource(thing) for thing in things)
    # Styles within the tags, since JupyterLab, GitHub and HTML exports each style code their own way, or not at all.
    styles = "font-family: monospace; font-size: 82%; "  # so that 120 characters fit beside the list of files
    styles += "white-space: pre-wrap; word-break: normal"  # JupyterLab breaks within words
    html = highlight(source, PythonLexer(), HtmlFormatter(noclasses=True, nobackground=True, prestyles=styles))
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


def figure(run: Run, name: str, plot: figures.Plot, data: pd.DataFrame, alt: str, /, **options: Any) -> None:
    """Show a figure and keep it: ``figures/NAME.{png,pdf,svg}``, its table as CSV and its description for the blind.

    ``plot`` draws ``data`` with ``options``, all that ``labkit figure`` needs to draw it again. A figure of anything
    but the published data says so in its corner.
    """
    alt = alt.replace("**", "")  # it is read aloud
    picture = figures.save(run.folder / "figures", name, plot, data, alt, figures.mark_of(run.manifest), **options)
    _show_picture(picture, alt)


def passing_figure(plot: figures.Plot, data: pd.DataFrame, alt: str, mark: str, /, **options: Any) -> None:
    """Show a figure without keeping it, where there is no run; ``mark`` is written in its corner."""
    _show_picture(figures.Drawing(plot, data, options, mark).rendered(["png"])["png"], alt)


def _show_picture(png: bytes, alt: str) -> None:
    display(Image(png, retina=True, alt=alt))  # it has twice as many dots as it is shown with


def table(run: Run, name: str, frame: pd.DataFrame, **formats: str) -> None:
    """Show a table and keep it as ``tables/NAME.{csv,tex}``; a format is a name of FORMATTERS.

    One without a row is said to be empty and not kept: no file could say what its columns hold.
    """
    if frame.empty:
        say(f"*The table `{name}` has no row here and is left out.*")
        return
    formatters = {column: FORMATTERS[kind] for column, kind in formats.items()}
    write_atomic(run.folder / "tables" / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    escaped = {column: lambda value, form=form: form(value).replace("%", r"\%") for column, form in formatters.items()}
    latex = frame.style.format(escaped, na_rep="--", escape="latex").format_index(escape="latex", axis=1)
    write_atomic(run.folder / "tables" / f"{name}.tex", latex.hide(axis="index").to_latex(hrules=True))
    passing_table(frame, **formats)


def passing_table(frame: pd.DataFrame, **formats: str) -> None:
    """Show a table without keeping it; texts stand at the left, numbers at the right."""
    formatters = {column: FORMATTERS[kind] for column, kind in formats.items()}
    texts = {"subset": [c for c in frame if c not in formats and not pd.api.types.is_numeric_dtype(frame[c])]}
    styled = frame.style.format(formatters, na_rep="–", escape=None).hide(axis="index")
    styled = styled.format_index(lambda column: heading_of(str(column)), axis=1)
    styled = styled.set_properties(**texts, **{"text-align": "left"})
    styled = styled.set_table_styles({c: [{"selector": "th", "props": "text-align: left"}] for c in texts["subset"]})
    display(styled)


def watch_cells(run: Run) -> None:
    """Let the manifest know when a cell of this notebook fails: its error, and which cell it was.

    A cell that asks for a run says nothing of the one before it, if it fails.
    """
    shell = get_ipython()
    if shell is None:
        return

    def after_cell(result: Any) -> None:
        error = result.error_in_exec or result.error_before_exec
        if error is not None and OPENS not in result.info.raw_cell:
            run.fail(error, cell=result.execution_count)

    for earlier in getattr(shell, "_labkit_watchers", []):
        shell.events.unregister("post_run_cell", earlier)
    shell._labkit_watchers = [after_cell]
    shell.events.register("post_run_cell", after_cell)
