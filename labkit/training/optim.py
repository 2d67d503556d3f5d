"""Optimisers and learning-rate schedules by name.

A schedule here is a plain function of time: ``schedule(t, scores)`` is the factor on the peak learning rate at time
``t``, in epochs (2.5 is half-way through the third), given the validation scores of the epochs finished so far. With
no state of its own a schedule can be drawn before training and needs nothing in a checkpoint.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from labkit.training.muon import Muon

Schedule = Callable[[float, Sequence[float]], float]


def make_optimiser(
    name: str,
    model: nn.Module,
    learning_rate: float,
    weight_decay: float = 0.0,
    scaled: bool = False,
) -> torch.optim.Optimizer:
    """``adam``, ``adamw`` (https://arxiv.org/abs/1711.05101), ``muon``, or ``sgd`` with momentum 0.9.

    Weight decay in ``adam`` and ``sgd`` is added to the gradient, as in the reports; in ``adamw`` and ``muon`` it
    is decoupled and left off vectors (biases, batch-norm scales), which it only holds back. ``scaled``: a loss scaler
    may skip steps (float16). ValueError for another name.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, fused=True)
    if name == "muon":
        return Muon(groups, lr=learning_rate)
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    if name != "sgd":
        raise ValueError(f"the optimiser is {name!r}, expected 'adam', 'adamw', 'muon' or 'sgd'")
    # Fused SGD would take unwritten memory for its momentum where the scaler skips the very first step.
    return torch.optim.SGD(parameters, learning_rate, 0.9, weight_decay=weight_decay, fused=None if scaled else True)


def constant() -> Schedule:
    """The peak rate throughout."""
    return lambda t, scores: 1.0


def step_decay(every: int, gamma: float = 0.1) -> Schedule:
    """Multiply by ``gamma`` after each ``every`` epochs (torch's StepLR)."""
    return lambda t, scores: gamma ** (int(t) // every)


def one_cycle(epochs: int, rise: float = 0.25, start: float = 0.04, end: float = 1e-4) -> Schedule:
    """Rise from ``start`` to 1 over the first share ``rise`` of training, then fall to ``end``, both as half a cosine.

    Smith and Topin 2017, https://arxiv.org/abs/1708.07120: a high rate in the middle of a short training.
    """

    def factor(t: float, scores: Sequence[float]) -> float:
        share = t / epochs
        if share < rise:
            return half_cosine(start, 1.0, share / rise)
        return half_cosine(1.0, end, min((share - rise) / (1 - rise), 1.0))

    return factor


def half_cosine(start: float, end: float, share: float) -> float:
    """From ``start`` (share 0) to ``end`` (share 1) along half a cosine, flat at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def plateau(patience: int, gamma: float = 0.1) -> Schedule:
    """Multiply by ``gamma`` when the score has not risen for more than ``patience`` epochs.

    As torch's ReduceLROnPlateau with a threshold of 0: any rise counts.
    """

    def factor(t: float, scores: Sequence[float]) -> float:
        best, bad, cuts = -math.inf, 0, 0
        for score in scores:
            bad = 0 if score > best else bad + 1
            best = max(best, score)
            if bad > patience:
                cuts, bad = cuts + 1, 0
        return gamma**cuts

    return factor


def warm_up(schedule: Schedule, epochs: float) -> Schedule:
    """``schedule`` times a factor that rises in a straight line from 0.01 to 1 over the first ``epochs``."""
    if epochs <= 0:
        return schedule
    return lambda t, scores: schedule(t, scores) * min(1.0, 0.01 + 0.99 * t / epochs)


def make_schedule(
    name: str, epochs: int, *, step_size: int = 10, patience: int = 5, warmup_epochs: float = 0.0
) -> Schedule:
    """``constant``, ``step``, ``plateau`` or ``one_cycle``, with a linear warm-up in front if asked for."""
    schedules = {
        "constant": lambda: constant(),
        "step": lambda: step_decay(step_size),
        "plateau": lambda: plateau(patience),
        "one_cycle": lambda: one_cycle(epochs),
    }
    return warm_up(schedules[name](), warmup_epochs)
