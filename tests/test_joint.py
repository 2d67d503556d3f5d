"""Augmentation of image and mask together: the two stay together, and no two epochs or images are alike."""

import numpy as np
import pytest
import torch

from labkit.data.joint import POLICIES, JointAugmentation, elastic
from labkit.data.loading import Batches, Preprocessing, Split

MOVING = [name for name in POLICIES if name != "none"]


def twins(n: int = 6, side: int = 48, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """n equal images of a bright blob off the centre, and its mask."""
    y, x = np.mgrid[:side, :side]
    blob = torch.from_numpy(((y - side * 0.4) ** 2 + (x - side * 0.35) ** 2 < (side / 5) ** 2).astype(np.uint8))
    return blob.float().expand(n, channels, side, side) * 0.8, blob.expand(n, side, side)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_moves_the_image_moves_the_mask(policy: str, channels: int) -> None:
    images, masks = twins(channels=channels)
    pictures, moved = JointAugmentation(policy)(images, masks, 0, 0, np.arange(6))
    assert pictures.shape == images.shape
    assert moved.shape == masks.shape
    bright = pictures.mean(dim=1) > 0.35
    overlap = (bright & (moved > 0)).sum(dim=(1, 2)) / (bright | (moved > 0)).sum(dim=(1, 2))
    assert (overlap > 0.8).all()  # noise and soft edges cost a little; a mask left behind would have less than half


@pytest.mark.parametrize("policy", POLICIES)
def test_masks_keep_their_set_of_values(policy: str) -> None:
    masks = torch.randint(1, 4, (4, 40, 40), dtype=torch.uint8)
    _, moved = JointAugmentation(policy)(torch.rand(4, 3, 40, 40), masks, 1, 2, np.arange(4))
    assert moved.dtype == torch.uint8
    assert set(moved.unique().tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("policy", MOVING)
def test_no_worker_and_no_epoch_repeats_another(policy: str, workers: int) -> None:
    images, masks = twins(12)
    split = Split((images * 255).byte(), masks, np.arange(12))
    batches = Batches(
        split, 2, Preprocessing(48, (0.0,), (1.0,)), JointAugmentation(policy), shuffle=True, workers=workers
    )
    epochs = [torch.cat([x for x, _ in batches.from_step(epoch)]) for epoch in (0, 1)]
    different = {image.numpy().tobytes() for epoch in epochs for image in epoch}
    assert len(different) == 24


@pytest.mark.parametrize("policy", MOVING)
def test_a_draw_depends_on_seed_epoch_and_image_alone(policy: str) -> None:
    images, masks = twins(4)
    augment = JointAugmentation(policy)
    whole, _ = augment(images, masks, 5, 3, np.array([7, 8, 9, 10]))
    torch.rand(100), np.random.default_rng(0).random()
    part, _ = augment(images[:2], masks[:2], 5, 3, np.array([9, 10]))
    assert torch.equal(whole[2:], part)
    for seed, epoch in ((6, 3), (5, 4)):
        assert not torch.equal(augment(images, masks, seed, epoch, np.array([7, 8, 9, 10]))[0], whole)


@pytest.mark.parametrize("size", [64, 192, 512])
def test_elastic_shifts_are_as_large_as_stated(size: int) -> None:
    shifts = []
    for seed in range(20):
        bend = elastic(size)
        bend.set_random_seed(seed)
        maps = bend.get_params_dependent_on_data({"shape": (size, size)}, {})
        rows, columns = np.indices((size, size))
        shifts.append((maps["map_x"] - columns, maps["map_y"] - rows))
    spread = np.sqrt(np.mean(np.square(shifts), axis=(0, 1))) / size  # of each pixel, over seeds and both directions
    assert spread.mean() == pytest.approx(0.007, rel=0.25)
    assert spread.max() < 0.021  # at the edge as well, where a blur has less to average over


def test_no_policy_is_the_identity() -> None:
    images, masks = twins()
    same, same_masks = JointAugmentation("none")(images, masks, 0, 0, np.arange(6))
    assert torch.equal(same, images)
    assert torch.equal(same_masks, masks)
