"""What the student gives: ``report.yaml`` and paragraphs of their own. Made once as forms, never overwritten."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from labkit.errors import RequestError
from labkit.files import write_atomic
from labkit.report.check import check_own, nodes
from labkit.report.render import MARKDOWN, check_mathematics, pandoc, parsed
from labkit.untrusted import LARGEST_YAML, file_in, read_yaml

SETTINGS = "report.yaml"
LARGEST = 1_000_000  # bytes of a paragraph file; more is a mistake
LARGEST_PICTURE = 20_000_000
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

PICTURE = 'A picture: ![Caption.](name.png){alt="what it shows"}, alone in a paragraph.'
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

    @field_validator("title")
    @classmethod
    def _untitled(cls, value: str) -> str:
        return value or cls.model_fields["title"].default

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
    file = file_in(folder, SETTINGS, LARGEST_YAML)
    values = read_yaml(file, yaml.BaseLoader) or {}  # all is text: 007 is a number of a student
    try:
        return Settings.model_validate(values)
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
            write_atomic(path, f"<!-- {words} Write Markdown below; this comment is not printed. {PICTURE} -->\n")


def paragraphs(folder: Path, name: str, level: int, figures: Path) -> str:
    """The student's paragraphs for a place, as Markdown that cannot reach beyond its place; empty if there are none.

    The text is read and written anew by pandoc, so what is left open ends where the file does, and HTML or LaTeX
    commands are text. Headings become those of ``level``; pictures beside the text are copied to ``figures``.
    RequestError names the file and what is wrong in it.
    """
    path = folder / "text" / f"{name}.md"
    text = re.sub(r"<!--.*?-->", "", read_text(folder, f"text/{name}.md"), flags=re.DOTALL).strip()
    if not text:
        return ""
    try:
        document = parsed(text)
        check_mathematics(document)
        check_own(named_as_typed(document["blocks"]))
        for tag, content in nodes(document["blocks"]):
            if tag == "Header":
                content[0] = level
            elif tag == "Image":
                content[2][0] = take_picture(path.parent, content[2][0], figures)
        options = ("-f", "json", "-t", MARKDOWN, "--wrap=none", "--reference-location=block", "--columns=100000")
        return pandoc(json.dumps(document), *options)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from None


def named_as_typed(blocks: Any) -> Any:
    """The names of pictures as the student has typed them: pandoc writes a space as %20."""
    for tag, content in nodes(blocks):
        if tag == "Image":
            content[2][0] = unquote(content[2][0])
    return blocks


def read_text(folder: Path, name: str) -> str:
    """A file of the student's; empty if it is not there, RequestError if it is no text or too large."""
    path = folder / name
    if not os.path.lexists(path):
        return ""
    try:
        return file_in(folder, name, LARGEST).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read as UTF-8 text ({error}): save it as UTF-8.") from None


def take_picture(folder: Path, name: str, figures: Path) -> str:
    """Copy a picture that lies beside the student's text, and return the name that the report gives it."""
    try:
        path = file_in(folder, name, LARGEST_PICTURE).resolve()
    except RequestError as error:
        where = f"put it into {folder}, with at most {LARGEST_PICTURE:,} bytes, and give its name alone"
        raise RequestError(f"the picture {name} is not in {folder}: {where} ({error})") from None
    content, place = path.read_bytes(), path.relative_to(folder.resolve())
    stem, suffix = (re.sub(r"[^A-Za-z0-9.-]", "-", part) for part in (place.with_suffix("").as_posix(), path.suffix))
    taken = f"own-{stem}-{hashlib.sha256(content).hexdigest()[:8]}{suffix}"  # 图一.png is not 图二.png
    write_atomic(figures / taken, content)
    return f"figures/{taken}"
