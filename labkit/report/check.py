"""What a report may hold: students' own paragraphs are untrusted text, and each mistake is one sentence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import RequestError

TAGGED = {"Header": 1, "Figure": 0, "Table": 0}  # where each element keeps its identifier
PICTURES = (".png", ".jpg", ".jpeg")
SAFE_LINK = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
# Commands that pandoc's reader of mathematics lets through although LaTeX would expand them or not know them.
NO_FORMULA = re.compile(r"\\(?:label|tag|color|hyperref|num|qty|unit|ang|SI\w*|si)(?![A-Za-z])|\^\^|(?<!\\)%")
NAMES = {"Figure": "fig-", "Table": "tbl-"}


@dataclass(frozen=True)
class Picture:
    """A figure of the report: its identifier, caption and description in words, and the file that it names."""

    identifier: str
    caption: str
    description: str
    file: str
    width: str

    def __str__(self) -> str:
        return f"The figure {self.file}"


def check(document: dict[str, Any], folder: Path) -> list[Picture]:
    """The figures of a report in ``folder``, or RequestError with the first thing that is wrong with it."""
    meta, blocks = document["meta"], document["blocks"]
    check_metadata(meta)
    check_headings(blocks)
    check_formulas([meta, blocks])
    check_links([meta, blocks], identifiers(blocks))
    figures = [picture(content) for tag, content in nodes(blocks) if tag == "Figure"]
    check_images([meta, blocks], {figure.file for figure in figures})
    for figure in figures:
        check_figure(figure, folder)
    return figures


def check_metadata(meta: dict[str, Any]) -> None:
    """A document without a title is closed to a screen reader."""
    if not words(meta.get("title")).strip():
        raise RequestError("The report has no title: give one in the block between --- at its top.")


def nodes(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every element of a pandoc document with its content, in reading order."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "t" in part:
                yield part["t"], part.get("c")
            part = list(part.values())
        if isinstance(part, list):
            waiting += reversed(part)


def words(tree: Any) -> str:
    """The plain text of a part of a document."""
    spaces = {"Space", "SoftBreak", "LineBreak"}
    return "".join(
        " " if tag in spaces else content if tag in {"Str", "MetaString"} else content[1]
        for tag, content in nodes(tree)
        if tag in spaces | {"Str", "MetaString", "Code", "Math"}
    )


def identifiers(blocks: Any) -> set[str]:
    """What a cross-reference can name; figures and tables have names that all four formats can carry."""
    seen: set[str] = set()
    for tag, content in nodes(blocks):
        name = content[TAGGED[tag]][0] if tag in TAGGED else ""
        if name and name in seen:
            raise RequestError(f"Two parts of the report are called #{name}: give each a name of its own.")
        if name and tag in NAMES and not re.fullmatch(rf"{NAMES[tag]}[A-Za-z0-9_-]+", name):
            example = f"#{NAMES[tag]}loss"
            raise RequestError(f"The {tag.lower()} #{name} needs a name like {example}: letters, digits, - and _.")
        seen.add(name)
    return seen - {""}


def check_headings(blocks: Any) -> None:
    """Levels follow one another: a reader who listens finds the way by them, and PDF/UA asks for it."""
    above = 0
    for tag, content in nodes(blocks):
        if tag != "Header":
            continue
        if not words(content[2]).strip():
            raise RequestError("A heading of the report is empty: give it words, or take away its #.")
        if content[0] > above + 1:
            raise RequestError(
                f"The heading {words(content[2])!r} has {content[0]} # where at most {above + 1} can follow: "
                "do not skip a level."
            )
        above = content[0]


def check_links(tree: Any, known: set[str]) -> None:
    """A link leads to the web, to a mailbox or to a part of this report."""
    check_addresses(tree)
    for tag, content in nodes(tree):
        if tag == "Link" and content[2][0].startswith("#"):
            check_reference(content[2][0][1:], words(content[1]), known)


def check_addresses(tree: Any) -> None:
    """What a link names is an address or a part of the report, be it there or not."""
    for tag, content in nodes(tree):
        if tag == "Link" and not content[2][0].startswith("#") and not SAFE_LINK.match(content[2][0]):
            raise RequestError(
                f"The link to {content[2][0]!r} leads nowhere for a reader of the report: use an https:// or mailto: "
                "address or a #name of the report."
            )


def check_reference(name: str, text: str, known: set[str]) -> None:
    """A reference names a part that is there, and says its words unless the part has a number."""
    numbers = tuple(NAMES.values())
    if name not in known:
        there = ", ".join(f"#{k}" for k in sorted(known) if k.startswith(numbers)) or "none"
        raise RequestError(f"The report refers to #{name}, which it does not hold; its figures and tables: {there}.")
    if not text and not name.startswith(numbers):
        raise RequestError(f"The reference [](#{name}) needs words: only figures and tables are named by themselves.")


def check_formulas(tree: Any) -> None:
    """No formula holds what only LaTeX would understand."""
    for tag, content in nodes(tree):
        found = NO_FORMULA.search(content[1]) if tag == "Math" else None
        if found:
            raise RequestError(f"The formula ${content[1]}$ cannot be set in all formats: leave out {found[0]!r}.")


def picture(content: Any) -> Picture:
    """Read a figure of the pandoc document."""
    images = [inner for tag, inner in nodes(content[2]) if tag == "Image"]
    attributes, description, target = images[0]
    caption = words(content[1])
    return Picture(content[0][0], caption, words(description), target[0], dict(attributes[2]).get("width", ""))


def check_images(tree: Any, figures: set[str]) -> None:
    """No image stands among words: it would have no caption and no number."""
    for tag, content in nodes(tree):
        if tag == "Image" and content[2][0] not in figures:
            raise RequestError(
                f"The image {content[2][0]} has no caption or stands among words: give it a paragraph of its own, "
                f"{example(content[2][0])}."
            )


def example(file: str) -> str:
    """How a picture is written."""
    return f'![Caption.]({f"<{file}>" if " " in file else file}){{alt="what it shows"}}'


def check_description(figure: Picture) -> None:
    """A reader who cannot see the figure is told what it shows."""
    if not figure.description.strip() or figure.description == figure.caption:
        raise RequestError(f"{figure} has no description for readers who cannot see it: write {example(figure.file)}.")


def check_own(blocks: Any) -> None:
    """What can be said of a student's text by itself, while pictures still have the names that the student gave."""
    check_formulas(blocks)
    check_addresses(blocks)
    figures = [picture(content) for tag, content in nodes(blocks) if tag == "Figure"]
    check_images(blocks, {figure.file for figure in figures})
    for figure in figures:
        check_description(figure)


def check_figure(figure: Picture, folder: Path) -> None:
    """The file lies in the report's own folder, and a reader who cannot see it is told what it shows."""
    if re.match(r"[a-z][a-z0-9+.-]*:|//", figure.file, re.IGNORECASE):
        raise RequestError(f"{figure} is an address: save the image in figures/ and name it there.")
    if re.search(r'[\s\\{}%#$&~^"]', figure.file):
        raise RequestError(f"{figure} has a name that LaTeX cannot bear: use letters, digits, - and _.")
    path = (folder / figure.file).resolve()
    if Path(figure.file).is_absolute() or not path.is_relative_to((folder / "figures").resolve()):
        raise RequestError(f"{figure} lies outside the report's folder figures/: copy it there and name it there.")
    if path.suffix.lower() not in PICTURES:
        raise RequestError(f"{figure} is not one of {', '.join(PICTURES)}: save the image in one of these formats.")
    if not path.is_file():
        raise RequestError(f"{figure} is missing from {folder}: make it, or take it out of the report.")
    check_description(figure)
    if figure.width and not re.fullmatch(r"[1-9]\d?%|100%", figure.width):
        raise RequestError(f"{figure} has the width {figure.width!r}: give a whole percentage such as width=80%.")
