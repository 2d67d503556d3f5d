"""MNIST, and any other data set in its idx format: found, checked and read.

torchvision has a reader of its own, but importing it keeps the first figure waiting for seconds.
"""

import errno
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.data import samples
from labkit.data.downloads import download_files, not_overwritten
from labkit.data.loading import Split
from labkit.data.sources import Source, check_root, describe, lies_there, registry, takes_sample
from labkit.errors import DataError

LAYOUT = {  # file -> magic number and number of dimensions of the idx format
    "MNIST/raw/train-images-idx3-ubyte": (0x803, 3),
    "MNIST/raw/train-labels-idx1-ubyte": (0x801, 1),
    "MNIST/raw/t10k-images-idx3-ubyte": (0x803, 3),
    "MNIST/raw/t10k-labels-idx1-ubyte": (0x801, 1),
}
PARTS = {"train": "train", "test": "t10k"}  # and what files of the part are called after
IMAGES = {"train": 60_000, "test": 10_000}  # as published
UNKNOWN = "data in the MNIST layout"


def find(root: Path, source: str = "auto", asked_for: bool = False, published: dict[str, Any] | None = None) -> Source:
    """Find the data set under ``root`` and check that its files are whole, without decoding a picture.

    ``source``: ``auto`` takes what lies under the root, else the sample; ``official`` insists on files under the
    root; ``download`` fetches what is missing; ``sample`` takes the sample. ``asked_for``: the user named the root.
    """
    published = published or registry()["mnist"]
    check_root(root, asked_for and source != "download")
    if source == "download":
        download_files(root, "mnist", published)
    there = [path for path in LAYOUT if (root / path).exists()]
    if takes_sample(source, any(lies_there(root / path) for path in LAYOUT)):
        root = samples.handwritten_digits(root)
        check_files(root)
        return describe(root, list(LAYOUT), published, "sample", samples.DIGITS)
    if not there:
        raise DataError(
            f"No MNIST files under {root}: put the four *-ubyte files into {root / 'MNIST' / 'raw'}, fetch "
            f"them with 'labkit data get mnist', or take source='sample' to work on the small sample."
        )
    check_files(root)
    found = describe(root, list(LAYOUT), published, "official", UNKNOWN)
    if source == "download" and not found.verified:
        raise not_overwritten(root / found.odd[0])
    return found


def check_files(root: Path) -> None:
    """Raise DataError for the first of the four files that is missing, cut short or not an idx file of its kind."""
    for part in PARTS:
        for fault in faults(root, part):
            raise fault


def faults(root: Path, part: str) -> Iterator[DataError]:
    """What is wrong with the two files of a part (train, test), without decoding a picture."""
    counts = []
    for path in (path for path in LAYOUT if f"/{PARTS[part]}-" in path):
        try:
            counts.append(check_idx(root / path, *LAYOUT[path])[0])
        except DataError as fault:
            yield fault
    if len(set(counts)) > 1:
        raw = root / "MNIST" / "raw" / PARTS[part]
        yield DataError(
            f"{raw}-images-idx3-ubyte holds {counts[0]} images but {raw}-labels-idx1-ubyte holds {counts[1]} labels: "
            f"they are not a pair; replace both with the published files."
        )


def check_idx(path: Path, magic: int, dimensions: int) -> tuple[int, ...]:
    """The shape that the header of an idx file announces; DataError unless the file is exactly as long as that."""
    remedy = "replace it with the published file, or take source='sample'."
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError(errno.EINVAL, "it is no file")
        with path.open("rb") as file:
            size, header = path.stat().st_size, file.read(4 + 4 * dimensions)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): {remedy}") from error
    if len(header) < 4 + 4 * dimensions:
        raise DataError(f"{path} has only {size} bytes, too few for the header of an idx file: {remedy}")
    found, *shape = struct.unpack(f">{1 + dimensions}I", header)
    if found != magic:
        raise DataError(f"{path} starts with the number {found:#x}, an idx file of this kind with {magic:#x}: {remedy}")
    expected = len(header) + int(np.prod(shape, dtype=object))
    if size != expected or 0 in shape:
        shown = "×".join(map(str, shape))
        raise DataError(
            f"{path} has {size:,} bytes, but its header announces {shown} values ({expected:,} bytes): {remedy}"
        )
    return tuple(shape)


def load(source: Source, num_classes: int) -> tuple[Split, Split]:
    """The training pool and the test set: images (N, 1, H, W) uint8, labels (N,) int64."""
    pool, test = (_checked(source.root, part, num_classes) for part in PARTS)
    if pool.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"Training images under {source.root} have the shape {tuple(pool.images.shape[1:])}, test images "
            f"{tuple(test.images.shape[1:])}: both must be of one data set."
        )
    return pool, test


def read(root: Path, part: str) -> Split:
    """A part as it lies in its files, whatever its labels are: images (N, 1, H, W) uint8, labels (N,) int64."""
    images, labels = (values(root, path) for path in LAYOUT if f"/{PARTS[part]}-" in path)
    return Split(images[:, None], labels.long(), np.arange(len(labels)))


def values(root: Path, path: str) -> Tensor:
    """The numbers of one of the four files, uint8: images (N, H, W) or labels (N,)."""
    shape = check_idx(root / path, *LAYOUT[path])
    return torch.from_numpy(np.fromfile(root / path, np.uint8, offset=4 + 4 * len(shape)).reshape(shape))


def images_path(root: Path, part: str) -> Path:
    """The file that holds the images of a part (train, test)."""
    return root / "MNIST" / "raw" / f"{PARTS[part]}-images-idx3-ubyte"


def _checked(root: Path, part: str, num_classes: int) -> Split:
    split = read(root, part)
    place = int(split.targets.argmax())
    if int(split.targets[place]) >= num_classes:
        path = root / "MNIST" / "raw" / f"{PARTS[part]}-labels-idx1-ubyte"
        raise DataError(
            f"Label {int(split.targets[place])} at place {place} of {path} is out of range: there are "
            f"{num_classes} classes, so labels go from 0 to {num_classes - 1}."
        )
    return split
