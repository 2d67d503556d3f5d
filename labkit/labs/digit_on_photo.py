"""Lab 5: a digit on a photo, segmented. From the parameters alone: pairs, network and recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from pydantic import model_validator
from torch import nn

from labkit.data import cifar10, composite, mnist
from labkit.data.augment import Augmentation
from labkit.data.composite import DigitOnPhoto, digits_of_size
from labkit.data.loading import Batches, Preprocessing, Split, split_off_validation
from labkit.data.sources import Source
from labkit.errors import DataError
from labkit.labs import classification
from labkit.labs.classification import ClassificationParameters
from labkit.labs.parameters import check_rival, choice, whole
from labkit.models import ImageClassNet, TwoDecoderNet
from labkit.paths import data_root, data_root_is_named
from labkit.training.loop import Recipe

NOTEBOOK = "05_digit_on_photo"
METRIC = "pixel_accuracy"
SEEN = 5000  # pairs that say how bright and how contrasty images are
MODELS: dict[str, Callable[..., nn.Module]] = {
    "two_decoders": TwoDecoderNet,
    "one_decoder": partial(TwoDecoderNet, decoders=1),
    "log_softmax": partial(TwoDecoderNet, joint="log_softmax"),
    "image_classes": ImageClassNet,
}


class Parameters(ClassificationParameters):
    """The parameters of notebook 05."""

    num_classes: whole(2, 128, "classes of the digits, and of the photos: together they fill a byte")
    digit_size: whole(8, 512, "side of the square that a digit is scaled to, in pixels")
    place: choice(*composite.PLACES, meaning="where on the photo the digit lies")
    ink: choice(*composite.INKS, meaning="what the digit is painted with; 'colour' is another for each image")
    crop: whole(0, 100, "augmentation: photo moved by up to so many pixels, the edge mirrored")
    model: choice(*MODELS, meaning="which network")
    rival: choice("none", *MODELS, meaning="a second network, trained the same way, to compare with")
    width: whole(2, 256, "channels on the first level")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("digit_size", "crop"):
            if getattr(self, name) > self.image_size - (name == "crop"):
                raise ValueError(
                    f"Parameter {name!r} is {getattr(self, name)}, more than fits an image_size of {self.image_size}: "
                    f"take a smaller one."
                )
        check_rival(self)
        return self


@dataclass(frozen=True)
class Data(classification.Data):
    """Photos to train on, with the digits that are laid over them; validation and test as pairs made once."""

    compose: DigitOnPhoto  # for the training photos
    digits: dict[str, int]  # how many digits each part draws from

    def facts(self, source: Source) -> dict[str, Any]:
        """For the manifest: counts, fingerprints, class names, and how many digits each part draws from."""
        return super().facts(source) | {"digits": self.digits}


def find_data(params: Parameters) -> Source:
    """Find digits and photos, check them, and see whether they can be split; nothing is written but the cache."""
    source = composite.find(data_root(params.data_root), params.source, data_root_is_named(params.data_root))
    load_data(params, source)
    return source


def load_data(params: Parameters, source: composite.Pair) -> Data:
    """Split photos and digits into the same three parts, so that no test image holds anything that was trained on.

    Photos of ``train`` stay bare: every epoch lays other digits over them. ``val`` and ``test`` are pairs made once;
    those of ``test`` are the same for every seed.
    """
    names = cifar10.class_names(source.sources[1])
    if len(names) != params.num_classes:
        raise DataError(
            f"The photos under {source.root} have {len(names)} classes, but num_classes is {params.num_classes}: set "
            f"it to the number of classes that digits (MNIST has 10) and photos have alike, or take source='sample'."
        )
    images = cifar10.load(source.sources[1], params.image_size)
    photos = classification.divide(params, *images, names, cifar10.IMAGES["test"])
    pool, test = (
        digits_of_size(digits, params.digit_size, mnist.images_path(source.sources[0].root, part))
        for part, digits in zip(mnist.PARTS, mnist.load(source.sources[0], params.num_classes), strict=True)
    )
    train, val = pool, test
    if params.select_on == "validation":
        train, val = split_off_validation(pool, params.validation_share, params.seed)
    if not len(train):
        raise DataError(f"No digit of {len(pool)} is left for training: give more digits, or lower validation_share.")
    return Data(
        train=photos.train,
        val=overlay(params, val).fixed(photos.val),
        test=overlay(params, test).fixed(photos.test),
        complete_test=photos.complete_test,
        class_names=pair_classes(params.num_classes, names),
        compose=overlay(params, train, Augmentation(flip=params.flip, crop=params.crop)),
        digits={"train": len(train), "val": len(val), "test": len(test)},
    )


def pair_classes(num_classes: int, photos: list[str]) -> list[str]:
    """Names for the 2 · ``num_classes`` classes, no two alike: digits, then ``photos``, which may be called 7 too."""
    digits = [str(digit) for digit in range(num_classes)]
    alike = not set(digits).isdisjoint(photos)
    return digits + [f"photo {name}" if alike else name for name in photos]


def overlay(params: Parameters, digits: Split, photo: Augmentation | None = None) -> DigitOnPhoto:
    """What lays ``digits`` over photos as the parameters say."""
    return DigitOnPhoto(digits, params.num_classes, params.place, params.ink, photo)


def build_model(params: Parameters, name: str = "", fetch: bool = True) -> nn.Module:
    """The network ``name`` (else the one the parameters name), its weights drawn by seed; none are fetched."""
    torch.manual_seed(params.seed)
    return MODELS[name or params.model](3, params.num_classes, width=params.width)


def preprocessing(params: Parameters, data: Data) -> Preprocessing:
    """Size, and mean and standard deviation of each channel of training pairs: SEEN at most, spread over the photos."""
    some = np.linspace(0, len(data.train) - 1, min(len(data.train), SEEN)).astype(int)
    return classification.preprocessing(params, data.compose.fixed(data.train.subset(some)).images)


def batches(params: Parameters, split: Split, preparation: Preprocessing, compose: Callable | None = None) -> Batches:
    """The batches of a split: with ``compose`` shuffled, each photo under another digit; plain without."""
    return classification.batches(params, split, preparation, compose, train=compose is not None)


def build_recipe(params: Parameters, model: nn.Module) -> Recipe:
    """Cross-entropy over the 2·K classes of each pixel; the share of right pixels chooses the epoch."""
    return classification.build_recipe(params, model, metric_name=METRIC)
