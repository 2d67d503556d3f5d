"""Unpack archives without trust in them: files and folders only, in one new folder, bytes counted as they come out."""

import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from labkit.errors import DataError

DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)
DAMAGE += (OverflowError, NotImplementedError, RecursionError, IndexError)  # what odd headers lead to
LISTING = 500  # bytes that a file takes in the list of a zip archive, at most
ZIP_END, ZIP_LOCATOR = struct.Struct("<4s4H2LH"), 20  # what a zip archive ends with; before it, that of a longer form
ZIP_TAIL = ZIP_LOCATOR + ZIP_END.size + 2**16  # a comment may follow
Place = Callable[[PurePosixPath], PurePosixPath | None]  # where a file goes in the new folder; None: it is not wanted
Members = Iterator[tuple[str, bool, BinaryIO]]  # name, whether it is a folder, content


@dataclass
class _Counted:
    """A stream that refuses to give more than ``left`` bytes; set ``stream`` anew to count several as one."""

    left: int
    stream: BinaryIO | None = None

    def read(self, size: int) -> bytes:
        block = self.stream.read(min(size, self.left + 1))
        self.left -= len(block)
        if self.left < 0:
            raise ValueError("it holds more bytes than the data set has")
        return block


def unpack(archive: Path, target: Path, most_files: int, most_bytes: int, place: Place) -> None:
    """Unpack a tar (also .gz, .xz) or zip archive into the new folder ``target``, which is there whole or not at all.

    ``most_files`` and ``most_bytes`` bound all that is in the archive, be it wanted or not, folders and padding
    included. DataError where it is damaged or has anything but files and folders below it; OSError where it cannot be
    written.
    """
    unpacked, seen = target.with_name(f".{target.name}.unpacking"), set()
    with _sentences(archive, unpacked):
        unpacked.mkdir(parents=True)
        members = _members(archive, _Counted(most_bytes), LISTING * most_files)
        for number, (name, is_folder, content) in enumerate(members, start=1):
            path = _checked(name)
            if number > most_files:
                raise ValueError("it holds more files than the data set has")
            if not is_folder and str(path).casefold() in seen:
                raise ValueError(f"it holds {name!r} twice")
            seen.add(str(path).casefold())
            if not is_folder and (chosen := place(path)) is not None:
                _write(content, unpacked / chosen)
        os.replace(unpacked, target)


def gunzip(packed: Path, target: Path, most_bytes: int) -> None:
    """Unpack one .gz file to ``target``, whole or not at all; errors as of ``unpack``."""
    unpacked = target.with_name(f".{target.name}.unpacking")
    with _sentences(packed, unpacked), gzip.open(packed) as stream:
        _write(_Counted(most_bytes, stream), unpacked / target.name)
        os.replace(unpacked / target.name, target)


def below(folder: str) -> Place:
    """Takes the files below ``folder`` of an archive, without the ``._NAME`` that macOS puts beside a NAME."""
    return lambda path: path.relative_to(folder) if path.is_relative_to(folder) and path.name[:2] != "._" else None


@contextmanager
def _sentences(archive: Path, unpacked: Path) -> Iterator[None]:
    """Make a sentence of every fault, and leave nothing in ``unpacked``."""
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        yield
    except (*DAMAGE, OSError) as error:
        if getattr(error, "errno", None) not in (None, errno.EINVAL):  # the disk is at fault, not the archive
            raise
        raise DataError(f"{archive} is damaged or not the published file ({error}): fetch it anew.") from None
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _members(archive: Path, counted: _Counted, listing: int) -> Members:
    """What an archive holds, in its order, to be read in that order; links, devices and encrypted files are refused.

    So is a zip archive whose list of files has more than ``listing`` bytes.
    """
    with open(archive, "rb") as file:
        magic = file.read(2)
    opener = {b"\x1f\x8b": gzip.open, b"\xfd7": lzma.open}.get(magic, open)
    if magic != b"PK":
        return _tar_members(opener(archive, "rb"), counted)
    _check_listing(archive, listing)
    return _zip_members(archive, counted)


def _tar_members(stream: BinaryIO, counted: _Counted) -> Members:
    with stream as counted.stream, tarfile.open(fileobj=counted, mode="r|") as tar:  # from end to end, headers counted
        for member in tar:
            if not (member.isdir() or member.isreg()) or member.issparse():
                raise ValueError(f"it holds {member.name!r}, which is neither a plain file nor a folder")
            yield member.name, member.isdir(), tar.extractfile(member)


def _check_listing(archive: Path, most: int) -> None:
    """ValueError if the list of files at the end of a zip archive is long: zipfile would read all of it at once."""
    with open(archive, "rb") as file:
        file.seek(max(0, archive.stat().st_size - ZIP_TAIL))
        tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or len(tail) < place + ZIP_END.size:
        raise ValueError("it has no list of files at its end")
    *_, length, _, _ = ZIP_END.unpack_from(tail, place)
    if length > most:
        raise ValueError("its list of files is longer than that of the data set")
    if tail[max(0, place - ZIP_LOCATOR) : place].startswith(b"PK\6\7"):
        raise ValueError("it has the form for very many files (zip64), which no data set here needs")


def _zip_members(archive: Path, counted: _Counted) -> Members:
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            if info.flag_bits & 1 or stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"it holds {info.filename!r}, which is encrypted or neither a plain file nor a folder")
            with packed.open(info) as counted.stream:
                yield info.orig_filename, info.is_dir(), counted


def _checked(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not name.isprintable() or re.search(r"[\\:]", name):
        raise ValueError(f"it holds the name {name!r}, which may lead elsewhere")
    return path


def _write(content: BinaryIO | _Counted, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as file:
            shutil.copyfileobj(content, file)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"it uses {path.name!r} both as a file and as a folder") from None
