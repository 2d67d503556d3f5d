"""Images in memory, cut into batches: one tensor operation per batch instead of one Python call per image."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from labkit.data.augment import Augmentation, resize


@dataclass(frozen=True)
class Split:
    """One part of a data set: images (N, C, H, W) uint8, labels (N,) int64, and their numbers in the source (N,)."""

    images: Tensor
    labels: Tensor
    samples: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index: np.ndarray) -> "Split":
        """The images at the places ``index`` (M,) of this split."""
        return Split(self.images[index], self.labels[index], self.samples[index])

    def fingerprint(self) -> str:
        """SHA-256 of which images these are, by their numbers in the source."""
        return hashlib.sha256(self.samples.astype("<i8").tobytes()).hexdigest()


@dataclass
class Batches(Dataset):
    """The batches of one epoch, in memory: item ``i`` is the whole batch ``i`` as (images, labels).

    Images come out as float32 (B, C, size, size), augmented if asked for, then normalised to
    ``(x - mean) / std``; labels as int64 (B,). Order and augmentation follow from (seed, epoch, sample) alone, so
    workers change the speed and nothing else.
    """

    split: Split
    batch_size: int
    mean: float
    std: float
    size: int
    augmentation: Augmentation | None = None
    shuffle: bool = False
    seed: int = 0
    workers: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        starts = list(range(0, len(self.split), self.batch_size))
        if len(starts) > 1 and len(self.split) - starts[-1] == 1:
            starts.pop()  # batch normalisation cannot learn from a single image: it joins the batch before
        self.bounds = [*starts, len(self.split)]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def order(self) -> np.ndarray:
        """The places of the split in the order of this epoch, (N,)."""
        if not self.shuffle:
            return np.arange(len(self.split))
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self.split))

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        return self.batch(self.order()[self.bounds[step] : self.bounds[step + 1]])

    def batch(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """The images (B, C, size, size) and labels (B,) at the given places of the split."""
        images = self.split.images[places].float() / 255
        if self.augmentation:
            images = self.augmentation(images, self.seed, self.epoch, self.split.samples[places])
        return (resize(images, self.size) - self.mean) / self.std, self.split.labels[places]

    def from_step(self, epoch: int, step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of ``epoch`` from ``step`` on: the first ``step`` are not even looked at."""
        self.epoch = epoch
        steps = range(step, len(self))
        return iter(DataLoader(self, batch_size=None, sampler=steps, num_workers=self.workers))


def stratified(labels: Tensor, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose ``count`` places so that each class keeps its share; return (chosen, rest), both sorted.

    Shares are rounded by largest remainder, so exactly ``count`` are chosen and a class with any share to speak of
    keeps at least its whole part.
    """
    labels = np.asarray(labels)
    rng = np.random.default_rng([seed, len(labels), count])
    classes, sizes = np.unique(labels, return_counts=True)
    quota = sizes * count / len(labels)
    take = np.floor(quota).astype(int)
    take[np.argsort(take - quota, kind="stable")[: count - take.sum()]] += 1
    chosen = [rng.permutation(np.flatnonzero(labels == c))[:k] for c, k in zip(classes, take, strict=True)]
    chosen = np.sort(np.concatenate(chosen))
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)
