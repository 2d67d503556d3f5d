"""Segmentation losses: by hand, against libraries, and what each report's mistake does."""

import math

import pytest
import torch
from torch.nn import functional as F

from labkit.training import losses


def example(n: int = 4, side: int = 9, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return 3 * torch.randn(n, channels, side, side), (torch.rand(n, side, side) < 0.3).long()


@pytest.mark.parametrize("name", losses.SEGMENTATION)
def test_a_loss_is_one_number_an_image_whatever_the_batch(name: str) -> None:
    logits, mask = example()
    loss = losses.SEGMENTATION[name]
    whole = loss(logits, mask)
    assert whole.shape == (4,)
    alone = torch.cat([loss(logits[i : i + 1], mask[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(whole, alone)


@pytest.mark.parametrize("name", losses.SEGMENTATION)
def test_a_loss_is_lower_where_the_answer_is_better_and_has_a_finite_gradient(name: str) -> None:
    _, mask = example()
    right = (2.0 * mask - 1)[:, None] * 4
    loss = losses.SEGMENTATION[name]
    assert (loss(right, mask) < loss(0 * right, mask)).all()
    assert (loss(0 * right, mask) < loss(-right, mask)).all()
    for extreme in (1e4, -1e4):
        logits = torch.full((2, 1, 5, 5), extreme, requires_grad=True)
        value = loss(logits, torch.zeros(2, 5, 5).long()).sum()
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_one_logit_or_two_are_the_same_function() -> None:
    logits, mask = example(channels=2)
    theirs = F.cross_entropy(logits, mask, reduction="none").mean(dim=(1, 2))
    torch.testing.assert_close(losses.pixel_cross_entropy(logits, mask), theirs)
    one = (logits[:, 1] - logits[:, 0])[:, None]
    for loss in losses.SEGMENTATION.values():
        torch.testing.assert_close(loss(one, mask), loss(logits, mask))


def test_dice_loss_by_hand() -> None:
    logits = torch.full((1, 1, 1, 4), 50.0)  # p = 1 on four pixels
    mask = torch.tensor([[[1, 1, 0, 0]]])
    assert losses.dice_loss(logits, mask).item() == pytest.approx(1 - (2 * 2 + 1) / (4 + 2 + 1))
    assert losses.dice_loss(-logits, 0 * mask).item() == pytest.approx(0)


def test_special_cases_coincide() -> None:
    logits, mask = example()
    torch.testing.assert_close(losses.tversky_loss(logits, mask, 0.5, 0.5), losses.dice_loss(logits, mask))
    torch.testing.assert_close(losses.focal_loss(logits, mask, gamma=0.0), losses.pixel_cross_entropy(logits, mask))
    torch.testing.assert_close(losses.half_ce_half_dice(logits, mask), losses.bce_dice(logits, mask) / 2)


def test_tversky_fears_a_missed_pixel_more_than_a_false_one() -> None:
    mask = torch.zeros(1, 4, 4).long()
    mask[:, :2] = 1
    sure = (2.0 * mask - 1)[:, None] * 50
    missed, false = sure.clone(), sure.clone()
    missed[0, 0, 0, 0], false[0, 0, 3, 0] = -50, 50
    assert losses.tversky_loss(missed, mask) > losses.tversky_loss(false, mask)


def test_a_second_sigmoid_keeps_the_loss_of_a_perfect_answer_high() -> None:
    mask = torch.tensor([[[1, 0]]])
    perfect = torch.tensor([[[[60.0, -60.0]]]])
    floor = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    assert losses.double_sigmoid_loss(perfect, mask).item() == pytest.approx(floor, abs=1e-6)
    assert losses.bce_dice(perfect, mask).item() == pytest.approx(0, abs=1e-6)
