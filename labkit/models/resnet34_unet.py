"""A UNet whose encoder is ResNet34 (He et al. 2015, https://arxiv.org/abs/1512.03385), as in the TAICA report.

Stem and max-pool shrink the image to a quarter before the first stage, so most of the work is done on small maps: less
arithmetic than UNet's. In return it has to enlarge twice more at the end, without a skip.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.errors import RequestError
from labkit.models.recompute import kept, recomputed
from labkit.models.resnet import BasicBlock, init_he, stage
from labkit.models.unet import UpBlock, pad_to_multiple, upsampling


class PreAddReluBlock(BasicBlock):
    """The report's block, ``x + relu(F(x))``: its branch can only add, and nothing follows the sum."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, width, H / stride, W / stride)."""
        residual = torch.relu(self.norm1(self.conv1(x)))
        return self.shortcut(x) + torch.relu(self.norm2(self.conv2(residual)))


BLOCKS = {"post_add_relu": BasicBlock, "pre_add_relu": PreAddReluBlock}


class ResNet34UNet(nn.Module):
    """Residual encoder of 3, 4, 6 and 3 blocks, one more residual block as bottleneck, and UNet's decoder.

    Maps images (N, in_channels, H, W) of any size to logits (N, out_channels, H, W). ``width`` is that of the first
    stage (64 in the paper). ``block``: ``post_add_relu`` is the paper's, ``pre_add_relu`` the report's.
    ``pretrained`` starts the encoder from torchvision's ImageNet weights (width 64,
    three channels, the paper's block); RequestError where they cannot be had. ``checkpointing``
    computes each stage of the encoder a second time, convolutions included, and of the decoder as much as in UNet.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        width: int = 64,
        dropout: float = 0.1,
        block: str = "post_add_relu",
        pretrained: bool = False,
        checkpointing: bool = False,
    ):
        super().__init__()
        self.checkpointing = checkpointing
        kind, widths = BLOCKS[block], [width * 2**i for i in range(4)]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        ins, strides, depths = [width, *widths[:-1]], (1, 2, 2, 2), (3, 4, 6, 3)
        self.stages = nn.ModuleList(
            [stage(kind, i, w, s, d) for i, w, s, d in zip(ins, widths, strides, depths, strict=True)]
        )
        self.bottleneck = nn.Sequential(kind(widths[-1], 2 * widths[-1], stride=2), nn.Dropout2d(dropout))
        ups = [2 * widths[-1], *widths[:0:-1]]
        self.decoder = nn.ModuleList([UpBlock(i, w) for i, w in zip(ups, widths[::-1], strict=True)])
        self.enlarge = nn.Sequential(upsampling(width, width), nn.ReLU(), upsampling(width, width), nn.ReLU())
        self.head = nn.Conv2d(width, out_channels, kernel_size=1)
        self.apply(init_he)
        if pretrained:
            load_imagenet(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W) logits."""
        height, width = x.shape[-2:]
        run = recomputed if self.checkpointing else kept
        skips = []
        x = self.stem(pad_to_multiple(x, 64))  # (N, width, H / 2, W / 2)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)  # (N, width, H / 4, W / 4)
        for level in self.stages:
            x = run(level, x)
            skips.append(x)
        block, dropout = self.bottleneck
        x = dropout(run(block, x))  # (N, 16 width, H / 64, W / 64)
        for level in self.decoder:
            x = level(x, skips.pop(), run)
        return self.head(self.enlarge(x))[..., :height, :width]


def load_imagenet(model: ResNet34UNet) -> None:
    """Copy torchvision's ImageNet weights of ResNet34 into stem and stages; RequestError where that cannot be done."""
    from torchvision.models import ResNet34_Weights, resnet34

    remedy = "take a model without 'imagenet' in its name"
    if model.stem[0].weight.shape[:2] != (64, 3) or type(model.stages[0][0]) is not BasicBlock:
        raise RequestError(
            f"ImageNet weights fit only width 64, three channels and the block post_add_relu: set these, or {remedy}."
        )
    try:
        theirs = resnet34(weights=ResNet34_Weights.IMAGENET1K_V1).state_dict()
    except (OSError, RuntimeError) as error:
        raise RequestError(
            f"The ImageNet weights could not be downloaded ({error}): connect to the network once (torchvision keeps "
            f"them), or {remedy}."
        ) from error
    model.load_state_dict(imagenet_names(theirs), strict=False)


def imagenet_names(theirs: dict[str, Any]) -> dict[str, Any]:
    """Torchvision's names of ResNet34's weights, in ours; the classifier is left out."""
    ours = {}
    for name, value in theirs.items():
        if name.startswith("fc."):
            continue
        for old, new in (("conv1", "stem.0"), ("bn1", "stem.1")):
            if name.startswith(f"{old}."):
                name = name.replace(old, new, 1)
        for i in range(4):
            name = name.replace(f"layer{i + 1}.", f"stages.{i}.")
        ours[name.replace(".bn", ".norm").replace("downsample", "shortcut")] = value
    return ours
