"""Plain data out of a pickle, without running it.

A pickle is a program for a small machine with a stack, and what it may call is any function of Python. The machine
here knows only the instructions that put numbers, texts, lists and dictionaries together; a call becomes a note of
what was to be called (``Call``). So nothing is imported or run, and no more memory is taken than the file is long.
"""

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST = 200_000  # instructions; a file of CIFAR-10 has some 40,000
KNOWN = (  # what builds an array, in old and new versions of NumPy
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.numeric._frombuffer",  # since protocol 5, which Python writes from 3.14 on
    "numpy._core.numeric._frombuffer",
    "numpy.ndarray",
    "numpy.dtype",
    "_codecs.encode",
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
LITERAL = re.compile(r"(BIN)?INT[12]?|LONG[14]?|(BIN)?FLOAT|(SHORT_)?(BIN)?(STRING|BYTES8?|UNICODE8?)|BYTEARRAY8")
NOTHING = ("PROTO", "FRAME", "STOP")


@dataclass
class Call:
    """A function that the file wants to call, by name, with what, and the state that the result was to be given."""

    name: str
    arguments: Any = None
    state: Any = None


def read_pickle(data: bytes) -> Any:
    """The numbers, texts, lists and dictionaries in a pickle; ValueError if it asks for more, or is damaged."""
    machine = Machine([], [], {})
    try:
        for count, (code, argument, _) in enumerate(pickletools.genops(data)):
            if count > MOST:
                raise ValueError("it has too many instructions")
            machine.do(code.name, argument)
        return machine.stack.pop()
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:  # something else than expected
        raise ValueError(f"its instructions do not fit together ({error})") from None


@dataclass
class Machine:
    """Stack, marks on the stack, and memo of a pickle that is being read."""

    stack: list[Any]
    marks: list[int]
    memo: dict[int, Any]

    def do(self, code: str, argument: Any) -> None:
        """Carry out one instruction, by its name in ``pickletools``; ValueError for one that plain data do not need."""
        if LITERAL.fullmatch(code):
            self.stack.append(argument)
        elif code in CONSTANTS:
            self.stack.append(CONSTANTS[code])
        elif code in EMPTY:
            self.stack.append(EMPTY[code]())
        elif code in ACTIONS:
            ACTIONS[code](self, argument)
        elif code not in NOTHING:
            raise ValueError(f"it has the instruction {code}")

    def take(self, count: int | None = None) -> list[Any]:
        """Take the uppermost things off the stack: so many, or all above the last mark."""
        start = self.marks.pop() if count is None else len(self.stack) - count
        if start < 0:
            raise IndexError("the stack is empty")
        taken, self.stack[start:] = self.stack[start:], []
        return taken

    def keep(self, place: int | None) -> None:
        """Write the uppermost thing down in the memo."""
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def recall(self, place: int) -> None:
        """Put what was written down onto the stack again."""
        self.stack.append(self.memo[place])

    def new(self, target: list | dict, items: list[Any]) -> None:
        """Put a new list or dictionary with ``items`` on the stack."""
        self.stack.append(target)
        self.add(items)

    def add(self, items: list[Any]) -> None:
        """Put items into the list, or keys and values into the dictionary, that is uppermost; keys are texts."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, dict) and all(isinstance(key, str) for key in items[::2]):
            target.update(zip(items[::2], items[1::2], strict=True))
        else:
            raise TypeError("only lists take items, and dictionaries, whose keys are texts")

    def name(self, name: str) -> None:
        """Note a function by its name, if it is one that builds arrays."""
        if name not in KNOWN:
            raise ValueError(f"it asks for {name}")
        self.stack.append(Call(name))

    def call(self) -> None:
        """Note a call; nothing is called."""
        function, arguments = self.take(2)
        self.stack.append(Call(function.name, arguments))

    def give_state(self) -> None:
        """Note the state that was to be given to the uppermost thing."""
        (state,) = self.take(1)
        if not isinstance(self.stack[-1], Call):
            raise TypeError("only arrays have a state")
        self.stack[-1].state = state


def _tuple(count: int | None) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(tuple(machine.take(count)))


ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine.keep),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.recall),
    **{"TUPLE": _tuple(None), "TUPLE1": _tuple(1), "TUPLE2": _tuple(2), "TUPLE3": _tuple(3)},
    "LIST": lambda machine, _: machine.new([], machine.take()),
    "DICT": lambda machine, _: machine.new({}, machine.take()),
    "APPEND": lambda machine, _: machine.add(machine.take(1)),
    "SETITEM": lambda machine, _: machine.add(machine.take(2)),
    **dict.fromkeys(("APPENDS", "SETITEMS"), lambda machine, _: machine.add(machine.take())),
    "GLOBAL": lambda machine, name: machine.name(name.replace(" ", ".")),
    "STACK_GLOBAL": lambda machine, _: machine.name(".".join(machine.take(2))),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.give_state(),
}


def bytes_of(call: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The array (uint8) of that shape that a file of plain data calls for; ValueError if it calls for another."""
    try:
        if call.name.endswith("_frombuffer"):
            content, kind, found, order = call.arguments
            by_column = order != "C"
        else:
            _, found, kind, by_column, content = call.state
        if kind.arguments[0] not in ("u1", "|u1") or tuple(found) != shape or by_column:
            raise ValueError(f"it does not hold bytes in the shape {shape}")
        if isinstance(content, Call):
            content = content.arguments[0]
        content = content.encode("latin1") if isinstance(content, str) else content
        return np.frombuffer(content, np.uint8).reshape(shape)
    except (AttributeError, TypeError, IndexError) as error:
        raise ValueError(f"it does not hold an array ({error})") from None
