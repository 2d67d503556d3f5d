"""Compute activations again when the gradient needs them, instead of keeping them: less memory, the same gradients
(Chen et al. 2016, https://arxiv.org/abs/1604.06174).

What is kept of a function is its inputs. Worth most where a function is cheap and what it makes is large: what lies
between the convolutions of a UNet takes 2 % of a step's time at 512×512, and a third of its memory (benchmarks/).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def kept(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function(*inputs)``, of which everything is kept that the backward pass needs."""
    return function(*inputs)


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function(*inputs)``, of which the backward pass computes again what it needs.

    Where the last layer is a convolution, it is not carried out again: it needs its input only. Batch normalisation
    within ``function`` takes its running means once; for that, ``function`` must be a module.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():  # a compiler decides by itself what to keep
        return function(*inputs)
    norms = [m for m in function.modules() if isinstance(m, nn.BatchNorm2d)] if isinstance(function, nn.Module) else []
    twice = lambda: (nullcontext(), statistics_frozen(norms))  # noqa: E731
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=twice)


@contextmanager
def statistics_frozen(norms: list[nn.BatchNorm2d]) -> Iterator[None]:
    """Batch normalisation has taken its running means in the first pass; it must not count the batch again."""
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
