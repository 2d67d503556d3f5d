"""UNet (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597).

Two things differ from the paper: convolutions are padded, so that the output is as large as the input, and batch
normalisation follows each of them. With 64 features on the first level and 1024 in the bottleneck this is the classic
network of 31 million parameters.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.models.convolution import Up2x2, conv3x3
from labkit.models.recompute import kept, recomputed
from labkit.models.resnet import init_he

unchanged = nn.Identity()
half_size = partial(F.max_pool2d, kernel_size=2)  # (N, C, H, W) -> (N, C, H / 2, W / 2)


class DoubleConv(nn.Sequential):
    """Twice: 3×3 convolution, batch normalisation (if asked for), ReLU; (N, C_in, H, W) -> (N, C_out, H, W).

    With ``run=recomputed`` only the inputs and the output of each convolution are kept for the backward pass: what
    prepares the inputs, and what lies between the two convolutions, is cheap and is carried out a second time.
    """

    def __init__(self, in_channels: int, out_channels: int, batch_norm: bool = True):
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            conv = conv3x3(channels, out_channels) if batch_norm else nn.Conv2d(channels, out_channels, 3, padding=1)
            layers += [conv, nn.BatchNorm2d(out_channels), nn.ReLU()] if batch_norm else [conv, nn.ReLU()]
        super().__init__(*layers)

    def forward(
        self, *inputs: Tensor, prepare: Callable[..., Tensor] = unchanged, run: Callable[..., Tensor] = kept
    ) -> Tensor:
        """``prepare`` makes (N, C_in, H, W) out of the inputs."""
        layers, half = list(self), len(self) // 2
        x = run(lambda *inputs: layers[0](prepare(*inputs)), *inputs)
        x = run(nn.Sequential(*layers[1 : half + 1]), x)
        return nn.Sequential(*layers[half + 1 :])(x)


class AttentionGate(nn.Module):
    """Weighs a skip connection by what the decoder is looking for (Oktay et al. 2018, https://arxiv.org/abs/1804.03999).

    ``a = sigmoid(psi(relu(W_x x + W_g g)))`` in [0, 1], one weight a pixel; the skip becomes ``a · x``. The paper
    computes ``a`` at half the resolution; here g has been enlarged already.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.skip = nn.Conv2d(channels, channels // 2, kernel_size=1)
        self.gate = nn.Conv2d(channels, channels // 2, kernel_size=1)
        self.weight = nn.Conv2d(channels // 2, 1, kernel_size=1)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """Skip x and decoder features g, both (N, C, H, W) -> weighted skip (N, C, H, W)."""
        return x * torch.sigmoid(self.weight(torch.relu(self.skip(x) + self.gate(g))))


def upsampling(in_channels: int, out_channels: int, kind: str = "transposed") -> nn.Module:
    """Twice as high and wide: a 2×2 convolution ``transposed``, or ``bilinear`` and a 1×1 convolution."""
    if kind == "transposed":
        return Up2x2(in_channels, out_channels)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.Conv2d(in_channels, out_channels, 1)
    )


class UpBlock(nn.Module):
    """One level of the decoder: enlarge, put the encoder's features of that size beside (the skip), convolve twice."""

    def __init__(
        self, in_channels: int, out_channels: int, batch_norm: bool = True, up: str = "transposed", gated: bool = False
    ):
        super().__init__()
        self.up = upsampling(in_channels, out_channels, up)
        self.gate = AttentionGate(out_channels) if gated else None
        self.convs = DoubleConv(2 * out_channels, out_channels, batch_norm)

    def forward(self, x: Tensor, skip: Tensor, run: Callable[..., Tensor] = kept) -> Tensor:
        """x (N, C_in, H, W), skip (N, C_out, 2H, 2W) -> (N, C_out, 2H, 2W); ``run`` can save memory: ``recomputed``."""
        return self.convs(x, skip, prepare=self.side_by_side, run=run)

    def side_by_side(self, x: Tensor, skip: Tensor) -> Tensor:
        """The skip and the enlarged x (N, 2 · C_out, 2H, 2W)."""
        x = self.up(x)
        return torch.cat([skip if self.gate is None else self.gate(skip, x), x], dim=1)


class UNet(nn.Module):
    """Contract, expand, and hand the details over the skip connections.

    Maps images (N, in_channels, H, W) of any size to logits (N, out_channels, H, W). ``features`` are the widths of
    the levels, each of which halves the size; ``bottleneck`` is the width below the last. ``dropout`` is the share of
    bottleneck channels left out in training. ``init``: ``he`` or ``default`` (PyTorch's). ``up``: ``transposed`` or
    ``bilinear``. Without ``skips``, zeros take the place of the encoder's features in the decoder, to see what they are
    worth. ``checkpointing`` computes what is cheap (normalising, shrinking, enlarging) a second time in the backward
    pass instead of keeping it: less memory, a little more time, the same gradients (``recomputed``).
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        features: Sequence[int] = (64, 128, 256, 512),
        bottleneck: int = 1024,
        dropout: float = 0.0,
        batch_norm: bool = True,
        init: str = "he",
        up: str = "transposed",
        attention: bool = False,
        skips: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__()
        self.skips, self.checkpointing = skips, checkpointing
        ins, ups = [in_channels, *features[:-1]], [bottleneck, *features[:0:-1]]
        self.encoder = nn.ModuleList([DoubleConv(i, o, batch_norm) for i, o in zip(ins, features, strict=True)])
        self.bottleneck = nn.Sequential(DoubleConv(features[-1], bottleneck, batch_norm), nn.Dropout2d(dropout))
        self.decoder = nn.ModuleList(
            [UpBlock(i, o, batch_norm, up, attention) for i, o in zip(ups, features[::-1], strict=True)]
        )
        self.head = nn.Conv2d(features[0], out_channels, kernel_size=1)
        if init == "he":
            init_he_but_gates(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W) logits."""
        height, width = x.shape[-2:]
        run = recomputed if self.checkpointing else kept
        x, skips = pad_to_multiple(x, 2 ** len(self.encoder)), []
        for level in self.encoder:
            x = level(x, prepare=half_size if skips else unchanged, run=run)  # (N, features, H, W), H and W halved
            skips.append(x if self.skips else torch.zeros_like(x))
        convs, dropout = self.bottleneck
        x = dropout(convs(x, prepare=half_size, run=run))
        for level in self.decoder:
            x = level(x, skips.pop(), run)
        return self.head(x)[..., :height, :width]


def init_he_but_gates(model: nn.Module) -> None:
    """``init_he``, but not for the last convolution of a gate, whose sigmoid would start out saturated.

    The head is drawn like the others, although no ReLU follows it. Its first logits are large, and that helps: with
    PyTorch's small ones the liver network generalised worse in all of three seeds (docs/results.md).
    """
    model.apply(init_he)
    for module in model.modules():
        if isinstance(module, AttentionGate):
            module.weight.reset_parameters()


def pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until height and width of (N, C, H, W) are multiples of ``stride``."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % stride, 0, -height % stride), mode="replicate")
