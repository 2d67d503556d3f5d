"""A classified data set as a tree of images: ``<folder>/<train or test>/<class>/<image>`` under the data root."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from labkit.data.cache import PHOTO, SUFFIXES, decoded, fitted, open_image
from labkit.data.loading import Rows, Split
from labkit.data.sources import Source
from labkit.errors import DataError

PARTS = ("train", "test")
ADVICE = "save it with 8 bits a channel."


@dataclass(frozen=True)
class Tree:
    """Where a tree lies, and how its images are read; the classes are the names of its folders, in order."""

    folder: str  # under the data root
    mode: str = "RGB"  # or "L", in grey

    def files(self, root: Path) -> list[str]:
        """The images, relative to ``root``, by part, class and name; DataError where a class has none."""
        for fault in self.faults(root):
            raise fault
        return [
            f"{self.folder}/{part}/{name}/{file}"
            for part in PARTS
            for name in self._classes(root, part)
            for file in images_in(root / self.folder / part / name)
        ]

    def faults(self, root: Path) -> Iterator[DataError]:
        """What is wrong before an image is opened: parts or classes that are missing, or are empty."""
        top = root / self.folder
        try:
            classes = {part: self._classes(root, part) for part in PARTS}
        except DataError as fault:
            yield fault
            return
        if not any(classes.values()):
            yield DataError(f"{top} holds no class: put a folder of images for each into train and test.")
        for odd in sorted(set(classes["train"]) ^ set(classes["test"])):
            yield DataError(f"{top} has the class {odd!r} in one of train and test only: both need the same folders.")
        for folder in (top / part / name for part in PARTS for name in classes[part]):
            if not images_in(folder):
                kinds = ", ".join(SUFFIXES)
                yield DataError(f"{folder} holds no image ({kinds}): fill it, or take the class away from both parts.")

    def _classes(self, root: Path, part: str) -> list[str]:
        folder, top = root / self.folder / part, self.folder
        if not folder.is_dir():
            raise DataError(f"There is no folder {folder}: a tree has {top}/train and {top}/test, a folder a class.")
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")

    def images(self, root: Path) -> list[Path]:
        """Every image of every class that is there, whatever else is missing."""
        folders = [path for part in PARTS for path in sorted((root / self.folder / part).glob("[!.]*"))]
        return [folder / name for folder in folders if folder.is_dir() for name in images_in(folder)]

    def holds(self, source: Source) -> bool:
        """Whether the files of a data set are those of this tree."""
        return next(iter(source.files)).startswith(f"{self.folder}/")

    def read(self, path: Path) -> Image.Image:
        """One image in the mode of the tree, turned as its camera says; DataError unless it has 8 bits a channel."""
        return open_image(path, PHOTO, ADVICE, ImageOps.exif_transpose).convert(self.mode)

    def load(self, source: Source, size: int) -> tuple[Split, Split]:
        """The training pool and the test set: images (N, C, size, size) uint8, labels (N,) int64; each file is checked.

        The images are decoded once and stay on disk (``cache.decoded``).
        """
        files, number = list(source.files), {name: i for i, name in enumerate(class_names(source))}
        channels = len(Image.new(self.mode, (1, 1)).getbands())

        def decode(i: int) -> np.ndarray:
            image = fitted(self.read(source.root / files[i]), size)
            return image.reshape(size, size, channels).transpose(2, 0, 1)

        name = f"{self.folder}-upright-{source.fingerprint[:12]}-{size}.npy"
        images = decoded(source.root, name, (len(files), channels, size, size), decode)
        labels = torch.tensor([number[path.split("/")[2]] for path in files])
        count = sum(path.startswith(f"{self.folder}/train/") for path in files)
        train, test = np.arange(count), np.arange(count, len(files))
        return tuple(Split(Rows(images, part), labels[part], np.arange(len(part))) for part in (train, test))


def images_in(folder: Path) -> list[str]:
    """The names of the images in a folder, sorted; hidden files, which systems leave behind, are none."""
    return [file for file in sorted(os.listdir(folder)) if file.lower().endswith(SUFFIXES) and file[0] != "."]


def class_names(source: Source) -> list[str]:
    """The classes of a tree, in the order of the labels."""
    return sorted({path.split("/")[2] for path in source.files})
