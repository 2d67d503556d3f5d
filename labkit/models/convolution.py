"""The convolutions that several networks share, carried out on a processor in the way it is fastest at."""

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDEST, CHANNELS, TOGETHER = 8, 256, 8  # maps of at most 8 pixels a row, of at least 256 channels, up to 8 in a row


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """3×3 convolution, padded; no bias, since batch normalisation follows and has its own."""
    return Conv3x3(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


class Conv3x3(nn.Conv2d):
    """A padded 3×3 convolution: (N, C_in, H, W) -> (N, C_out, H, W), or half of H and W with a stride of 2."""

    def forward(self, x: Tensor) -> Tensor:
        """Small maps of many channels lie side by side where that is faster; the result is the same."""
        return side_by_side(x, super().forward, self.stride[1]) if small_for_amx(x) else super().forward(x)


class Up2x2(nn.ConvTranspose2d):
    """A transposed 2×2 convolution of stride 2: (N, C_in, H, W) -> (N, C_out, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True):
        super().__init__(in_channels, out_channels, kernel_size=2, stride=2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Each pixel becomes a patch of 2×2, and no two patches overlap: one matrix product makes them all."""
        if x.device.type != "cpu" or not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x)
        kernels = self.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (2 · 2 · C_out, C_in)
        bias = None if self.bias is None else self.bias.repeat(4)
        patches = F.linear(x.permute(0, 2, 3, 1), kernels, bias).unflatten(3, (2, 2, -1))  # (N, H, W, 2, 2, C_out)
        return patches.transpose(2, 3).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def side_by_side(x: Tensor, convolve: Callable[[Tensor], Tensor], stride: int = 1) -> Tensor:
    """``convolve`` maps (N, C, H, W), k ≤ TOGETHER of them in a row: (N / k, C, H, k · (W + 1)), and back again.

    The units that multiply matrices (AMX) take 16 pixels of a row at a time. A row of 4 leaves most of them idle, so
    that the last stage of ResNet18 took a third of a training step. The columns of zeros between the maps are the
    padding that each map would have had anyway.
    """
    n, w = len(x), x.shape[-1]
    k, cell = math.gcd(n, TOGETHER), stride * math.ceil((w + 1) / stride)
    rows = F.pad(x, (0, cell - w)).permute(0, 2, 3, 1).unflatten(0, (n // k, k))  # (N / k, k, H, cell, C)
    y = convolve(rows.transpose(1, 2).flatten(2, 3).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    maps = y.unflatten(2, (k, cell // stride))[..., : math.ceil(w / stride), :]  # (N / k, H', k, W', C')
    return maps.transpose(1, 2).flatten(0, 1).contiguous().permute(0, 3, 1, 2)  # channels last


def small_for_amx(x: Tensor) -> bool:
    """Whether ``x`` is what gains: small maps of many channels in bfloat16 on a processor with AMX."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not has_amx():  # a compiler finds its own way
        return False
    if x.shape[-1] > WIDEST or x.shape[1] < CHANNELS:
        return False
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


@functools.cache
def has_amx() -> bool:
    """Whether this processor multiplies matrices of bfloat16 in units of its own."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))
