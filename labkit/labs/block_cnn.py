"""Lab 4: the block CNN on MNIST and CIFAR-10. From the parameters alone: data, model and recipe."""

from typing import Self

import numpy as np
import pandas as pd
import torch
from pydantic import model_validator
from torch import Tensor, nn

from labkit.data import cifar10, mnist
from labkit.data.augment import Augmentation
from labkit.data.loading import Batches, Preprocessing, Split
from labkit.data.sources import Source
from labkit.errors import DataError
from labkit.labs import classification
from labkit.labs.classification import METRIC, ClassificationParameters, Data
from labkit.labs.parameters import choice, real, switch, whole
from labkit.models import BlockCNN
from labkit.paths import data_root, data_root_is_named
from labkit.results.words import SWITCHED_OFF, many
from labkit.training.loop import Recipe
from labkit.training.stopping import Stop, loss_rise, patience, stopped_at

__all__ = ["METRIC", "NOTEBOOK", "Parameters", "batches", "build_model", "build_recipe", "find_data", "load_data"]
NOTEBOOK = "04_block_cnn"
DATA_SETS = {"mnist": mnist, "cifar10": cifar10}
CHANNELS = {"mnist": 1, "cifar10": 3}
SIDES = {"mnist": 28, "cifar10": 512}  # of the images that are augmented: MNIST's are enlarged to image_size after that
MOST_CHANNELS, MOST_FEATURES = 2**12, 2**14  # a block of 0.5, a layer of 0.1 billion weights; 16 bytes for each


class Parameters(ClassificationParameters):
    """The parameters of notebook 04."""

    dataset: choice(*DATA_SETS, meaning="which data set")
    num_classes: whole(2, 1000, "classes of the data set")
    crop: whole(0, 100, "augmentation: moved by up to so many pixels, the edge mirrored")
    erase: whole(0, 512, "augmentation: side of a square of mean colour that covers a part of the image, in pixels")
    blocks: whole(1, 8, "unit blocks, each of which halves the image")
    width: whole(0, 512, "channels of the first block; 0: growth times those of the image")
    tail: choice("halving", "pooled", meaning="what follows the blocks: layers of halving width, or one max-pool")
    early_pool: switch("a block halves the image after its first convolution, not after its last")
    mirror: switch("validation and test take the mean of the answers for an image and for its mirror image")
    growth: whole(1, 4, "each further block has so many times the channels of the one before")
    rise_factor: real(0, 100, "stop when the validation loss stays above so many times its minimum; 0: never")
    rise_epochs: whole(1, 1000, "for so many epochs in a row")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.image_size < 2**self.blocks:
            most = self.image_size.bit_length() - 1
            raise ValueError(
                f"Parameter 'blocks' is {self.blocks}, but an image of {self.image_size} pixels can be halved only "
                f"{most} times: take at most {most}, or a larger image_size."
            )
        side = min(self.image_size, SIDES[self.dataset])
        for name in ("crop", "erase"):
            if getattr(self, name) >= side:
                raise ValueError(
                    f"Parameter {name!r} is {getattr(self, name)}, but must be below the side of the image, {side}."
                )
        if self.channels > MOST_CHANNELS:
            raise ValueError(
                f"Parameters 'blocks', 'width' and 'growth' give the last block {self.channels:,} channels, more than "
                f"fit in memory: take smaller ones, so that it has at most {MOST_CHANNELS:,}."
            )
        features = self.channels * (self.image_size // 2**self.blocks) ** 2
        if self.tail == "halving" and features > MOST_FEATURES:
            raise ValueError(
                f"Parameter 'tail' is 'halving', but the blocks leave {features:,} features, and a layer that halves "
                f"as many does not fit in memory: take at most {MOST_FEATURES:,}, by more blocks, or tail = 'pooled'."
            )
        if 0 < self.rise_factor < 1:
            raise ValueError(
                f"Parameter 'rise_factor' is {self.rise_factor:g}, but the loss is never below its own minimum: take "
                f"1 or more, or 0 for never."
            )
        return self

    @property
    def channels(self) -> int:
        """The channels of the last block."""
        return (self.width or self.growth * CHANNELS[self.dataset]) * self.growth ** (self.blocks - 1)

    def rules(self) -> dict[str, Stop]:
        """The two rules of early stopping by name, for the comparison; one that is switched off is called so."""
        factor, waits = self.rise_factor or 1.1, self.patience or 5
        rise = f"loss above {factor:g} × its minimum for {many(self.rise_epochs, 'epoch')}"
        best = f"no better accuracy for {many(waits, 'epoch')}"
        return {
            rise + ("" if self.rise_factor else SWITCHED_OFF): loss_rise(factor, self.rise_epochs),
            best + ("" if self.patience else SWITCHED_OFF): patience(waits, METRIC),
        }


def find_data(params: Parameters) -> Source:
    """Find the files, check them, and see whether they can be split; nothing is written but the cache."""
    named = data_root_is_named(params.data_root)
    source = DATA_SETS[params.dataset].find(data_root(params.data_root), params.source, named)
    load_data(params, source)
    return source


def load_data(params: Parameters, source: Source) -> Data:
    """Read the images, apply ``limit``, and split validation off the training images."""
    if params.dataset == "mnist":
        names = [str(digit) for digit in range(params.num_classes)]
        pool, test = mnist.load(source, params.num_classes)
        side = min(pool.images.shape[2:])
        if max(params.crop, params.erase) >= side:
            raise DataError(
                f"The images under {source.root} have {side} pixels, but crop is {params.crop} and erase "
                f"{params.erase}: both must be below the side of the image."
            )
        return classification.divide(params, pool, test, names, mnist.IMAGES["test"])
    names = cifar10.class_names(source)
    if len(names) != params.num_classes:
        raise DataError(
            f"The data under {source.root} have {len(names)} classes ({', '.join(names[:12])}), but num_classes is "
            f"{params.num_classes}: set num_classes to {len(names)}, or give other data."
        )
    return classification.divide(params, *cifar10.load(source, params.image_size), names, cifar10.IMAGES["test"])


def build_model(params: Parameters, name: str = "", fetch: bool = True) -> BlockCNN:
    """The network, its weights drawn by seed; there is one only, and none are fetched."""
    torch.manual_seed(params.seed)
    return BlockCNN(
        CHANNELS[params.dataset],
        params.num_classes,
        params.image_size,
        blocks=params.blocks,
        width=params.width,
        growth=params.growth,
        tail=params.tail,
        early_pool=params.early_pool,
        mirror=params.mirror,
    )


def preprocessing(params: Parameters, data: Data) -> Preprocessing:
    """Size, and mean and standard deviation of each channel of the training images."""
    return classification.preprocessing(params, data.train.images)


def augmentation(params: Parameters) -> Augmentation:
    """What may happen to a training image."""
    return Augmentation(flip=params.flip, crop=params.crop, erase=params.erase)


def batches(params: Parameters, split: Split, preparation: Preprocessing, train: bool = False) -> Batches:
    """The batches of a split: shuffled and augmented for training, plain otherwise."""
    return classification.batches(params, split, preparation, augmentation(params), train)


def build_recipe(params: Parameters, model: nn.Module) -> Recipe:
    """Cross-entropy and accuracy; stops by the report's rule, by patience, or not at all."""
    return classification.build_recipe(params, model, loss_rise(params.rise_factor, params.rise_epochs))


def mean_colour_accuracy(data: Data) -> float:
    """Test accuracy of logistic regression on the mean of each colour channel: what needs no form at all."""
    from sklearn.linear_model import LogisticRegression  # slow to import, used once

    if len(data.train.targets.unique()) == 1:  # of own data, and few
        return float((data.test.targets == data.train.targets[0]).float().mean())
    means = [mean_colours(split) for split in (data.train, data.test)]
    fitted = LogisticRegression(max_iter=1000).fit(means[0], data.train.targets)
    return float(fitted.score(means[1], data.test.targets))


def mean_colours(split: Split) -> np.ndarray:
    """The mean of each channel of each image, in [0, 1]: (N, C); a thousand images at a time."""
    places = np.array_split(np.arange(len(split)), 1 + len(split) // 1000)
    return np.concatenate([split.images[part].float().mean(dim=(2, 3)).numpy() / 255 for part in places])


def block_maps(model: BlockCNN, images: Tensor) -> dict[str, np.ndarray]:
    """The first image of a normalised batch (N, C, H, W), and ``maps_after`` each block."""
    blocks = {f"after block {number}": block for number, block in enumerate(model.blocks, start=1)}
    return {"image": images[0].mean(dim=0).numpy()} | classification.maps_after(blocks, images)


def stop_epochs(params: Parameters, history: pd.DataFrame) -> dict[str, int | None]:
    """The epoch after which each of the two rules stops, or would have stopped."""
    return {name: stopped_at(rule, history.to_dict("records")) for name, rule in params.rules().items()}
