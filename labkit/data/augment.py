"""What happens to training images, a whole batch at once; every draw follows from (seed, epoch, sample).

Images are float tensors (N, C, H, W) in [0, 1] before normalisation, so that what a rotation uncovers is black. A mask
moves with its image.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labkit.data.geometry import KNOTS, cropped, erased, origins, sampled, smooth_field, turned_back
from labkit.draws import mix, uniform

# Where each use begins in the sequence of random numbers that belongs to an image and an epoch.
PLACE, DIGIT, LOOK, FIELD = 0, 9, 16, 32
NOISE = FIELD + 2 * KNOTS**2


def noisy(images: Tensor, std: Tensor, keys: np.ndarray) -> Tensor:
    """Images (N, C, H, W) in [0, 1] and Gaussian noise of standard deviation ``std`` (N, 1, 1, 1), by ``keys`` (N,)."""
    noise = torch.zeros_like(images)
    for place in std.flatten().nonzero().flatten().tolist():
        noise[place].normal_(generator=torch.Generator().manual_seed(int(keys[place] >> np.uint64(1)))).mul_(std[place])
    return noise.add_(images).clamp_(0, 1)


def between(draws: Tensor, limits: tuple[float, float]) -> Tensor:
    """Factors between the ``limits``, evenly in the logarithm, from ``draws`` in [0, 1)."""
    low, high = map(math.log, limits)
    return torch.exp(low + draws * (high - low))


def either_way(draws: Tensor) -> Tensor:
    """From ``draws`` in [0, 1) to [-1, 1)."""
    return 2 * draws - 1


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image: each range is drawn from evenly, once per image and epoch."""

    degrees: float = 0.0  # rotation by -degrees … +degrees
    translate: float = 0.0  # shift by up to this share of the side, each way
    scale: tuple[float, float] = (1.0, 1.0)  # scaled by a factor between these, evenly in the logarithm
    flip: bool = False  # left-right, every second image
    crop: int = 0  # moved by up to so many whole pixels each way, the edge mirrored
    erase: int = 0  # side of a square that is covered, somewhere in the image
    stretch: bool = False  # width and height are scaled apart from each other, as bodies differ
    bend: float = 0.0  # then shifted by a smooth random field, whose standard deviation is this share of the side
    contrast: float = 0.0  # times 1 - contrast … 1 + contrast
    brightness: float = 0.0  # plus -brightness … +brightness
    gamma: tuple[float, float] = (1.0, 1.0)  # to a power between these: the more contrast, the higher the power
    noise: float = 0.0  # Gaussian noise in the half with less contrast, of a standard deviation of up to this

    def __call__(
        self, images: Tensor, targets: Tensor, seed: int, epoch: int, samples: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Augment images (N, C, H, W) in [0, 1]; ``samples`` (N,) are their numbers in the data set.

        Targets (N, H, W), the class of each pixel, move with the image: they are picked, never averaged, and what comes
        in from outside is class 0. Targets (N,) stay: what may vary does not change what an image shows.
        """
        place, look = uniform(seed, epoch, samples, 9, PLACE), uniform(seed, epoch, samples, 4, LOOK)
        field = uniform(seed, epoch, samples, 2 * KNOTS**2, FIELD) if self.bend else None
        where = self.origins(images.shape[-2:], place, look[:, 0], field)
        if targets.ndim == 3:
            targets = self.moved(targets[:, None].float(), place, where, "nearest")[:, 0].to(targets.dtype)
        images = self.looking(self.moved(images, place, where, "bilinear"), look, mix(seed, epoch, samples, NOISE))
        if self.erase:
            height, width = images.shape[-2:]
            images = erased(images, (place[:, 7] * width).long(), (place[:, 8] * height).long(), self.erase)
        return images, targets

    def origins(self, shape: tuple[int, int], place: Tensor, stretch: Tensor, field: Tensor | None) -> Tensor | None:
        """Where each pixel comes from when all images are scaled, rotated, shifted and bent by their draws.

        (N, H, W, 2); None: each from its own place.
        """
        if not (self.degrees or self.translate or self.scale != (1, 1) or self.bend):
            return None
        rotation, right, down = either_way(place[:, 1:4]).unbind(1)
        wider = between(place[:, 4], self.scale)
        higher = between(stretch, self.scale) if self.stretch else wider
        back = turned_back(shape, rotation * self.degrees, wider, higher)
        where = origins(shape, back, right * self.translate, down * self.translate)
        if field is not None:  # Its shifts have to be led back, too: its few draws are, not the shift of each pixel.
            draws = back @ either_way(field).view(-1, 2, KNOTS**2)
            where += 2 * self.bend * smooth_field(draws.view(-1, 2, KNOTS, KNOTS), shape)
        return where

    def moved(self, pixels: Tensor, place: Tensor, where: Tensor | None, mode: str) -> Tensor:
        """Images or masks (N, C, H, W), each flipped, taken from ``where`` its pixels come from, and cropped."""
        if self.flip:
            pixels = torch.where((place[:, 0] < 0.5)[:, None, None, None], pixels.flip(-1), pixels)
        if where is not None:
            pixels = sampled(pixels, where, mode)
        if self.crop:
            right, down = (place[:, 5:7] * (2 * self.crop + 1)).long().unbind(1)
            pixels = cropped(pixels, right, down, self.crop)
        return pixels

    def looking(self, images: Tensor, look: Tensor, keys: np.ndarray) -> Tensor:
        """Images (N, C, H, W) in [0, 1], seen in another light and by another camera or scanner."""
        _, contrast, brightness, noise = look[..., None, None, None].unbind(1)  # each to multiply images with
        if self.contrast or self.brightness:
            factor, shift = 1 + self.contrast * either_way(contrast), self.brightness * either_way(brightness)
            images = torch.addcmul(shift, images, factor).clamp_(0, 1)
        if self.gamma != (1, 1):  # drawn with the contrast, so that a middle grey stays about where it is
            low, high = self.gamma
            images = images.pow(low + contrast * (high - low))
        if self.noise:
            images = noisy(images, self.noise * noise * (contrast < 0.5), keys)
        return images


# What labs 2 and 3 may do to an image and its mask, by name.
POLICIES = {
    "none": Augmentation(),
    "flip_rotate": Augmentation(flip=True, degrees=15),  # the AIoT report
    "affine": Augmentation(degrees=30, translate=0.1, scale=(0.8, 1.2)),  # the TAICA report
    # Ours for CT: left stays left; grey values as of another scanner, dose or contrast medium.
    "elastic": Augmentation(
        degrees=10,
        translate=0.08,
        scale=(0.86, 1.16),
        stretch=True,
        bend=0.0078,
        contrast=0.5,
        brightness=0.03,
        gamma=(0.6, 1.6),
        noise=0.06,
    ),
    # Ours for photos.
    "photo": Augmentation(flip=True, degrees=15, translate=0.1, scale=(0.8, 1.2), contrast=0.2, brightness=0.2),
}
