"""Pieces of Markdown: text that stays text, tables and figures with captions and names to refer to."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from labkit.results.notebook import FORMATTERS
from labkit.results.run_words import points
from labkit.results.words import heading_of

FORMATS = FORMATTERS | {"points": lambda value: points(value, 2), "minutes": lambda value: f"{value:.2f}"}


def plain(text: Any) -> str:
    """Any text as one line of Markdown that shows just that text: nothing in it is markup, mathematics or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|$^~@!\"'])", r"\\\1", " ".join(str(text).split()))


def sentence(text: str) -> str:
    """A sentence that was made for a notebook, as plain text: names from run folders in it are no markup."""
    return plain(re.sub(r"[*`]", "", text))


def code(text: Any) -> str:
    """A text as inline code, whatever is in it."""
    flat = " ".join(str(text).split()).replace("|", "¦")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    return f"{fence} {flat} {fence}" if "`" in flat else f"`{flat}`"


def table(frame: pd.DataFrame, caption: str, name: str, **formats: str) -> str:
    """A pipe table with caption, to be referred to as ``[](#tbl-NAME)``; columns with a format are right-aligned.

    A format is a name of FORMATS, or ``code``, or ``raw`` for text that is Markdown already. What is missing is a dash.
    """
    columns = [_column(frame[column], formats.get(str(column), "")) for column in frame]
    right = [formats.get(str(c), "") in FORMATS or pd.api.types.is_numeric_dtype(frame[c]) for c in frame]
    head = "| " + " | ".join(plain(heading_of(str(column))) for column in frame) + " |"
    rule = "|" + "|".join("---:" if flush else ":---" for flush in right) + "|"
    rows = ["| " + " | ".join(cells) + " |" for cells in zip(*columns, strict=True)]
    return "\n".join([head, rule, *rows, "", f": {caption} {{#tbl-{name}}}", ""])


def _column(values: pd.Series, form: str) -> list[str]:
    show = FORMATS.get(form) or {"code": code, "raw": str}.get(form, plain)
    return ["–" if pd.isna(value) or value == "" else show(value) for value in values]


def figure(file: str, caption: str, alt: str, name: str, width: int = 100) -> str:
    """A figure with caption and description, to be referred to as ``[](#fig-NAME)``; ``width`` in percent."""
    described = " ".join(alt.split()).replace("\\", "/").replace('"', "”")
    return f'![{caption}](figures/{file}){{#fig-{name} alt="{described}" width={width}%}}\n'


def bullets(sentences: list[str]) -> str:
    """A list, one sentence an entry."""
    return "".join(f"- {sentence}\n" for sentence in sentences)


def metadata(values: Mapping[str, Any]) -> str:
    """The YAML block at the head of the source; values are plain text, whatever is in them."""
    import yaml

    kept = {key: value for key, value in values.items() if value not in ("", [], None)}
    return "---\n" + yaml.safe_dump(kept, allow_unicode=True, sort_keys=False, width=10_000) + "---\n"
