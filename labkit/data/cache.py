"""Images are decoded once: later runs read them as an array that the system maps into memory."""

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock
from PIL import Image

from labkit.errors import DataError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")  # Pillow has more, of which some start programs
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")  # what their files are called
PHOTO = ("L", "RGB", "RGBA", "P", "1", "LA", "CMYK")


def writable_folder(root: Path, name: str) -> Path:
    """``root/name``, made if need be; in the user's cache instead where the data root is read-only."""
    try:
        (root / name).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=root / name).close()
        return root / name
    except OSError:
        fallback = platformdirs.user_cache_path("labkit") / name
    try:
        fallback.mkdir(parents=True, exist_ok=True)
        return fallback
    except OSError as error:
        raise DataError(
            f"Neither {root / name} nor {fallback} can be written ({error.strerror}): give a folder of yours as "
            f"data_root (--data)."
        ) from None


def decoded(root: Path, name: str, shape: tuple[int, ...], decode: Callable[[int], np.ndarray]) -> np.ndarray:
    """The array (N, …) uint8 called ``name`` beside the data; made by ``decode(i)`` for each i if need be.

    It is made under another name, by one process while others wait, so a reader finds a whole array or none. A file
    that is cut short is made anew. DataError where there is no room for it.
    """
    path = root / "decoded" / name
    if not _is_whole(path, shape):
        path = writable_folder(root, "decoded") / name
        with FileLock(path.parent / f".{name}.lock"):
            if not _is_whole(path, shape):
                _make(path, shape, decode)
    return np.lib.format.open_memmap(path, "c")  # copy on write: torch accepts it, the file stays as it is


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether ``path`` holds an array (uint8) of that shape."""
    try:
        array = np.lib.format.open_memmap(path, "r") if path.is_file() else np.empty(0)
    except Exception:  # a damaged header is evaluated as Python's literals, which fail in many ways
        return False
    return array.shape == shape and array.dtype == np.uint8


def _make(path: Path, shape: tuple[int, ...], decode: Callable[[int], np.ndarray]) -> None:
    made = path.parent / f".{path.name}.part"  # one name, so that what a killed process left is written over
    try:
        array = np.lib.format.open_memmap(made, "w+", np.uint8, shape)
        with open(made, "r+b") as file:
            if hasattr(os, "posix_fallocate"):  # a full disk shows now, not as a crash when a page is written
                os.posix_fallocate(file.fileno(), 0, made.stat().st_size)

        def put(i: int) -> None:
            array[i] = decode(i)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(put, range(shape[0])):
                pass  # raises what decode has raised
        array.flush()
        os.replace(made, path)
    except OSError as error:
        raise DataError(
            f"Cannot write the decoded images to {path} ({error.strerror}): {math.prod(shape) / 2**20:.0f} MiB are "
            f"needed; make room, or give another data_root (--data) or a smaller image_size."
        ) from error
    finally:
        made.unlink(missing_ok=True)


def open_image(
    path: Path,
    modes: Sequence[str] | None = None,
    advice: str = "",
    then: Callable[[Image.Image], Image.Image] = lambda image: image,
) -> Image.Image:
    """Open and decode an image, and do ``then``; DataError if it cannot be, or if its mode is not one of ``modes``."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file")
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            image = then(image)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}: restore it, or take the image off the list.") from None
    except Exception as error:  # decoders raise whatever damaged bytes make them raise
        raise DataError(f"{path} cannot be read as an image ({error}): replace the file.") from None
    if modes and image.mode not in modes:
        raise DataError(f"{path} has the pixel format {image.mode!r}, expected {' or '.join(modes)}: {advice}")
    return image


def check_same_size(path: Path, image: Image.Image, mask: Image.Image, kind: str) -> None:
    """DataError if the image in ``path`` and its ``kind`` (mask, trimap) differ in size."""
    if image.size != mask.size:
        shown = [" × ".join(map(str, picture.size)) for picture in (image, mask)]
        raise DataError(f"{path} has {shown[0]} pixels but its {kind} {shown[1]}: they are not a pair; replace one.")


def fitted(image: Image.Image, size: int, mask: bool = False) -> np.ndarray:
    """An image resized to (size, size) uint8, smoothly; a mask by nearest neighbour, which keeps its set of values."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.NEAREST if mask else Image.Resampling.BILINEAR)
    return np.asarray(image)
