"""The first question to any network: can it learn one small batch by heart?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def learns(
    model: nn.Module,
    images: Tensor,
    loss: Callable[[Tensor], Tensor],
    learnt: Callable[[Tensor], Tensor],
    rate: float,
    steps: int,
) -> bool:
    """Whether at most so many steps of Adam make ``learnt(logits)`` true; ``loss(logits)`` is what they make small."""
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        logits = model(images)
        if learnt(logits):
            return True
        optimiser.zero_grad()
        loss(logits).backward()
        optimiser.step()
    return bool(learnt(model(images)))
