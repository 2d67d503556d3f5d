"""Figures that can be drawn again: ``NAME.json`` says which function and options, ``NAME.csv`` holds the table.

A figure is drawn from its CSV as anybody would read it, the first time as every later time, so the CSV is enough.
A run folder may come from somebody else: only the functions of ``PLOTS`` are called, with options of their signature.
"""

import difflib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, validate_call

from labkit.errors import RequestError
from labkit.files import write_atomic, write_json
from labkit.results import masks, pairs, plots, run_plots
from labkit.results.finished import FinishedRun, manifest_of
from labkit.results.fitting import fit, write_mark
from labkit.results.grey import make_grey
from labkit.results.picture_tables import LARGEST_FILE, read_csv, to_csv, words_in
from labkit.results.style import OWN, Page, on_page
from labkit.untrusted import file_in

Plot = Callable[..., Figure | Axes]
MODULES = (plots, masks, pairs, run_plots)  # their functions plot_… are what a figure can be drawn with
PLOTS: dict[str, Plot] = {
    name.removeprefix("plot_"): function
    for module in MODULES
    for name, function in vars(module).items()
    if name.startswith("plot_")
}
FORMATS = ("pdf", "png", "svg")
NAME = re.compile(r"\w[\w.-]{0,99}")  # of a figure, which becomes the name of a file
TIMELESS = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}  # the same figure is the same file
MARKS = {
    "sample": "sample data, not the real data set",
    "official": "not the published data set",
    "part": "in part not all of the published test data",
    "mixed": "in part sample data",
}
WITHOUT_DATA = ("learning_rate", "sigmoids", "pull", "speed")  # what they show is the same on any data


class Recipe(BaseModel):
    """What ``NAME.json`` holds: a plot function by name, its options, and the columns of the table that are words."""

    model_config = ConfigDict(extra="forbid")

    plot: str
    options: dict[str, JsonValue] = {}
    words: list[str] = []


@dataclass(frozen=True)
class Drawing:
    """A figure before it is drawn: function, table, options, and what is written in its corner."""

    plot: Plot
    table: pd.DataFrame
    options: Mapping[str, Any]
    mark: str

    @contextmanager
    def drawn(self, page: Page = OWN, grey: bool = False) -> Iterator[Figure]:
        """The figure, laid out for ``page``; it is closed in the end, whatever happens."""
        plot, before = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(self.plot), plt.get_fignums()
        try:
            with on_page(page):
                made = plot(self.table, **self.options)
                figure = made if isinstance(made, Figure) else made.figure
                if self.mark:
                    write_mark(figure, self.mark, size=max(7, 0.7 * page.font))
                fit(figure)
                if grey:
                    make_grey(figure)
                yield figure
        finally:
            for number in set(plt.get_fignums()) - set(before):
                plt.close(number)

    def rendered(self, formats: Sequence[str], page: Page = OWN, grey: bool = False) -> dict[str, bytes]:
        """The figure as files, laid out for ``page``."""
        laid_out = {"figure.constrained_layout.use": False}  # as it is; any engine, even "none", draws each file twice
        with self.drawn(page, grey) as figure, mpl.rc_context(laid_out):
            figure.set_layout_engine(None)
            return {form: _file(figure, form) for form in formats}


def _file(figure: Figure, form: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=form, metadata=TIMELESS.get(form))
    return content.getvalue()


def mark_of(manifest: Mapping[str, Any]) -> str:
    """What a figure says in its corner, if it shows anything but the published data."""
    source = manifest.get("data")
    source = source if isinstance(source, dict) else {}
    if source.get("verified") or source.get("complete"):
        return ""
    return MARKS.get(str(source.get("kind")), MARKS["official"])


def mark_of_runs(runs: Sequence[FinishedRun]) -> str:
    """What a figure of many runs says in its corner, if one of them is on anything but complete published data."""
    data = [run.manifest.data for run in runs]
    if not any(one.obstacle for one in data):
        return ""
    if all(one.kind == "official" and (one.verified or one.complete) for one in data):
        return MARKS["part"]
    kinds = {one.kind for one in data}
    return MARKS[kinds.pop() if len(kinds) == 1 else "mixed"]


def save(folder: Path, name: str, plot: Plot, table: pd.DataFrame, alt: str, mark: str, /, **options: Any) -> bytes:
    """Draw a figure and keep it in ``folder``: ``NAME.{csv,json,png,pdf,svg,alt.txt}``. Returns the PNG."""
    recipe = Recipe(plot=plot.__name__.removeprefix("plot_"), options=options, words=words_in(table))
    write_atomic(folder / f"{name}.csv", to_csv(table))
    write_json(folder / f"{name}.json", recipe.model_dump())
    files = read(folder / f"{name}.json", mark).rendered(FORMATS)
    for form, content in files.items():
        write_atomic(folder / f"{name}.{form}", content)
    write_atomic(folder / f"{name}.alt.txt", alt + "\n")
    return files["png"]


def read(path: Path, mark: str) -> Drawing:
    """The figure that ``path``, a NAME.json, and the CSV beside it describe; RequestError if they describe none."""
    try:
        recipe = Recipe.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RequestError(f"{path} does not say how to draw a figure ({_first(error)}): run it again.") from None
    if recipe.plot not in PLOTS:
        raise RequestError(f"{path} names the plot {recipe.plot!r}, which this workbook does not have: run it again.")
    said = "" if recipe.plot in WITHOUT_DATA else mark
    return Drawing(PLOTS[recipe.plot], read_csv(path.with_suffix(".csv"), recipe.words), recipe.options, said)


def names(run: Path) -> list[str]:
    """The figures of a run folder that can be drawn again; RequestError if there are none."""
    manifest_of(run)
    found = sorted(path.stem for path in (run / "figures").glob("*.json") if NAME.fullmatch(path.stem))
    if not found:
        raise RequestError(
            f"The figures of {run} cannot be drawn again: it has none, or an older workbook made them without a "
            f"NAME.json; run it again."
        )
    return found


def load(run: Path, name: str) -> Drawing:
    """A figure of a run folder, ready to be drawn."""
    known = names(run)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
        raise RequestError(f"{run} has no figure {name!r} that can be drawn again: it has {', '.join(near)}.")
    path = file_in(run, f"figures/{name}.json")
    file_in(run, f"figures/{name}.csv", LARGEST_FILE)
    return read(path, mark_of(manifest_of(run)))


def _first(error: Exception) -> str:
    """What is wrong, in a line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def redrawn(run: Path, name: str, form: str = "pdf", page: Page = OWN, grey: bool = False) -> bytes:
    """A figure of a run folder, laid out anew for ``page``: the content of a file of format ``form``.

    RequestError if there is no such figure, or if its files were tampered with.
    """
    drawing = load(run, name)
    try:
        return drawing.rendered((form,), page, grey)[form]
    except Exception as error:  # whatever a table or an option that does not fit makes a plot function raise
        files = f"{name}.json and {name}.csv in {run / 'figures'}"
        raise RequestError(f"{files} do not fit together ({_first(error)}): run it again.") from None
