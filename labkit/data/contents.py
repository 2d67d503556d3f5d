"""All pictures of a data set one by one, as they lie on the disk, and every file that keeps one from being read.

A lab stops at the first bad file (``find``, ``load``); this goes on, for whoever wants to know of all.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from labkit.data import cifar10, liver, mnist, pets
from labkit.data.sources import Source
from labkit.data.tree import PARTS, Tree
from labkit.errors import DataError

Pair = tuple[np.ndarray, np.ndarray | None]  # image (H, W) or (H, W, 3) uint8; mask (H, W) bool, where there is one


@dataclass(frozen=True)
class Picture:
    """One picture: its part, its class ("" where pixels have the classes), its name; ``read`` may raise DataError."""

    part: str
    label: str
    name: str
    read: Callable[[], Pair]


@dataclass(frozen=True)
class Contents:
    """A data set: its pictures, what is wrong with its files, its classes, and how many pictures were published."""

    pictures: list[Picture]
    faults: list[DataError]
    classes: list[str]
    published: dict[str, int]


def contents(name: str, root: Path) -> Contents:
    """The pictures of the data set ``name`` (mnist, liver, cifar10 or pets) under ``root``."""
    return {"mnist": _mnist, "liver": _liver, "cifar10": _cifar10, "pets": _pets}[name](root)


def _mnist(root: Path) -> Contents:
    pictures, faults = [], []
    for part in mnist.PARTS:
        found = list(mnist.faults(root, part))
        faults += found
        pictures += [] if found else _in_memory(part, *_arrays(mnist.read(root, part)))
    return Contents(pictures, faults, [str(i) for i in range(10)], mnist.IMAGES)


def _arrays(split: mnist.Split) -> tuple[np.ndarray, Iterable[str]]:
    return split.images.numpy(), (str(int(label)) for label in split.targets)


def _in_memory(part: str, images: np.ndarray, labels: Iterable[str], where: str = "") -> Iterator[Picture]:
    """Images (N, C, H, W) by their places in a file."""
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        yield Picture(part, label, f"{where}{place}", partial(_given, shown))


def _given(image: np.ndarray) -> Pair:
    return image, None


def _cifar10(root: Path) -> Contents:
    if not (root / cifar10.BATCHES).is_dir():
        return _tree(root, cifar10.TREE, cifar10.IMAGES)
    pictures, faults, names = [], [], list(cifar10.NAMES)
    try:
        names = cifar10.class_names(_source(root, [f"{cifar10.BATCHES}/{cifar10.META}"]))
    except DataError as fault:
        faults.append(fault)
    for part, files in zip(PARTS, (cifar10.TRAINING, cifar10.TEST), strict=True):
        for file in files:
            try:
                images, labels = cifar10.read_batch(root / cifar10.BATCHES / file, len(names))
            except DataError as fault:
                faults.append(fault)
            else:
                pictures += _in_memory(part, images, (names[label] for label in labels), f"{file}/")
    return Contents(pictures, faults, names, cifar10.IMAGES)


def _tree(root: Path, tree: Tree, published: dict[str, int]) -> Contents:
    pictures = [
        Picture(path.parts[-3], path.parts[-2], f"{path.parts[-2]}/{path.name}", partial(_photo, tree, path))
        for path in tree.images(root)
    ]
    return Contents(pictures, list(tree.faults(root)), sorted({p.label for p in pictures}), published)


def _photo(tree: Tree, path: Path) -> Pair:
    return np.asarray(tree.read(path)), None


def _liver(root: Path) -> Contents:
    source = _source(root, (f"liver/{part}/{name}" for part in liver.PARTS for name in liver.names_in(root, part)))
    pictures = [
        Picture(name.split("/")[0], "", name.split("/")[1], partial(_slice, source, name))
        for name in liver.slices(source)
        if f"liver/{name}_mask.png" in source.files
    ]
    return Contents(pictures, list(liver.faults(root)), [], liver.IMAGES)


def _slice(source: Source, name: str) -> Pair:
    image, mask = liver.read_pair(source, name)
    return np.asarray(image), np.asarray(mask) > 0


def _pets(root: Path) -> Contents:
    source, pictures, faults = _source(root, ()), [], list(pets.faults(root))
    for part in pets.LISTS:
        try:
            listed = pets.names_in(root, part)
        except DataError:  # one of the faults
            continue
        for name, breed in listed:
            if not 1 <= breed <= pets.BREEDS:
                faults.append(DataError(f"{part}.txt gives {name} the breed {breed}, expected 1 to {pets.BREEDS}."))
            if all((root / path).is_file() for path in pets.files_of(name)):
                pictures.append(Picture(part, name.rpartition("_")[0], name, partial(_pet, source, name)))
    return Contents(pictures, faults, sorted({picture.label for picture in pictures}), pets.IMAGES)


def _pet(source: Source, name: str) -> Pair:
    image, trimap = pets.read_pair(source, name)
    return np.asarray(image), pets.foreground(np.asarray(trimap), "pet_and_border") > 0


def _source(root: Path, files: Iterable[str]) -> Source:
    """Files that the readers are to take as they are, without a check of all of them."""
    return Source("", "official", False, root, "", dict.fromkeys(files, ""))
