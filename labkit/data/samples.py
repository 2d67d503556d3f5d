"""Small stand-ins for the data sets, made on first use from fixed seeds, in the official layouts.

They let every notebook run without a network. They are not the data sets, and whatever runs on them says so.
"""

import io
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from labkit.data.cache import writable_folder
from labkit.errors import RequestError
from labkit.files import sha256, write_atomic, write_json
from labkit.untrusted import read_json

DIGITS = "handwritten digits (sample)"
CT = "made-up CT slices (sample)"
PETS = "made-up pets (sample)"
TEXTURES = "textures and shapes (sample)"
CT_SEED, CT_SLICES = 7, 20  # slices of each of four patients
PET_SEED, PET_FIGURES = 9, {"trainval": 112, "test": 40}
TEXTURE_SEED, TEXTURES_PER_CLASS = 11, {"train": 120, "test": 40}


def made_once(data_root: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``samples/name`` under the data root, filled by ``make`` the first time, by one process.

    ``complete`` in there names each file with its SHA-256; where one is another or gone, all are made anew.
    """
    root = writable_folder(data_root, "samples") / name
    if is_complete(root):  # perhaps made by another user, whose lock is not ours to take
        return root
    with FileLock(root.parent / f".{name}.lock"):
        if not is_complete(root):
            shutil.rmtree(root, ignore_errors=True)
            make(root)
            made = {file.relative_to(root).as_posix(): sha256(file) for file in files_in(root)}
            write_json(root / "complete", made)
    return root


def is_complete(root: Path) -> bool:
    """Whether a sample is as it was made."""
    try:
        made = read_json(root / "complete")
        return all(sha256(root / name) == known for name, known in made.items())
    except (RequestError, OSError, AttributeError):  # of an older workbook it is empty
        return False


def files_in(root: Path) -> list[Path]:
    """The files of a sample; arrays that were decoded from them aside."""
    return [path for path in root.rglob("*") if path.is_file() and "decoded" not in path.relative_to(root).parts]


def handwritten_digits(data_root: Path) -> Path:
    """Write scikit-learn's 1,797 bundled digits as MNIST-like idx files; return the folder that holds ``MNIST/raw``.

    The digits (Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49) are 8×8; they are enlarged to 20×20 and set
    into 28×28, as MNIST's were. The last 360 are the test set: the file is ordered by writer, so most of its writers
    are strangers to the model.
    """

    def make(root: Path) -> None:
        images, labels = _enlarged_digits()
        for part, rows in (("train", slice(None, -360)), ("t10k", slice(-360, None))):
            write_atomic(root / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", idx_bytes(images[rows]))
            write_atomic(root / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", idx_bytes(labels[rows]))

    return made_once(data_root, "digits", make)


def ct_slices(data_root: Path) -> Path:
    """Write CT-like slices of made-up patients, three in ``liver/train``, one in ``liver/val``; return the root."""
    from labkit.data import sample_ct  # needed once

    def make(root: Path) -> None:
        place = 0
        for number in range(4):
            images, masks = sample_ct.patient(np.random.default_rng([CT_SEED, number]), CT_SLICES, 256)
            folder = root / "liver" / ("val" if number == 3 else "train")
            for i, (image, mask) in enumerate(zip(images, masks, strict=True), start=0 if number == 3 else place):
                write_png(folder / f"{i:03}.png", image)
                write_png(folder / f"{i:03}_mask.png", mask)
            place += len(images)

    return made_once(data_root, "ct", make)


def pet_figures(data_root: Path) -> Path:
    """Write cat-and-dog-like figures with trimaps in the layout of Oxford-IIIT Pet; return the root."""
    from labkit.data import sample_pets  # needed once

    def make(root: Path) -> None:
        folder, lists = root / "oxford-iiit-pet", {"trainval": [], "test": []}
        for number in range(sum(PET_FIGURES.values())):
            species = number % 2 + 1
            name = f"{('cat', 'dog')[species - 1]}_{number // 2 + 1}"
            photo, trimap = sample_pets.animal(np.random.default_rng([PET_SEED, number]), ("cat", "dog")[species - 1])
            content = io.BytesIO()
            Image.fromarray(photo).save(content, "JPEG", quality=90)
            write_atomic(folder / "images" / f"{name}.jpg", content.getvalue())
            write_png(folder / "annotations" / "trimaps" / f"{name}.png", trimap)
            part = "trainval" if number < PET_FIGURES["trainval"] else "test"
            lists[part].append(f"{name} {species} {species} 1")
        for part, lines in lists.items():
            write_atomic(folder / "annotations" / f"{part}.txt", "\n".join(sorted(lines)) + "\n")

    return made_once(data_root, "pets", make)


def textures(data_root: Path) -> Path:
    """Write ten classes of textures and shapes as a tree ``cifar10/{train,test}/<class>/*.jpg``; return the root."""
    from labkit.data import sample_textures  # needed once

    def make(root: Path) -> None:
        for label, name in enumerate(sample_textures.FORMS):
            for part, count in TEXTURES_PER_CLASS.items():
                (root / "cifar10" / part / name).mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    rng = np.random.default_rng([TEXTURE_SEED, label, part == "test", number])
                    picture = Image.fromarray(sample_textures.texture(rng, name))
                    picture.save(root / "cifar10" / part / name / f"{number:04}.jpg", quality=95)

    return made_once(data_root, "textures", make)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a grey image (H, W) or a colour image (H, W, 3), uint8."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    write_atomic(path, content.getvalue())


def idx_bytes(values: np.ndarray) -> bytes:
    """A uint8 array (N,) or (N, H, W) in MNIST's idx format."""
    header = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def _enlarged_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 28, 28) uint8 and labels (1797,)."""
    from sklearn.datasets import load_digits  # slow to import, needed once

    digits = load_digits()
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    # Pillow resizes in whole numbers, so every machine gets the same bytes.
    big = [np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC)) for image in small]
    return np.pad(big, ((0, 0), (4, 4), (4, 4))), digits.target
