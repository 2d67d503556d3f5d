"""What must be true of a run folder before anything rests on it: types, ranges and words that are no more than words.

A run folder may be damaged or come from a stranger. What is checked here is checked nowhere else.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, Field, StringConstraints, field_validator, model_validator

from labkit.errors import CONTROL, RequestError, one_line
from labkit.untrusted import file_in, why

TABLES = {"history": 2**23, "per_image": 2**25, "per_class": 2**17}  # bytes at the most
TABLES |= {"tables/parts": 2**16, "tables/reported": 2**17, "tables/costs": 2**16}
ASKED = ("epochs", "batch_size", "learning_rate", "weight_decay", "image_size")  # parameters that are numbers
WHERE = ("data_root", "source", "runs_root", "fresh", "anyway")  # things lie; and what becomes of an earlier run
HOW = ("device", "precision", "num_workers", "pin_memory", "checkpointing", "tensorboard")  # it is done, not what is
SHARES = ("accuracy", "low", "high", "precision", "recall", "f1", "dice", "iou", "foreground", "least", "most")
NUMBERS = (*SHARES, "true_share", "sample", "images", "n", "reported", "ours", "test images/s")  # columns of numbers


def _plain(text: str) -> str:
    if CONTROL.search(text):
        raise ValueError("it has characters that cannot be printed")
    return text


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Word = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_plain)]
Line = Annotated[str, AfterValidator(one_line)]
Whole = Annotated[int, Field(ge=0, le=10**15)]
Number = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
Value = Word | Annotated[int, Field(ge=-(10**15), le=10**15)] | Number | bool | None


class DataFacts(BaseModel):
    """What the manifest says of the data; ``obstacle`` is what forbids comparing a score on them to a published one."""

    name: Word
    kind: Literal["official", "sample"]
    fingerprint: Word
    counts: dict[Word, Whole] = Field(max_length=20)
    splits: dict[Word, Word] = Field(max_length=20)
    obstacle: Word = "a run of an older workbook, which did not say how complete its data were"
    verified: bool = False  # the files are the published ones
    complete: bool = False  # or as many as these

    @model_validator(mode="after")
    def _sample_data_are_an_obstacle(self) -> Self:
        if self.kind == "sample" and not self.obstacle:
            raise ValueError("sample data pass for the published ones")
        return self


class Manifest(BaseModel):
    """The part of a manifest that comparison and report rest on; read, never trusted."""

    status: Word
    notebook: Word
    experiment: Word
    seed: Whole
    device: Word
    precision: Word
    started: Annotated[Word, AfterValidator(_moment)]
    seconds: Number
    parameters: dict[Word, Value] = Field(max_length=200)
    changed: list[Word] = Field([], max_length=200)  # those that are not as the experiment has them
    environment: dict[Word, Value] = Field(max_length=50)
    code: dict[Word, Value] = Field(max_length=50)
    data: DataFacts
    sessions: list[dict[str, Any]] = []
    warnings: list[Line] = Field([], max_length=100)

    @field_validator("parameters")
    @classmethod
    def _numbers_are_numbers(cls, values: dict[str, Value]) -> dict[str, Value]:
        for name in (name for name in ASKED if name in values):
            if isinstance(values[name], str | bool) or values[name] is None:
                raise ValueError(f"{name} must be a number")
        return values


class Result(BaseModel):
    """One entry of ``results.json``."""

    value: Number | None
    low: Number | None = None
    high: Number | None = None
    n: Whole = 0
    interval: Word = ""
    over: Word = ""


class Results(BaseModel):
    """``results.json``: the score that chose the epoch first, with its interval."""

    scores: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")], Result] = Field(max_length=50)

    @model_validator(mode="after")
    def _first_is_a_score(self) -> Self:
        first = next(iter(self.scores.values()), None)
        if first is None or None in (first.value, first.low, first.high) or not first.interval:
            raise ValueError("it holds no score with an interval")
        return self


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A table of a run, one of TABLES, whose columns of numbers hold numbers; RequestError if there is none such."""
    path = file_in(folder, f"{name}.csv", TABLES[name])
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, OverflowError) as error:  # ValueError: undecodable, empty, ragged
        raise RequestError(f"{path} is no table ({why(error)}): run it again.") from None
    check_numbers(path, table, [column for column in table if column in NUMBERS])
    return table


def check_numbers(path: Path, table: pd.DataFrame, columns: list[str], known: bool = False) -> None:
    """RequestError unless these columns hold numbers; with ``known`` also none may be missing, or out of all bounds."""
    for name in columns:
        values = table.get(name)
        if values is None or values.dtype.kind not in "biuf":
            raise RequestError(f"{path} has no numbers in a column {name}: run it again.")
        if known and not (np.abs(values.astype(float)) <= 1e15).all():
            raise RequestError(f"{path} has no usable number in a row of the column {name}: run it again.")


def check_history(path: Path, history: pd.DataFrame, metric: str) -> None:
    """RequestError unless there is one row an epoch with the numbers that every training writes."""
    said = [f"{part}_{name}" for part in ("train", "val") for name in ("loss", metric)]
    columns = ["epoch", *said, "learning_rate", "seconds", "images_per_second"]
    missing = [name for name in columns if name not in history]
    if missing or not len(history):
        what = f"lacks {', '.join(missing)}" if missing else "holds no epochs"
        raise RequestError(f"{path} {what}: run it again.")
    check_numbers(path, history, list(history))
    check_numbers(path, history, columns, known=True)
    if bool in set(history.dtypes) or list(history["epoch"]) != list(range(1, len(history) + 1)):
        raise RequestError(f"{path} does not have one row of numbers an epoch, from 1 on: run it again.")


def check_images(path: Path, images: pd.DataFrame, column: str) -> None:
    """RequestError unless each test image has a number of its own and a score in ``column``."""
    if not {"sample", column} <= set(images) or (column == "dice" and "image" not in images) or not len(images):
        raise RequestError(f"{path} has no columns sample and {column}: run it again.")
    check_numbers(path, images, ["sample", column], known=True)
    if images["sample"].dtype.kind not in "iu" or not images["sample"].is_unique:
        raise RequestError(f"{path} does not give each image a number of its own: run it again.")
