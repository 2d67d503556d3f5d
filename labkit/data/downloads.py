"""Download data sets: one process at a time, packed files kept until they are unpacked, folders whole or not there."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from labkit.data.archives import below, gunzip, unpack
from labkit.data.fetch import Remote, fetch
from labkit.errors import DataError
from labkit.files import sha256


@contextlib.contextmanager
def fetching(root: Path, name: str) -> Iterator[Path]:
    """A folder under ``root`` for what arrives of a data set; other processes wait until this one is done.

    It is deleted in the end; after an error it stays, for the next try. DataError where it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            arrivals = root / f".download-{name}"
            arrivals.mkdir(exist_ok=True)
            try:
                yield arrivals
                shutil.rmtree(arrivals)
            finally:
                with contextlib.suppress(OSError):
                    arrivals.rmdir()  # if nothing has arrived
    except OSError as error:
        raise DataError(
            f"Cannot download into {root} ({error.strerror or error}): make room, which lets the next try go on from "
            f"what has arrived, or give another folder with --data."
        ) from error


@contextlib.contextmanager
def fetched(arrivals: Path, published: dict[str, Any], facts: dict[str, Any]) -> Iterator[Path]:
    """A packed file, for as long as it is unpacked; it is kept for the next try only if there was no room for that."""
    packed = arrivals / facts["remote"]
    size = facts.get("remote_size", 0)
    addresses = tuple(mirror + facts["remote"] for mirror in published["mirrors"])
    fetch(Remote(addresses, size or facts["remote_at_most"], size, facts.get("remote_checksum", "")), packed)
    try:
        yield packed
    except DataError:
        packed.unlink()
        raise
    packed.unlink()


def download_files(root: Path, name: str, published: dict[str, Any]) -> None:
    """Fetch and unpack the single files (.gz) of a data set that are not there yet; check those that are."""
    known = {path: facts["sha256"] for path, facts in published["files"].items()}
    if not missing(root, known):
        return
    with fetching(root, name) as arrivals:
        for path in missing(root, known):
            facts, unpacked = published["files"][path], arrivals / "unpacked"
            with fetched(arrivals, published, facts) as packed:
                gunzip(packed, unpacked, facts["size"])
                if sha256(unpacked) != known[path]:
                    raise DataError(f"{facts['remote']} does not hold the published {path}: report it to its source.")
                move(unpacked, root / path)


def download_folders(root: Path, name: str, published: dict[str, Any]) -> None:
    """Fetch and unpack the archives of a data set whose folders are not there yet, and put all in place in the end."""
    if all((root / folder).exists() for folder in published["archives"]):
        return
    with fetching(root, name) as arrivals:
        wanted = {folder: facts for folder, facts in published["archives"].items() if not (root / folder).exists()}
        for folder, facts in wanted.items():
            if not (arrivals / "unpacked" / folder).exists():
                with fetched(arrivals, published, facts) as packed:
                    bounds = facts["most_files"], facts["most_bytes"]
                    unpack(packed, arrivals / "unpacked" / folder, *bounds, below(facts["inside"]))
        for folder in wanted:
            move(arrivals / "unpacked" / folder, root / folder)


def missing(root: Path, known: dict[str, str]) -> list[str]:
    """The files of ``known`` (path: SHA-256) that are not under ``root``; DataError for one that is another file."""
    for path, digest in known.items():
        if (root / path).exists() and sha256(root / path) != digest:
            raise not_overwritten(root / path)
    return [path for path in known if not (root / path).exists()]


def not_overwritten(path: Path) -> DataError:
    """What to say of a file in the place of a published one."""
    return DataError(
        f"{path} is not the published file, and a download does not overwrite it: move it away, give another folder, "
        f"or take source='official' to work with these data."
    )


def move(path: Path, target: Path) -> None:
    """Rename a file or folder; the folder that it goes to is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, target)
