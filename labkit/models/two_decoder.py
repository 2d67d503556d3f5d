"""Two questions about every pixel, two decoders: which of two sources is it from, and of which class is it?

After the CMSC 25040 report (2023): an encoder, skips that are added, a decoder for each question, and the outer product
of the two answers. Two choices are ours, for the report leaves them open: in a block of the decoder the last
convolution changes the width, and the very last one has neither batch normalisation nor ReLU, since a logit must be
able to be negative.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from labkit.models.block_cnn import UnitBlock, conv_norm_relu
from labkit.models.convolution import Up2x2
from labkit.models.resnet import init_he
from labkit.models.unet import DoubleConv, pad_to_multiple

LEVELS = 4


def up_step(in_channels: int, out_channels: int, last: bool = False) -> nn.Sequential:
    """Convolve, enlarge by a transposed convolution, convolve: (N, C_in, H, W) -> (N, C_out, 2H, 2W).

    The ``last`` step of a decoder ends in plain logits.
    """
    enlarge = Up2x2(in_channels, in_channels, bias=False)
    end = nn.Conv2d(in_channels, out_channels, 3, padding=1) if last else conv_norm_relu(in_channels, out_channels)
    return nn.Sequential(conv_norm_relu(in_channels, in_channels), enlarge, nn.BatchNorm2d(in_channels), nn.ReLU(), end)


class Decoder(nn.ModuleList):
    """From the deepest features back to half the size of the image; the skip of each level is added."""

    def __init__(self, widths: list[int]):
        super().__init__(up_step(deep, wide) for deep, wide in zip(widths[:0:-1], widths[-2::-1], strict=True))

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Outputs of the encoder's levels, the deepest last -> (N, width, H / 2, W / 2)."""
        *skips, x = levels
        for step, skip in zip(self, reversed(skips), strict=True):
            x = step(x) + skip
        return x


def outer_product(source: Tensor, kind: Tensor) -> Tensor:
    """The report's joint: logits (N, S, H, W) times logits (N, K, H, W), each with each -> (N, S · K, H, W)."""
    return (source[:, :, None] * kind[:, None]).flatten(1, 2)


def log_joint(source: Tensor, kind: Tensor) -> Tensor:
    """log p(source) + log p(class), each with each -> (N, S · K, H, W): a true joint distribution, which sums to 1."""
    source, kind = F.log_softmax(source, dim=1), F.log_softmax(kind, dim=1)
    return (source[:, :, None] + kind[:, None]).flatten(1, 2)


def chain_rule(source: Tensor, kind: Tensor) -> Tensor:
    """log p(source) + log p(class | source): (N, S, H, W) and (N, S · K, 1, 1) -> (N, S · K, H, W).

    Unlike ``log_joint`` this does not take source and class for independent; the classes are those of the whole image.
    """
    given = F.log_softmax(kind.unflatten(1, (source.shape[1], -1)), dim=2)
    return (F.log_softmax(source, dim=1)[:, :, None] + given).flatten(1, 2)


JOINTS = {"product": outer_product, "log_softmax": log_joint}


class TwoDecoderNet(nn.Module):
    """Maps images (N, in_channels, H, W) of any size to logits (N, sources · num_classes, H, W).

    Channel ``s · num_classes + k`` is class k of source s. The encoder's levels have 1, 2, 4 and 8 times ``width``
    channels; each is two convolutions and a max-pool, whose output is kept as a skip. ``decoders``: 2 as in the report,
    or 1, which ends in two heads. ``joint``: ``product`` of the two answers (the report's), or ``log_softmax``. At the
    report's width of 32 it has 4,218,604 parameters, with one decoder 2,711,084. ValueError for anything else.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        sources: int = 2,
        width: int = 32,
        decoders: int = 2,
        joint: str = "product",
    ):
        super().__init__()
        if decoders not in (1, 2) or joint not in JOINTS:
            raise ValueError(f"decoders is {decoders} and joint {joint!r}, expected 1 or 2, and one of {list(JOINTS)}")
        widths = [width * 2**level for level in range(LEVELS)]
        self.encoder = nn.ModuleList(
            DoubleConv(i, o).append(nn.MaxPool2d(2)) for i, o in pairwise([in_channels, *widths])
        )
        self.decoders = nn.ModuleList(Decoder(widths) for _ in range(decoders))
        self.heads = nn.ModuleList(up_step(width, outputs, last=True) for outputs in (sources, num_classes))
        self.joint = JOINTS[joint]
        self.apply(init_he)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, sources · num_classes, H, W) logits."""
        levels = encoded(self.encoder, x)
        decoded = [decoder(levels) for decoder in self.decoders]
        source, kind = (head(decoded[i % len(decoded)]).float() for i, head in enumerate(self.heads))
        return self.joint(source, kind)[..., : x.shape[-2], : x.shape[-1]]


class ImageClassNet(nn.Module):
    """Ours: a decoder says which source each pixel is from; the class of each source is asked of the whole image.

    All pixels of a source have one class, so a classifier on the largest value of each of the deepest channels answers
    for them at once, and the decoder is left with what differs from pixel to pixel. The encoder is that of lab 4's best
    network, three unit blocks that pool early, of 1, 2 and 4 times ``width`` channels; the decoder does without the
    deepest, for where a digit ends, its surroundings tell. Same images and logits as in ``TwoDecoderNet``; 764,022
    parameters at width 32.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 10, sources: int = 2, width: int = 32):
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        self.encoder = nn.ModuleList(UnitBlock(i, o, early_pool=True) for i, o in pairwise([in_channels, *widths]))
        self.decoder = Decoder(widths[:-1])
        self.head = up_step(width, sources, last=True)
        self.classifier = nn.Linear(widths[-1], sources * num_classes)
        self.apply(init_he)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, sources · num_classes, H, W) logits."""
        *levels, deepest = encoded(self.encoder, x)
        kind = self.classifier(deepest.amax(dim=(2, 3))).float()  # (N, sources · num_classes)
        source = self.head(self.decoder(levels)).float()
        return chain_rule(source, kind[..., None, None])[..., : x.shape[-2], : x.shape[-1]]


def encoded(levels: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """The output of each level, which halves the image: (N, width · 2^level, H / 2^(level + 1), W / 2^(level + 1))."""
    x, outputs = pad_to_multiple(x, 2 ** len(levels)), []
    for level in levels:
        x = level(x)
        outputs.append(x)
    return outputs
