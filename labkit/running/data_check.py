"""Look at every picture of a data set, and say and draw what is damaged or odd: what ``labkit data check`` does."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from labkit.data.contents import Contents, contents
from labkit.data.finders import FIND, is_there, official
from labkit.data.sources import Source
from labkit.errors import DataError, RequestError
from labkit.files import write_asked
from labkit.paths import data_root
from labkit.results.masks import plot_outlines
from labkit.results.plots import plot_images, use_style
from labkit.running.data_oddities import Oddity, looked_at, oddities
from labkit.running.findings import Finding

DRAWN = 8  # so many pictures a kind of oddity
CLASSES = 12  # more than so many are not listed one by one


def check(names: Sequence[str], root: str, pictures: str = "") -> Iterator[tuple[str, list[Finding]]]:
    """For each data set named, else for each that is there: what to print, and its findings.

    ``pictures`` is where to draw what is odd: a file, "auto" for ``data-check-NAME.png`` in the current folder, or "".
    """
    folder = data_root(root)
    chosen = list(names) or [name for name in FIND if is_there(name, folder)]
    absent = [name for name in chosen if not is_there(name, folder)] or ([] if chosen else ["data set"])
    if absent:
        raise RequestError(
            f"There is no {absent[0]} under {folder}: give the folder of the data with --data; 'labkit data list' "
            f"says where each comes from."
        )
    sheets = {name: sheet_path(pictures, name, len(chosen)) for name in chosen} if pictures else {}
    for name in chosen:
        inside = contents(name, folder)
        table, damage = looked_at(inside)
        odd = oddities(name, inside, table, damage, _source(name, root))
        text = [f"{name} in {folder}", counts(inside, table).to_string(), *map(str, odd)]
        if name in sheets and any(oddity.rows for oddity in odd):
            write_sheet(sheets[name], name, inside, table, odd)
            text.append(str(sheets[name]))
        yield "\n".join(text), [oddity.finding for oddity in odd]


def _source(name: str, root: str) -> Source | None:
    """The data set as a lab finds it; None where a lab stops."""
    try:
        return official(name, root)
    except DataError:
        return None


def counts(inside: Contents, table: pd.DataFrame) -> pd.DataFrame:
    """Pictures by class and part, and how many were published; many classes in one line, from least to most."""
    parts = {part: table[table["part"] == part] for part in inside.published}
    classes = pd.DataFrame({part: rows["label"].value_counts() for part, rows in parts.items()}, index=inside.classes)
    shown = classes.fillna(0).astype(int)
    if len(shown) > CLASSES:
        spans = {part: f"{shown[part].min()} to {shown[part].max()}" for part in shown}
        shown = pd.DataFrame(spans, index=[f"each of {len(shown)} classes"])
    below = {
        "pictures": [len(rows) for rows in parts.values()],
        "published": list(inside.published.values()),
        "size": [_sizes(rows["size"]) for rows in parts.values()],
    }
    if table["share"].notna().any():
        below["foreground"] = [f"{100 * rows['share'].mean():.1f} %" for rows in parts.values()]
    return pd.concat([shown.astype(object), pd.DataFrame.from_dict(below, orient="index", columns=list(parts))])


def _sizes(sizes: pd.Series) -> str:
    return f"{sizes.nunique()} sizes" if sizes.nunique() > 1 else next(iter(sizes), "")


def sheet_path(pictures: str, name: str, sheets: int) -> Path:
    """The file that was named, with the data set's name in it if there will be several."""
    if pictures == "auto":
        return Path(f"data-check-{name}.png")
    path = Path(pictures)
    if path.suffix.lower() != ".png":
        raise RequestError(f"--pictures {pictures} is no name of a PNG file: give one that ends in .png.")
    return path.with_stem(f"{path.stem}-{name}") if sheets > 1 else path


def write_sheet(path: Path, name: str, inside: Contents, table: pd.DataFrame, odd: Sequence[Oddity]) -> None:
    """Draw what is odd, up to DRAWN pictures of each kind, masks as outlines."""
    shown = [(oddity.caption, table.loc[row]) for oddity in odd for row in oddity.rows[:DRAWN]]
    pairs = [inside.pictures[row["picture"]].read() for _, row in shown]
    masks = any(mask is not None for _, mask in pairs)
    title, width = f"{name}: what is odd, at most {DRAWN} pictures of a kind", 26 if masks else 15
    drawn = pd.DataFrame(pairs, columns=["image", "mask"])
    drawn["title"] = [f"{caption}\n{_title(row, width)}" for caption, row in shown]
    use_style()
    most, least = (6, 3) if masks else (8, 4)  # columns, of which the title needs some
    figure = (plot_outlines if masks else plot_images)(drawn, title=title, columns=min(most, max(least, len(drawn))))
    content = io.BytesIO()
    figure.savefig(content, format="png")
    plt.close(figure)
    write_asked(path, content.getvalue(), "--pictures")


def _title(row: pd.Series, width: int) -> str:
    """Part, name and class of a picture, in lines of about ``width`` letters."""
    label = "" if row["label"] in row["name"] else f" ({row['label']})"
    words = f"{row['part']} {row['name']}{label}".replace("/", "/ ")
    return textwrap.fill(words, width, break_long_words=False, break_on_hyphens=False)
