"""The parameters of a lab: their types, ranges and meaning; the notebook's parameters cell holds the defaults.

They arrive as papermill leaves them: ``-p flag false`` is the text "false", a misspelt name is one more variable in
the notebook. ``from_notebook`` and ``checked`` turn that into a checked object, or into one sentence.
"""

import ast
import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from labkit.errors import RequestError
from labkit.results.facts import WHERE

MARK = "# Parameters"  # the first line of a parameters cell: papermill writes it over the cell that it injects


def _no_bool(value: Any) -> Any:
    """Python takes True for 1; a reader who writes ``epochs = True`` has made a mistake."""
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


Number = BeforeValidator(_no_bool)


def whole(low: int, high: int, meaning: str) -> Any:
    """A whole number from ``low`` to ``high``."""
    return Annotated[int, Number, Field(ge=low, le=high, description=meaning)]


def real(low: float, high: float, meaning: str, *, above: bool = False) -> Any:
    """A finite number from ``low`` (or above it, with ``above``) to ``high``."""
    bound = {"gt": low} if above else {"ge": low}
    return Annotated[float, Number, Field(**bound, le=high, allow_inf_nan=False, description=meaning)]


def choice(*values: str, meaning: str) -> Any:
    """One of some names."""
    return Annotated[Literal[values], Field(description=meaning)]


def text(meaning: str, pattern: str = "", form: str = "text") -> Any:
    """A text; ``form`` says in words what ``pattern`` asks for."""
    return Annotated[str, Field(pattern=pattern or None, title=form, description=meaning)]


def switch(meaning: str) -> Any:
    """True or false."""
    return Annotated[bool, Field(description=meaning)]


class Checked(BaseModel):
    """The parameters of a notebook; each kind of notebook says by inheritance which it has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """The parameters, or a RequestError of one sentence about the first that is unknown, missing or not allowed."""
        unknown = [name for name in values if name not in cls.model_fields]
        if unknown:
            raise RequestError(cls._unknown(unknown[0]))
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:  # a rule about several parameters, which is a sentence of its own
                raise RequestError(first["msg"].removeprefix("Value error, ")) from None
            name = str(first["loc"][0])
            if name not in values:
                raise RequestError(
                    f"Parameter {name!r} is missing: it must be {allowed(cls.model_fields[name])}."
                ) from None
            raise RequestError(
                f"Parameter {name!r} is {values[name]!r}, but must be {allowed(cls.model_fields[name])} "
                f"({cls.model_fields[name].description})."
            ) from None

    @classmethod
    def _unknown(cls, name: str) -> str:
        near = difflib.get_close_matches(str(name), cls.model_fields, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"this notebook has {', '.join(cls.model_fields)}."
        return f"There is no parameter {name!r}: {hint}"

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, Any]) -> Self:
        """Check the variables that the parameters cell and papermill's injected cell have set in a notebook.

        ``namespace`` is the notebook's ``globals()``. Papermill accepts unknown names in silence, so the text of the
        executed cells (IPython's ``In``) is asked which names they set: the last parameters cell, and before it the
        one that it was injected over. Earlier tries of a student do not count.
        """
        sources = [source for source in namespace.get("In", []) if source.startswith(MARK)]
        last = sources[-1:] if not sources or is_annotated(sources[-1]) else sources[-2:]
        names = {name for source in last for name in assigned(source)} | (cls.model_fields.keys() & namespace.keys())
        return cls.checked({name: namespace[name] for name in sorted(names) if name in namespace})


class Parameters(Checked):
    """What every lab has; a lab adds its own by inheritance."""

    experiment: text(
        "names the run folder", r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$", "up to 60 letters, digits, -, _ and ."
    )
    seed: whole(0, 2**31 - 1, "every random choice follows from it")
    fresh: switch("start over instead of going on with an earlier run of the same parameters")

    def identity(self) -> dict[str, Any]:
        """The parameters that make this run another run than its neighbour."""
        return {name: v for name, v in self.model_dump().items() if name not in WHERE}


def check_rival(params: Any) -> None:
    """ValueError if the second network of a run is the first once more."""
    if params.rival == params.model:
        raise ValueError(f"Parameter 'rival' is {params.rival!r} like 'model': name another network, or 'none'.")


class TrainingParameters(Parameters):
    """What every lab that trains a model has."""

    data_root: text("folder of the data sets; empty: LABKIT_DATA, else data/")
    source: choice("auto", "official", "download", "sample", meaning="which data")
    anyway: switch("go on with a stopped run although the code has changed since")

    epochs: whole(1, 10_000, "passes over the training images")
    batch_size: whole(2, 65_536, "images per step; batch normalisation needs two")
    optimiser: choice("adam", "adamw", "muon", "sgd", meaning="sgd has momentum 0.9")
    learning_rate: real(0, 10, "the highest rate of the schedule", above=True)
    weight_decay: real(0, 1, "pull of the weights towards 0")
    schedule: choice("constant", "step", "plateau", "one_cycle", meaning="how the learning rate changes")
    step_size: whole(1, 10_000, "schedule 'step': epochs between cuts; 'plateau': epochs of patience")
    warmup_epochs: real(0, 1000, "linear rise of the learning rate at the start, in epochs")
    patience: whole(0, 10_000, "stop after so many epochs without a better validation score; 0: never")
    device: choice("auto", "cuda", "mps", "cpu", meaning="where to compute")
    precision: choice("auto", "float32", "bfloat16", "float16", meaning="number format of the products")
    num_workers: whole(0, 64, "processes that prepare batches; 0: none, the notebook does it")
    tensorboard: switch("also log to TensorBoard")


def _parsed(source: str) -> ast.Module:
    """A cell as a tree; an empty one if it is no Python, such as a cell with a magic command."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # NUL bytes; brackets without end
        return ast.Module([], [])


def assigned(source: str) -> dict[str, ast.expr]:
    """The variables that a cell of Python sets at its top level, with the expressions it sets them to."""
    body = _parsed(source).body
    pairs = [(target, node.value) for node in body if isinstance(node, ast.Assign) for target in node.targets]
    pairs += [(node.target, node.value) for node in body if isinstance(node, ast.AnnAssign) and node.value]
    return {target.id: value for target, value in pairs if isinstance(target, ast.Name)}


def is_annotated(source: str) -> bool:
    """Whether a parameters cell was written by hand (``epochs: int = 3``); papermill injects ``epochs = 3``."""
    return any(isinstance(node, ast.AnnAssign) for node in ast.walk(_parsed(source)))


def allowed(field: FieldInfo) -> str:
    """What a parameter may be, in words: "a whole number from 1 to 1000"."""
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(repr(value) for value in get_args(field.annotation))
    if field.annotation is bool:
        return "true or false"
    if field.annotation is str:
        return field.title or "text"
    kind = "a whole number" if field.annotation is int else "a number"
    bounds = {bound: getattr(m, bound) for m in field.metadata for bound in ("ge", "gt", "le") if hasattr(m, bound)}
    shown = {bound: f"{int(value):,}" if value == int(value) else f"{value:g}" for bound, value in bounds.items()}
    low = f"from {shown['ge']}" if "ge" in bounds else f"above {shown['gt']}"
    return f"{kind} {low} to {shown['le']}"
