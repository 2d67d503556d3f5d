"""A handwritten digit laid over a photo, made as it is asked for: every pixel belongs to the digit or to the photo.

Which digit, where and in which colour follow from (seed, epoch, photo) alone. Classes of pixels are numbered digits
first: 0 to K-1 where the digit is, K to 2K-1 where the photo is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.data import cifar10, mnist
from labkit.data.augment import DIGIT, Augmentation
from labkit.data.finders import is_there
from labkit.data.geometry import cut, resize
from labkit.data.loading import Split
from labkit.data.sources import Source, check_root, fingerprint_of, takes_sample
from labkit.draws import uniform
from labkit.errors import DataError

INKS = ("white", "black", "colour")
PLACES = ("anywhere", "centre")


@dataclass(frozen=True)
class Pair(Source):
    """The digits and the photos as one data set."""

    sources: tuple[Source, ...] = ()

    def caveat(self) -> str:
        """What a reader must know of both; of each by its name where that is not the same."""
        said = {part.name: part.caveat() for part in self.sources}
        if len(set(said.values())) == 1:
            return next(iter(said.values()))
        return " ".join(f"{name[0].upper()}{name[1:]}: {caveat}" for name, caveat in said.items())

    def facts(self) -> dict[str, Any]:
        """For the manifest: those of both, without the single files."""
        own = {key: value for key, value in super().facts().items() if key != "sources"}
        return own | {"sources": [source.facts() for source in self.sources]}


def find(root: Path, source: str = "auto", asked_for: bool = False) -> Pair:
    """Find digits and photos under ``root``; ``auto`` takes the samples of both unless both are there."""
    check_root(root, asked_for and source != "download")
    both = is_there("mnist", root) and is_there("cifar10", root)
    chosen = "sample" if takes_sample(source, both) else "official" if source == "auto" else source
    found = mnist.find(root, chosen), cifar10.find(root, chosen)
    return Pair(
        name=" on ".join(part.name for part in found),
        kind=found[0].kind,
        verified=all(part.verified for part in found),
        root=root,
        fingerprint=fingerprint_of({part.name: part.fingerprint for part in found}),
        files={path: digest for part in found for path, digest in part.files.items()},
        complete=all(part.verified or part.complete for part in found),
        odd=tuple(path for part in found for path in part.odd),
        sources=found,
    )


@dataclass(frozen=True)
class DigitOnPhoto:
    """Lays a digit of ``digits`` over each photo of a batch; what ``Batches`` may take for an augmentation."""

    digits: Split  # images (M, 1, size, size) uint8 at the size they are laid down in
    num_classes: int
    place: str = "anywhere"  # or centre
    ink: str = "white"  # black, or a colour of its own for each image
    photo: Augmentation | None = None  # what happens to the photo before

    def __call__(
        self, photos: Tensor, labels: Tensor, seed: int, epoch: int, samples: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Photos (N, 3, H, W) in [0, 1] and their labels (N,) -> images (N, 3, H, W) and class maps (N, H, W) int64."""
        if self.photo:
            photos, labels = self.photo(photos, labels, seed, epoch, samples)
        draws = uniform(seed, epoch, samples, 6, DIGIT)
        chosen = (draws[:, 0] * len(self.digits)).long()
        alpha = self.laid_down(self.digits.images[chosen].float() / 255, draws[:, 1:3], photos.shape[-2:])
        images = (1 - alpha) * photos + alpha * self.colours(draws[:, 3:])[..., None, None]
        classes = torch.where(ink_mask(alpha)[:, 0], *(self.numbers(chosen, labels)[..., None, None]))
        return images, classes

    def colours(self, draws: Tensor) -> Tensor:
        """The ink of each image in red, green and blue, (N, 3), from draws (N, 3) in [0, 1)."""
        return draws if self.ink == "colour" else torch.full_like(draws, float(self.ink == "white"))

    def laid_down(self, digits: Tensor, where: Tensor, shape: tuple[int, int]) -> Tensor:
        """Digits (N, 1, s, s) on an empty sheet of ``shape``, at ``where`` (N, 2) in [0, 1): opacity (N, 1, H, W)."""
        room = [side - digit for side, digit in zip(shape, digits.shape[-2:], strict=True)]
        sheet = torch.nn.functional.pad(digits, [room[1], room[1], room[0], room[0]])
        where = torch.full_like(where, 0.5) if self.place == "centre" else where
        down, right = ((where[:, i] * (room[i] + 1)).long() for i in range(2))
        return cut(sheet, right, down, shape)

    def numbers(self, chosen: Tensor, labels: Tensor) -> Tensor:
        """The two classes of each image: (2, N)."""
        return torch.stack([self.digits.targets[chosen], self.num_classes + labels])

    def fixed(self, photos: Split) -> Split:
        """The pairs of epoch 0, once and for all: images (N, 3, H, W) uint8 and class maps (N, H, W) uint8."""
        made = []
        for start in range(0, len(photos), 1000):
            part = photos.subset(np.arange(start, min(start + 1000, len(photos))))
            images, classes = self(part.images[:].float() / 255, part.targets, 0, 0, part.samples)
            made.append(((255 * images).round().byte(), classes.byte()))
        images, classes = (torch.cat(parts) for parts in zip(*made, strict=True))
        return Split(images, classes, photos.samples)


def ink_mask(alpha: Tensor) -> Tensor:
    """Where a digit of opacity ``alpha`` (N, 1, H, W) is: at least half as opaque as where it is most; bool."""
    return alpha >= 0.5 * alpha.amax(dim=(2, 3), keepdim=True)


def digits_of_size(digits: Split, size: int, path: Path) -> Split:
    """The digits of the file ``path``, (M, 1, size, size) uint8; DataError for one that would leave only one class."""
    parts = digits.images.split(1000)  # in float32 all at once would take four times the room of the result, and more
    images = torch.cat([resize(part.float(), size).round().clamp(0, 255).byte() for part in parts])
    full = ink_mask(images).flatten(1).all(dim=1).nonzero()  # without ink, or nothing else
    if len(full):
        raise DataError(
            f"Image {int(digits.samples[full[0, 0]])} of {path} is blank at {size} pixels, or fills its square, but a "
            f"pair needs a digit and a photo: take a larger digit_size, or replace that image."
        )
    return Split(images, digits.targets, digits.samples)


def digit_margin(logits: Tensor) -> Tensor:
    """The logit of digit against photo: logits (2 K, H, W) of the pixels' classes -> (H, W); above 0 means digit."""
    digit, photo = logits.chunk(2)
    return digit.logsumexp(dim=0) - photo.logsumexp(dim=0)


def two_classes(votes: Tensor) -> tuple[int, int]:
    """The digit's and the photo's class with most of the ``votes`` (2 K,)."""
    digit, photo = votes.chunk(2)
    return int(digit.argmax()), len(digit) + int(photo.argmax())
