"""Two questions about every pixel, two decoders: which of two sources is it from, and of which class is it?

After the CMSC 25040 report (2023): an encoder, skips that are added, a decoder for each question, and the outer product
of the two answers. Two choices are ours, for the report leaves them open: in a block of the decoder the transposed
convolution changes the width, as in UNet, and the very last convolution has neither batch normalisation nor ReLU, since
a logit must be able to be negative.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from labkit.models.block_cnn import conv_norm_relu
from labkit.models.resnet import init_he
from labkit.models.unet import DoubleConv, pad_to_multiple

LEVELS = 4


def up_step(in_channels: int, out_channels: int, last: bool = False) -> nn.Sequential:
    """Convolve, enlarge by a transposed convolution, convolve: (N, C_in, H, W) -> (N, C_out, 2H, 2W).

    The ``last`` step of a decoder ends in plain logits.
    """
    enlarge = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2, bias=False)
    end = nn.Conv2d(out_channels, out_channels, 3, padding=1) if last else conv_norm_relu(out_channels, out_channels)
    return nn.Sequential(
        conv_norm_relu(in_channels, in_channels), enlarge, nn.BatchNorm2d(out_channels), nn.ReLU(), end
    )


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


JOINTS = {"product": outer_product, "log_softmax": log_joint}


class TwoDecoderNet(nn.Module):
    """Maps images (N, in_channels, H, W) of any size to logits (N, sources · num_classes, H, W).

    Channel ``s · num_classes + k`` is class k of source s. The encoder's levels have 1, 2, 4 and 8 times ``width``
    channels; each is two convolutions and a max-pool, whose output is kept as a skip. ``decoders``: 2 as in the report,
    or 1, which ends in two heads. ``joint``: ``product`` of the two answers (the report's), or ``log_softmax``.
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
        widths = [width * 2**level for level in range(LEVELS)]
        self.encoder = nn.ModuleList(DoubleConv(i, o) for i, o in zip([in_channels, *widths[:-1]], widths, strict=True))
        self.decoders = nn.ModuleList(Decoder(widths) for _ in range(decoders))
        self.heads = nn.ModuleList(up_step(width, outputs, last=True) for outputs in (sources, num_classes))
        self.joint = JOINTS[joint]
        self.apply(init_he)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, sources · num_classes, H, W) logits."""
        height, width = x.shape[-2:]
        x, levels = pad_to_multiple(x, 2**LEVELS), []
        for level in self.encoder:
            x = F.max_pool2d(level(x), 2)  # (N, width · 2^level, H / 2, W / 2)
            levels.append(x)
        decoded = [decoder(levels) for decoder in self.decoders]
        source, kind = (head(decoded[i % len(decoded)]).float() for i, head in enumerate(self.heads))
        return self.joint(source, kind)[..., :height, :width]
