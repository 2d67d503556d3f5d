"""CIFAR-10 (Krizhevsky 2009): torchvision's files, or a tree of images; ten classes of 32×32 colour photos.

The official files are pickles, which may run any code when they are opened by Python. Here they are only read
(``pickles``).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from labkit.data import samples, tree
from labkit.data.cache import decoded, fitted
from labkit.data.downloads import download_folders, not_overwritten
from labkit.data.loading import Rows, Split
from labkit.data.pickles import bytes_of, read_pickle
from labkit.data.sources import Source, check_root, describe, lies_there, registry, takes_sample
from labkit.data.tree import PARTS, Tree
from labkit.errors import DataError, RequestError
from labkit.files import checksum
from labkit.untrusted import linked_file, why

BATCHES, TREE = "cifar-10-batches-py", Tree("cifar10")  # the two layouts, as folders under the root
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MD5 = {  # of the published files, as in torchvision.datasets.CIFAR10, which takes seconds to import
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
TRAINING, TEST, META = [name for name in MD5 if name.startswith("data")], ["test_batch"], "batches.meta"
IMAGES = {"train": 50_000, "test": 10_000}
LARGEST = 2**26  # bytes of a file; the published ones have 31 million


def find(root: Path, source: str = "auto", asked_for: bool = False) -> Source:
    """Find the data set under ``root``, as published or as a tree of images, and hash its files.

    ``source``: ``auto`` takes what lies under the root, else the sample; ``official`` insists on files under the
    root; ``download`` fetches them; ``sample`` takes the sample. ``asked_for``: the user named the root.
    """
    published = registry()["cifar10"]
    check_root(root, asked_for and source != "download")
    if source == "download":
        download_folders(root, "cifar10", published)
    there = [folder for folder in (BATCHES, TREE.folder) if (root / folder).is_dir()]
    if takes_sample(source, lies_there(root / BATCHES) or lies_there(root / TREE.folder)):
        root = samples.textures(root)
        return describe(root, TREE.files(root), published, "sample", samples.TEXTURES)
    if not there:
        raise DataError(
            f"No folder {BATCHES} or {TREE.folder} under {root}: unpack the archive from {published['homepage']} "
            f"there, fetch it with 'labkit data get cifar10', or take source='sample' to work on textures."
        )
    if there[0] == BATCHES:
        paths = [f"{BATCHES}/{name}" for name in MD5]
        _all_there(root, paths)
        found = describe(root, paths, published, "official", "data in the CIFAR-10 layout")
        odd = tuple(f"{BATCHES}/{name}" for name, md5 in MD5.items() if checksum(root / BATCHES / name, "md5") != md5)
        if odd and source == "download":
            raise not_overwritten(root / odd[0])
        return replace(found, odd=odd) if odd else replace(found, name="CIFAR-10", verified=True)
    found = describe(root, TREE.files(root), published, "official", "images in the CIFAR-10 layout")
    counts = {part: sum(path.startswith(f"{TREE.folder}/{part}/") for path in found.files) for part in PARTS}
    if tuple(class_names(found)) == NAMES and counts == IMAGES:
        return replace(found, name="CIFAR-10 as single images, perhaps re-encoded", complete=True)
    return found


def _all_there(root: Path, paths: list[str]) -> None:
    missing = [path for path in paths if not (root / path).is_file()]
    if missing:
        raise DataError(f"There is no file {root / missing[0]}: unpack the whole archive again.")


def class_names(source: Source) -> list[str]:
    """The names of the classes, in the order of the labels."""
    if TREE.holds(source):
        return tree.class_names(source)
    path = source.root / BATCHES / META
    names = _read(path).get("label_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path} is not a file of CIFAR-10 (it has no label_names): unpack the archive again.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} has two classes called {twice!r}: give each a name of its own.")
    return names


def load(source: Source, size: int) -> tuple[Split, Split]:
    """The training pool and the test set: images (N, 3, size, size) uint8, labels (N,) int64; every file is checked."""
    return TREE.load(source, size) if TREE.holds(source) else _load_batches(source, size)


def _load_batches(source: Source, size: int) -> tuple[Split, Split]:
    count, splits = len(class_names(source)), []
    for part, names in zip(PARTS, (TRAINING, TEST), strict=True):
        batches = [read_batch(source.root / BATCHES / name, count) for name in names]
        images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        images = _resized(source, part, images, size) if images.shape[-1] != size else torch.from_numpy(images)
        splits.append(Split(images, torch.from_numpy(labels), np.arange(len(labels))))
    return tuple(splits)


def _resized(source: Source, part: str, images: np.ndarray, size: int) -> Rows:
    """A part's images (N, 3, 32, 32) at another size, resized as those of a tree are: once, and they stay on disk."""

    def resize(i: int) -> np.ndarray:
        return fitted(Image.fromarray(images[i].transpose(1, 2, 0)), size).transpose(2, 0, 1)

    name = f"{BATCHES}-{source.fingerprint[:12]}-{part}-{size}.npy"
    return Rows(decoded(source.root, name, (len(images), 3, size, size), resize), np.arange(len(images)))


def read_batch(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) uint8 and labels (N,) int64 of one official file."""
    content, again = _read(path), "unpack the archive again."
    labels = content.get("labels")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path} is not a file of CIFAR-10 (it has no labels): {again}")
    if not labels or min(labels) < 0 or max(labels) >= num_classes:
        raise DataError(f"{path} has labels outside 0 to {num_classes - 1}, or none: {again}")
    try:
        pixels = bytes_of(content.get("data"), (len(labels), 3072))
    except ValueError as error:
        what = f"{len(labels)} images of 3×32×32 pixels, one per label"
        raise DataError(f"{path} does not hold {what} ({error}): {again}") from None
    return pixels.reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def _read(path: Path) -> dict[str, Any]:
    """The dictionary that an official file holds."""
    try:
        content = read_pickle(linked_file(path, LARGEST).read_bytes())
    except (OSError, ValueError, RequestError) as error:
        raise DataError(f"{path} is not a file of CIFAR-10 ({why(error)}): unpack the archive again.") from None
    return content if isinstance(content, dict) else {}
