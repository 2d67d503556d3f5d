"""Strokes of a pen as an image, as they were drawn and as MNIST prepared its digits.

A stroke is a line through points (x, y) in pixels of an image of side 28, x to the right and y downwards from its upper
left corner.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from labkit.data.loading import Split

Stroke = Sequence[tuple[float, float]]
SIDE, BOX = 28, 20  # pixels: of an image of MNIST, and of the square that its digits fill
FINE = 8  # dots a pixel, averaged: the grey edge of a pen


def picture_of(strokes: Sequence[Stroke], thickness: float = 2.5) -> Tensor:
    """White strokes of ``thickness`` pixels on black, (1, 1, 28, 28) uint8."""
    fine = Image.new("L", (FINE * SIDE, FINE * SIDE))
    pen, radius = ImageDraw.Draw(fine), FINE * thickness / 2
    for stroke in strokes:
        dots = [(FINE * x, FINE * y) for x, y in stroke]
        if len(dots) > 1:
            pen.line(dots, fill=255, width=round(2 * radius), joint="curve")
        for x, y in dots:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return torch.from_numpy(np.array(fine.resize((SIDE, SIDE), Image.Resampling.BOX)))[None, None]


def as_mnist(strokes: Sequence[Stroke], thickness: float = 2.5) -> Tensor:
    """The same as an image (1, 1, 28, 28) uint8 prepared as MNIST's (LeCun et al. 1998, doi:10.1109/5.726791).

    The digit fills a square of 20 pixels, its proportions kept, and its centre of mass lies in the middle of the image.
    """
    points = np.concatenate([np.asarray(stroke, float) for stroke in strokes])
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (BOX - thickness) / max(float((high - low).max()), 1.0)  # a dot stays a dot
    large = [(np.asarray(stroke) - (low + high) / 2) * scale + SIDE / 2 for stroke in strokes]
    ink = picture_of(large, thickness)[0, 0].double().numpy()
    centre = np.array([ink.sum(axis) @ (np.arange(SIDE) + 0.5) for axis in (0, 1)]) / ink.sum()
    return picture_of([stroke + SIDE / 2 - centre for stroke in large], thickness)


def unlabelled(images: Tensor) -> Split:
    """Images (N, C, H, W) uint8 of which nobody knows the class, to be predicted."""
    return Split(images, torch.zeros(len(images), dtype=torch.int64), np.arange(len(images)))
