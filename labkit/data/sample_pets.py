"""Animal figures with fur on busy grounds, and their trimaps.

Fur and ground share one palette and one kind of texture, so that neither colour nor brightness tells them apart: a
network has to learn what fur and outlines look like.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, map_coordinates

PALETTE = np.array(
    [(201, 160, 112), (112, 78, 50), (222, 214, 200), (52, 46, 44), (148, 140, 132), (176, 112, 62), (90, 104, 84)]
)


def animal(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Photo (H, W, 3) and trimap (H, W) of 1, 2 and 3, uint8, of a ``cat`` or a ``dog``."""
    height, width = rng.integers(150, 230, 2)
    shape = _figure(rng, kind, height, width)
    photo = _ground(rng, height, width)
    fur, shade = _fur(rng, height, width), _shading(shape["body"])
    edge = gaussian_filter(shape["body"].astype(float), 0.8)[..., None]
    photo = photo * (1 - edge) + fur * shade[..., None] * edge
    for part, colour in (("eyes", (30, 40, 25)), ("nose", (40, 25, 25))):
        photo[shape[part] & shape["body"]] = colour
    light = rng.uniform(0.75, 1.15) + 0.25 * rng.normal() * np.linspace(-0.5, 0.5, width)[None, :, None]
    photo = gaussian_filter(photo * light, (0.5, 0.5, 0)) + rng.normal(size=photo.shape) * rng.uniform(2, 7)
    inner, outer = binary_erosion(shape["body"], iterations=2), binary_dilation(shape["body"], iterations=2)
    trimap = np.where(inner, 1, np.where(outer, 3, 2)).astype(np.uint8)
    return np.clip(photo, 0, 255).astype(np.uint8), trimap


class Sketch:
    """Outlines of an animal, drawn in a frame of its own: about 1 high and wide, origin in its middle, y down."""

    def __init__(self, rng: np.random.Generator, height: int, width: int):
        self.rng = rng
        self.size = min(height, width) * rng.uniform(0.55, 0.95)
        if rng.uniform() < 0.2:
            self.size *= 1.5  # a portrait
        self.origin = np.array([width, height]) * rng.uniform((0.38, 0.42), (0.62, 0.58))
        turn, mirror = np.deg2rad(rng.normal(0, 9)), rng.choice([-1, 1])
        self.bend = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag([mirror, 1])
        self.masks = {name: Image.new("1", (int(width), int(height))) for name in ("body", "eyes", "nose")}

    def place(self, points: Sequence) -> list[tuple[float, float]]:
        """Points of the frame as places in the picture."""
        return [tuple(p) for p in self.origin + self.size * (np.atleast_2d(points) @ self.bend.T)]

    def shape(self, points: Sequence, name: str = "body") -> None:
        """Fill a polygon."""
        ImageDraw.Draw(self.masks[name]).polygon(self.place(points), fill=1)

    def blob(self, x: float, y: float, rx: float, ry: float, tilt: float = 0.0, name: str = "body") -> None:
        """Fill an ellipse that is not quite one."""
        t = np.linspace(0, 2 * np.pi, 40)
        wave = 1 + 0.04 * np.sin(3 * t + self.rng.uniform(0, 6))
        u, v = rx * np.cos(t) * wave, ry * np.sin(t) * wave
        self.shape(
            np.stack([x + u * np.cos(tilt) - v * np.sin(tilt), y + u * np.sin(tilt) + v * np.cos(tilt)], 1), name
        )

    def limb(self, points: Sequence, thick: float) -> None:
        """Draw a thick line with round ends."""
        spots, draw, r = self.place(points), ImageDraw.Draw(self.masks["body"]), thick * self.size / 2
        draw.line(spots, fill=1, width=max(2, int(2 * r)), joint="curve")
        for x, y in spots:
            draw.ellipse([x - r, y - r, x + r, y + r], fill=1)


def _figure(rng: np.random.Generator, kind: str, height: int, width: int) -> dict[str, np.ndarray]:
    """Outlines of body, eyes and nose as masks (H, W) bool."""
    sketch = Sketch(rng, height, width)
    head, tail = (_sitting if rng.uniform() < 0.45 else _standing)(sketch, rng.uniform(-0.05, 0.05))
    sketch.limb(tail, 0.05 if kind == "cat" else 0.07)
    _head(sketch, kind, *head)
    return {name: np.asarray(mask) for name, mask in sketch.masks.items()}


def _sitting(sketch: Sketch, lift: float) -> tuple:
    """Body and legs of a sitting animal; returns where its head and its tail go."""
    sketch.blob(-0.02, 0.15, 0.21, 0.33, sketch.rng.normal(0, 0.15))
    for x in (-0.12, 0.06, 0.13):
        sketch.limb([(x, 0.2), (x + 0.02, 0.47)], 0.09)
    return (0.06, -0.27), [(-0.15, 0.42), (-0.32, 0.40), (-0.42, 0.25 + lift)]


def _standing(sketch: Sketch, lift: float) -> tuple:
    """Body, legs and neck of a standing animal; returns where its head and its tail go."""
    sketch.blob(-0.05, 0.02, 0.36, 0.17, sketch.rng.normal(0, 0.1))
    for x in (-0.32, -0.22, 0.12, 0.22):
        knee, paw = sketch.rng.normal(0, 0.03), sketch.rng.normal(0, 0.05)
        sketch.limb([(x, 0.08), (x + knee, 0.26), (x + paw, 0.43)], 0.08)
    sketch.limb([(0.22, 0.0), (0.34, -0.18)], 0.15)
    return (0.38, -0.23), [(-0.38, -0.02), (-0.48, -0.15 + lift), (-0.47, -0.32 + lift)]


def _head(sketch: Sketch, kind: str, x: float, y: float) -> None:
    """Skull, ears, eyes and nose: pointed ears for a cat, a muzzle and hanging ears for a dog."""
    sketch.blob(x, y, 0.16, 0.145)
    if kind == "dog":
        sketch.blob(x + 0.12, y + 0.05, 0.11, 0.08, 0.2)
    for side in (-1, 1):
        if kind == "cat":
            sketch.shape([(x + side * 0.15, y - 0.05), (x + side * 0.14, y - 0.27), (x + side * 0.02, y - 0.12)])
        else:
            sketch.blob(x + side * 0.14, y + 0.02, 0.05, 0.15, side * 0.35)
    for side in (-1, 1):
        sketch.blob(x + side * 0.065 + 0.01, y - 0.02, 0.022, 0.026, name="eyes")
    sketch.blob(x + (0.2 if kind == "dog" else 0.02), y + 0.045, 0.028, 0.02, name="nose")


def _fur(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Strands that follow a slowly turning direction, in two or three colours laid out as patches or stripes."""
    flow = _clouds(rng, height, width, 50)
    angle = rng.uniform(0, np.pi) + 0.3 * flow
    noise, y, x = rng.normal(size=(height, width)), *np.mgrid[:height, :width]
    down, right = np.sin(angle), np.cos(angle)
    strand = sum(map_coordinates(noise, [y + s * down, x + s * right], order=0, mode="wrap") for s in range(-4, 5))
    patches = _clouds(rng, height, width, rng.uniform(10, 32))
    if rng.uniform() < 0.4:
        patches = np.sin((x * np.cos(angle[0, 0]) + y * np.sin(angle[0, 0])) / rng.uniform(2.5, 5) + flow)
    first, second = PALETTE[rng.choice(5, 2, replace=False)] + rng.normal(0, 12, (2, 3))
    share = 1 / (1 + np.exp(-3 * patches / patches.std()))[..., None]
    return first * share + second * (1 - share) + 9 * strand[..., None]


def _ground(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Blurred layers of noise and a dozen blurred boxes, discs and bars, from the same palette as the fur."""
    colours = PALETTE[rng.choice(len(PALETTE), 3)] + rng.normal(0, 20, (3, 3))
    ground = np.tile(colours[0].astype(float), (height, width, 1))
    for scale, colour in zip((80, 18), colours[1:], strict=True):
        layer = _clouds(rng, height, width, scale)
        ground += np.clip(layer, 0, 1)[..., None] * (colour - ground) * 0.8
    canvas = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(6, 16)):
        x, y = rng.uniform(-20, width), rng.uniform(-20, height)
        w, h = rng.uniform(8, width / 2), rng.uniform(6, height / 2)
        colour = tuple(int(c) for c in np.clip(PALETTE[rng.integers(len(PALETTE))] + rng.normal(0, 25, 3), 0, 255))
        kind = rng.integers(3)
        if kind == 0:
            draw.rectangle([x, y, x + w, y + h], fill=colour)
        elif kind == 1:
            draw.ellipse([x, y, x + w, y + h], fill=colour)
        else:
            end = (x + rng.normal(0, width / 2), y + rng.normal(0, height / 2))
            draw.line([(x, y), end], fill=colour, width=int(rng.integers(3, 16)))
    blurred = gaussian_filter(np.asarray(canvas, dtype=float), (rng.uniform(0.6, 2.5),) * 2 + (0,))
    grain = gaussian_filter(rng.normal(size=(height, width)), rng.uniform(0.6, 2.0))
    return blurred + rng.uniform(6, 20) * (grain / grain.std())[..., None]


def _clouds(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    """Smooth noise (H, W) of standard deviation near 1 whose hills are about ``scale`` pixels wide."""
    coarse = rng.normal(size=(int(height / scale) + 3, int(width / scale) + 3)).astype(np.float32)
    fine = Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BICUBIC)
    return np.asarray(fine, dtype=float) / 0.7


def _shading(body: np.ndarray) -> np.ndarray:
    """Darker towards the outline and the belly, (H, W): what makes a flat figure look round."""
    depth = gaussian_filter(body.astype(float), 7)
    below = np.cumsum(body, axis=0) / np.maximum(body.sum(axis=0), 1)
    return 0.62 + 0.45 * depth * (1.15 - 0.45 * below)
