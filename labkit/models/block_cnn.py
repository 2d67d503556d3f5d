"""A small network of residual unit blocks with a fully connected tail, after the CMSC 25040 report (2023)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from labkit.models.convolution import conv3x3
from labkit.models.resnet import init_he


def conv_norm_relu(in_channels: int, out_channels: int, pool: bool = False) -> nn.Sequential:
    """3×3 convolution, batch normalisation, ReLU: (N, C_in, H, W) -> (N, C_out, H, W), half as large with ``pool``."""
    pooled = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(conv3x3(in_channels, out_channels), *pooled, nn.BatchNorm2d(out_channels), nn.ReLU())


class UnitBlock(nn.Module):
    """Widen, correct, mix, halve: (N, C_in, H, W) -> (N, width, H / 2, W / 2).

    A 3×3 convolution brings ``width`` channels, a residual block of two more is added to its own input, a last one
    follows, and max-pooling keeps the largest of each 2×2 pixels. Unlike in He et al. 2015
    (https://arxiv.org/abs/1512.03385) the branch ends in a ReLU and none follows the addition, as the report has it.
    With ``early_pool`` (ours) the image is halved right after the first convolution: all that follows then has a
    quarter of the pixels to work on.
    """

    def __init__(self, in_channels: int, width: int, early_pool: bool = False):
        super().__init__()
        self.widen = conv_norm_relu(in_channels, width, pool=early_pool)
        self.residual = nn.Sequential(conv_norm_relu(width, width), conv_norm_relu(width, width))
        self.mix = conv_norm_relu(width, width)
        self.halve = nn.Identity() if early_pool else nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, width, H // 2, W // 2)."""
        x = self.widen(x)
        return self.halve(self.mix(x + self.residual(x)))


def halved(width: int, num_classes: int) -> list[int]:
    """``width``, then half of it and half of that, as long as it stays above ``num_classes``: 72, 10 -> 72, 36, 18."""
    widths = [width]
    while widths[-1] // 2 > num_classes:
        widths.append(widths[-1] // 2)
    return widths


class BlockCNN(nn.Module):
    """``blocks`` unit blocks, then fully connected layers that halve the width down to the number of classes.

    Maps images (N, in_channels, image_size, image_size) to logits (N, num_classes). Each block multiplies the channels
    by ``growth``; the first has ``width`` of them (0: growth × in_channels, as in the report). All other widths
    follow. With one block for MNIST (231,717 parameters) and four for CIFAR-10 (2,626,953) this is the report's
    network. ``tail``: ``halving`` layers, as described, or ``pooled``: the largest value of each channel goes straight
    to the classifier (ours). ``early_pool``: see ``UnitBlock``; it changes the cost, not the parameters. ``mirror``
    (ours): in evaluation the logits are the mean of those of the image and of its mirror image, at twice the cost.
    ValueError for an unknown tail, or for more blocks than can halve the image.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: int = 28,
        blocks: int = 1,
        width: int = 0,
        growth: int = 3,
        tail: str = "halving",
        early_pool: bool = False,
        mirror: bool = False,
    ):
        super().__init__()
        side = image_size // 2**blocks
        if tail not in ("halving", "pooled"):
            raise ValueError(f"the tail is {tail!r}, expected 'halving' or 'pooled'")
        if side < 1:
            raise ValueError(f"{blocks} blocks halve an image of {image_size} pixels to nothing: take fewer blocks")
        channels = [in_channels, *((width or growth * in_channels) * growth**i for i in range(blocks))]
        self.blocks = nn.Sequential(*(UnitBlock(i, o, early_pool) for i, o in pairwise(channels)))
        self.pool = nn.AdaptiveMaxPool2d(1) if tail == "pooled" else nn.Identity()
        widths = [channels[-1]] if tail == "pooled" else halved(channels[-1] * side**2, num_classes)
        self.tail = nn.Sequential(*(linear_norm_relu(i, o) for i, o in pairwise(widths)))
        self.classifier = nn.Linear(widths[-1], num_classes)
        self.mirror = mirror
        self.apply(init_he)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, image_size, image_size) -> (N, num_classes) logits."""
        if self.mirror and not self.training:
            seen, mirrored = self.logits(torch.cat([x, x.flip(3)])).chunk(2)
            return (seen + mirrored) / 2
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """What the image as it is gets: (N, in_channels, image_size, image_size) -> (N, num_classes)."""
        features = self.pool(self.blocks(x)).flatten(1)  # (N, channels · side²), or (N, channels)
        return self.classifier(self.tail(features))


def linear_norm_relu(in_features: int, out_features: int) -> nn.Sequential:
    """Fully connected layer, batch normalisation, ReLU: (N, in_features) -> (N, out_features)."""
    return nn.Sequential(nn.Linear(in_features, out_features, bias=False), nn.BatchNorm1d(out_features), nn.ReLU())
