"""Oxford-IIIT Pet: photos of cats and dogs with trimaps (Parkhi et al. 2012,
https://doi.org/10.1109/CVPR.2012.6248092).

A trimap says 1 = pet, 2 = background, 3 = border, the band in between where nobody was sure. What counts as foreground
is a choice (``TARGETS``), and it changes every score.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from labkit.data import samples
from labkit.data.cache import PHOTO, check_same_size, decoded, fitted, open_image
from labkit.data.downloads import download_folders
from labkit.data.loading import Rows, Split
from labkit.data.sources import Source, check_root, describe, lies_there, registry, takes_sample
from labkit.errors import DataError, RequestError
from labkit.untrusted import linked_file

FOLDER = "oxford-iiit-pet"
LISTS = ("trainval", "test")
TARGETS = {"pet_and_border": (1, 3), "pet_only": (1,), "border_only": (3,)}  # trimap values that are foreground
IMAGES = {"trainval": 3_680, "test": 3_669}  # of the complete data set
BREEDS = 37


def find(root: Path, source: str = "auto", asked_for: bool = False) -> Source:
    """Find the photos that the official lists name, and their trimaps; DataError if one is not there.

    ``source``: ``auto`` takes ``root/oxford-iiit-pet`` if it is there, else the sample; ``official`` insists on it;
    ``download`` fetches the complete set; ``sample`` takes the sample. ``asked_for``: the user named the root.
    """
    published = registry()["pets"]
    check_root(root, asked_for and source != "download")
    if source == "download":
        download_folders(root, "pets", published)
    there = (root / FOLDER).is_dir()
    if takes_sample(source, lies_there(root / FOLDER)):
        root = samples.pet_figures(root)
        return describe(root, listed_files(root), published, "sample", samples.PETS)
    if not there:
        raise DataError(
            f"No folder {root / FOLDER}: put 'images' and 'annotations' of the archives from {published['homepage']} "
            f"there, fetch them with 'labkit data get pets', or take source='sample' to work on made-up figures."
        )
    found = describe(root, listed_files(root), published, "official", "photos in the layout of Oxford-IIIT Pet")
    if {part: len(names_in(root, part)) for part in LISTS} == IMAGES:
        return replace(found, name="Oxford-IIIT Pet", complete=True)
    if source == "download":
        raise DataError(
            f"{root / FOLDER} does not hold the complete Oxford-IIIT Pet, and a download does not overwrite it: move "
            f"it away, give another folder, or take source='official' to work with these data."
        )
    return found


def names_in(root: Path, part: str) -> list[tuple[str, int]]:
    """Name and breed number (from 1) of each image in an official list, ``trainval`` or ``test``."""
    path = root / FOLDER / "annotations" / f"{part}.txt"
    try:
        lines = linked_file(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError, RequestError) as error:
        raise DataError(f"{path} cannot be read ({error}): restore it from annotations.tar.gz.") from None
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    for row in rows:
        if len(row) < 2 or not re.fullmatch("[0-9]{1,9}", row[1]) or "/" in row[0]:
            raise DataError(f"{path} has the line {' '.join(row)!r}, expected 'NAME BREED SPECIES NUMBER': restore it.")
    if not rows:
        raise DataError(f"{path} names no image: restore it from annotations.tar.gz.")
    return [(row[0], int(row[1])) for row in rows]


def listed_files(root: Path) -> list[str]:
    """Lists, photos and trimaps, relative to ``root``; DataError for a listed file that is not there."""
    for fault in faults(root):
        raise fault
    lists = [f"{FOLDER}/annotations/{part}.txt" for part in LISTS]
    return lists + [path for part in LISTS for name, _ in names_in(root, part) for path in files_of(name)]


def files_of(name: str) -> tuple[str, str]:
    """Photo and trimap of a name in a list, relative to the root."""
    return f"{FOLDER}/images/{name}.jpg", f"{FOLDER}/annotations/trimaps/{name}.png"


def faults(root: Path) -> Iterator[DataError]:
    """What is wrong with lists and files before a photo is opened: each that is missing, each name that comes twice."""
    seen = set()
    for part in LISTS:
        where = f"{FOLDER}/annotations/{part}.txt"
        try:
            names = [name for name, _ in names_in(root, part)]
        except DataError as fault:
            yield fault
            continue
        for name in names:
            if name in seen:
                yield DataError(f"{where} names {name} a second time: an image belongs to one part.")
            seen.add(name)
            for path in files_of(name):
                if not (root / path).is_file():
                    yield DataError(f"{where} names {name}, but there is no {root / path}.")


def read_image(source: Source, name: str) -> Image.Image:
    """The photo in RGB, (H, W); some official files named .jpg are GIF or PNG inside, which does no harm."""
    path = source.root / FOLDER / "images" / f"{name}.jpg"
    return open_image(path, PHOTO, "save it with 8 bits a channel.").convert("RGB")


def read_trimap(source: Source, name: str) -> Image.Image:
    """The trimap (H, W) with the values 1, 2 and 3; DataError for others."""
    path = source.root / FOLDER / "annotations" / "trimaps" / f"{name}.png"
    trimap = open_image(path, ("L", "P"), "a trimap has the values 1, 2 and 3.")
    values = np.unique(np.asarray(trimap)).tolist()
    if not set(values) <= {1, 2, 3}:
        raise DataError(f"{path} has the values {values[:6]}, expected only 1 (pet), 2 (background), 3 (border).")
    return trimap


def read_pair(source: Source, name: str) -> tuple[Image.Image, Image.Image]:
    """Photo and trimap; DataError if they differ in size."""
    image, trimap = read_image(source, name), read_trimap(source, name)
    check_same_size(source.root / FOLDER / "images" / f"{name}.jpg", image, trimap, "trimap")
    return image, trimap


def arrays(source: Source, size: int) -> np.ndarray:
    """All photos and trimaps, trainval before test, (N, 4, size, size) uint8; decoded and checked the first time."""
    names = [name for part in LISTS for name, _ in names_in(source.root, part)]

    def decode(i: int) -> np.ndarray:
        image, trimap = read_pair(source, names[i])
        photo, border = fitted(image, size).transpose(2, 0, 1), fitted(trimap, size, mask=True)
        return np.concatenate([photo, border[None]])

    return decoded(source.root, f"pets-{source.fingerprint[:12]}-{size}.npy", (len(names), 4, size, size), decode)


def foreground(trimap: np.ndarray, target: str) -> np.ndarray:
    """The mask of a named target from a trimap of any shape: uint8, 1 = foreground."""
    table = np.zeros(256, np.uint8)
    table[list(TARGETS[target])] = 1
    return table[trimap]


def load(source: Source, size: int, target: str) -> Split:
    """All photos (they stay on disk) and masks (N, size, size) as one split, trainval before test."""
    both = arrays(source, size)
    masks = foreground(both[:, 3], target)
    return Split(Rows(both, np.arange(len(both)), slice(3)), torch.from_numpy(masks), np.arange(len(both)))
