"""UNet++ (Zhou et al. 2018, https://arxiv.org/abs/1807.10165): skip connections that are themselves small decoders.

Node (i, j) sits on level i, after j steps of decoding. It sees every earlier node of its level and the node below,
enlarged. The last node of level 0 feeds the head; the paper's deep supervision of the others is left out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labkit.models.recompute import kept, recomputed
from labkit.models.resnet import init_he
from labkit.models.unet import DoubleConv, half_size, pad_to_multiple, unchanged, upsampling


class UNetPlusPlus(nn.Module):
    """Maps images (N, in_channels, H, W) of any size to logits (N, out_channels, H, W); ``features`` are the widths
    of the levels, the bottleneck's last; ``dropout`` and ``checkpointing`` as in UNet."""

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        features: Sequence[int] = (64, 128, 256, 512, 1024),
        dropout: float = 0.0,
        checkpointing: bool = False,
    ):
        super().__init__()
        self.checkpointing = checkpointing
        self.depth = len(features) - 1
        self.nodes, self.ups = nn.ModuleDict(), nn.ModuleDict()
        for i, width in enumerate(features):
            self.nodes[f"{i}_0"] = DoubleConv(features[i - 1] if i else in_channels, width)
            for j in range(1, self.depth - i + 1):
                self.ups[f"{i}_{j}"] = upsampling(features[i + 1], width)
                self.nodes[f"{i}_{j}"] = DoubleConv((j + 1) * width, width)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(features[0], out_channels, kernel_size=1)
        self.apply(init_he)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W) logits."""
        height, width = x.shape[-2:]
        run = recomputed if self.checkpointing else kept
        x = pad_to_multiple(x, 2**self.depth)
        levels: list[list[Tensor]] = []  # levels[i][j]: output of node (i, j)
        for i in range(self.depth + 1):
            x = self.nodes[f"{i}_0"](x, prepare=half_size if i else unchanged, run=run)
            levels.append([self.dropout(x) if i == self.depth else x])
        for j in range(1, self.depth + 1):
            for i in range(self.depth + 1 - j):
                below = self.ups[f"{i}_{j}"](levels[i + 1][j - 1])
                levels[i].append(self.nodes[f"{i}_{j}"](*levels[i], below, prepare=side_by_side, run=run))
        return self.head(levels[0][-1])[..., :height, :width]


def side_by_side(*features: Tensor) -> Tensor:
    """Several (N, C_i, H, W) as one (N, C_1 + C_2 + …, H, W)."""
    return torch.cat(features, dim=1)
