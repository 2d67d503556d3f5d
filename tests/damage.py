"""Damage for the fuzz tests: values of every kind, facts and bytes with something wrong in them, texts that attack."""

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

ATTACKS = [
    "<script>alert(1)</script>",
    "\\input{/etc/passwd}",
    '#read("/etc/passwd")',
    "[a](file:///etc/passwd)",
    "![a](/etc/passwd)",
    "$\\href{x}{y}$",
    "a | b | c",
    "`` ` `x` {=html}",
    "../../x",
    "\x1b[2J",
    "\0",
    "a\nb\r\n# c\n\n```\n",
    "=1+1",
    "2026-13-45",
    "nan",
    "1e999",
    "9" * 5000,
    "x" * 100_000,
    "\u202eevil\u2028",
]
NUMBERS = [0, -1, 10**18, 10**400, 2**63, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324]
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JUNK = st.one_of(
    st.sampled_from(ATTACKS),
    st.sampled_from(NUMBERS),
    PLAIN,
    st.recursive(PLAIN, lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=5), s, max_size=3)),
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The way to every value inside a value as JSON has it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(*path, key) for key, _ in inner] + [p for key, v in inner for p in places(v, (*path, key))]


@st.composite
def facts(draw: st.DrawFn, good: Any) -> Any:
    """A copy of ``good`` (dictionaries, lists and values) in which up to three values are others, gone or new."""
    value = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        if not (found := places(value)):
            break
        *way, last = draw(st.sampled_from(found))
        holder = value
        for key in way:
            holder = holder[key]
        act = draw(st.sampled_from(["replace", "replace", "delete", "add"]))
        if act == "delete":
            del holder[last]
        else:
            holder[draw(st.sampled_from(ATTACKS)) if act == "add" and isinstance(holder, dict) else last] = draw(JUNK)
    return value


@st.composite
def content(draw: st.DrawFn, good: bytes) -> bytes:
    """The bytes ``good`` cut, stretched, overwritten or replaced, most often near their beginning."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 4))):
        near = draw(st.sampled_from([16, 64, 512, len(good)]))
        start = draw(st.integers(0, min(len(good), near)))
        end = start + draw(st.sampled_from([0, 1, 2, 4, 8, len(good)]))
        wild = st.sampled_from([b"\xff" * 4, b"\0" * 8, b"\x7f\xff\xff\xff", b"[" * 5000, b"&a [*a,*a]"])
        good = good[:start] + draw(st.binary(max_size=8) | wild) + good[end:]
    return good


@st.composite
def table(draw: st.DrawFn, good: str) -> str:
    """A CSV file with a cell, a heading or a whole row that does not belong there."""
    rows = [line.split(",") for line in good.splitlines()]
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.sampled_from(rows))
        place = draw(st.integers(0, len(row) - 1))
        row[place] = draw(st.sampled_from([*ATTACKS, "", "word", "-1", "0", "1e300", "inf", "True", "1.5", "2"]))
        if draw(st.integers(0, 4)) == 0:
            rows.append(list(draw(st.sampled_from(rows))))
        if draw(st.integers(0, 4)) == 0:
            rows = [cells[:place] + cells[place + 1 :] for cells in rows if len(cells) > 1] or rows
    return "\n".join(",".join(cells) for cells in rows)


@st.composite
def folder(draw: st.DrawFn, good: Path, target: Path) -> Path:
    """A copy of a folder at ``target`` with one of its files damaged, or replaced by a folder, a link or a pipe."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(good, target)
    path = draw(st.sampled_from(sorted(p for p in target.rglob("*.*") if p.is_file())))
    act = draw(st.integers(0, 9))
    if act > 1:
        kinds = {".json": (facts, json.loads, json.dumps), ".csv": (table, str, str)}
        damage, read, write = kinds.get(path.suffix, (None, None, None))
        if damage and act > 3:
            path.write_text(write(draw(damage(read(path.read_text("utf-8"))))), "utf-8", "surrogatepass")
        else:
            path.write_bytes(draw(content(path.read_bytes())))
        return target
    path.unlink()
    other = draw(st.sampled_from(["none", "folder", "/etc/passwd", "/dev/zero", path.name, "pipe"]))
    if other == "folder":
        path.mkdir()
    elif other == "pipe":
        os.mkfifo(path)
    elif other != "none":
        path.symlink_to(other)
    return target
