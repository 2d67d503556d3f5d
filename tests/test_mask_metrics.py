"""Overlap scores from per-image counts: against scikit-learn and a brute-force Hausdorff distance."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from labkit.training import metrics
from labkit.training.metrics import OVERLAPS, dice, hausdorff95, pixel_counts, threshold_counts


def example(n: int, side: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, 1, side, side) and masks, some of them empty."""
    torch.manual_seed(seed)
    masks = (torch.rand(n, side, side) < torch.rand(n, 1, 1) - 0.2).long()
    return torch.randn(n, 1, side, side) + 2 * masks[:, None] - 1, masks


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.sampled_from([1, 7, 1000]), st.integers(0, 99))
def test_scores_do_not_depend_on_the_batch_size(n: int, batch: int, seed: int) -> None:
    logits, masks = example(n, seed=seed)
    pairs = list(zip(logits.split(batch), masks.split(batch), strict=True))
    torch.testing.assert_close(torch.cat([dice(x, y) for x, y in pairs]), dice(logits, masks), atol=0, rtol=0)
    counts = torch.cat([pixel_counts(x[:, 0] > 0, y > 0) for x, y in pairs])
    for overlap in OVERLAPS.values():
        whole = overlap(pixel_counts(logits[:, 0] > 0, masks > 0))
        torch.testing.assert_close(overlap(counts), whole, atol=1e-6, rtol=0, equal_nan=True)


def test_scores_are_those_of_independent_implementations() -> None:
    logits, masks = example(30)
    predicted = (logits[:, 0] > 0).long()
    counts = pixel_counts(predicted > 0, masks > 0)
    there = masks.sum(dim=(1, 2)) > 0
    for i in np.flatnonzero(there):
        truth, ours = masks[i].flatten(), predicted[i].flatten()
        assert metrics.dice_of(counts)[i].item() == pytest.approx(f1_score(truth, ours), abs=1e-6)
        assert metrics.iou_of(counts)[i].item() == pytest.approx(jaccard_score(truth, ours), abs=1e-6)
        assert metrics.precision_of(counts)[i].item() == pytest.approx(precision_score(truth, ours), abs=1e-6)
        assert metrics.recall_of(counts)[i].item() == pytest.approx(recall_score(truth, ours), abs=1e-6)
        assert metrics.pixel_accuracy_of(counts)[i].item() == pytest.approx((truth == ours).double().mean().item())


def test_empty_masks_have_a_policy() -> None:
    empty, some = torch.zeros(1, 4, 4, dtype=torch.bool), torch.ones(1, 4, 4, dtype=torch.bool)
    assert metrics.dice_of(pixel_counts(empty, empty)).item() == 1
    assert metrics.iou_of(pixel_counts(empty, empty)).item() == 1
    assert metrics.dice_of(pixel_counts(some, empty)).item() == 0
    assert metrics.precision_of(pixel_counts(empty, some)).isnan().all()
    assert metrics.recall_of(pixel_counts(some, empty)).isnan().all()
    assert math.isnan(hausdorff95(empty[0].numpy(), some[0].numpy()))


def test_dice_and_iou_belong_together_on_one_count_and_not_on_means() -> None:
    logits, masks = example(50)
    counts = pixel_counts(logits[:, 0] > 0, masks > 0)
    d, i = metrics.dice_of(counts), metrics.iou_of(counts)
    torch.testing.assert_close(i, d / (2 - d))
    assert i.mean() > d.mean() / (2 - d.mean())


def test_the_hausdorff_distance_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        pair = []
        for _ in range(2):
            y, x = np.mgrid[:30, :41]
            cy, cx, r = rng.uniform(8, 22), rng.uniform(8, 32), rng.uniform(2, 9)
            pair.append((y - cy) ** 2 + (x - cx) ** 2 < r**2)
        a, b = (np.argwhere(mask & ~binary_erosion(mask)) for mask in pair)
        distances = cdist(a, b)
        theirs = max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))
        assert hausdorff95(*pair) == pytest.approx(theirs)
    assert hausdorff95(pair[0], pair[0]) == 0


def test_threshold_counts_are_counts_at_every_threshold() -> None:
    rng = np.random.default_rng(1)
    p, truth = rng.random((20, 20)), rng.random((20, 20)) < 0.4
    p[0, :3] = (0.0, 0.5, 1.0)
    curve = threshold_counts(p, truth, steps=10)
    for t in range(11):
        said = p > t / 10
        expected = [(said & truth).sum(), (said & ~truth).sum(), (~said & truth).sum(), (~said & ~truth).sum()]
        assert curve[t].tolist() == expected
