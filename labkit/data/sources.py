"""What a data set on this disk is: its files, compared with the published checksums."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labkit.errors import DataError
from labkit.files import sha256
from labkit.paths import PACKAGE
from labkit.untrusted import read_json, why


@dataclass(frozen=True)
class Source:
    """A data set on this disk, and what it really is."""

    name: str  # what a reader may call it: "MNIST", "handwritten digits (sample)", "data in the MNIST layout"
    kind: str  # "official": files found or fetched in the official layout; "sample": made by labkit
    verified: bool  # every file is, to the last byte, the one that was published under that name
    root: Path  # the folder that holds the official layout
    fingerprint: str  # SHA-256 over the files' own SHA-256
    files: dict[str, str]  # relative path -> SHA-256
    complete: bool = False  # as many files as were published, where no checksums of single files were
    odd: tuple[str, ...] = ()  # the files that are not the published ones, where those are known one by one

    def caveat(self) -> str:
        """What a reader must know of these data before any score on them."""
        if self.verified:
            return "The data are the published files, to the last byte."
        if self.complete:
            return "All files of the data set are there; their checksums are not published, so none was verified."
        if self.kind == "sample":
            return (
                "**Sample data**, a stand-in for the real data set, without a download. No score on it says anything "
                "about the real one, and no report is judged by it. `labkit data list` says how to get the real one."
            )
        said = "The files have the right format but are not the published ones, so no report is judged by them."
        if 0 < len(self.odd) < len(self.files) / 2:  # damage, rather than another data set
            others = f", nor are {len(self.odd) - 1} others" if len(self.odd) > 1 else ""
            said += f" {self.odd[0]} is not the published file{others}; all the rest are."
        return f"**Other data.** {said}"

    def facts(self) -> dict[str, Any]:
        """For the manifest: everything but the single files."""
        return {key: str(v) if key == "root" else v for key, v in asdict(self).items() if key not in ("files", "odd")}


def registry() -> dict[str, Any]:
    """What is known of each published data set: source, licence, mirrors, checksums (``labkit/data/registry.json``)."""
    return read_json(PACKAGE / "data" / "registry.json")


def describe(root: Path, paths: Sequence[str], published: dict[str, Any], kind: str, unverified_name: str) -> Source:
    """Hash the files ``paths`` under ``root`` and say whether they are the published ones."""
    files = {path: _digest(root / path) for path in paths}
    fingerprint, known = fingerprint_of(files), checksums(published)
    verified = fingerprint == published.get("fingerprint")
    name = published["name"] if verified else unverified_name
    odd = tuple(path for path, digest in files.items() if known and known.get(path) != digest)
    return Source(name, kind, verified, root, fingerprint, files, odd=odd)


def _digest(path: Path) -> str:
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file, or a link to none")
        return sha256(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({why(error)}): restore it, or take it away.") from None


def checksums(published: dict[str, Any]) -> dict[str, str]:
    """The SHA-256 of every file of a data set by its path, as far as they are published one by one."""
    if "checksums" in published:  # the name of a file as ``sha256sum`` writes it
        lines = (PACKAGE / "data" / published["checksums"]).read_text("utf-8").splitlines()
        return {path: digest for digest, path in (line.split("  ") for line in lines)}
    return {path: facts["sha256"] for path, facts in published.get("files", {}).items()}


def fingerprint_of(files: dict[str, str]) -> str:
    """One SHA-256 for many files: of their paths and SHA-256, sorted by path."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def check_root(root: Path, asked_for: bool) -> None:
    """A data folder that somebody named must be there; the default one need not."""
    if asked_for and not os.path.isdir(root):  # unlike Path.is_dir, it raises nothing where nobody may look
        raise DataError(
            f"The data folder {root} does not exist: give an existing folder as data_root (--data), or leave it out."
        )


def lies_there(path: Path) -> bool:
    """Whether something is there, or would be if a link led somewhere: the disk that it names may not be mounted."""
    gone = (os.path.islink(level) and not os.path.exists(level) for level in (path, *path.parents))
    return os.path.exists(path) or any(gone)


def takes_sample(source: str, there: bool) -> bool:
    """Whether the parameter ``source`` asks for the sample, given that the data set itself is ``there`` or not."""
    return source == "sample" or (source == "auto" and not there)
