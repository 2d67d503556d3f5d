"""Liver CT slices with masks, as pairs ``NNN.png`` and ``NNN_mask.png`` in ``liver/train`` and ``liver/val``.

Slices of one patient lie next to each other in the numbering, and neighbours are nearly the same picture. Splits are
therefore made by patient ("volume"); where one volume ends and the next begins is found in the pictures or given.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from labkit.data import samples
from labkit.data.archives import unpack
from labkit.data.cache import check_same_size, decoded, fitted, open_image
from labkit.data.downloads import fetched, fetching, missing, move, not_overwritten
from labkit.data.loading import Split
from labkit.data.sources import Source, check_root, checksums, describe, lies_there, registry, takes_sample
from labkit.errors import DataError
from labkit.files import sha256

PARTS = ("train", "val")
IMAGES = {"train": 400, "val": 20}  # as published
LOOK = 64  # side, in pixels, at which neighbouring slices are compared
JUMP = 2.5  # a slice that differs from the one before by so many times the median belongs to another patient


def find(root: Path, source: str = "auto", asked_for: bool = False) -> Source:
    """Find the pairs under ``root`` and hash them; DataError if an image has no mask, or a mask no image.

    ``source``: ``auto`` takes ``root/liver`` if it is there, else the sample; ``official`` insists on it;
    ``download`` fetches what is missing; ``sample`` takes the sample. ``asked_for``: the user named the root.
    """
    published = registry()["liver"]
    check_root(root, asked_for and source != "download")
    if source == "download":
        _download(root, published)
    there = (root / "liver").is_dir()
    if takes_sample(source, lies_there(root / "liver")):
        root = samples.ct_slices(root)
        return describe(root, pair_files(root), published, "sample", samples.CT)
    if not there:
        raise DataError(
            f"No folder {root / 'liver'}: put the pairs NNN.png and NNN_mask.png into its folders train and val "
            f"({published['homepage']} has them), fetch them with 'labkit data get liver', or take source='sample' to "
            f"work on made-up slices."
        )
    found = describe(root, pair_files(root), published, "official", "CT slices in the liver layout")
    if source == "download" and not found.verified:
        raise not_overwritten(root / found.odd[0])
    return found


def _download(root: Path, published: dict[str, Any]) -> None:
    """Fetch the slices that are missing, and put them in place once all have arrived."""
    known = checksums(published)
    if not missing(root, known):
        return
    with fetching(root, "liver") as arrivals:
        wanted = {path: known[path] for path in missing(root, known)}
        if not wanted:  # another process has fetched them meanwhile
            return
        with fetched(arrivals, published, published["archive"]) as packed:
            _pick(packed, arrivals, wanted, published["archive"])
        if not (root / "liver").exists():  # the whole folder in one go
            move(arrivals / "liver", root / "liver")
        for path in missing(root, known):
            move(arrivals / path, root / path)


def _pick(packed: Path, arrivals: Path, wanted: dict[str, str], facts: dict[str, Any]) -> None:
    """Unpack the ``wanted`` files (path: SHA-256), which may lie anywhere in the archive, to ``arrivals/liver/…``."""
    unpacked = arrivals / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a call that was killed
    bounds = facts["most_files"], facts["most_bytes"]
    unpack(packed, unpacked, *bounds, lambda path: path if _in_layout(path) in wanted else None)
    for path in unpacked.rglob("*.png"):
        if sha256(path) == wanted[_in_layout(path)]:
            move(path, arrivals / _in_layout(path))
    for path in wanted:
        if not (arrivals / path).exists():
            raise DataError(f"The archive {packed.name} does not hold the published {path}: try another mirror.")


def _in_layout(path: PurePosixPath) -> str:
    """Where a file of an archive belongs under the data root: "liver/train/000.png"."""
    return "/".join(["liver", *path.parts[-2:]])


def pair_files(root: Path) -> list[str]:
    """All images and masks, relative to ``root``, train before val; DataError for what has no partner."""
    for fault in faults(root):
        raise fault
    return [f"liver/{part}/{name}" for part in PARTS for name in names_in(root, part)]


def names_in(root: Path, part: str) -> list[str]:
    """The PNG files of a part, neighbouring slices side by side."""
    return sorted((path.name for path in (root / "liver" / part).glob("[!.]*.png")), key=by_number)


def faults(root: Path) -> Iterator[DataError]:
    """What is wrong with the files before one is opened: a part without images, an image or mask without the other."""
    for part in PARTS:
        folder, names = root / "liver" / part, names_in(root, part)
        for other in sorted(folder.glob("[!.]*.[pP][nN][gG]")):
            if other.name not in names:
                yield DataError(f"{other} would be passed over: let its name end in .png.")
        images = [name for name in names if not name.endswith("_mask.png")]
        if not images:
            yield DataError(f"{folder} holds no images NNN.png: put the slices and their masks there.")
        masks = set(names) - set(images)
        for name in sorted({f"{name.removesuffix('.png')}_mask.png" for name in images} ^ masks):
            mask, image = folder / name, folder / f"{name.removesuffix('_mask.png')}.png"
            lonely = f"{image} has no mask {mask.name}" if image.exists() else f"{mask} has no image {image.name}"
            yield DataError(f"{lonely}: add the missing file, or take the other away.")


def by_number(name: str) -> list[str | int]:
    """Sorts 2.png before 10.png, and slice_2.png before slice_10.png: neighbouring slices have to stay neighbours."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def slices(source: Source) -> list[str]:
    """The images by name ("train/000"), train before val; their places here are the sample numbers."""
    return [f.removeprefix("liver/").removesuffix(".png") for f in source.files if not f.endswith("_mask.png")]


def read_image(source: Source, name: str) -> Image.Image:
    """The slice as an 8-bit grey image (H, W); DataError unless it is one (or RGB of three equal channels)."""
    path = source.root / "liver" / f"{name}.png"
    advice = "save it as 8-bit grey without transparency."
    image = open_image(path, ("L", "RGB"), advice)
    if image.mode == "RGB":
        red, green, blue = image.split()
        if red.tobytes() != green.tobytes() or red.tobytes() != blue.tobytes():
            raise DataError(f"{path} is a colour image, expected grey: {advice}")
        image = red
    return image


def read_mask(source: Source, name: str) -> Image.Image:
    """The mask as an image of 0 (background) and 255 (liver), as large as its slice; DataError else."""
    path = source.root / "liver" / f"{name}_mask.png"
    mask = open_image(path, ("L", "1"), "save the mask as 8-bit grey.").convert("L")
    values = sorted({value for _, value in mask.getcolors(256)})
    if not set(values) <= {0, 255}:
        raise DataError(f"{path} has the values {values[:6]}, expected only 0 (background) and 255 (liver): mend it.")
    return mask


def read_pair(source: Source, name: str) -> tuple[Image.Image, Image.Image]:
    """Slice and mask; DataError if they differ in size."""
    image, mask = read_image(source, name), read_mask(source, name)
    check_same_size(source.root / "liver" / f"{name}.png", image, mask, "mask")
    return image, mask


def arrays(source: Source, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All slices (N, 1, size, size) and masks (N, size, size) of 0 and 1, uint8; decoded and checked the first time."""
    names = slices(source)

    def decode(i: int) -> np.ndarray:
        image, mask = read_pair(source, names[i])
        return np.stack([fitted(image, size), fitted(mask, size, mask=True) // 255])

    both = decoded(source.root, f"liver-{source.fingerprint[:12]}-{size}.npy", (len(names), 2, size, size), decode)
    return both[:, :1], both[:, 1]


def changes(images: np.ndarray) -> np.ndarray:
    """Mean absolute grey-value difference of each slice (N, 1, H, W) to the one before it, (N,); 0 for the first."""
    parts = torch.from_numpy(images).split(100)  # all at once would take four times the room of the slices
    small = torch.cat([interpolate(part.float(), (LOOK, LOOK), mode="area") for part in parts])
    return np.append(0.0, (small[1:] - small[:-1]).abs().mean(dim=(1, 2, 3)).numpy())


def jump_limit(change: np.ndarray) -> float:
    """The change above which a new volume begins: JUMP times the median change.

    Slices that are the same twice do not count, or, with many of them, every change would look like a jump.
    """
    return float(JUMP * np.median(change[change > 0])) if (change > 0).any() else 0.0


def find_volumes(change: np.ndarray) -> list[range]:
    """Cut the slices into volumes where the picture changes by more than ``jump_limit``."""
    limit = jump_limit(change)
    starts = [0, *(i for i in range(1, len(change)) if change[i] > limit)]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(change)], strict=True)]


def parse_volumes(text: str, count: int) -> list[range]:
    """Volumes as given by hand, "0-161, 162-370, 371-399": each of the ``count`` slices in exactly one; sorted."""
    pairs = [re.fullmatch(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*", part) for part in text.split(",")]
    if not all(pairs):
        raise DataError(f"Parameter 'volumes' is {text!r}, expected first and last slices such as '0-161, 162-399'.")
    volumes = sorted((range(int(pair[1]), int(pair[2]) + 1) for pair in pairs), key=lambda volume: volume.start)
    seen = np.zeros(count, int)
    for volume in volumes:
        if not len(volume) or volume.stop > count:
            raise DataError(
                f"Volume {volume.start}-{volume.stop - 1} in 'volumes' is not there: slices go from 0 to {count - 1}."
            )
        seen[volume.start : volume.stop] += 1
    if (seen != 1).any():
        place = int(np.argmax(seen != 1))
        fault = "no volume" if seen[place] == 0 else "two volumes, which would leak from training into validation"
        raise DataError(f"Slice {place} is in {fault}: give each slice in exactly one range of 'volumes'.")
    return volumes


def load(source: Source, size: int) -> Split:
    """All slices of train and val as one split, in the order of ``slices``."""
    images, masks = arrays(source, size)
    return Split(torch.from_numpy(images), torch.from_numpy(masks), np.arange(len(images)))
