"""The contract that every model keeps, and the facts that the reports state."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from labkit.models import architecture, count_parameters, resnet18, resnet34, resnet50
from labkit.models.resnet import BasicBlock, lesion
from labkit.models.summary import by_stage

CLASSIFIERS = [resnet18, resnet34, resnet50]
classifiers = pytest.mark.parametrize("build", CLASSIFIERS, ids=lambda build: build.__name__)


@classifiers
@pytest.mark.parametrize("size", [(28, 28), (1, 1), (13, 7), (32, 32)])
def test_any_size_and_channels_give_one_row_of_logits_an_image(
    build: Callable[..., nn.Module], size: tuple[int, int]
) -> None:
    model = build(in_channels=3, num_classes=7).eval()
    assert model(torch.rand(2, 3, *size)).shape == (2, 7)


@classifiers
def test_every_parameter_gets_a_gradient(build: Callable[..., nn.Module]) -> None:
    model = build()
    model(torch.rand(4, 1, 12, 12)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@classifiers
def test_overfits_one_batch(build: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model, images, labels = build(num_classes=4), torch.rand(8, 1, 8, 8), torch.arange(8) % 4
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(25):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


@classifiers
def test_the_same_seed_draws_the_same_weights(build: Callable[..., nn.Module]) -> None:
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(build().eval()(torch.ones(1, 1, 9, 9)))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@classifiers
def test_an_image_is_scored_alike_alone_and_in_a_batch(build: Callable[..., nn.Module]) -> None:
    model, images = build().eval(), torch.rand(5, 1, 12, 12)
    torch.testing.assert_close(model(images)[3:4], model(images[3:4]), atol=1e-4, rtol=1e-4)


def test_resnet18_for_mnist_has_the_reports_parameter_count() -> None:
    assert count_parameters(resnet18(in_channels=1, num_classes=10)) == 11_172_810


def test_deeper_ones_match_torchvision_but_for_the_stem() -> None:
    from torchvision import models as reference

    for ours, theirs in (
        (resnet18, reference.resnet18),
        (resnet34, reference.resnet34),
        (resnet50, reference.resnet50),
    ):
        stem = 7 * 7 * 3 * 64 - 3 * 3 * 3 * 64
        assert count_parameters(ours(3, 1000)) == count_parameters(theirs()) - stem


def test_feature_maps_shrink_as_in_the_report() -> None:
    outputs = by_stage(architecture(resnet18(), (1, 28, 28))).set_index("part")["output"]
    assert outputs["stem"] == "64 × 28 × 28"
    assert outputs["stages.1.1"] == "128 × 14 × 14"
    assert outputs["stages.3.1"] == "512 × 4 × 4"
    assert outputs["pool"] == "512 × 1 × 1"


@classifiers
def test_architecture_table_adds_up_and_leaves_the_model_as_it_was(build: Callable[..., nn.Module]) -> None:
    model = build().train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    table = architecture(model, (1, 28, 28))
    assert table["parameters"].sum() == count_parameters(model)
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_a_block_adds_its_branch_to_its_input() -> None:
    block, x = BasicBlock(4, 4).eval(), torch.rand(2, 4, 6, 6)
    with lesion(block, "branch"):
        assert torch.equal(block(x), x)
    with lesion(block, "shortcut"):
        assert not torch.allclose(block(x), x)
    assert torch.allclose(block(x), torch.relu(x + block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(x)))))))
