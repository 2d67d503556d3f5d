"""Find a data set under the data root, or fetch it: checked against the published checksums, one download at a time."""

import gzip
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pooch
from filelock import FileLock

from labkit.errors import DataError
from labkit.files import sha256
from labkit.paths import PACKAGE


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

    def caveat(self) -> str:
        """What a reader must know of these data before any score on them."""
        if self.verified:
            return "The data are the published files, to the last byte."
        if self.complete:
            return "All files of the data set are there; their checksums are not published, so none was verified."
        if self.kind == "sample":
            return (
                "**Sample data.** labkit made these pictures as a stand-in. No score on them says anything about the "
                "real data set, and no report is judged by them. `labkit data list` says how to get the real one."
            )
        return (
            "**Other data.** The files have the right format but are not the published ones, so no report is "
            "judged by them."
        )

    def facts(self) -> dict[str, Any]:
        """For the manifest: everything but the single files."""
        return {key: str(v) if key == "root" else v for key, v in asdict(self).items() if key != "files"}


def registry() -> dict[str, Any]:
    """What is known of each published data set: source, licence, mirrors, checksums (``labkit/data/registry.json``)."""
    return json.loads((PACKAGE / "data" / "registry.json").read_text("utf-8"))


def describe(root: Path, paths: Sequence[str], published: dict[str, Any], kind: str, unverified_name: str) -> Source:
    """Hash the files ``paths`` under ``root`` and say whether they are the published ones."""
    files = {path: sha256(root / path) for path in paths}
    fingerprint = fingerprint_of(files)
    verified = fingerprint == published.get("fingerprint")
    return Source(published["name"] if verified else unverified_name, kind, verified, root, fingerprint, files)


def fingerprint_of(files: dict[str, str]) -> str:
    """One SHA-256 for many files: of their paths and SHA-256, sorted by path."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def check_root(root: Path, asked_for: bool) -> None:
    """A data folder that somebody named must be there; the default one need not."""
    if asked_for and not root.is_dir():
        raise DataError(
            f"The data folder {root} does not exist: give an existing folder as data_root (--data), or leave it out."
        )


def takes_sample(source: str, there: bool) -> bool:
    """Whether the parameter ``source`` asks for the sample, given that the data set itself is ``there`` or not."""
    return source == "sample" or (source == "auto" and not there)


def download(root: Path, published: dict[str, Any]) -> None:
    """Fetch the files of a data set that are not there yet, from the first mirror that answers with the right bytes.

    A lock beside the data lets one process download while others wait and then find the files. Each file is unpacked
    to a temporary name, checked and only then renamed.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{published['name']}.lock"):
            for path, facts in published["files"].items():
                if not (root / path).exists():
                    _fetch(root / path, facts, published["mirrors"])
    except OSError as error:
        raise DataError(f"Cannot download into {root} ({error}): give another folder with --data.") from error


def _fetch(target: Path, facts: dict[str, str], mirrors: Sequence[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel(logging.WARNING)
    failures = []
    for mirror in mirrors:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            try:
                packed = pooch.retrieve(
                    mirror + facts["remote"], known_hash=f"md5:{facts['remote_md5']}", fname="packed", path=folder
                )
                unpacked = Path(folder) / "unpacked"
                with gzip.open(packed) as source, open(unpacked, "wb") as file:
                    shutil.copyfileobj(source, file)
                if sha256(unpacked) != facts["sha256"]:
                    raise ValueError("the unpacked file has another checksum than the published one")
                os.replace(unpacked, target)
                return
            except (OSError, ValueError, EOFError) as error:
                failures.append(f"{mirror}: {str(error).splitlines()[0]}")
    raise DataError(
        f"Could not download {target.name} ({'; '.join(failures)}): check the network, put the file at {target} "
        f"yourself, or take source='sample'."
    )
