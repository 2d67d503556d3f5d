"""Liver CT slices with masks, as pairs ``NNN.png`` and ``NNN_mask.png`` in ``liver/train`` and ``liver/val``.

Slices of one patient lie next to each other in the numbering, and neighbours are nearly the same picture. Splits are
therefore made by patient ("volume"); where one volume ends and the next begins is found in the pictures or given.
"""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from labkit.data import samples
from labkit.data.cache import check_same_size, decoded, fitted, open_image
from labkit.data.loading import Split
from labkit.data.sources import Source, check_root, describe, registry, takes_sample
from labkit.errors import DataError

LOOK = 64  # side, in pixels, at which neighbouring slices are compared
JUMP = 2.5  # a slice that differs from the one before by so many times the median belongs to another patient


def find(root: Path, source: str = "auto", asked_for: bool = False) -> Source:
    """Find the pairs under ``root`` and hash them; DataError if an image has no mask, or a mask no image.

    ``source``: ``auto`` takes ``root/liver`` if it is there, else the sample; ``official`` insists on it; ``sample``
    takes the sample. ``asked_for``: the user named the root.
    """
    published = registry()["liver"]
    check_root(root, asked_for)
    there = (root / "liver").is_dir()
    if takes_sample(source, there):
        root = samples.ct_slices(root)
        return describe(root, pair_files(root), published, "sample", samples.CT)
    if not there:
        raise DataError(
            f"No folder {root / 'liver'}: put the pairs NNN.png and NNN_mask.png into its folders train and val "
            f"({published['homepage']} says where they come from), or take source='sample' to work on made-up slices."
        )
    return describe(root, pair_files(root), published, "official", "CT slices in the liver layout")


def pair_files(root: Path) -> list[str]:
    """All images and masks, relative to ``root``, train before val; DataError for what has no partner."""
    files = []
    for part in ("train", "val"):
        folder = root / "liver" / part
        names = sorted((path.name for path in folder.glob("*.png")), key=by_number)
        images = [name for name in names if not name.endswith("_mask.png")]
        if not images:
            raise DataError(f"{folder} holds no images NNN.png: put the slices and their masks there.")
        missing = {name.replace(".png", "_mask.png") for name in images} ^ (set(names) - set(images))
        if missing:
            mask = folder / min(missing)
            image = folder / mask.name.replace("_mask.png", ".png")
            lonely = f"{image} has no mask {mask.name}" if image.exists() else f"{mask} has no image {image.name}"
            raise DataError(f"{lonely}: add the missing file, or take the other away.")
        files += [f"liver/{part}/{name}" for name in names]
    return files


def by_number(name: str) -> tuple[int, str]:
    """Sorts 2.png before 10.png: neighbouring slices have to stay neighbours."""
    digits = re.match(r"\d+", name)
    return int(digits[0]) if digits else -1, name


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


def arrays(source: Source, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All slices (N, 1, size, size) and masks (N, size, size) of 0 and 1, uint8; decoded and checked the first time."""
    names = slices(source)

    def decode(i: int) -> np.ndarray:
        image, mask = read_image(source, names[i]), read_mask(source, names[i])
        check_same_size(source.root / "liver" / f"{names[i]}.png", image, mask, "mask")
        return np.stack([fitted(image, size), fitted(mask, size, mask=True) // 255])

    both = decoded(source.root, f"liver-{source.fingerprint[:12]}-{size}.npy", (len(names), 2, size, size), decode)
    return both[:, :1], both[:, 1]


def changes(images: np.ndarray) -> np.ndarray:
    """Mean absolute grey-value difference of each slice (N, 1, H, W) to the one before it, (N,); 0 for the first."""
    small = torch.nn.functional.interpolate(torch.from_numpy(images).float(), (LOOK, LOOK), mode="area")
    return np.append(0.0, (small[1:] - small[:-1]).abs().mean(dim=(1, 2, 3)).numpy())


def find_volumes(change: np.ndarray) -> list[range]:
    """Cut the slices into volumes where the picture changes by more than JUMP times the median change."""
    limit = JUMP * np.median(change[1:]) if len(change) > 1 else 0.0
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
