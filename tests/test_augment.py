"""Augmentation: what it does to a picture and to its mask, and what its draws depend on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.data.augment import POLICIES, Augmentation
from labkit.data.geometry import KNOTS, origins, resize, sampled, smooth_field, turned_back
from labkit.data.loading import Batches, Preprocessing, Split
from labkit.draws import step_seed, uniform

MOVING = [name for name in POLICIES if name != "none"]

SEEDS = st.integers(0, 2**31 - 1)


def affine(images: torch.Tensor, **changes: float) -> torch.Tensor:
    """Images, each rotated, shifted and scaled by ``changes``: arguments of ``turned_back`` and ``origins``."""
    still = {"degrees": 0.0, "wider": 1.0, "higher": 1.0, "right": 0.0, "down": 0.0}
    *turn, right, down = (torch.full((len(images),), value) for value in (still | changes).values())
    shape = images.shape[-2:]
    return sampled(images, origins(shape, turned_back(shape, *turn), right, down))


def twins(n: int = 6, side: int = 48, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """n equal images of a bright blob off the centre, and its mask."""
    y, x = np.mgrid[:side, :side]
    blob = torch.from_numpy(((y - side * 0.4) ** 2 + (x - side * 0.35) ** 2 < (side / 5) ** 2).astype(np.uint8))
    return blob.float().expand(n, channels, side, side) * 0.8, blob.expand(n, side, side)


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
    torch.testing.assert_close(affine(images), images, atol=1e-5, rtol=0)


def test_a_quarter_turn_is_counter_clockwise() -> None:
    images = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(affine(images, degrees=90), torch.rot90(images, 1, (2, 3)), atol=1e-4, rtol=0)


def test_shifts_go_right_and_down_by_a_share_of_the_side() -> None:
    images = torch.zeros(1, 1, 10, 20)
    images[0, 0, 4, 6] = 1
    assert torch.nonzero(affine(images, right=0.25, down=0.2)[0, 0] > 0.99).tolist() == [[6, 11]]


def test_width_and_height_are_scaled_apart() -> None:
    images = torch.zeros(1, 1, 16, 16)
    images[..., 6:10, 6:10] = 1
    drawn = affine(images, wider=2, higher=0.5)[0, 0] > 0.5
    assert (drawn.any(0).sum(), drawn.any(1).sum()) == (8, 2)


@pytest.mark.parametrize(("height", "width"), [(12, 20), (20, 12), (16, 16)])
def test_agrees_with_torchvision_whatever_the_shape(height: int, width: int) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as reference

    images = torch.rand(1, 1, height, width)
    theirs = reference.affine(
        images, angle=-20, translate=[2, 3], scale=1.1, shear=0, interpolation=InterpolationMode.BILINEAR
    )
    ours = affine(images, degrees=20, right=2 / width, down=3 / height, wider=1.1, higher=1.1)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_augmentation_differs_between_epochs_and_repeats_within() -> None:
    augment, images, samples = Augmentation(10, 0.1, (0.9, 1.1), True), torch.rand(6, 1, 10, 10), np.arange(6)
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
    assert POLICIES["none"] == Augmentation()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_moves_the_image_moves_the_mask(policy: str, channels: int) -> None:
    images, masks = twins(channels=channels)
    pictures, moved = POLICIES[policy](images, masks, 0, 0, np.arange(6))
    assert pictures.shape == images.shape
    assert moved.shape == masks.shape
    bright = pictures.mean(dim=1) > 0.35
    overlap = (bright & (moved > 0)).sum(dim=(1, 2)) / (bright | (moved > 0)).sum(dim=(1, 2))
    assert (overlap > 0.8).all()  # noise and soft edges cost a little; a mask left behind would have less than half


@pytest.mark.parametrize("policy", POLICIES)
def test_masks_keep_their_set_of_values(policy: str) -> None:
    masks = torch.randint(1, 4, (4, 40, 40), dtype=torch.uint8)
    _, moved = POLICIES[policy](torch.rand(4, 3, 40, 40), masks, 1, 2, np.arange(4))
    assert moved.dtype == torch.uint8
    assert set(moved.unique().tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("policy", MOVING)
def test_no_worker_and_no_epoch_repeats_another(policy: str, workers: int) -> None:
    images, masks = twins(12)
    split = Split((images * 255).byte(), masks, np.arange(12))
    batches = Batches(split, 2, Preprocessing(48, (0.0,), (1.0,)), POLICIES[policy], shuffle=True, workers=workers)
    epochs = [torch.cat([x for x, _ in batches.from_step(epoch)]) for epoch in (0, 1)]
    different = {image.numpy().tobytes() for epoch in epochs for image in epoch}
    assert len(different) == 24


@pytest.mark.parametrize("policy", MOVING)
def test_a_draw_depends_on_seed_epoch_and_image_alone(policy: str) -> None:
    images, masks = twins(4)
    augment = POLICIES[policy]
    whole, _ = augment(images, masks, 5, 3, np.array([7, 8, 9, 10]))
    torch.rand(100), np.random.default_rng(0).random()
    part, _ = augment(images[:2], masks[:2], 5, 3, np.array([9, 10]))
    assert torch.equal(whole[2:], part)
    for seed, epoch in ((6, 3), (5, 4)):
        assert not torch.equal(augment(images, masks, seed, epoch, np.array([7, 8, 9, 10]))[0], whole)


@pytest.mark.parametrize("shape", [(32, 32), (48, 32)])
def test_a_random_field_is_as_strong_as_stated_at_every_pixel(shape: tuple[int, int]) -> None:
    field = smooth_field(2 * torch.rand(4000, 2, KNOTS, KNOTS, generator=torch.Generator().manual_seed(0)) - 1, shape)
    assert field.shape == (4000, *shape, 2)
    spread = field.std(dim=0)
    assert spread.min() > 0.95  # at the edge as well
    assert spread.max() < 1.05
    steps = [field.diff(dim=1).std() * shape[0], field.diff(dim=2).std() * shape[1]]
    assert all(10 < step < 13 for step in steps)  # 16 / √2: smooth over a sixteenth of the side


def test_light_changes_the_image_and_nothing_else() -> None:
    images, masks = twins(400)
    seen, same = Augmentation(contrast=0.5, brightness=0.1)(images, masks, 0, 0, np.arange(400))
    assert torch.equal(same, masks)
    grey = seen[:, 0, masks[0] > 0]
    assert (grey.std(dim=1) == 0).all()
    assert 0.8 * 0.5 - 0.1 < grey.min() < 0.4
    assert grey.max() == 1
    black = seen[:, 0, masks[0] == 0]
    assert black.min() == 0
    assert 0.09 < black.max() <= 0.1


def test_power_and_contrast_go_together_so_that_black_and_middle_grey_stay() -> None:
    images = torch.tensor([0.0, 0.1, 0.4, 0.8]).expand(200, 1, 1, 4)
    augment = Augmentation(contrast=0.5, gamma=(0.6, 1.6))
    black, dark, middle, light = augment(images, torch.zeros(200), 0, 0, np.arange(200))[0].unbind(-1)
    assert torch.equal(black, torch.zeros_like(black))
    assert (middle - 0.4).abs().max() < 0.05
    assert torch.corrcoef(torch.stack([dark.flatten(), light.flatten()]))[0, 1] < -0.9
    assert dark.max() > 0.15
    assert light.max() == 1


def test_the_half_with_less_contrast_is_noisy() -> None:
    images = torch.full((400, 1, 40, 40), 0.5)
    seen, _ = Augmentation(contrast=0.2, noise=0.05)(images, torch.zeros(400), 0, 0, np.arange(400))
    spread, mean = seen.std(dim=(1, 2, 3)), seen.mean(dim=(1, 2, 3))
    assert ((spread == 0) == (mean > 0.5)).float().mean() > 0.98  # at the limit, noise moves the mean
    assert 160 < (spread > 0).sum() < 240
    assert 0.045 < spread.max() < 0.053


def test_resize_keeps_a_flat_image_flat() -> None:
    assert torch.allclose(resize(torch.full((2, 1, 28, 28), 0.5), 32), torch.full((2, 1, 32, 32), 0.5))
    same = torch.rand(1, 1, 8, 8)
    assert resize(same, 8) is same
