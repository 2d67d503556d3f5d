"""Tables whose cells may be pictures, and how they become CSV: a picture as the text of a PNG file in base64.

Pictures are arrays (H, W) or (H, W, 3) uint8, masks arrays (H, W) bool.
"""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from labkit.errors import RequestError
from labkit.untrusted import why

PREFIX = "data:image/png;base64,"
SHOWN_SIDE = 192  # pixels: what is drawn need not be sharper, and its table stays below a megabyte
LARGEST_SIDE = 2048  # pixels, of a picture that is read back
LARGEST_FILE = 32 * 2**20  # bytes
MOST_PICTURES = 400  # in a table that is read back
MODES = {"1": bool, "L": np.uint8, "RGB": np.uint8}


def pictures(images: Tensor) -> list[np.ndarray]:
    """Images (N, C, H, W), uint8 or in [0, 1], as cells of a table."""
    if images.is_floating_point():
        images = (255 * images.clamp(0, 1)).round().byte()
    shown = images.permute(0, 2, 3, 1).numpy()
    return list(shown[..., 0] if shown.shape[-1] == 1 else shown)


def smaller(picture: np.ndarray) -> np.ndarray:
    """A picture or mask (H, W, …) with no side above SHOWN_SIDE; masks by nearest neighbour."""
    if max(picture.shape[:2]) <= SHOWN_SIDE:
        return picture
    shrink = SHOWN_SIDE / max(picture.shape[:2])
    how = Image.Resampling.NEAREST if picture.dtype == bool else Image.Resampling.BOX
    size = [max(1, round(shrink * side)) for side in picture.shape[1::-1]]
    return np.array(Image.fromarray(picture).resize(size, how))


def in_grey(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W) or (H, W, 3) without its colours."""
    return np.array(Image.fromarray(picture).convert("L"))


def outlines(titles: Sequence[str], images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> pd.DataFrame:
    """The table of ``masks.plot_outlines``, with the ``share`` of the pixels that are in the mask."""
    share = [float(mask.mean()) for mask in masks]
    columns = {"image": [*map(smaller, images)], "mask": [*map(smaller, masks)]}
    return pd.DataFrame({"title": titles, "share": share, **columns})


def feature_maps(maps: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The table of ``plots.plot_feature_maps``: named maps (H, W) of any range, each in 256 steps of grey."""
    rows = []
    for name, values in maps.items():
        low, high = float(values.min()), float(values.max())
        steps = np.rint(255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8)
        rows.append({"map": name, "lowest": low, "highest": high, "image": steps})
    return pd.DataFrame(rows)


def encoded(picture: np.ndarray) -> str:
    """A picture as text."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG", optimize=True)
    return PREFIX + base64.b64encode(content.getvalue()).decode()


def decoded(text: str) -> np.ndarray:
    """The picture of a text; ValueError if there is none in it, or if it is too large."""
    content = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if image.mode not in MODES or max(image.size) > LARGEST_SIDE:
            size = " × ".join(map(str, image.size))
            raise ValueError(f"it has {size} pixels of format {image.mode!r}, but at most {LARGEST_SIDE} a side")
        return np.array(image, dtype=MODES[image.mode])


def words_in(table: pd.DataFrame) -> list[str]:
    """The columns that hold words, which may look like numbers: the class 7."""
    return [name for name in table if all(isinstance(cell, str) for cell in table[name])]


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV; floats keep every bit."""
    plain = table.copy()
    for name in table:
        if any(isinstance(cell, np.ndarray) for cell in table[name]):
            plain[name] = [encoded(cell) for cell in table[name]]
    return plain.to_csv(index=False, lineterminator="\n")


def read_csv(path: Path, words: Sequence[str] = ()) -> pd.DataFrame:
    """The table that ``to_csv`` wrote; ``words`` are columns to be read as text. RequestError if it cannot be read."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE // 2**20} MiB")
        text = dict.fromkeys(words, str)
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except (OSError, ValueError, OverflowError) as error:  # ValueError: undecodable, empty, ragged
        raise RequestError(f"{path} is missing or not a table ({why(error)}): run it again.") from None
    named = [name for name in table if len(table) and str(table[name].iloc[0]).startswith(PREFIX)]
    if len(named) * len(table) > MOST_PICTURES:
        raise RequestError(f"{path} holds more than {MOST_PICTURES} pictures: run it again.")
    for name in named:
        table[name] = [_cell(path, name, row, cell) for row, cell in enumerate(table[name], start=2)]
    return table


def _cell(path: Path, name: str, row: int, text: object) -> np.ndarray:
    try:
        return decoded(str(text))
    except (ValueError, OSError, SyntaxError, binascii.Error, Image.DecompressionBombError) as error:
        raise RequestError(
            f"{path}, line {row}: the picture in column {name!r} cannot be read ({error}): run it again."
        ) from None
