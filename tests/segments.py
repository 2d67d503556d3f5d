"""Small data in the layouts of the segmentation labs, and the tables of damage done to them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labkit.errors import DataError
from labkit.labs import liver_unet, pet_resnet34_unet
from labkit.labs.common import notebook_defaults
from labkit.paths import project_root

LIVER_NOTEBOOK = project_root() / "notebooks" / "02_liver_unet.ipynb"
PETS_NOTEBOOK = project_root() / "notebooks" / "03_pet_resnet34_unet.ipynb"
TINY_LIVER = {"image_size": 32, "width": 2, "epochs": 2, "batch_size": 4, "limit": 0, "learning_rate": 0.01}
TINY_PETS = TINY_LIVER | {"image_size": 64, "limit": 12, "width": 8}


def liver_params(root: Path, **changes: object) -> liver_unet.Parameters:
    """Parameters of lab 2 that train in about a second."""
    values = notebook_defaults(LIVER_NOTEBOOK) | TINY_LIVER | {"data_root": str(root)} | changes
    return liver_unet.Parameters.checked(values)


def pets_params(root: Path, **changes: object) -> pet_resnet34_unet.Parameters:
    """Parameters of lab 3 that train in about a second."""
    values = notebook_defaults(PETS_NOTEBOOK) | TINY_PETS | {"data_root": str(root)} | changes
    return pet_resnet34_unet.Parameters.checked(values)


def write_liver(root: Path, patients: tuple[int, ...] = (6, 5, 4), test: int = 3, side: int = 48) -> Path:
    """Patients of ``patients`` slices each, told apart by their grey background, with a disc as liver; the root."""
    place, rng = 0, np.random.default_rng(0)
    for number, count in enumerate((*patients, test)):
        folder = root / "liver" / ("val" if number == len(patients) else "train")
        folder.mkdir(parents=True, exist_ok=True)
        place = 0 if number == len(patients) else place
        for i in range(count):
            y, x = np.mgrid[:side, :side]
            disc = (y - side / 2) ** 2 + (x - side / 3 - i) ** 2 < (side / 6) ** 2
            grey = 60 * number + 20 + 50 * disc + rng.integers(0, 4, (side, side))
            Image.fromarray(np.stack([grey] * 3, axis=-1).astype(np.uint8)).save(folder / f"{place:03}.png")
            Image.fromarray((255 * disc).astype(np.uint8)).save(folder / f"{place:03}_mask.png")
            place += 1
    return root


def write_pets(root: Path, trainval: int = 14, test: int = 6) -> Path:
    """Photos of two breeds and odd sizes with a disc as pet; returns the root."""
    folder, rng = root / "oxford-iiit-pet", np.random.default_rng(0)
    for name in ("images", "annotations/trimaps"):
        (folder / name).mkdir(parents=True)
    for part, numbers in (("trainval", range(trainval)), ("test", range(trainval, trainval + test))):
        lines = ["# Image CLASS-ID SPECIES BREED ID"]
        for number in numbers:
            breed = number % 2 + 1
            name = f"{('Big_Cat', 'dog')[breed - 1]}_{number}"
            height, width = 50 + number, 70 - number
            y, x = np.mgrid[:height, :width]
            distance = np.hypot(y - height / 2, x - width / 2)
            photo = rng.integers(0, 90, (height, width, 3)) + 120 * (distance < 14)[..., None]
            trimap = np.where(distance < 12, 1, np.where(distance < 15, 3, 2))
            Image.fromarray(photo.astype(np.uint8)).save(folder / "images" / f"{name}.jpg", quality=95)
            Image.fromarray(trimap.astype(np.uint8)).save(folder / "annotations" / "trimaps" / f"{name}.png")
            lines.append(f"{name} {breed} {breed} 1")
        (folder / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return root


def assert_refused(find: Callable[[], object], name: str, sentence: str) -> None:
    """``find`` raises DataError: one line that names the file and says the sentence."""
    with pytest.raises(DataError) as caught:
        find()
    said = str(caught.value)
    assert name in said
    assert sentence in said
    assert len(said.splitlines()) == 1
