"""What is wrong or odd in a data set: every picture is opened, and facts on it stand in a row of a table."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from labkit.data import liver
from labkit.data.cache import fitted
from labkit.data.contents import Contents, Picture
from labkit.data.sources import Source
from labkit.errors import DataError
from labkit.running.findings import Finding
from labkit.running.machine import usable_cores

NAMED = 20  # so many lines a kind of fault
REMEDIES = {
    "wrong label": "mend them, or give the names of all classes as class_names",
    "sizes": "take both parts from one data set",
    "no picture": "fill them, or take the class out of every part",
    "unlike twins": "keep the one that is right",
    "in both parts": "take them out of one, or the test asks what was learnt by heart",
    "blank": "replace or remove them",
    "empty mask": "draw them, or remove their pictures",
    "full mask": "draw them anew, or remove their pictures",
}
FACTS = ["picture", "part", "label", "name", "size", "digest", "target", "blank", "share", "small"]


@dataclass(frozen=True)
class Oddity:
    """A finding, what it is about line by line, and the rows of the table of pictures that show it."""

    finding: Finding
    lines: Sequence[str] = ()
    rows: Sequence[int] = ()
    caption: str = ""

    def __str__(self) -> str:
        more = [f"and {len(self.lines) - NAMED:,} more"] if len(self.lines) > NAMED else []
        return "\n       ".join([str(self.finding), *self.lines[:NAMED], *more])


def looked_at(inside: Contents) -> tuple[pd.DataFrame, list[DataError]]:
    """A row for each picture that can be read, and the errors of the others.

    Columns: ``picture`` (its place in ``inside``), ``part``, ``label``, ``name``, ``size``, ``digest`` of its pixels,
    ``target`` (its label, or the digest of its mask), ``blank``, ``share`` of the mask (0 to 1; NaN without one),
    ``small`` (the slice as neighbours are compared).
    """
    with ThreadPoolExecutor(usable_cores()) as pool:
        looks = list(pool.map(_look, inside.pictures))
    rows = [{"picture": i, **look} for i, look in enumerate(looks) if isinstance(look, dict)]
    return pd.DataFrame(rows, columns=FACTS), [look for look in looks if isinstance(look, DataError)]


def _look(picture: Picture) -> dict[str, Any] | DataError:
    try:
        image, mask = picture.read()
    except DataError as fault:
        return fault
    facts = {"part": picture.part, "label": picture.label, "name": picture.name, "digest": _digest(image)}
    facts |= {"size": f"{image.shape[1]}×{image.shape[0]}", "blank": (image == image[0, 0]).all()}
    if mask is None:
        return facts | {"target": picture.label, "share": np.nan, "small": None}
    return facts | {"target": _digest(mask), "share": mask.mean(), "small": fitted(Image.fromarray(image), liver.LOOK)}


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).digest()


def oddities(
    name: str, inside: Contents, table: pd.DataFrame, damage: Sequence[DataError], source: Source | None
) -> list[Oddity]:
    """What is wrong or odd in the data set ``name``; ``source`` is what a lab finds, None where it would stop.

    What would be a fault elsewhere is a note in files that were published like this.
    """
    grade = "note" if source and (source.verified or source.complete) else "wrong"
    faults = [str(fault) for fault in (*inside.faults, *damage)]
    found = [_origin(source, faults), *_numbers(name, inside, table)]
    found += [_oddity("wrong", "Files that cannot be used", faults)] if faults else []
    strange = [*_labels(inside, table), *_twins(inside, table, grade), *_uniform(name, table, grade)]
    if not strange:
        what = f"No picture of {len(table):,} is there twice or of one colour, and no label or mask is odd"
        strange = [Oddity(Finding("good", what))]
    return found + strange + (_patients(table) if name == "liver" else [])


def _oddity(grade: str, what: str, lines: Sequence[str], rows: Sequence[int] = (), caption: str = "") -> Oddity:
    """What is wrong has a remedy; a note needs none."""
    remedy = f" ({REMEDIES[caption]})" if grade == "wrong" and caption else ""
    return Oddity(Finding(grade, f"{what}{remedy}: {len(lines):,}"), lines, rows, caption)


def _origin(source: Source | None, faults: Sequence[str]) -> Oddity:
    if source is None or faults:
        return Oddity(Finding("note", "A lab would stop at the first fault below, so no checksums are compared"))
    caveat = source.caveat().replace("**", "").removesuffix(".")
    return Oddity(
        Finding(
            "good" if source.verified or source.complete else "note",
            f"{source.name[0].upper()}{source.name[1:]}. {caveat}",
        )
    )


def _numbers(name: str, inside: Contents, table: pd.DataFrame) -> Iterator[Oddity]:
    """Parts with more or fewer pictures than were published; several sizes, which MNIST's files cannot have."""
    for part, number in inside.published.items():
        there = int((table["part"] == part).sum())
        if there != number:
            yield Oddity(Finding("note", f"{part} has {there:,} pictures, and {number:,} were published"))
    sizes = table["size"].value_counts()
    if len(sizes) > 1 and name != "pets":
        lines = [f"{size}: {count:,} pictures" for size, count in sizes.items()]
        yield _oddity("wrong" if name == "mnist" else "note", "Sizes of pictures", lines, caption="sizes")


def _labels(inside: Contents, table: pd.DataFrame) -> Iterator[Oddity]:
    """Labels that are no class, and classes without a picture in one of the parts."""
    wrong = table[~table["label"].isin(inside.classes)] if inside.classes else table[:0]
    if len(wrong):
        what = f"Labels that are none of the classes {inside.classes[0]} to {inside.classes[-1]}"
        yield _of(wrong, "wrong", "wrong label", what)
    seen = set(zip(table["part"], table["label"], strict=True))
    empty = [pair for pair in itertools.product(table["part"].unique(), inside.classes) if pair not in seen]
    if empty:
        yield _oddity(
            "wrong", "Classes without a picture in a part", [" ".join(p) for p in empty], caption="no picture"
        )


def _twins(inside: Contents, table: pd.DataFrame, grade: str) -> Iterator[Oddity]:
    """Pictures that are there more than once, to the pixel: with unlike labels or masks, in both parts, in one."""
    groups = [group for _, group in table[table.duplicated("digest", keep=False)].groupby("digest", sort=False)]
    unlike = [group for group in groups if group["target"].nunique() > 1]
    across = [group for group in groups if group["part"].nunique() > 1]
    within = [group for group in groups if group["part"].nunique() == group["target"].nunique() == 1]
    kinds = [
        (unlike, grade, "unlike twins", "Pictures that are there again with another label or mask"),
        (across, grade, "in both parts", f"Pictures that are in both {' and '.join(inside.published)}"),
        (within, "note", "twice", "Pictures that are more than once in one part"),
    ]
    for chosen, kind, caption, what in kinds:
        if chosen:
            lines = [" = ".join(map(_called, group.itertuples())) for group in chosen]
            yield _oddity(kind, what, lines, [row for group in chosen for row in group.index], caption)


def _uniform(name: str, table: pd.DataFrame, grade: str) -> Iterator[Oddity]:
    """Pictures of one colour, masks of one value; many slices of a CT have no liver."""
    yield from _some(table[table["blank"].astype(bool)], grade, "blank", "Pictures of one colour")
    empty = "note" if name == "liver" else grade
    yield from _some(table[table["share"] == 0], empty, "empty mask", "Empty masks")
    yield from _some(table[table["share"] == 1], grade, "full mask", "Masks that cover the whole picture")


def _some(rows: pd.DataFrame, grade: str, caption: str, what: str) -> Iterator[Oddity]:
    if len(rows):
        yield _of(rows, grade, caption, what)


def _of(rows: pd.DataFrame, grade: str, caption: str, what: str) -> Oddity:
    return _oddity(grade, what, [_called(row) for row in rows.itertuples()], list(rows.index), caption)


def _called(row: Any) -> str:
    return f"{row.part} {row.name}" + (f" ({row.label})" if row.label else "")


def _patients(table: pd.DataFrame) -> list[Oddity]:
    """The patients that lab 2 tells apart in the training slices."""
    train = table[table["part"] == "train"]
    if len(train) < 2:
        return []
    volumes = liver.find_volumes(liver.changes(np.stack(train["small"])[:, None]))
    names = [f"{train['name'].iloc[v.start]} to {train['name'].iloc[v.stop - 1]}" for v in volumes]
    return [Oddity(Finding("good", f"{len(names)} patients are told apart in train, slices {', '.join(names)}"))]
