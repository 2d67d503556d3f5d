"""Random numbers that follow from (seed, epoch, sample) and from nothing else.

No generator carries state from one image or step to the next, so draws do not depend on batch size, order, workers,
or on where an interrupted epoch went on. The mixing is SplitMix64 (Steele et al. 2014,
https://doi.org/10.1145/2714064.2660195).
"""

import numpy as np
import torch
from torch import Tensor

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(*words: int | np.ndarray) -> np.ndarray:
    """Hash whole numbers, or arrays of them, which broadcast, to evenly spread 64-bit numbers."""
    key = np.zeros(1, np.uint64)
    for word in words:
        key = _scramble(key + GOLDEN * (np.atleast_1d(word).astype(np.uint64) + np.uint64(1)))
    return key


def _scramble(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: each bit of the input changes each bit of the output half of the time."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seed: int, epoch: int, samples: np.ndarray, count: int, start: int = 0) -> Tensor:
    """Numbers in [0, 1), shape (N, count): row i depends on (seed, epoch, samples[i]) alone.

    They are the numbers ``start`` to ``start + count`` of its sequence, so that two uses need not share any.
    """
    keys = mix(seed, epoch, np.asarray(samples)[:, None], np.arange(start, start + count))
    return torch.from_numpy((keys >> np.uint64(40)).astype(np.float32) / np.float32(2**24))


def step_seed(seed: int, epoch: int, step: int) -> int:
    """A seed for what one training step draws on its own (dropout)."""
    return int(mix(seed, epoch, step)[0] >> np.uint64(1))
