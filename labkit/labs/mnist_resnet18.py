"""Lab 1: ResNet on MNIST. From the parameters alone: data, model and recipe."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from pydantic import field_validator
from torch import Tensor, nn

from labkit.data import mnist
from labkit.data.augment import Augmentation
from labkit.data.loading import Batches, Preprocessing, Split
from labkit.data.sources import Source
from labkit.labs import classification
from labkit.labs.classification import METRIC, ClassificationParameters, Data, build_recipe
from labkit.labs.parameters import choice, real, text
from labkit.models.resnet import ResNet, last_norm, lesion, resnet18, resnet34, resnet50
from labkit.paths import data_root, data_root_is_named
from labkit.training.loop import evaluate, forward
from labkit.training.losses import cross_entropy
from labkit.training.metrics import accuracy
from labkit.training.precision import Precision

__all__ = ["METRIC", "NOTEBOOK", "Parameters", "batches", "build_model", "build_recipe", "find_data", "load_data"]
NOTEBOOK = "01_mnist_resnet18"
MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels, in [0, 1]
Reading = tuple[np.ndarray, dict[str, np.ndarray]]  # a probability for each class (K,), and named maps (H, W)
MODELS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}


class Parameters(ClassificationParameters):
    """The parameters of notebook 01."""

    class_names: text("in the order of the labels", form="two or more different names separated by commas")
    rotate: real(0, 180, "augmentation: rotation by up to so many degrees")
    shift: real(0, 0.5, "augmentation: shift by up to this share of the side")
    zoom: real(0, 1, "augmentation: size changed by up to this share")
    model: choice(*MODELS, meaning="which residual network")

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


def find_data(params: Parameters) -> Source:
    """Find the data and see that these parameters can be met with them."""
    source = mnist.find(data_root(params.data_root), params.source, data_root_is_named(params.data_root))
    load_data(params, source)
    return source


def load_data(params: Parameters, source: Source) -> Data:
    """Read the images, apply ``limit``, and split validation off the training images."""
    return classification.divide(params, *mnist.load(source, len(params.names)), params.names, mnist.IMAGES["test"])


def build_model(params: Parameters, name: str = "", fetch: bool = True) -> ResNet:
    """The network ``name`` (else the one the parameters name), its weights drawn by seed; none are fetched."""
    torch.manual_seed(params.seed)
    return MODELS[name or params.model](in_channels=1, num_classes=len(params.names))


def augmentation(params: Parameters) -> Augmentation:
    """What may happen to a training image."""
    return Augmentation(params.rotate, params.shift, (1 / (1 + params.zoom), 1 + params.zoom), params.flip)


def preprocessing(params: Parameters) -> Preprocessing:
    """What happens to every image before the network sees it."""
    return Preprocessing(params.image_size, (MEAN,), (STD,))


def batches(params: Parameters, split: Split, train: bool = False) -> Batches:
    """The batches of a split: shuffled and augmented for training, plain otherwise."""
    return classification.batches(params, split, preprocessing(params), augmentation(params), train)


def blocks(model: ResNet) -> dict[str, nn.Module]:
    """The residual blocks by their names in the model, ``stages.0.0`` and so on."""
    return {f"stages.{i}.{j}": block for i, stage in enumerate(model.stages) for j, block in enumerate(stage)}


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
    channel = classification.strongest(x)
    maps = {"x": x, "F(x)": seen["branch"], "relu(x + F(x))": y}
    return {name: value[0, channel].float().cpu().numpy() for name, value in maps.items()}


def stage_maps(model: ResNet, images: Tensor) -> dict[str, np.ndarray]:
    """``maps_after`` the stem and each stage, for the first image of a normalised batch (N, 1, H, W)."""
    stages = {f"stages.{number}": stage for number, stage in enumerate(model.stages)}
    return classification.maps_after({"stem": model.stem, **stages}, images)


def reader(model: ResNet, params: Parameters, precision: Precision) -> Callable[[Tensor], Reading]:
    """A function of one image (1, 1, H, W) uint8: the probability of each class (K,), and its ``stage_maps``."""

    def read(image: Tensor) -> Reading:
        images = preprocessing(params)(image / 255)
        return forward(model, images, precision).softmax(dim=1)[0].cpu().numpy(), stage_maps(model, images)

    return read
