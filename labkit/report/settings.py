"""What the student gives: ``report.yaml`` and paragraphs of their own. Made once as forms, never overwritten."""

import re
from collections.abc import Sequence
from pathlib import Path

import pypandoc
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from labkit.errors import RequestError
from labkit.files import write_atomic
from labkit.report.render import MARKDOWN

SETTINGS = "report.yaml"
LARGEST = 1_000_000  # bytes of a paragraph file; more is a mistake
FORM = """\
# Who hands this report in. Fill in what you need, leave the rest empty; `labkit report` never changes this file.
title: Computer vision lab report
subtitle:
author:            # one name, or a list: [Ada Lovelace, 王小明]
affiliation:
course:
number:            # matriculation number, group, …
date:              # such as 24 November 2026; empty: the day of the newest run
language: en
"""

PLACES = {
    "objective": "What this report wants to find out, in your words. It comes first in “Objective and environment”.",
    "comparison": "What you conclude from the comparison of the runs.",
    "problems": "Problems you met, and what you did about them.",
    "conclusions": "Your conclusions. They come before the generated ones.",
}
LAB_PLACES = {
    "background": "What you want to add to the background of {lab}.",
    "results": "Your own words on the training and the results of {lab}.",
    "analysis": "Your own analysis of {lab}: what went wrong in the worst cases, and why?",
}


class Settings(BaseModel):
    """``report.yaml``."""

    model_config = ConfigDict(extra="forbid")

    title: str = "Computer vision lab report"
    subtitle: str = ""
    author: list[str] = []
    affiliation: str = ""
    course: str = ""
    number: str = ""
    date: str = ""
    language: str = "en"

    @field_validator("author", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [str(name) for name in value] if isinstance(value, list) else [str(value)] if value else []

    @field_validator("title", "subtitle", "affiliation", "course", "number", "date", "language", mode="before")
    @classmethod
    def _empty_or_number(cls, value: object) -> str:
        if isinstance(value, list | dict):
            raise ValueError("must be a text")
        return "" if value is None else str(value)


def read_settings(folder: Path) -> Settings:
    """``report.yaml`` of a report's folder, made as a form if it is not there; RequestError if it cannot be read."""
    path = folder / SETTINGS
    if not path.exists():
        write_atomic(path, FORM)
    try:
        values = yaml.load(path.read_text("utf-8"), yaml.BaseLoader) or {}  # all is text: 007 is a number of a student
        return Settings.model_validate(values)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"{path} is not a YAML file ({str(error).splitlines()[0]}): mend it.") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the file"
        known = ", ".join(Settings.model_fields)
        raise RequestError(f"{path}: {name} cannot be used ({first['msg']}): it may have {known}.") from None


def make_forms(folder: Path, labs: Sequence[str]) -> None:
    """The files for the student's paragraphs, as far as they are not there yet."""
    forms = dict(PLACES)
    for lab in labs:
        forms |= {f"{lab}-{place}": words.format(lab=f"lab {lab[:2]}") for place, words in LAB_PLACES.items()}
    for name, words in forms.items():
        path = folder / "text" / f"{name}.md"
        if not path.exists():
            write_atomic(path, f"<!-- {words} Write Markdown below; this comment is not printed. -->\n")


def paragraphs(folder: Path, name: str) -> str:
    """The student's paragraphs for a place, as Markdown that cannot reach beyond its place; empty if there are none.

    The text is read and written anew by pandoc, so an unclosed code block ends where the file does, headings go below
    the section's own, and HTML or LaTeX commands are text.
    """
    path = folder / "text" / f"{name}.md"
    if not path.is_file():
        return ""
    if path.stat().st_size > LARGEST:
        raise RequestError(f"{path} has {path.stat().st_size:,} bytes: a report's paragraphs have at most {LARGEST:,}.")
    try:
        text = re.sub(r"<!--.*?-->", "", path.read_text("utf-8"), flags=re.DOTALL).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read as UTF-8 text ({error}): save it as UTF-8.") from None
    if not text:
        return ""
    options = ["--wrap=none", "--shift-heading-level-by=2", "--reference-location=block", "--sandbox"]
    return pypandoc.convert_text(text, MARKDOWN, format=MARKDOWN, extra_args=options)
