"""Lab 1: ResNet on MNIST. From the parameters alone: data, model and recipe."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import field_validator
from torch import Tensor, nn

from labkit.data import mnist
from labkit.data.augment import Augmentation
from labkit.data.loading import Batches, Preprocessing, Split
from labkit.data.sources import Source
from labkit.errors import DataError
from labkit.labs import common
from labkit.labs.parameters import TrainingParameters, choice, real, switch, text, whole
from labkit.models.resnet import ResNet, last_norm, lesion, resnet18, resnet34, resnet50
from labkit.paths import data_root, data_root_is_named
from labkit.training.loop import Recipe, evaluate
from labkit.training.losses import cross_entropy
from labkit.training.metrics import accuracy
from labkit.training.precision import Precision

NOTEBOOK = "01_mnist_resnet18"
METRIC = "accuracy"
MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels, in [0, 1]
MODELS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}


class Parameters(TrainingParameters):
    """The parameters of notebook 01."""

    limit: whole(0, 10_000_000, "at most so many training images, and as many test images; 0: all")
    class_names: text("in the order of the labels", form="two or more different names separated by commas")
    validation_share: real(0, 0.9, "share of the training images that chooses the best epoch", above=True)
    select_on: choice("validation", "test", meaning="what chooses the best epoch; 'test' is the reports' protocol")
    image_size: whole(8, 512, "side of the images the model sees, in pixels")
    rotate: real(0, 180, "augmentation: rotation by up to so many degrees")
    shift: real(0, 0.5, "augmentation: shift by up to this share of the side")
    zoom: real(0, 1, "augmentation: size changed by up to this share")
    flip: switch("augmentation: every second image left-right")
    model: choice(*MODELS, meaning="which residual network")
    label_smoothing: real(0, 0.5, "share of the target spread over all classes")

    @field_validator("class_names")
    @classmethod
    def _names_differ(cls, text: str) -> str:
        names = [name.strip() for name in text.split(",")]
        if len(names) < 2 or len(set(names)) < len(names) or not all(names):
            raise ValueError("names must be there, and differ")
        return text

    @property
    def names(self) -> list[str]:
        """The class names as a list."""
        return [name.strip() for name in self.class_names.split(",")]


@dataclass(frozen=True)
class Data:
    """The three parts of the data set; ``train`` and ``val`` are disjoint parts of its training images."""

    train: Split
    val: Split
    test: Split
    class_names: list[str]

    def facts(self) -> dict[str, Any]:
        """For the manifest: how many images per part has, and a fingerprint of which they are."""
        parts = {"train": self.train, "validation": self.val, "test": self.test}
        return {
            "counts": {name: len(split) for name, split in parts.items()},
            "splits": {name: split.fingerprint() for name, split in parts.items()},
        }

    def obstacle(self, source: Source) -> str:
        """What forbids putting a score on these data beside a published one; empty if nothing does."""
        if not source.verified:
            return "sample data" if source.kind == "sample" else "these files are not the published MNIST"
        return "" if len(self.test) == 10_000 else f"only {len(self.test):,} of the 10,000 test images"


def find_data(params: Parameters) -> Source:
    """Find and check the data files; nothing is decoded yet."""
    return mnist.find(data_root(params.data_root), params.source, data_root_is_named(params.data_root))


def load_data(params: Parameters, source: Source) -> Data:
    """Read the images, apply ``limit``, and split validation off the training images, class by class, by seed.

    With ``select_on = "test"`` nothing is held out and the test set is the validation set: the reports' protocol.
    """
    pool, test = mnist.load(source, len(params.names))
    pool, test = mnist.limited(pool, params.limit, params.seed), mnist.limited(test, params.limit, params.seed)
    train, val = pool, test
    if params.select_on == "validation":
        train, val = mnist.split_off_validation(pool, params.validation_share, params.seed)
    if len(train) < 2:
        raise DataError(
            f"Only {len(train)} of {len(pool)} images are left for training: raise limit or lower validation_share."
        )
    return Data(train, val, test, params.names)


def build_model(params: Parameters, name: str = "", fetch: bool = True) -> ResNet:
    """The network ``name`` (else the one the parameters name), its weights drawn by seed; none are fetched."""
    torch.manual_seed(params.seed)
    return MODELS[name or params.model](in_channels=1, num_classes=len(params.names))


def augmentation(params: Parameters) -> Augmentation:
    """What may happen to a training image."""
    return Augmentation(params.rotate, params.shift, params.zoom, params.flip)


def batches(params: Parameters, split: Split, train: bool = False) -> Batches:
    """The batches of a split: shuffled and augmented for training, plain otherwise."""
    return Batches(
        split,
        batch_size=params.batch_size if train else 256,
        preprocessing=Preprocessing(params.image_size, (MEAN,), (STD,)),
        augmentation=augmentation(params) if train else None,
        shuffle=train,
        seed=params.seed,
        workers=params.num_workers,
    )


def build_recipe(params: Parameters, model: ResNet) -> Recipe:
    """Cross-entropy and accuracy, with the optimiser and schedule that the parameters ask for."""
    smoothed = functools.partial(cross_entropy, label_smoothing=params.label_smoothing)
    return common.build_recipe(
        params, model, objective=smoothed, loss=cross_entropy, metric=accuracy, metric_name=METRIC
    )


def blocks(model: ResNet) -> dict[str, nn.Module]:
    """The residual blocks by name, "stage 1, block 1" and so on."""
    return {f"{i}.{j}": block for i, stage in enumerate(model.stages, 1) for j, block in enumerate(stage, 1)}


def lesion_study(model: ResNet, batches: Batches, precision: Precision) -> pd.DataFrame:
    """Accuracy on ``batches`` with each block's branch cut, and with its way round cut: one row per block, shares."""

    def score(block: nn.Module, part: str) -> float:
        with lesion(block, part):
            return float(evaluate(model, batches, cross_entropy, accuracy, precision)[1].mean())

    rows = [
        {"block": name, "branch cut": score(b, "branch"), "way round cut": score(b, "shortcut")}
        for name, b in blocks(model).items()
    ]
    return pd.DataFrame(rows)


def mirrored(split: Split) -> Split:
    """The same images, flipped left-right."""
    return Split(split.images.flip(-1), split.targets, split.samples)


def first_block_maps(model: ResNet, images: Tensor) -> dict[str, np.ndarray]:
    """What the first block is given, what its branch adds, and what comes out: maps (H, W) of the strongest channel.

    ``images`` is a normalised batch (N, 1, H, W); its first image is looked at. Where the block changes the number of
    channels, x is what its way round makes of the input.
    """
    block, seen = model.stages[0][0], {}
    hook = last_norm(block).register_forward_hook(lambda module, inputs, output: seen.update(branch=output))
    with torch.inference_mode():
        stem = model.eval().stem(images[:1].to(next(model.parameters()).device))
        x, y = block.shortcut(stem), block(stem)
    hook.remove()
    channel = int(x[0].mean(dim=(1, 2)).argmax())
    maps = {"x": x, "F(x)": seen["branch"], "relu(x + F(x))": y}
    return {name: value[0, channel].float().cpu().numpy() for name, value in maps.items()}
