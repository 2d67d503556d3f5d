"""A figure without colours: each is replaced by the grey that looks as light."""

from collections.abc import Callable

import numpy as np
from matplotlib.artist import Artist
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection
from matplotlib.colors import ListedColormap, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of the primaries of sRGB


def linear(colours: np.ndarray) -> np.ndarray:
    """Intensities of light of sRGB values, both in [0, 1]."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def coded(light: np.ndarray) -> np.ndarray:
    """The inverse of ``linear``."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def greyed(colours: np.ndarray) -> np.ndarray:
    """Colours (…, 3) or (…, 4) in [0, 1] as greys of the same luminance; transparency stays."""
    value = coded(linear(colours[..., :3]) @ LUMINANCE)[..., None].repeat(3, axis=-1)
    return np.concatenate([value, colours[..., 3:]], axis=-1)


def make_grey(figure: Figure) -> None:
    """Take the colours of everything that was drawn in ``figure``."""
    for artist in figure.findobj():
        if isinstance(artist, ScalarMappable) and artist.get_array() is not None:
            _grey_values(artist)
        for kind, names in PAINTED.items():
            if isinstance(artist, kind):
                for name in names:
                    _repaint(artist, name)


PAINTED: dict[type[Artist], tuple[str, ...]] = {
    Line2D: ("color", "markerfacecolor", "markeredgecolor"),
    Patch: ("facecolor", "edgecolor", "hatchcolor"),
    Collection: ("facecolor", "edgecolor"),
    Text: ("color",),
}


def _repaint(artist: Artist, name: str) -> None:
    colour = getattr(artist, f"get_{name}")()
    if (isinstance(colour, str) and colour in ("none", "auto")) or not len(colour):
        return  # there is nothing to paint
    grey = greyed(to_rgba_array(colour))
    paint: Callable = getattr(artist, f"set_{name}")
    paint(grey if isinstance(artist, Collection) else tuple(grey[0]))


def _grey_values(artist: ScalarMappable) -> None:
    """An image's pixels, or the colour map of its values."""
    values = artist.get_array()
    if isinstance(artist, AxesImage) and values.ndim == 3:
        scale = 255 if values.dtype == np.uint8 else 1
        grey = scale * greyed(np.asarray(values) / scale)
        artist.set_data(grey.round().astype(values.dtype) if scale == 255 else grey)
    else:
        artist.set_cmap(ListedColormap(greyed(artist.get_cmap()(np.arange(artist.get_cmap().N)))))
