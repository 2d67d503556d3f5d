"""A student's function on trial: called within bounds, its errors told as a sentence, its answers compared."""

import dis
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np
import torch

SECONDS = 10.0  # that the calls of one check may take in all
DOES_NOTHING = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
IMPORTS = {
    "np": "import numpy as np",
    "torch": "import torch",
    "F": "import torch.nn.functional as F",
    "math": "import math",
    "stats": "from scipy import stats",
    "pd": "import pandas as pd",
}

Function = Callable[..., Any]
Cases = Mapping[str, tuple[Any, ...]]  # inputs by what is special about them, in words


class TooLong(BaseException):
    """The time is up. No Exception, so that ``except Exception`` in a loop without end does not catch it."""


@dataclass(frozen=True)
class Raised:
    """A call that ended in an error."""

    kind: str
    sentence: str


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """TooLong after ``seconds``, and again every second; only in the main thread, and where there are alarms (Unix).

    One call into compiled code is not cut short: what never comes back from there hangs until the kernel is stopped.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)


def outcome(function: Function, inputs: tuple[Any, ...]) -> Any:
    """What a call returns, or Raised."""
    try:
        with np.errstate(all="ignore"):
            return function(*inputs)
    except (Exception, SystemExit) as error:
        return Raised(type(error).__name__, _told(error))


def outcomes(function: Function, cases: Cases) -> dict[str, Any]:
    """The outcome of each case."""
    return {name: outcome(function, inputs) for name, inputs in cases.items()}


def _told(error: BaseException) -> str:
    said = f"Your function stops with {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, NameError) and error.name in IMPORTS:
        said = f"The name {error.name} is not known here: write {IMPORTS[error.name]} at the top of the cell"
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without the call in ``outcome``
    if not frames:
        return f"{said}. It must take the arguments that the starter has."
    place = [frame for frame in frames if frame.filename == frames[0].filename][-1]
    return f"{said} (line {place.lineno}: {place.line[:200]})." if place.line else f"{said} (line {place.lineno})."


def does_nothing(function: Function) -> bool:
    """Whether a function is still as in the starter: it only returns None."""
    if not isinstance(function, FunctionType):
        return False
    instructions = list(dis.get_instructions(function))
    constants = [i.argval for i in instructions if i.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {i.opname for i in instructions} <= DOES_NOTHING and set(constants) == {None}


def same(given: Any, expected: Any) -> bool:
    """Whether two outcomes agree: shape and numbers, whatever holds them (number, list, array, tensor)."""
    if isinstance(expected, Raised) or isinstance(given, Raised):
        return isinstance(given, Raised) and isinstance(expected, Raised) and given.kind == expected.kind
    if isinstance(expected, list | tuple):
        parts = _parts(given)
        return parts is not None and len(parts) == len(expected) and all(map(same, parts, expected))
    a, b = array(given), array(expected)
    if a is None or b is None:
        return given is None and expected is None
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True))


def _parts(value: Any) -> list[Any] | None:
    if isinstance(value, torch.Tensor | np.ndarray):
        return list(value) if value.ndim else None
    return list(value) if isinstance(value, list | tuple) else None


def array(value: Any) -> np.ndarray | None:
    """A number, array, tensor or list of numbers as float64; None if it is something else."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().numpy()
    try:
        found = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # ragged lists, tensors in a list that want gradients
        return None
    return found.astype(np.float64) if found.dtype.kind in "biuf" else None


def unchanged(inputs: tuple[Any, ...], fresh: tuple[Any, ...]) -> bool:
    """Whether a call has left its inputs as they were made."""
    return all(callable(b) or same(a, b) for a, b in zip(inputs, fresh, strict=True))


def form(value: Any) -> str:
    """What kind of thing a value is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, list | tuple):
        return f"{len(value)} value{'s' * (len(value) != 1)}"
    found = array(value)
    if found is None:
        return f"a {type(value).__name__}"
    return f"the shape {tuple(found.shape)}" if found.ndim else "one number"
