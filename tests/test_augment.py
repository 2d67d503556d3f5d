"""Augmentation: what it does to a picture, and what its draws depend on."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.data.augment import Augmentation, affine, resize
from labkit.draws import step_seed, uniform

SEEDS = st.integers(0, 2**31 - 1)


def still(n: int) -> dict[str, torch.Tensor]:
    """Arguments of ``affine`` that change nothing."""
    zero = torch.zeros(n)
    return {"degrees": zero, "shift_x": zero, "shift_y": zero, "scale": torch.ones(n)}


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(0, 1000), st.permutations(range(12)), st.integers(1, 11))
def test_a_draw_depends_on_its_sample_and_not_on_the_batch(seed: int, epoch: int, order: list[int], cut: int) -> None:
    together = uniform(seed, epoch, np.array(order), 5)
    apart = torch.cat([uniform(seed, epoch, np.array(order[:cut]), 5), uniform(seed, epoch, np.array(order[cut:]), 5)])
    assert torch.equal(together, apart)


def test_draws_are_even_and_differ_by_seed_epoch_and_sample() -> None:
    draws = uniform(0, 0, np.arange(20_000), 5)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert torch.allclose(draws.mean(0), torch.full((5,), 0.5), atol=0.01)
    assert torch.allclose(draws.var(0), torch.full((5,), 1 / 12), atol=0.005)
    assert torch.corrcoef(draws.T).fill_diagonal_(0).abs().max() < 0.03
    assert not torch.equal(draws, uniform(1, 0, np.arange(20_000), 5))
    assert not torch.equal(draws, uniform(0, 1, np.arange(20_000), 5))
    assert len({step_seed(0, epoch, step) for epoch in range(50) for step in range(50)}) == 2500


def test_affine_that_changes_nothing_changes_nothing() -> None:
    images = torch.rand(3, 2, 9, 14)
    torch.testing.assert_close(affine(images, **still(3)), images, atol=1e-5, rtol=0)


def test_a_quarter_turn_is_counter_clockwise() -> None:
    images = torch.rand(2, 1, 8, 8)
    turned = affine(images, **still(2) | {"degrees": torch.full((2,), 90.0)})
    torch.testing.assert_close(turned, torch.rot90(images, 1, (2, 3)), atol=1e-4, rtol=0)


def test_shifts_go_right_and_down_by_a_share_of_the_side() -> None:
    images = torch.zeros(1, 1, 10, 20)
    images[0, 0, 4, 6] = 1
    moved = affine(images, **still(1) | {"shift_x": torch.tensor([0.25]), "shift_y": torch.tensor([0.2])})
    assert torch.nonzero(moved[0, 0] > 0.99).tolist() == [[6, 11]]


def test_scale_enlarges() -> None:
    images = torch.zeros(1, 1, 16, 16)
    images[..., 6:10, 6:10] = 1
    assert affine(images, **still(1) | {"scale": torch.tensor([2.0])}).sum() > 3.5 * images.sum()


def test_agrees_with_torchvision_on_a_turn_that_is_not_square() -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as reference

    images = torch.rand(1, 1, 12, 20)
    theirs = reference.affine(
        images, angle=-20, translate=[2, 3], scale=1.1, shear=0, interpolation=InterpolationMode.BILINEAR
    )
    ours = affine(
        images,
        degrees=torch.tensor([20.0]),
        shift_x=torch.tensor([2 / 20]),
        shift_y=torch.tensor([3 / 12]),
        scale=torch.tensor([1.1]),
    )
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_augmentation_differs_between_epochs_and_repeats_within() -> None:
    augment, images, samples = Augmentation(10, 0.1, 0.1, True), torch.rand(6, 1, 10, 10), np.arange(6)
    draws = [augment(images, samples, seed, epoch, samples)[0] for seed, epoch in ((0, 3), (0, 3), (0, 4), (1, 3))]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])


def test_about_half_of_the_images_are_flipped_and_the_rest_left_alone() -> None:
    images = torch.arange(4.0).expand(1000, 1, 4, 4)
    out, _ = Augmentation(flip=True)(images, torch.zeros(1000), 0, 0, np.arange(1000))
    flipped = (out[:, 0, 0, 0] == 3).sum().item()
    assert 430 < flipped < 570
    assert torch.equal(out.sort(dim=-1).values, images)


def test_no_augmentation_is_the_identity() -> None:
    images = torch.rand(4, 1, 5, 5)
    assert torch.equal(Augmentation()(images, torch.zeros(4), 0, 0, np.arange(4))[0], images)


def test_resize_keeps_a_flat_image_flat() -> None:
    assert torch.allclose(resize(torch.full((2, 1, 28, 28), 0.5), 32), torch.full((2, 1, 32, 32), 0.5))
    same = torch.rand(1, 1, 8, 8)
    assert resize(same, 8) is same
