"""How far apart colours are, for normal and for colour-blind eyes."""

import numpy as np
from matplotlib.colors import to_rgb

from labkit.results.grey import linear

DEUTERANOPIA = np.array(  # Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = XYZ.sum(axis=1)


def lab(colour: object, deuteranopia: bool = False) -> np.ndarray:
    """L*, a*, b* of a colour, as normal eyes see it or as people without M cones do."""
    light = linear(np.array(to_rgb(colour)))
    if deuteranopia:
        light = np.clip(DEUTERANOPIA @ light, 0, 1)
    share = XYZ @ light / WHITE
    x, y, z = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart_for_deuteranopes(one: object, other: object) -> float:
    """The CIE 1976 colour difference; 2.3 can just be noticed side by side."""
    return float(np.linalg.norm(lab(one, True) - lab(other, True)))


def apart_in_grey(one: object, other: object) -> float:
    """The difference of L*, which runs from 0 (black) to 100 (white)."""
    return abs(float(lab(one)[0] - lab(other)[0]))
