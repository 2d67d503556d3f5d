"""From run folders and the student's part to the four documents; what cannot be used is named, not a crash."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from labkit.errors import RequestError
from labkit.labs import LABS
from labkit.labs.analysis import known
from labkit.paths import runs_root
from labkit.report.document import document
from labkit.report.render import page_count, render
from labkit.report.sections import BRIEF, FULL, SHORTEST
from labkit.report.settings import make_forms, read_settings
from labkit.results.finished import READERS, FinishedRun, find_runs, open_runs
from labkit.results.words import many


def build_report(
    out: Path,
    root: str = "",
    folders: Sequence[Path] = (),
    labs: Sequence[str] = (),
    pages: int = 0,
    formats: Sequence[str] = ("pdf", "docx", "tex", "html"),
) -> Iterator[str]:
    """Write ``report.*`` into ``out`` from the finished runs under ``root``, or from ``folders`` alone.

    ``labs`` (numbers such as 02) takes a part of them. ``pages`` is the longest that the PDF may be (0: as long as it
    gets); the most detailed form that fits is taken. Yields a line for each folder left out and each file written;
    RequestError if there is no finished run, or not even the shortest form fits.
    """
    runs, left_out = chosen_runs(root, folders, labs)
    for row in left_out.itertuples():
        yield f"left out  {row.folder}: {row.reason}"
    settings = read_settings(out)
    make_forms(out, sorted({run.manifest.notebook for run in runs}))
    lengths: list[int] = []
    for detail in (FULL, BRIEF, SHORTEST) if pages else (FULL,):
        with tempfile.TemporaryDirectory(prefix="labkit-report-") as name:
            source = Path(name) / "report.md"
            source.write_text(document(runs, left_out, settings, out, source.parent, detail), "utf-8")
            lengths.append(page_count(source) if pages else 0)
            if lengths[-1] <= pages:
                if len(lengths) > 1:
                    yield f"shortened to {many(lengths[-1], 'page')}: the next longer form has {lengths[-2]}"
                yield from (str(path) for path in render(source, out, formats))
                return
    raise RequestError(
        f"The shortest form has {many(lengths[-1], 'page')}, more than {pages}: take fewer labs, or more pages."
    )


def chosen_runs(root: str, folders: Sequence[Path], labs: Sequence[str]) -> tuple[list[FinishedRun], pd.DataFrame]:
    """The finished runs that the report is about, and what was left out: columns folder, reason."""
    trained = {name[:2] for name in LABS if name not in READERS}
    if unknown := sorted(set(labs) - trained):
        raise RequestError(f"There is no lab {unknown[0]!r} that trains: give any of {', '.join(sorted(trained))}.")
    where = str(runs_root(root)) if not folders else ", ".join(map(str, folders))
    named = dict.fromkeys(folder.resolve() for folder in folders)
    runs, left_out = known(*(open_runs(named) if folders else find_runs(runs_root(root))))
    if labs:
        runs = [run for run in runs if run.manifest.notebook[:2] in labs]
        left_out = left_out[left_out["folder"].str[:2].isin(labs)]
    if not runs:
        of = f" of lab {', '.join(labs)}" if labs else ""
        also = " {folder} was left out: {reason}".format(**left_out.iloc[0]) if len(left_out) else ""
        raise RequestError(f"There is no finished run{of} in {where}: make one first, with labkit run.{also}")
    return runs, left_out
