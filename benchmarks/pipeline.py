"""Images a second out of the input pipeline alone: labkit's whole-batch operations against a transform an image.

The reports' way is torchvision's: a DataLoader that opens each image with PIL, transforms it and stacks the batch.
Random images stand in for MNIST; their content changes nothing here.
"""

import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from timing import arguments, in_turn, report
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from labkit.data.augment import Augmentation
from labkit.data.loading import Batches, Preprocessing, Split

IMAGES, BATCH, MEAN, STD = 12_800, 128, 0.1307, 0.3081


class OneByOne(Dataset):
    """What torchvision's data sets do: an image at a time, through PIL and a chain of transforms.

    ``images`` are (N, H, W) or (N, H, W, 3) uint8.
    """

    def __init__(self, images: np.ndarray, targets: torch.Tensor, chain: Sequence[Callable]):
        self.images, self.targets, self.transform = images, targets, transforms.Compose(chain)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(Image.fromarray(self.images[i])), self.targets[i]


def images_per_second(batches: Callable[[], Iterable]) -> Callable[[], float]:
    """A measurement of one epoch."""

    def measure() -> float:
        began, count = time.perf_counter(), 0
        for images, _ in batches():
            count += len(images)
        return count / (time.perf_counter() - began)

    return measure


def main() -> None:
    """Measure without and with augmentation."""
    asked = arguments(__doc__, rounds=5)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 28, 28), np.uint8)
    split = Split(torch.from_numpy(pixels)[:, None], torch.zeros(IMAGES, dtype=torch.int64), np.arange(IMAGES))
    plain = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    moved = [transforms.RandomAffine(15, (0.1, 0.1), (0.9, 1.1)), *plain]
    for name, chain, augmentation in (
        ("plain", plain, None),
        ("rotated, shifted, zoomed", moved, Augmentation(15, 0.1, (0.9, 1.1))),
    ):
        theirs = DataLoader(OneByOne(pixels, split.targets, chain), BATCH, shuffle=True)
        ours = Batches(split, BATCH, Preprocessing(28, (MEAN,), (STD,)), augmentation, shuffle=True)
        sides = {
            "an image at a time (PIL)": lambda theirs=theirs: theirs,
            "labkit": lambda ours=ours: ours.from_step(0),
        }
        measured = in_turn({side: images_per_second(batches) for side, batches in sides.items()}, asked.rounds)
        report(f"Input pipeline, 28×28, {name}", "images/s", measured)


if __name__ == "__main__":
    main()
