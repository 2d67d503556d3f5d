"""Metrics against independent references, and independence of the batch size."""

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import precision_recall_fscore_support

from labkit.training.losses import cross_entropy
from labkit.training.metrics import (
    accuracy,
    bootstrap,
    confusion_matrix,
    per_class,
    selection_optimism,
    wilson,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(2, 12), st.integers(1, 80), st.integers(0, 999))
def test_accuracy_and_loss_do_not_depend_on_the_batch_size(n: int, k: int, batch: int, seed: int) -> None:
    torch.manual_seed(seed)
    logits, targets = torch.randn(n, k), torch.randint(k, (n,))
    for metric in (accuracy, cross_entropy):
        parts = [metric(x, y) for x, y in zip(logits.split(batch), targets.split(batch), strict=True)]
        torch.testing.assert_close(torch.cat(parts), metric(logits, targets), atol=1e-6, rtol=1e-6)
    theirs = reference.accuracy(logits, targets, task="multiclass", num_classes=k)
    assert accuracy(logits, targets).mean().item() == pytest.approx(theirs.item(), abs=1e-6)


def test_cross_entropy_by_hand() -> None:
    logits, targets = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), torch.tensor([1, 0])
    torch.testing.assert_close(cross_entropy(logits, targets), torch.tensor([math.log(2), -math.log(0.75)]))
    smoothed = -(0.95 * math.log(0.75) + 0.05 * math.log(0.25))
    assert cross_entropy(logits, targets, label_smoothing=0.1)[1].item() == pytest.approx(smoothed)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20_000), st.data())
def test_wilson_agrees_with_scipy(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    interval = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((interval.low, interval.high), abs=1e-7)


def test_wilson_ends_at_0_and_1_exactly_where_it_must() -> None:
    for n in range(1, 2000):
        assert wilson(n, n)[1] == 1
        assert wilson(0, n)[0] == 0
        assert 0 < wilson(0, n)[1] < 1


def test_confusion_of_many_classes_does_not_overflow() -> None:
    codes = np.arange(100, dtype=np.int8)
    assert np.array_equal(confusion_matrix(codes, codes, 100), np.eye(100))


def test_wilson_of_nothing_is_nan() -> None:
    assert all(math.isnan(bound) for bound in wilson(0, 0))


def test_bootstrap_of_a_normal_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap(values)
    assert low < values.mean() < high
    assert (high - low) == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60))
def test_confusion_and_class_scores_agree_with_scikit_learn(k: int, pairs: list[tuple[int, int]]) -> None:
    true, predicted = (np.array([p[i] % k for p in pairs]) for i in (0, 1))
    matrix = confusion_matrix(true, predicted, k)
    assert np.array_equal(matrix, sklearn_confusion(true, predicted, labels=range(k)))
    precision, recall, f1, n = precision_recall_fscore_support(true, predicted, labels=range(k), zero_division=np.nan)
    ours = per_class(matrix)
    np.testing.assert_allclose(ours["accuracy"], recall)
    np.testing.assert_allclose(ours["precision"], precision)
    np.testing.assert_array_equal(ours["n"], n)
    there = n + matrix.sum(axis=0) > 0
    np.testing.assert_allclose(ours["f1"][there], f1[there])


def test_choosing_flatters_only_where_epochs_differ_by_luck() -> None:
    luck = (np.random.default_rng(0).random((20, 300)) < 0.9).astype(float)
    assert selection_optimism(luck)[0] > 0.01
    clear = np.stack([np.zeros(300), np.ones(300)])
    assert selection_optimism(clear) == (0, 0, 0)
    assert all(math.isnan(value) for value in selection_optimism(luck[:1]))
