"""CT-like slices of made-up patients: smooth bodies in three dimensions, cut from the pelvis upwards.

Every patient differs in size, turn, contrast, noise and organ shapes, and every organ is bent by a smooth random
field, so that the liver is not simply the grey at one place: spleen, muscle, stomach and bowel are as bright.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

FAT, MUSCLE, BONE, AIR = 0.17, 0.40, 0.85, 0.0


@dataclass
class Slice:
    """One slice while it is painted: warped places x (right), y (down), z (up), all (H, W), and grey values."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    grey: np.ndarray

    def inside(self, centre: tuple, radii: tuple, turn: float = 0.0) -> np.ndarray:
        """Depth in an ellipsoid: 1 at its centre, 0 at its surface, negative outside; (H, W)."""
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        dx, dy, dz = self.x - centre[0], self.y - centre[1], self.z - centre[2]
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        return 1 - np.sqrt((along / radii[0]) ** 2 + (across / radii[1]) ** 2 + (dz / radii[2]) ** 2)

    def paint(self, depth: np.ndarray, grey: float | np.ndarray, edge: float = 0.05) -> None:
        """Blend ``grey`` in where ``depth`` is positive, over a soft edge."""
        share = np.clip(depth / edge + 0.5, 0, 1)
        self.grey = self.grey * (1 - share) + share * grey


def patient(rng: np.random.Generator, count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Slices (count, side, side) and liver masks of 0 and 255, uint8, of one patient."""
    wobble = rng.normal(size=(6, 8))
    like = rng.normal(size=24)
    levels = np.linspace(0.02, 0.98, count)
    pairs = [_slice(level, side, wobble, like, rng) for level in levels]
    images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
    return images, masks


def _slice(level: float, side: int, wobble: np.ndarray, like: np.ndarray, rng: np.random.Generator) -> tuple:
    """Image and mask (side, side) at the height ``level``; ``wobble`` and ``like`` are the patient."""
    cut = _warped(level, side, wobble, like)
    wide, deep = 0.80 + 0.05 * like[0], 0.58 + 0.04 * like[1]
    body = cut.inside((0, 0, level), (wide, deep, 9))
    cut.paint(body, FAT)
    cut.paint(body - 0.10 - 0.03 * abs(like[2]), MUSCLE)
    cavity = cut.inside((0, -0.03, level), (wide - 0.16, deep - 0.15, 9))
    cut.paint(cavity, FAT + 0.03)
    _back(cut, level, deep, like)
    liver = _organs(cut, level, like)
    _ribs(cut, level, wide, deep, like)
    noise = gaussian_filter(rng.normal(size=cut.grey.shape), 0.8) * (0.055 + 0.012 * like[3])
    grey = gaussian_filter(cut.grey, 0.6) + noise * (cut.grey > 0.02)
    return np.clip(grey * 255, 0, 255).astype(np.uint8), np.where(liver, 255, 0).astype(np.uint8)


def _warped(level: float, side: int, wobble: np.ndarray, like: np.ndarray) -> Slice:
    """An empty slice whose places are turned, scaled and bent as this patient is."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    z = np.full_like(x, level)
    bend = [np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)]
    for k, w in enumerate(wobble):
        wave = np.sin((2 + k / 2) * (w[0] * x + w[1] * y) + 3 * w[2] * level + 3 * w[3])
        for axis in range(3):
            bend[axis] = bend[axis] + 0.021 * w[4 + axis] * wave
    turn = np.deg2rad(3 * like[4])
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return Slice(x - 0.03 * like[5] + bend[0], y - 0.03 * like[6] + bend[1], z + bend[2], np.zeros_like(x))


def _back(cut: Slice, level: float, deep: float, like: np.ndarray) -> None:
    """Spine with its canal and processes, the muscles beside it, aorta and vena cava."""
    y = deep - 0.24
    for sign in (-1, 1):
        cut.paint(cut.inside((0.17 * sign, y + 0.05, level), (0.13, 0.10, 9)), MUSCLE + 0.02)
        cut.paint(cut.inside((0.13 * sign, y + 0.04, level), (0.10, 0.025, 9), 25 * sign), BONE * 0.85)
    shade = 0.62 + 0.06 * np.sin(40 * level)
    spine = cut.inside((0, y - 0.05, level), (0.115, 0.10, 9))
    cut.paint(spine, BONE)
    cut.paint(spine - 0.22, shade)
    cut.paint(cut.inside((0, y + 0.13, level), (0.025, 0.10, 9)), BONE * 0.9)
    cut.paint(cut.inside((0, y + 0.07, level), (0.045, 0.04, 9)), 0.3)
    vessel = 0.52 + 0.05 * like[7]
    cut.paint(cut.inside((0.07, y - 0.21, level), (0.045, 0.045, 9)), vessel + 0.04)
    cut.paint(cut.inside((-0.08, y - 0.20, level), (0.055, 0.04, 9)), vessel)


def _organs(cut: Slice, level: float, like: np.ndarray) -> np.ndarray:
    """Bowel, kidneys, spleen, stomach, lungs and the liver; returns where the liver is, (H, W) bool."""
    bright = 0.47 + 0.03 * like[8]
    places = np.random.default_rng(int(abs(like[9]) * 1e6))
    for _ in range(16):
        cx, cy, cz = places.uniform(-0.5, 0.5), places.uniform(-0.35, 0.15), places.uniform(-0.1, 0.42)
        r, full = places.uniform(0.06, 0.12), places.uniform() < 0.7
        loop = cut.inside((cx, cy, cz), (r * 1.4, r, 0.14), places.uniform(0, 180))
        cut.paint(loop, bright - 0.04, edge=0.15)
        cut.paint(loop - 0.35, bright - 0.16 if full else AIR, edge=0.15)
    for sign in (-1, 1):
        kidney = cut.inside((0.37 * sign, 0.20, 0.36 + 0.06 * sign), (0.115, 0.16, 0.24), 20 * sign)
        cut.paint(kidney, bright + 0.10 + 0.03 * like[10])
        cut.paint(kidney - 0.45, bright - 0.05, edge=0.2)
    cut.paint(cut.inside((0.55, 0.10, 0.72), (0.13, 0.22, 0.22), -12), bright + 0.015 + 0.02 * like[11])
    stomach = cut.inside((0.30 + 0.04 * like[12], -0.16, 0.70), (0.24, 0.16, 0.22), 25)
    cut.paint(stomach, bright - 0.03)
    cut.paint(stomach - 0.18, np.where(cut.y < -0.2, AIR, bright - 0.10), edge=0.1)
    dome = cut.inside((-0.03, -0.02, 0.30), (0.66, 0.46, 0.58))
    for sign in (-1, 1):
        lung = np.minimum(cut.inside((0.34 * sign, 0.0, 1.05), (0.34, 0.40, 0.42)), -dome + 0.15)
        cut.paint(lung, 0.03, edge=0.08)
    return _liver(cut, level, like, bright)


def _liver(cut: Slice, level: float, like: np.ndarray, bright: float) -> np.ndarray:
    """Right and left lobe without gall bladder and fissure; vessels in it, and in some patients a dark lesion."""
    wide, tall = 0.29 + 0.03 * like[14], 0.42 + 0.04 * like[15]
    right = cut.inside((-0.36, 0.04 * like[13], 0.60), (wide, 0.34 + 0.03 * like[17], tall), 12 + 10 * like[18])
    left = cut.inside((-0.02 + 0.07 * like[16], -0.22, 0.70), (0.31, 0.13 + 0.03 * like[17], 0.24), -14 + 6 * like[13])
    fissure = cut.inside((-0.12, -0.20, 0.62), (0.02, 0.16, 0.25), 10 + 8 * like[18])
    gall = cut.inside((-0.20, -0.14, 0.40 + 0.04 * like[19]), (0.075, 0.09, 0.13), 30)
    spine = cut.inside((0, 0.36, level), (0.19, 0.22, 9))
    depth = np.minimum.reduce([np.maximum(right, left), -fissure, -spine, -gall])
    cut.paint(depth, bright, edge=0.04)
    cut.paint(gall, 0.30, edge=0.1)
    tree = np.random.default_rng(int(abs(like[20]) * 1e6))
    for _ in range(12):
        start, way = tree.uniform((-0.5, -0.2, 0.3), (0.0, 0.2, 0.9)), tree.normal(size=3)
        along = ((cut.x - start[0]) * way[0] + (cut.y - start[1]) * way[1] + (cut.z - start[2]) * way[2]) / (way @ way)
        along = np.clip(along, -0.15, 0.15)
        gap = sum((p - s - along * w) ** 2 for p, s, w in zip((cut.x, cut.y, cut.z), start, way, strict=True))
        tube = np.minimum(1 - np.sqrt(gap) / tree.uniform(0.012, 0.03), 4 * depth)
        cut.paint(tube, bright + 0.06 * np.sign(like[21]), edge=0.5)
    if like[22] > 0:
        lesion = cut.inside((-0.40, 0.05, 0.60), (0.09, 0.08, 0.12))
        cut.paint(np.minimum(lesion, depth), bright - 0.12, edge=0.2)
    return depth > 0


def _ribs(cut: Slice, level: float, wide: float, deep: float, like: np.ndarray) -> None:
    """Ribs run down and forward round the body, so a slice cuts each as a spot of the wall."""
    for k in range(7):
        angle = np.deg2rad(-60 + 32 * k + 45 * np.sin(5 * level + like[23]))
        if level < 0.25 and np.sin(angle) < 0.2:
            continue
        for sign in (-1, 1):
            centre = (sign * (wide - 0.10) * np.cos(angle), (deep - 0.09) * np.sin(angle), level)
            rib = cut.inside(centre, (0.022, 0.05, 9), sign * np.rad2deg(angle))
            cut.paint(rib, BONE, edge=0.3)
            cut.paint(rib - 0.5, 0.6, edge=0.3)
