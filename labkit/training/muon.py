"""Muon: momentum whose step is made orthogonal (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

A few directions dominate the gradient of a layer's kernels; the others, in which there is as much to learn, hardly
move. Muon takes a step of about the same length along all of them.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = 3.4445, -4.7750, 2.0315  # Jordan's: they lift small singular values fastest, and end at 0.7 to 1.2


def orthogonal(kernels: Tensor, steps: int = 5) -> Tensor:
    """Roughly the semi-orthogonal matrix nearest to kernels (O, I, h, w) read as (O, I · h · w); same shape, float32.

    That is U Vᵀ of the singular value decomposition U S Vᵀ. Newton and Schulz's iteration comes near it by matrix
    products alone: x <- (a + b x xᵀ + c (x xᵀ)²) x. Singular values above a five-hundredth of the matrix's norm end
    between 0.7 and 1.2 instead of at 1, smaller ones grow by a factor of up to 480. All factors are polynomials of the
    first x xᵀ, which is small, so the wide x itself is multiplied only twice.
    """
    # With 16 bits, or TF32, an eigenvalue of x xᵀ near 0 may turn negative, and would explode.
    matrix = kernels.flatten(1).float()
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)  # no singular value above 1, or the iteration would not converge
    gram = x @ x.T
    identity = torch.eye(len(gram), device=x.device)
    product, (a, b, c) = identity, COEFFICIENTS
    for _ in range(steps):
        factor = a * identity + b * gram + c * (gram @ gram)
        product, gram = factor @ product, factor @ gram @ factor
    x = product @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).reshape(kernels.shape)


class Muon(torch.optim.Optimizer):
    """Muon for the kernels of convolutions, AdamW for the rest: linear layers, biases, the scales of normalisation.

    A step of the kernels is scaled so that an entry is about as large as in AdamW (0.2 of the rate: Liu et al. 2025,
    https://arxiv.org/abs/2502.16982), so one learning rate and one decoupled weight decay serve both.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas})

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    change = self.muon(p, **group) if p.ndim == 4 else self.adam(p, **group)
                    p.sub_(change, alpha=group["lr"])

    def muon(self, p: Tensor, momentum: float, **_: object) -> Tensor:
        """The step of kernels (O, I, h, w) at a rate of 1: Nesterov's momentum, made orthogonal."""
        state = self.state[p]
        if not state:
            state["mean"] = torch.zeros_like(p)
        mean = state["mean"].lerp_(p.grad, 1 - momentum)
        turned = orthogonal(p.grad.lerp(mean, momentum))
        return 0.2 * max(p.shape[0], p[0].numel()) ** 0.5 * turned

    def adam(self, p: Tensor, betas: tuple[float, float], **_: object) -> Tensor:
        """AdamW's step at a rate of 1 (https://arxiv.org/abs/1711.05101)."""
        state = self.state[p]
        if not state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        state["step"] += 1
        mean = state["mean"].lerp_(p.grad, 1 - betas[0]) / (1 - betas[0] ** state["step"].item())
        square = state["square"].lerp_(p.grad.square(), 1 - betas[1]) / (1 - betas[1] ** state["step"].item())
        return mean / (square.sqrt() + 1e-8)
