"""Residual networks for small images (He et al. 2015, https://arxiv.org/abs/1512.03385).

Two things differ from the paper's ImageNet network, and both are what makes it fit a 28×28 digit: the stem is a
3×3 convolution of stride 1 (section 4.2 of the paper uses the same for CIFAR-10), and no max-pool follows it.
The four stages, the blocks and the widths are the paper's.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from labkit.models.convolution import conv3x3


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The way round a block: the identity, or a 1×1 convolution where the shape changes (the paper's option B)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a way round them: ``relu(x + F(x))``, figure 2 of the paper.

    Maps (N, C_in, H, W) to (N, width, H / stride, W / stride).
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = conv3x3(in_channels, width, stride)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = shortcut(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, width, H / stride, W / stride)."""
        residual = torch.relu(self.norm1(self.conv1(x)))
        residual = self.norm2(self.conv2(residual))
        return torch.relu(self.shortcut(x) + residual)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions and a way round them, figure 5 of the paper.

    Maps (N, C_in, H, W) to (N, 4 · width, H / stride, W / stride). The stride sits on the 3×3 convolution, as in
    torchvision; the paper put it on the first 1×1.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, kernel_size=1, bias=False)
        self.norm3 = nn.BatchNorm2d(4 * width)
        self.shortcut = shortcut(in_channels, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, 4 · width, H / stride, W / stride)."""
        residual = torch.relu(self.norm1(self.conv1(x)))
        residual = torch.relu(self.norm2(self.conv2(residual)))
        residual = self.norm3(self.conv3(residual))
        return torch.relu(self.shortcut(x) + residual)


class ResNet(nn.Module):
    """Stem, four stages of residual blocks at widths 64, 128, 256, 512, global average pool, linear classifier.

    Maps images (N, in_channels, H, W) to logits (N, num_classes). Any H and W from 1 up will do: the stages
    after the first halve them (rounding up), and the average pool takes what is left.
    """

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], depths: list[int], in_channels: int = 1, num_classes: int = 10
    ):
        super().__init__()
        self.stem = nn.Sequential(conv3x3(in_channels, 64), nn.BatchNorm2d(64), nn.ReLU())
        channels, stages = 64, []
        for width, stride, depth in zip((64, 128, 256, 512), (1, 2, 2, 2), depths, strict=True):
            stages.append(stage(block, channels, width, stride, depth))
            channels = width * block.expansion
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        self.apply(init_he)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, num_classes) logits."""
        features = self.stages(self.stem(x))  # (N, 512 · expansion, ceil(H / 8), ceil(W / 8))
        return self.classifier(self.pool(features).flatten(1))


def stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, width: int, stride: int, depth: int
) -> nn.Sequential:
    """``depth`` blocks of one width; the first of them changes the size by ``stride``."""
    first = block(in_channels, width, stride)
    rest = [block(width * block.expansion, width) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)


def init_he(module: nn.Module) -> None:
    """Draw convolution weights from a normal distribution of variance 2 / fan-out (https://arxiv.org/abs/1502.01852).

    Transposed convolutions, which enlarge, keep PyTorch's own.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def resnet18(in_channels: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet18: two basic blocks a stage; 11,172,810 parameters for one channel and ten classes."""
    return ResNet(BasicBlock, [2, 2, 2, 2], in_channels, num_classes)


def resnet34(in_channels: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet34: 3, 4, 6 and 3 basic blocks."""
    return ResNet(BasicBlock, [3, 4, 6, 3], in_channels, num_classes)


def resnet50(in_channels: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet50: 3, 4, 6 and 3 bottleneck blocks."""
    return ResNet(Bottleneck, [3, 4, 6, 3], in_channels, num_classes)


def last_norm(block: BasicBlock | Bottleneck) -> nn.BatchNorm2d:
    """The layer whose output is F(x)."""
    return block.norm3 if isinstance(block, Bottleneck) else block.norm2


@contextmanager
def lesion(block: BasicBlock | Bottleneck, part: str) -> Iterator[None]:
    """Cut one way through a block for as long as the context lasts: its ``branch`` F(x), or its ``shortcut`` x."""
    layer = last_norm(block) if part == "branch" else block.shortcut
    hook = layer.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    try:
        yield
    finally:
        hook.remove()
