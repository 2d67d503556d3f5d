"""Ten classes of textures and shapes: what a network has to learn by form, for colour says nothing.

Both colours, angle, size and place of a picture are drawn from the same ranges for every class.
"""

import numpy as np

SIDE, FINE = 32, 3  # pixels of a picture; points a pixel and direction, averaged, so that edges are smooth


def grid_of_points(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (u, v) of all points, turned by any angle about a centre near the middle, in pixels."""
    y, x = (np.mgrid[: FINE * SIDE, : FINE * SIDE] + 0.5) / FINE - SIDE / 2
    right, down = rng.uniform(-5, 5, 2)
    angle = rng.uniform(0, 2 * np.pi)
    x, y = x - right, y - down
    return np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y


def cell(u: np.ndarray, period: float) -> np.ndarray:
    """Distance from the middle of a repeated cell, -period / 2 to period / 2."""
    return (u + period / 2) % period - period / 2


def triangle(u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """A triangle of equal sides whose corners are twice ``radius`` from the centre."""
    return np.max([v, np.sqrt(0.75) * u - v / 2, -np.sqrt(0.75) * u - v / 2], axis=0) < radius


# Each form maps coordinates, a radius (6 to 11 pixels) and a period (6 to 10 pixels) to where its colour is.
FORMS = {
    "checks": lambda u, v, r, p: (cell(u, p) > 0) ^ (cell(v, p) > 0),
    "cross": lambda u, v, r, p: (np.minimum(abs(u), abs(v)) < r / 4) & (np.maximum(abs(u), abs(v)) < 1.2 * r),
    "disc": lambda u, v, r, p: np.hypot(u, v) < r,
    "dots": lambda u, v, r, p: np.hypot(cell(u, p), cell(v, p)) < 0.3 * p,
    "grid": lambda u, v, r, p: np.minimum(abs(cell(u, p)), abs(cell(v, p))) < 0.12 * p,
    "ring": lambda u, v, r, p: abs(np.hypot(u, v) - r) < r / 5,
    "square": lambda u, v, r, p: np.maximum(abs(u), abs(v)) < 0.85 * r,
    "stripes": lambda u, v, r, p: cell(u, p) > 0,
    "triangle": lambda u, v, r, p: triangle(u, v, 0.65 * r),
    "waves": lambda u, v, r, p: cell(u + 0.3 * p * np.sin(2 * np.pi * v / (1.6 * p)), p) > 0,
}


def texture(rng: np.random.Generator, name: str) -> np.ndarray:
    """A picture (32, 32, 3) uint8 of the class ``name``: two colours that differ, a slope of light, and noise."""
    u, v = grid_of_points(rng)
    inside = FORMS[name](u, v, rng.uniform(6, 11), rng.uniform(6, 10))
    share = inside.reshape(SIDE, FINE, SIDE, FINE).mean(axis=(1, 3))[..., None]
    one, other = rng.uniform(30, 225, (2, 3))
    while abs(one - other).mean() < 45:
        other = rng.uniform(30, 225, 3)
    light = np.tensordot(rng.uniform(-1, 1, 2), np.mgrid[:SIDE, :SIDE] / SIDE - 0.5, axes=1)[..., None]
    picture = share * one + (1 - share) * other + 30 * light + rng.normal(0, 10, (SIDE, SIDE, 3))
    return np.rint(picture).clip(0, 255).astype(np.uint8)
