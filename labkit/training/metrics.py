"""Scores, one number per image, and what they add up to.

A metric here is a function ``(logits, targets) -> (N,)``. Means over images then cannot depend on the batch size, on
the order or on the number of processes, and a bootstrap or an interval has something to work on.
"""

import math

import numpy as np
import torch.nn.functional as F
from torch import Tensor

Z95 = 1.959964  # a normal variable lies within ±Z95 standard deviations 95 % of the time


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of logits (N, K) against class numbers (N,): (N,) values in nats, ``log K`` for a blind guess.

    ``label_smoothing`` e asks for probability ``1 - e + e/K`` for the true class instead of 1
    (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).
    """
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """1 where the largest of the logits (N, K) is the true class (N,), else 0: (N,) float."""
    return (logits.argmax(dim=1) == targets).float()


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share ``right / n`` (Wilson 1927, https://doi.org/10.2307/2276774).

    Unlike ``p ± 1.96 · sqrt(p (1 - p) / n)`` it stays inside [0, 1] and is honest near 1, where digits are.
    NaN, NaN for n = 0.
    """
    if n == 0:
        return math.nan, math.nan
    p, zz = right / n, Z95**2
    centre = (p + zz / (2 * n)) / (1 + zz / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + zz / (4 * n * n)) / (1 + zz / n)
    return (centre - half if right > 0 else 0.0), (centre + half if right < n else 1.0)


def bootstrap(values: np.ndarray, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of ``values`` (N,): images drawn with replacement."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def confusion_matrix(targets: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """(K, K) counts: row = true class, column = predicted class; targets and predictions are (N,) class numbers."""
    pairs = np.asarray(targets, dtype=np.int64) * num_classes + np.asarray(predictions, dtype=np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Per class of a (K, K) confusion matrix: n, accuracy (its recall) with Wilson interval, precision, F1; each (K,).

    NaN where a class was never there, or never predicted.
    """
    right, there, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    low, high = np.array([wilson(int(r), int(n)) for r, n in zip(right, there, strict=True)]).T
    with np.errstate(invalid="ignore"):
        recall, precision, f1 = right / there, right / said, 2 * right / (there + said)
    return {"n": there, "accuracy": recall, "low": low, "high": high, "precision": precision, "f1": f1}


def selection_optimism(scores: np.ndarray, draws: int = 500, seed: int = 0) -> tuple[float, float, float]:
    """By how much choosing the best epoch on some images flatters the score on these images: mean and 95 % range.

    ``scores`` (epochs, N) holds the metric of each image after each epoch. Each draw halves the images at random,
    chooses on either half the epoch that is best there, and compares that half's score with the other's at that
    epoch; the two differences are averaged, so that a pair of halves that like the same epoch gives exactly 0.
    NaN for fewer than two epochs or images.
    """
    if min(scores.shape) < 2:
        return math.nan, math.nan, math.nan
    rng, gaps = np.random.default_rng(seed), []
    for _ in range(draws):
        first, second = np.array_split(rng.permutation(scores.shape[1]), 2)
        a, b = scores[:, first].mean(axis=1), scores[:, second].mean(axis=1)  # (epochs,)
        liked_by_a, liked_by_b = int(a.argmax()), int(b.argmax())
        gaps.append((a[liked_by_a] - b[liked_by_a] + b[liked_by_b] - a[liked_by_b]) / 2)
    low, high = np.quantile(gaps, [0.025, 0.975])
    return float(np.mean(gaps)), float(low), float(high)
