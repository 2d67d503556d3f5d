"""Augmentation of image and mask together: what moves the one moves the other. Every draw follows from (seed, epoch,
sample); albumentations' own generator would repeat itself in every worker process and epoch."""

import functools
import os
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from labkit.draws import mix

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version
import albumentations as A

cv2.setNumThreads(0)  # its threads and PyTorch's would wait for each other


def affine(shift: float, zoom: float, degrees: float, stretch: bool = False) -> A.Affine:
    """Shift by a share of the side, scale by 1 ± zoom and rotate, each evenly up to the limit; black outside.

    ``stretch`` scales height and width apart from each other, as bodies differ.
    """
    return A.Affine(
        translate_percent=(-shift, shift),
        scale=(1 - zoom, 1 + zoom),
        rotate=(-degrees, degrees),
        keep_ratio=not stretch,
        fill_mask=0,
        p=1,
    )


class Elastic(A.ElasticTransform):
    """Albumentations' elastic transform; the field is drawn on a coarse grid, and then enlarged.

    A field that is smooth has nothing that a coarse grid could not hold: GRID points a side, blurred over SIGMA of
    them, whatever ``sigma`` says. At 192×192 a whole augmentation takes half the time that it took with a full field.
    """

    GRID, SIGMA = 48, 3.0

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Where each pixel comes from: ``map_x`` and ``map_y`` (H, W)."""
        height, width = params["shape"][:2]
        noise = self.random_generator.uniform(-1, 1, (self.GRID, self.GRID, 2)).astype(np.float32)
        shifts = cv2.resize(cv2.GaussianBlur(noise, (0, 0), self.SIGMA), (width, height), interpolation=cv2.INTER_CUBIC)
        rows, columns = np.indices((height, width), np.float32)
        return {"map_x": columns + self.alpha * shifts[..., 0], "map_y": rows + self.alpha * shifts[..., 1]}


def elastic(size: int) -> A.ElasticTransform:
    """Bend the image by a smooth random field: waves of about an eighth of the side, shifts of about 0.7 % of it.

    UNet's authors single it out, since tissue deforms like this (https://arxiv.org/abs/1505.04597, section 3.1).
    """
    noise = 0.163 / Elastic.SIGMA  # standard deviation of evenly drawn numbers in [-1, 1] after blurring them
    return Elastic(alpha=0.007 * size / noise, p=1, fill_mask=0)


def light() -> A.RandomBrightnessContrast:
    """Brightness and contrast changed by up to 20 %."""
    return A.RandomBrightnessContrast(0.2, 0.2, p=1)


def scanner() -> list[A.BasicTransform]:
    """Another scanner, dose or contrast medium: contrast by up to half, a curve on the grey values, noise."""
    curve, noise = A.RandomGamma((60, 160), p=1), A.GaussNoise(std_range=(0.0, 0.06), p=0.5)
    return [A.RandomBrightnessContrast(0.03, 0.5, p=1), curve, noise]


POLICIES = {
    "none": lambda size: [],
    "flip_rotate": lambda size: [A.HorizontalFlip(p=0.5), affine(0, 0, 15)],  # the AIoT report
    "affine": lambda size: [affine(0.1, 0.2, 30)],  # the TAICA report
    "elastic": lambda size: [
        affine(0.08, 0.15, 10, stretch=True),
        elastic(size),
        *scanner(),
    ],  # ours for CT: left stays left
    "photo": lambda size: [A.HorizontalFlip(p=0.5), affine(0.1, 0.2, 15), light()],  # ours for photos
}


@functools.cache
def transform(policy: str, size: int) -> A.Compose:
    """The transform of a policy for images of ``size`` pixels a side."""
    return A.Compose(POLICIES[policy](size))


@dataclass(frozen=True)
class JointAugmentation:
    """What may happen to a training image and its mask, by the name of a policy."""

    policy: str

    def __call__(
        self, images: Tensor, targets: Tensor, seed: int, epoch: int, samples: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) in [0, 1] and masks (B, H, W) of class numbers, changed together.

        Masks are sampled by nearest neighbour and keep their set of values; what comes in from outside is 0, black
        and background.
        """
        change, pairs = transform(self.policy, images.shape[-1]), []
        for image, mask, key in zip(images, targets, mix(seed, epoch, samples), strict=True):
            change.set_random_seed(int(key >> np.uint64(33)))
            pairs.append(change(image=image.permute(1, 2, 0).numpy(), mask=mask.numpy()))
        pictures = torch.stack([torch.from_numpy(pair["image"]).permute(2, 0, 1) for pair in pairs])
        return pictures.contiguous(), torch.stack([torch.from_numpy(pair["mask"]) for pair in pairs])
