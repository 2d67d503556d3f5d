"""Images are decoded once: later runs read them as an array that the system maps into memory."""

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pooch
from filelock import FileLock
from PIL import Image

from labkit.errors import DataError


def writable_folder(root: Path, name: str) -> Path:
    """``root/name``, made if need be; in the user's cache instead where the data root is read-only."""
    try:
        (root / name).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=root / name).close()
        return root / name
    except OSError:
        fallback = Path(pooch.os_cache("labkit")) / name
        fallback.mkdir(parents=True, exist_ok=True)
        return fallback


def decoded(path: Path, count: int, shape: tuple[int, ...], decode: Callable[[int], np.ndarray]) -> np.ndarray:
    """The array (count, *shape) uint8 in the file ``path``; made by ``decode(i)`` for each i if it is not there yet.

    It is made under another name, by one process while others wait, so a reader finds a whole array or none.
    """
    with FileLock(path.parent / f".{path.name}.lock"):
        if not path.exists():
            made = path.parent / f".{path.name}.{os.getpid()}"
            try:
                array = np.lib.format.open_memmap(made, "w+", np.uint8, (count, *shape))
                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    for i, value in enumerate(pool.map(decode, range(count))):
                        array[i] = value
                array.flush()
                os.replace(made, path)
            finally:
                made.unlink(missing_ok=True)
    return np.load(path, mmap_mode="c")  # copy on write: torch accepts it, the file stays as it is


def open_image(path: Path, modes: Sequence[str] | None = None, advice: str = "") -> Image.Image:
    """Open and decode an image; DataError if it cannot be, or if its mode is not one of ``modes``."""
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise DataError(f"There is no file {path}: restore it, or take the image off the list.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}): replace the file.") from None
    if modes and image.mode not in modes:
        raise DataError(f"{path} has the pixel format {image.mode!r}, expected {' or '.join(modes)}: {advice}")
    return image


def fitted(image: Image.Image, size: int, mask: bool = False) -> np.ndarray:
    """An image resized to (size, size) uint8, smoothly; a mask by nearest neighbour, which keeps its set of values."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.NEAREST if mask else Image.Resampling.BILINEAR)
    return np.asarray(image)
