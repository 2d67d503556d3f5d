"""Images in memory, cut into batches: one tensor operation per batch instead of one Python call per image."""

import functools
import hashlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from labkit.data.geometry import resize
from labkit.errors import TrainingError

OUTLIVE = 30  # seconds; longer than a training step with what is saved after it
# (images (B, C, H, W) in [0, 1], targets, seed, epoch, samples (B,)) -> images and targets, changed together
Augment = Callable[[Tensor, Tensor, int, int, np.ndarray], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Rows:
    """Some images of an array on disk, (N, C, H, W) uint8, read when they are asked for: ``rows[:]`` reads all."""

    array: np.memmap  # a whole ``.npy`` file
    rows: np.ndarray  # (N,)
    channels: slice = field(default_factory=lambda: slice(None))

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return (len(self.rows), *self.array[:0, self.channels].shape[1:])

    def __getitem__(self, places: np.ndarray | slice) -> Tensor:
        return torch.from_numpy(self.array[np.atleast_1d(self.rows[places]), self.channels])

    def take(self, places: np.ndarray) -> "Rows":
        """The images at ``places``, still on disk."""
        return Rows(self.array, self.rows[places], self.channels)

    def __reduce__(self) -> tuple[Any, ...]:
        # To a process that prepares batches goes the name of the file, not gigabytes of pixels.
        return _reopened, (self.array.filename, self.rows, self.channels)


def _reopened(path: str, rows: np.ndarray, channels: slice) -> Rows:
    return Rows(np.lib.format.open_memmap(path, "c"), rows, channels)


@dataclass(frozen=True)
class Split:
    """One part of a data set: images (N, C, H, W) uint8, targets, and their numbers in the source (N,).

    Targets are class numbers: (N,) int64 of whole images, or (N, H, W) uint8 of pixels (a mask).
    """

    images: Tensor | Rows
    targets: Tensor
    samples: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def subset(self, index: np.ndarray) -> "Split":
        """The images at the places ``index`` (M,) of this split."""
        images = self.images.take(index) if isinstance(self.images, Rows) else self.images[index]
        return Split(images, self.targets[index], self.samples[index])

    def fingerprint(self) -> str:
        """SHA-256 of which images these are, by their numbers in the source."""
        return hashlib.sha256(self.samples.astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Preprocessing:
    """What happens to every image before a network sees it: its size, then ``(x - mean) / std`` per channel."""

    size: int
    mean: tuple[float, ...]  # of the channels, for pixels in [0, 1]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Float images (N, C, H, W) in [0, 1] -> (N, C, size, size), roughly of mean 0 and standard deviation 1."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (resize(images, self.size) - mean) / std


@dataclass
class Batches(Dataset):
    """The batches of one epoch: item ``i`` is the whole batch ``i`` as (images, targets).

    Images come out as float32 (B, C, size, size), augmented together with their targets if asked for, then
    preprocessed; targets as int64. Order and augmentation follow from (seed, epoch, sample) alone, so workers change
    the speed and nothing else. (A worker has one thread: where this process has many, PyTorch may round the last bit of
    an augmented pixel another way.)
    """

    split: Split
    batch_size: int
    preprocessing: Preprocessing
    augmentation: Augment | None = None
    shuffle: bool = False
    seed: int = 0
    workers: int = 0
    pin_memory: bool = False
    epoch: int = 0

    def __post_init__(self) -> None:
        starts = list(range(0, len(self.split), self.batch_size))
        if len(starts) > 1 and len(self.split) - starts[-1] == 1 < self.batch_size:
            starts.pop()  # batch normalisation cannot learn from a single image: it joins the batch before
        self.bounds = [*starts, len(self.split)]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def order(self) -> np.ndarray:
        """The places of the split in the order of this epoch, (N,)."""
        if not self.shuffle:
            return np.arange(len(self.split))
        return permutation(len(self.split), self.seed, self.epoch)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        return self.batch(self.order()[self.bounds[step] : self.bounds[step + 1]])

    def batch(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """The images (B, C, size, size) and targets at the given places of the split."""
        images, targets = self.split.images[places].float() / 255, self.split.targets[places]
        if self.augmentation:
            images, targets = self.augmentation(images, targets, self.seed, self.epoch, self.split.samples[places])
        return self.preprocessing(images), targets.long()

    def from_step(self, epoch: int, step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of ``epoch`` from ``step`` on: the first ``step`` are not even looked at.

        TrainingError if one of the ``workers`` is killed, which is what a system does that runs out of memory.
        """
        self.epoch = epoch
        pin = self.pin_memory and torch.cuda.is_available()  # page-locked memory serves copies to a GPU only
        steps = range(step, len(self))
        with killed_workers_named(self.workers):
            yield from DataLoader(
                self,
                batch_size=None,
                sampler=steps,
                num_workers=self.workers,
                pin_memory=pin,
                worker_init_fn=outlive_a_stop,
            )


def outlive_a_stop(worker: int) -> None:
    """A terminal or a batch system asks all processes to stop; the one that trains may still need batches to do so.

    It lets its workers go when it has saved. One that was asked to end, and not let go, ends after OUTLIVE seconds.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # not on Windows
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(OUTLIVE))


@functools.lru_cache(maxsize=2)  # asked for at every step
def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The numbers below ``count`` in an order that follows from seed and epoch, (count,)."""
    return np.random.default_rng([seed, epoch]).permutation(count)


@contextmanager
def killed_workers_named(workers: int) -> Iterator[None]:
    """Turn what PyTorch raises when one of the ``workers`` is killed into a TrainingError.

    It raises from a signal handler, so in whatever code is at work at that moment; a broken pipe may come before.
    """
    try:
        try:
            yield
        except (ConnectionError, EOFError):
            time.sleep(1)  # the signal comes within that time, if it is a worker's death that broke the pipe
            raise
    except (RuntimeError, ConnectionError, EOFError) as error:
        if not workers or (isinstance(error, RuntimeError) and "DataLoader worker (pid" not in str(error)):
            raise
        raise TrainingError(
            f"A process that prepares batches was killed, maybe for want of memory, with num_workers = {workers}: run "
            "again with less else at work, or take fewer, which begins a run of its own."
        ) from error


def stratified(labels: Tensor | np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose ``count`` places so that each class keeps its share; return (chosen, rest), both sorted.

    Shares are rounded by largest remainder, so exactly ``count`` are chosen and a class with any share to speak of
    keeps at least its whole part.
    """
    labels = np.asarray(labels)
    if not len(labels):
        return np.arange(0), np.arange(0)
    rng = np.random.default_rng([seed, len(labels), count])
    classes, sizes = np.unique(labels, return_counts=True)
    quota = sizes * count / len(labels)
    take = np.floor(quota).astype(int)
    take[np.argsort(take - quota, kind="stable")[: count - take.sum()]] += 1
    chosen = [rng.permutation(np.flatnonzero(labels == c))[:k] for c, k in zip(classes, take, strict=True)]
    chosen = np.sort(np.concatenate(chosen))
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def split_off_validation(pool: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Split the training pool into training and validation parts, class by class; returns (train, validation)."""
    chosen, rest = stratified(pool.targets, max(1, round(share * len(pool))), seed)
    return pool.subset(rest), pool.subset(chosen)


def limited(split: Split, limit: int, seed: int) -> Split:
    """At most ``limit`` images of a split, each class keeping its share; 0 means all."""
    if not 0 < limit < len(split):
        return split
    return split.subset(stratified(split.targets, limit, seed)[0])


def channel_statistics(images: Tensor | Rows, chunk: int = 64) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of images (N, C, H, W) uint8, for pixels in [0, 1].

    Streams over ``chunk`` images at a time in whole-number arithmetic, so neither memory nor rounding grows with N.
    """
    count, total, squares = 0, 0, 0
    for start in range(0, images.shape[0], chunk):
        pixels = images[np.arange(start, min(start + chunk, images.shape[0]))].to(torch.int64)
        count += pixels[:, 0].numel()
        total = total + pixels.sum(dim=(0, 2, 3))
        squares = squares + pixels.square().sum(dim=(0, 2, 3))
    mean = total.double() / count
    std = (squares.double() / count - mean.square()).clamp(min=0).sqrt()
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
