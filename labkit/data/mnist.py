"""MNIST, and any other data set in its idx format: found, checked, read by torchvision's own reader."""

import errno
import struct
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets.mnist import read_image_file, read_label_file

from labkit.data import samples
from labkit.data.loading import Split
from labkit.data.sources import Source, check_root, describe, download, registry, takes_sample
from labkit.errors import DataError

LAYOUT = {  # file -> magic number and number of dimensions of the idx format
    "MNIST/raw/train-images-idx3-ubyte": (0x803, 3),
    "MNIST/raw/train-labels-idx1-ubyte": (0x801, 1),
    "MNIST/raw/t10k-images-idx3-ubyte": (0x803, 3),
    "MNIST/raw/t10k-labels-idx1-ubyte": (0x801, 1),
}
UNKNOWN = "data in the MNIST layout"


def find(root: Path, source: str = "auto", asked_for: bool = False, published: dict[str, Any] | None = None) -> Source:
    """Find the data set under ``root`` and check that its files are whole, without decoding a picture.

    ``source``: ``auto`` takes what lies under the root, else the sample; ``official`` insists on files under the
    root; ``download`` fetches what is missing; ``sample`` takes the sample. ``asked_for``: the user named the root.
    """
    published = published or registry()["mnist"]
    check_root(root, asked_for and source != "download")
    if source == "download":
        download(root, published)
    there = [path for path in LAYOUT if (root / path).exists()]
    if takes_sample(source, bool(there)):
        root = samples.handwritten_digits(root)
        check_files(root)
        return describe(root, list(LAYOUT), published, "sample", samples.DIGITS)
    if not there:
        raise DataError(
            f"No MNIST files under {root}: put the four *-ubyte files into {root / 'MNIST' / 'raw'}, or take "
            f"source='download' to fetch them or source='sample' to work on the small sample."
        )
    check_files(root)
    found = describe(root, list(LAYOUT), published, "official", UNKNOWN)
    if source == "download" and not found.verified:
        raise DataError(
            f"The files in {root / 'MNIST' / 'raw'} are not the published MNIST, and a download does not overwrite "
            f"them: move them away, give another folder, or take source='official' to work with them."
        )
    return found


def check_files(root: Path) -> None:
    """Raise DataError for the first of the four files that is missing, cut short or not an idx file of its kind."""
    shapes = {path: check_idx(root / path, *expected) for path, expected in LAYOUT.items()}
    for part in ("train", "t10k"):
        images, labels = f"MNIST/raw/{part}-images-idx3-ubyte", f"MNIST/raw/{part}-labels-idx1-ubyte"
        if shapes[images][0] != shapes[labels][0]:
            raise DataError(
                f"{root / images} holds {shapes[images][0]} images but {root / labels} holds "
                f"{shapes[labels][0]} labels: they are not a pair; replace both with the published files."
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
    pool, test = (_read(source.root / "MNIST" / "raw", part, num_classes) for part in ("train", "t10k"))
    if pool.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"Training images under {source.root} have the shape {tuple(pool.images.shape[1:])}, test images "
            f"{tuple(test.images.shape[1:])}: both must be of one data set."
        )
    return pool, test


def _read(raw: Path, part: str, num_classes: int) -> Split:
    images = read_image_file(str(raw / f"{part}-images-idx3-ubyte"))[:, None]  # (N, H, W) -> (N, 1, H, W)
    path = raw / f"{part}-labels-idx1-ubyte"
    labels = read_label_file(str(path))
    if int(labels.max()) >= num_classes:
        place = int(labels.argmax())
        raise DataError(
            f"Label {int(labels[place])} at place {place} of {path} is out of range: class_names gives {num_classes} "
            f"names, so labels go from 0 to {num_classes - 1}."
        )
    return Split(images, labels, np.arange(len(labels)))
