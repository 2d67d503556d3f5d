"""Augmentation of a whole batch at once, as tensor operations; every draw follows from (seed, epoch, sample).

Images are float tensors (N, C, H, W) in [0, 1] before normalisation, so that what a rotation uncovers is black.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.draws import uniform

DRAWS = 9  # random numbers that Augmentation takes for each image


def affine(images: Tensor, degrees: Tensor, shift_x: Tensor, shift_y: Tensor, scale: Tensor) -> Tensor:
    """Rotate, shift and scale each image about its centre, bilinear, black outside.

    ``images`` (N, C, H, W); the others (N,): counter-clockwise angle in degrees, shifts as a share of width and
    height (right and down), scale as a factor (2 makes a digit twice as large).
    """
    height, width = images.shape[-2:]
    angle = torch.deg2rad(degrees)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # affine_grid asks, for each place of the output, where it comes from: the inverse map, in units of half a side.
    to_x, to_y = -2 * shift_x, -2 * shift_y
    ratio = height / width
    rows = [cos, -sin * ratio, cos * to_x - sin * ratio * to_y, sin / ratio, cos, sin / ratio * to_x + cos * to_y]
    theta = torch.stack(rows, dim=1).view(-1, 2, 3).to(images)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def resize(images: Tensor, size: int) -> Tensor:
    """(N, C, H, W) -> (N, C, size, size), bilinear with antialiasing; unchanged if it fits already."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


def cropped(images: Tensor, right: Tensor, down: Tensor, border: int) -> Tensor:
    """Mirror a ``border`` of pixels around images (N, C, H, W) and cut out (N, C, H, W) again.

    ``right`` and ``down`` (N,) int64 from 0 to 2 · border are where each cut begins; ``border`` leaves it in place.
    """
    return cut(F.pad(images, [border] * 4, mode="reflect"), right, down, images.shape[-2:])


def cut(images: Tensor, right: Tensor, down: Tensor, shape: tuple[int, int]) -> Tensor:
    """A window of ``shape`` (h, w) out of each image (N, C, H, W), its corner at ``right``, ``down``: (N, C, h, w)."""
    rows, columns = (torch.arange(side) + start[:, None] for side, start in zip(shape, (down, right), strict=True))
    which = torch.arange(len(images))[:, None, None]
    return images[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def erased(images: Tensor, right: Tensor, down: Tensor, side: int) -> Tensor:
    """Cover a square of ``side`` pixels of each image (N, C, H, W) with the image's mean colour.

    ``right`` and ``down`` (N,) int64 are the square's centre; what lies beyond the edge covers nothing. Cutout: DeVries
    and Taylor 2017, https://arxiv.org/abs/1708.04552.
    """
    places = (
        torch.arange(length) - centre[:, None] + side // 2  # 0 to side - 1 within the square
        for length, centre in zip(images.shape[-2:], (down, right), strict=True)
    )
    rows, columns = ((place >= 0) & (place < side) for place in places)
    covered = (rows[:, :, None] & columns[:, None, :])[:, None]
    return torch.where(covered, images.mean(dim=(2, 3), keepdim=True), images)


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image: each range is drawn from uniformly, once per image and epoch."""

    degrees: float = 0.0  # rotation by -degrees … +degrees
    translate: float = 0.0  # shift by up to this share of the side, each way
    scale: float = 0.0  # scaled by 1 / (1 + scale) … 1 + scale, evenly in the logarithm
    flip: bool = False  # left-right, every second image
    crop: int = 0  # moved by up to so many whole pixels each way, the edge mirrored
    erase: int = 0  # side of a square that is covered, somewhere in the image

    def __call__(
        self, images: Tensor, targets: Tensor, seed: int, epoch: int, samples: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Augment images (N, C, H, W) in [0, 1]; ``samples`` (N,) are their numbers in the data set.

        The targets (N,) stay: what may vary does not change what an image shows.
        """
        draws = uniform(seed, epoch, samples, DRAWS)
        if self.flip:
            images = torch.where((draws[:, 0] < 0.5)[:, None, None, None], images.flip(-1), images)
        if self.degrees or self.translate or self.scale:
            rotation, right, down, zoom = (2 * draws[:, 1:5] - 1).unbind(1)  # each in [-1, 1)
            scale = torch.exp(zoom * math.log1p(self.scale))
            images = affine(images, rotation * self.degrees, right * self.translate, down * self.translate, scale)
        if self.crop:
            right, down = (draws[:, 5:7] * (2 * self.crop + 1)).long().unbind(1)
            images = cropped(images, right, down, self.crop)
        if self.erase:
            height, width = images.shape[-2:]
            images = erased(images, (draws[:, 7] * width).long(), (draws[:, 8] * height).long(), self.erase)
        return images, targets
