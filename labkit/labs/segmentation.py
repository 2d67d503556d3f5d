"""What the segmentation labs share: parameters, models by name, and masks scored at the size of the original image."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import model_validator
from torch import nn

from labkit.data.augment import POLICIES
from labkit.data.loading import Batches, Preprocessing, Split
from labkit.data.sources import Source
from labkit.labs import common
from labkit.labs.parameters import TrainingParameters, choice, real, switch, whole
from labkit.labs.parts import Parts, disjoint, enough
from labkit.models import ResNet34UNet, UNet, UNetPlusPlus
from labkit.training import losses
from labkit.training.loop import Recipe
from labkit.training.metrics import dice

METRIC = "dice"
# PyTorch 2.14, channels last: the backward pass of a 1×1 convolution of stride 2 with 2 or 4 channels never ended on a
# processor with AVX2 and without AVX-512, or broke memory.
LEAST_RESNET_WIDTH = 8


def unet(in_channels: int, width: int, *, bottleneck: int = 16, **options: Any) -> UNet:
    """A UNet whose levels have 1, 2, 4 and 8 times ``width`` features, and its bottleneck ``bottleneck`` times."""
    return UNet(in_channels, features=[width * 2**i for i in range(4)], bottleneck=bottleneck * width, **options)


def unet_plus_plus(in_channels: int, width: int, **options: Any) -> UNetPlusPlus:
    """A UNet++ with the widths of ``unet``."""
    return UNetPlusPlus(in_channels, features=[width * 2**i for i in range(5)], **options)


def resnet34_unet(in_channels: int, width: int, **options: Any) -> ResNet34UNet:
    """A ResNet34-UNet whose stages have 1, 2, 4 and 8 times ``width`` features."""
    return ResNet34UNet(in_channels, width=width, **options)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "unet": unet,
    "unet_default_init": functools.partial(unet, init="default"),
    "unet_half_bottleneck": functools.partial(unet, bottleneck=8),  # as the AIoT report draws it
    "unet_without_skips": functools.partial(unet, skips=False),
    "unet_bilinear": functools.partial(unet, up="bilinear"),
    "attention_unet": functools.partial(unet, attention=True),
    "unet_plus_plus": unet_plus_plus,
    "resnet34_unet": resnet34_unet,
    "resnet34_unet_pre_add_relu": functools.partial(resnet34_unet, block="pre_add_relu"),  # the TAICA report's block
    "resnet34_unet_imagenet": functools.partial(resnet34_unet, pretrained=True),
}


class SegmentationParameters(TrainingParameters):
    """What labs 2 and 3 have in common."""

    CHANNELS: ClassVar = 3  # of the images: 3 colours, or 1 grey

    batch_size: whole(1, 65_536, "images per step")
    limit: whole(0, 10_000_000, "at most so many images in each part; 0: all")
    image_size: whole(16, 1024, "side of the images the model sees, in pixels")
    model: choice(*MODELS, meaning="which network")
    width: whole(2, 256, "features on the first level")
    dropout: real(0, 0.9, "share of the bottleneck's channels left out in training")
    augmentation: choice(*POLICIES, meaning="what may happen to a training image and its mask")
    loss: choice(*losses.SEGMENTATION, meaning="what training makes small")
    pin_memory: switch("page-locked batches, which copy faster to a GPU; nothing on a CPU")
    checkpointing: switch("compute activations twice instead of keeping them: less memory, more time")

    @model_validator(mode="after")
    def _fits_the_networks(self) -> Self:
        for name in self.networks():
            if name.endswith("imagenet") and (self.width, self.CHANNELS) != (64, 3):
                raise ValueError(
                    f"Network {name!r} cannot be built: ImageNet's weights need a width of 64 (it is {self.width}) and "
                    f"3 channels (the images have {self.CHANNELS})."
                )
            if name.startswith("resnet34") and self.width < LEAST_RESNET_WIDTH:
                raise ValueError(
                    f"Parameter 'width' is {self.width}, but {name!r} needs at least {LEAST_RESNET_WIDTH}: with fewer "
                    f"channels PyTorch's strided convolutions hang on some processors."
                )
            if self.batch_size == 1 and self.image_size < 128:
                raise ValueError(
                    f"Parameter 'batch_size' is 1, but at image_size {self.image_size} batch normalisation may be left "
                    f"with a single number: take at least 2, or an image_size of at least 128."
                )
        return self

    def networks(self) -> list[str]:
        """The networks that this run trains, by name."""
        return [self.model]


@dataclass(frozen=True)
class Data(Parts):
    """The three parts of a segmentation data set, at network size, and its images and masks at their own size."""

    names: list[str]  # of every sample number
    groups: list[str]  # the patient or breed of every sample number
    picture: Callable[[int], np.ndarray]  # sample number -> image (H, W) or (H, W, 3), uint8
    truth: Callable[[int], np.ndarray]  # sample number -> mask (H, W), bool

    def facts(self, source: Source) -> dict[str, Any]:
        """For the manifest: counts and fingerprints, and which patients or breeds each part has."""
        facts = super().facts(source)
        groups = [sorted({self.groups[i] for i in split.samples}) for split in self.parts().values()]
        return facts | {"groups": dict(zip(facts["counts"], groups, strict=True))}


def check_parts(data: Data) -> Data:
    """The data, if each part has images and none is in two parts; DataError else."""
    enough(data.parts())
    disjoint(data.parts())
    return data


def build_model(params: SegmentationParameters, name: str = "", fetch: bool = True) -> nn.Module:
    """The network ``name`` (else the one the parameters name), its weights drawn by seed.

    Without ``fetch``, a network that would start from ImageNet's weights does without them.
    """
    torch.manual_seed(params.seed)
    build, options = MODELS[name or params.model], {"dropout": params.dropout, "checkpointing": params.checkpointing}
    if not fetch and "pretrained" in getattr(build, "keywords", {}):
        options["pretrained"] = False
    return build(params.CHANNELS, params.width, **options)


def preprocessing(params: SegmentationParameters, mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
    """The size that the parameters ask for, and a mean and standard deviation per channel."""
    return Preprocessing(params.image_size, tuple(mean), tuple(max(value, 1e-6) for value in std))


def batches(params: SegmentationParameters, split: Split, preparation: Preprocessing, train: bool = False) -> Batches:
    """The batches of a split: shuffled and augmented for training, plain otherwise."""
    return Batches(
        split,
        batch_size=params.batch_size if train else 8,
        preprocessing=preparation,
        augmentation=POLICIES[params.augmentation] if train and params.augmentation != "none" else None,
        shuffle=train,
        seed=params.seed,
        workers=params.num_workers,
        pin_memory=params.pin_memory,
    )


def build_recipe(params: SegmentationParameters, model: nn.Module) -> Recipe:
    """The loss that the parameters name, and Dice as the score that chooses the epoch."""
    loss = losses.SEGMENTATION[params.loss]
    return common.build_recipe(params, model, objective=loss, loss=loss, metric=dice, metric_name=METRIC)
