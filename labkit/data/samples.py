"""Small stand-ins for the data sets, made on first use, the same to the byte on every machine, in the official layouts.

They let every notebook run without a network. They are not the data sets, and whatever runs on them says so.
"""

import struct
import tempfile
from pathlib import Path

import numpy as np
import pooch
from filelock import FileLock
from PIL import Image

from labkit.files import write_atomic

DIGITS = "handwritten digits (sample)"


def handwritten_digits(data_root: Path) -> Path:
    """Write scikit-learn's 1,797 bundled digits as MNIST-like idx files; return the folder that holds ``MNIST/raw``.

    The digits (Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49) are 8×8; they are enlarged to 20×20 and set
    into 28×28, as MNIST's were. The last 360 are the test set: the file is ordered by writer, so most of its writers
    are strangers to the model.
    """
    root = _writable(data_root) / "samples" / "digits"
    raw = root / "MNIST" / "raw"
    if (raw / "complete").exists():
        return root
    with FileLock(root.parent / ".digits.lock"):
        if not (raw / "complete").exists():
            images, labels = _enlarged_digits()
            for part, rows in (("train", slice(None, -360)), ("t10k", slice(-360, None))):
                write_atomic(raw / f"{part}-images-idx3-ubyte", idx_bytes(images[rows]))
                write_atomic(raw / f"{part}-labels-idx1-ubyte", idx_bytes(labels[rows]))
            write_atomic(raw / "complete", "")
    return root


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


def _writable(root: Path) -> Path:
    """``root`` if a folder can be made in it, else the user's cache: data roots may be read-only."""
    try:
        (root / "samples").mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=root / "samples").close()
        return root
    except OSError:
        fallback = Path(pooch.os_cache("labkit"))
        (fallback / "samples").mkdir(parents=True, exist_ok=True)
        return fallback
