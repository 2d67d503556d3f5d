"""Draw figures of a finished run again, at the width of a column, a page or a slide."""

import re
from collections.abc import Sequence
from pathlib import Path

from labkit.errors import RequestError
from labkit.files import write_asked
from labkit.results.figures import FORMATS, names, redrawn
from labkit.results.style import OWN, PAGES, Page, page_of

UNITS = {"mm": 1.0, "cm": 10.0, "in": 25.4}
NARROWEST, WIDEST = 50, 500  # mm


def draw_again(
    run: Path, asked: Sequence[str], width: str = "", form: str = "", grey: bool = False, output: Path | None = None
) -> list[Path]:
    """Write figures of a run (all of them if none is named), and say where; nothing is written if one cannot be."""
    page, form = page_of_width(width), format_of(form, output)
    figures = list(asked) or names(run)
    if output is not None and len(figures) > 1:
        raise RequestError(
            f"--output is one file, but {len(figures)} figures are asked for: name one, or leave out --output."
        )
    ending = "".join([f"-{width}" if width else "", "-grey" if grey else "", f".{form}"])
    drawn = {output or Path(f"{name}{ending}"): redrawn(run, name, form, page, grey) for name in figures}
    for path, content in drawn.items():
        write_asked(path, content, "--output")
    return list(drawn)


def page_of_width(width: str) -> Page:
    """The page of a width as it is typed: ``85mm``, ``8.5cm``, ``3.3in``, column, page, slide; "" is a figure's own."""
    if not width or width in PAGES:
        return PAGES.get(width, OWN)
    match = re.fullmatch(r"(\d{1,4}(?:\.\d{1,4})?)(mm|cm|in)", width)
    millimetres = float(match[1]) * UNITS[match[2]] if match else 0
    if not NARROWEST <= millimetres <= WIDEST:
        raise RequestError(
            f"The width {width!r} is not allowed: give {NARROWEST}mm to {WIDEST}mm, also as 8.5cm or 3.3in, or one of "
            f"{', '.join(PAGES)}."
        )
    return page_of(millimetres)


def format_of(form: str, output: Path | None) -> str:
    """The format that is asked for, by name or by the suffix of the output; PDF if nothing is said."""
    suffix = output.suffix.removeprefix(".").lower() if output else ""
    chosen = form or suffix or "pdf"
    if chosen not in FORMATS:
        raise RequestError(f"The format {chosen!r} is not known: give one of {', '.join(FORMATS)}.")
    if suffix and suffix != chosen:
        raise RequestError(f"--output {output} does not end in .{chosen}: give one name or the other --format.")
    return chosen
