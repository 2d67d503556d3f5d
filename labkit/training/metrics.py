"""Scores, one number per image, and what they add up to.

A metric here is a function ``(logits, targets) -> (N,)``. Means over images then cannot depend on the batch size, on
the order or on the number of processes, and a bootstrap or an interval has something to work on.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import stdtrit  # scipy.stats has the same, and takes seconds to import
from torch import Tensor

from labkit.training.losses import margin

Z95 = 1.959964  # a normal variable lies within ±Z95 standard deviations 95 % of the time


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """1 where the largest of the logits (N, K) is the true class (N,), else 0: (N,) float.

    For logits (N, K, H, W) of pixels with classes (N, H, W): the share of each image's pixels that are right.
    """
    return (logits.argmax(dim=1) == targets).float().reshape(len(targets), -1).mean(dim=1)


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


def student_t(n: int) -> float:
    """The 97.5 % point of Student's t for n values (Student 1908, https://doi.org/10.2307/2331554).

    The mean of n normal values lies within ± this many standard errors of the truth 95 % of the time.
    """
    return float(stdtrit(n - 1, 0.975))


FEW_IMAGES = 6  # below which a bootstrap knows too few values to say anything


def bootstrap(
    values: np.ndarray, statistic: Callable[[np.ndarray], float] = np.mean, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a statistic of ``values`` (N, …): images drawn with replacement."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    found = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(draws)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_of_enough(values: np.ndarray) -> tuple[float, float]:
    """``bootstrap`` of a mean; NaN, NaN for fewer than FEW_IMAGES ``values`` (N,)."""
    return bootstrap(values) if len(values) >= FEW_IMAGES else (math.nan, math.nan)


def confusion_matrix(targets: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """(K, K) counts: row = true class, column = predicted class; targets and predictions are (N,) class numbers."""
    pairs = np.asarray(targets, dtype=np.int64) * num_classes + np.asarray(predictions, dtype=np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Per class of a (K, K) confusion matrix: n, accuracy (its recall) with Wilson interval, precision, F1; each (K,).

    NaN where there is nothing to divide by: a class that was never there, or, for the precision, never predicted.
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


def dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Dice of each image at the threshold p = 0.5: logits (N, 1 or 2, H, W), mask (N, H, W) of 0 and 1 -> (N,)."""
    return dice_of(pixel_counts(margin(logits) > 0, mask > 0))


def pixel_counts(predicted: Tensor, truth: Tensor) -> Tensor:
    """True positive, false positive, false negative and true negative pixels of masks (N, H, W) bool: (N, 4) float64.

    Every overlap score follows from these four, image by image, so none depends on how images were batched.
    """
    parts = (predicted & truth, predicted & ~truth, ~predicted & truth, ~predicted & ~truth)
    kind = torch.float32 if predicted.device.type == "mps" else torch.float64  # Apple's GPU has no float64
    return torch.stack([part.sum(dim=(1, 2)).to(kind) for part in parts], dim=1)


def dice_of(counts: Tensor) -> Tensor:
    """``2 tp / (2 tp + fp + fn)`` of counts (..., 4): (...). 1 where both masks are empty."""
    tp, fp, fn, _ = counts.unbind(-1)
    return torch.where(tp + fp + fn == 0, 1.0, 2 * tp / (2 * tp + fp + fn))


def iou_of(counts: Tensor) -> Tensor:
    """``tp / (tp + fp + fn)`` of counts (..., 4), also known as Jaccard index: (...). 1 where both masks are empty."""
    tp, fp, fn, _ = counts.unbind(-1)
    return torch.where(tp + fp + fn == 0, 1.0, tp / (tp + fp + fn))


def pixel_accuracy_of(counts: Tensor) -> Tensor:
    """Share of the pixels that are right, (...); high wherever the background is large."""
    return (counts[..., 0] + counts[..., 3]) / counts.sum(dim=-1)


def precision_of(counts: Tensor) -> Tensor:
    """Share of the predicted pixels that are right, (...); NaN where nothing was predicted."""
    return counts[..., 0] / (counts[..., 0] + counts[..., 1])


def recall_of(counts: Tensor) -> Tensor:
    """Share of the true pixels that were found, (...); NaN where there are none."""
    return counts[..., 0] / (counts[..., 0] + counts[..., 2])


COUNTS = ("tp", "fp", "fn", "tn")  # what ``pixel_counts`` counts
OVERLAPS = {
    "dice": dice_of,
    "iou": iou_of,
    "pixel_accuracy": pixel_accuracy_of,
    "precision": precision_of,
    "recall": recall_of,
}


def hausdorff95(predicted: np.ndarray, truth: np.ndarray) -> float:
    """How far apart two outlines are, in pixels, but for the worst 5 % of their points; masks (H, W) bool.

    The larger of two 95th percentiles: distances from the one outline to the other, and back (Huttenlocher et al.
    1993, https://doi.org/10.1109/34.232073). NaN unless both masks have a pixel.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt  # slow to import, and not needed by every lab

    if not (predicted.any() and truth.any()):
        return math.nan
    edges = [mask & ~binary_erosion(mask) for mask in (predicted, truth)]
    to_predicted, to_truth = (distance_transform_edt(~edge) for edge in edges)
    return float(max(np.percentile(to_truth[edges[0]], 95), np.percentile(to_predicted[edges[1]], 95)))


def threshold_counts(probabilities: np.ndarray, truth: np.ndarray, steps: int = 100) -> np.ndarray:
    """The four counts of one image at every threshold 0, 1/steps, … 1: (steps + 1, 4).

    ``probabilities`` (H, W) of the foreground, ``truth`` (H, W) bool; foreground is what lies *above* the threshold.
    """
    bins = np.ceil(probabilities * steps).astype(int).clip(0, steps)  # p > t / steps exactly where bin > t
    above = [np.bincount(bins[part], minlength=steps + 1)[::-1].cumsum()[::-1] for part in (truth, ~truth)]
    tp, fp = (np.append(counts[1:], 0) for counts in above)
    return np.stack([tp, fp, truth.sum() - tp, (~truth).sum() - fp], axis=1)
