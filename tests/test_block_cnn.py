"""Lab 4: the block CNN, its widths, and what its parameters refuse."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import params_of, write_idx
from overfitting import learns
from torch import nn

from labkit.data.augment import Augmentation
from labkit.data.geometry import cropped
from labkit.errors import DataError, RequestError
from labkit.labs import block_cnn as lab
from labkit.models import BlockCNN, architecture, count_parameters
from labkit.models.block_cnn import UnitBlock, halved
from labkit.results import plots, words


def test_the_widths_of_the_reports_two_networks() -> None:
    assert halved(588, 10) == [588, 294, 147, 73, 36, 18]
    assert halved(972, 10) == [972, 486, 243, 121, 60, 30, 15]
    assert halved(10, 10) == [10]
    mnist, cifar = BlockCNN(1, 10, 28, blocks=1), BlockCNN(3, 10, 32, blocks=4)
    assert [block.mix[0].out_channels for block in cifar.blocks] == [9, 27, 81, 243]
    assert (count_parameters(mnist), count_parameters(cifar)) == (231_717, 2_626_953)


def test_a_unit_block_adds_its_branch_after_relu_and_halves() -> None:
    block, x = UnitBlock(2, 6).eval(), torch.randn(3, 2, 9, 8)
    wide = block.widen(x)
    assert torch.equal(block(x), nn.functional.max_pool2d(block.mix(wide + block.residual(wide)), 2))
    assert block(x).shape == (3, 6, 4, 4)
    assert (block.residual(wide) >= 0).all()


def test_a_block_that_pools_early_works_on_a_quarter_of_the_pixels() -> None:
    late, early = UnitBlock(2, 6).eval(), UnitBlock(2, 6, early_pool=True).eval()
    early.load_state_dict(dict(zip(early.state_dict(), late.state_dict().values(), strict=True)))  # the same parameters
    x = torch.randn(3, 2, 9, 8)
    convolution, _, norm, _ = early.widen
    nn.init.constant_(norm.weight, -1.0)  # with a positive factor it is the same to pool before and after
    small = norm(nn.functional.max_pool2d(convolution(x), 2)).relu()
    assert torch.equal(early(x), early.mix(small + early.residual(small)))
    assert early(x).shape == late(x).shape
    assert not torch.allclose(early(x), late(x))


@pytest.mark.parametrize(("tail", "early_pool"), [("halving", False), ("pooled", False), ("pooled", True)])
@pytest.mark.parametrize(("size", "blocks"), [(28, 1), (32, 4), (13, 3), (8, 3)])
def test_any_size_it_was_built_for(size: int, blocks: int, tail: str, early_pool: bool) -> None:
    torch.manual_seed(0)
    model = BlockCNN(3, 7, size, blocks, width=4, growth=2, tail=tail, early_pool=early_pool)
    images, labels = torch.rand(14, 3, size, size), torch.arange(14) % 7
    assert architecture(model, (3, size, size))["parameters"].sum() == count_parameters(model)
    assert torch.allclose(model.eval()(images)[2:3], model(images[2:3]), atol=1e-4)
    loss = partial(nn.functional.cross_entropy, target=labels)
    learnt = lambda logits: loss(logits) < 0.5  # noqa: E731  # a guess among seven has ln 7 = 1.95
    assert learns(model.train(), images, loss, learnt, rate=5e-3, steps=150)
    assert all(p.grad is not None for p in model.parameters())


def test_more_blocks_than_the_image_can_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match="halve an image of 28 pixels to nothing"):
        BlockCNN(1, 10, 28, blocks=5)
    with pytest.raises(ValueError, match="the tail is 'pool', expected 'halving' or 'pooled'"):
        BlockCNN(1, 10, 28, tail="pool")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"blocks": 6}, "can be halved only 5 times: take at most 5"),
        ({"crop": 32}, "'crop' is 32, but must be below the side of the image, 32"),
        ({"dataset": "mnist", "crop": 28}, "below the side of the image, 28"),
        ({"erase": 32}, "'erase' is 32, but must be below the side of the image, 32"),
        ({"width": 512, "growth": 4}, "last block 32,768 channels, .* at most 4,096"),
        ({"image_size": 256, "blocks": 1, "tail": "halving"}, "leave 262,144 features, .* at most 16,384"),
        ({"rise_factor": 0.5}, "never below its own minimum"),
        ({"dataset": "cifar"}, "must be one of 'mnist', 'cifar10'"),
    ],
)
def test_what_does_not_fit_together_is_said(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        params_of("04", **changes)


def test_another_number_of_classes_is_said(tmp_path: object) -> None:
    with pytest.raises(DataError, match=r"have 10 classes .* set num_classes to 10"):
        lab.find_data(params_of("04", data_root=str(tmp_path), num_classes=5))


def test_mnist_has_one_channel_and_its_digits_for_names(tmp_path: object) -> None:
    root = write_idx(tmp_path, train=60)
    params = params_of("04", data_root=str(root), dataset="mnist", image_size=28, blocks=1)
    source = lab.find_data(params)
    data = lab.load_data(params, source)
    assert data.class_names == list("0123456789")
    assert json.loads(json.dumps(data.facts(source)))["counts"] == {"train": 48, "validation": 12, "test": 20}
    images, _ = next(lab.batches(params, data.train, lab.preprocessing(params, data), train=True).from_step(0))
    assert lab.build_model(params)(images).shape == (32, 10)


def test_in_evaluation_the_answer_may_be_the_mean_over_the_image_and_its_mirror_image() -> None:
    model = lab.build_model(params_of("04", mirror=True))
    images = torch.rand(3, 3, 32, 32)
    model(images)  # so that batch normalisation has seen something
    once = model.logits(images)
    assert not model.eval()(images).allclose(model.logits(images))
    torch.testing.assert_close(model(images), (model.logits(images) + model.logits(images.flip(3))) / 2)
    torch.testing.assert_close(model(images.flip(3)), model(images))
    assert torch.equal(model.train()(images), once)
    assert architecture(model, (3, 32, 32))["parameters"].sum() == count_parameters(model)


def test_how_a_block_pools_and_what_is_erased_follow_from_the_parameters() -> None:
    for early_pool in (False, True):
        model = lab.build_model(params_of("04", early_pool=early_pool))
        assert [isinstance(block.halve, nn.Identity) for block in model.blocks] == [early_pool] * 4
    assert lab.augmentation(params_of("04", flip=True, crop=2, erase=8)) == Augmentation(flip=True, crop=2, erase=8)


def test_a_crop_moves_by_whole_pixels_and_mirrors_the_edge() -> None:
    images = torch.arange(25.0).view(1, 1, 5, 5).repeat(2, 3, 1, 1)
    moved = cropped(images, torch.tensor([2, 0]), torch.tensor([2, 3]), border=2)
    assert torch.equal(moved[0], images[0])
    padded = nn.functional.pad(images, [2] * 4, mode="reflect")
    assert torch.equal(moved[1], padded[1, :, 3:8, 0:5])
    drawn, _ = Augmentation(crop=2)(images, torch.zeros(2), 0, 0, np.array([3, 4]))
    again, _ = Augmentation(crop=2)(images[1:], torch.zeros(1), 0, 0, np.array([4]))
    assert torch.equal(drawn[1:], again)  # whatever else is in the batch


def test_both_rules_are_drawn_and_told() -> None:
    import pandas as pd

    losses = [1.0, 0.5, *[0.8] * 6]
    history = pd.DataFrame({"epoch": range(1, 9), "train_loss": losses, "val_loss": losses, "val_accuracy": 0.5})
    stops = lab.stop_epochs(params_of("04"), history)
    assert list(stops.values()) == [7, 6]
    ax = plots.plot_stops(history, factor=1.1, stops=stops)
    assert [line.get_xdata()[0] for line in ax.lines[-2:]] == [7, 6]
    said = words.stops(stops, history)
    assert "epochs” stops after epoch 7, where the validation loss is 0.800 (lowest: 0.500, epoch 2)" in said
    assert "(switched off)” would have stopped after epoch 6" in said
    assert "does not stop within these 8 epochs" in words.stops({"a rule": None}, history)
    history.loc[7, "val_loss"] = 0.4  # after both stops, which could not know of it
    assert "(lowest: 0.500, epoch 2)" in words.stops(stops, history)
    assert "0.400" not in words.stops(stops, history)


def test_a_crop_of_more_than_own_digits_have_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, side=14)
    own = {"dataset": "mnist", "source": "official", "limit": 0, "image_size": 28, "blocks": 2}
    with pytest.raises(DataError, match="have 14 pixels, but crop is 20 and erase 0: both must be below"):
        lab.find_data(params_of("04", data_root=str(tmp_path), crop=20, **own))
    assert lab.find_data(params_of("04", data_root=str(tmp_path), crop=13, **own))
