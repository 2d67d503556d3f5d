"""The contract that every model keeps, and the facts that the reports state."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from overfitting import learns
from torch import nn

from labkit.errors import RequestError
from labkit.models import (
    ResNet34UNet,
    UNet,
    UNetPlusPlus,
    architecture,
    convolution,
    count_parameters,
    resnet18,
    resnet34,
    resnet50,
)
from labkit.models.convolution import side_by_side
from labkit.models.recompute import recomputed
from labkit.models.resnet import BasicBlock, lesion
from labkit.models.resnet34_unet import PreAddReluBlock, imagenet_names, load_imagenet
from labkit.models.summary import by_stage
from labkit.models.two_decoder import TwoDecoderNet

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
    loss = partial(nn.functional.cross_entropy, target=labels)
    assert learns(model, images, loss, lambda logits: loss(logits) < 0.1, rate=1e-3, steps=25)


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


SEGMENTERS = {
    "unet": lambda i=1, o=1, **k: UNet(i, o, (4, 8, 12), 16, **k),
    "unet_without_norm": lambda i=1, o=1, **k: UNet(i, o, (4, 8, 12), 16, batch_norm=False, **k),
    "unet_without_skips": lambda i=1, o=1, **k: UNet(i, o, (4, 8, 12), 16, skips=False, **k),
    "unet_bilinear": lambda i=1, o=1, **k: UNet(i, o, (4, 8, 12), 16, up="bilinear", init="default", **k),
    "attention_unet": lambda i=1, o=1, **k: UNet(i, o, (4, 8, 12), 16, attention=True, **k),
    "unet_plus_plus": lambda i=1, o=1, **k: UNetPlusPlus(i, o, (4, 8, 12), **k),
    "resnet34_unet": lambda i=1, o=1, **k: ResNet34UNet(i, o, width=4, **{"dropout": 0.0} | k),
    "resnet34_unet_pre_add_relu": lambda i=1, o=1, **k: ResNet34UNet(
        i, o, width=4, block="pre_add_relu", **{"dropout": 0.0} | k
    ),
}
segmenters = pytest.mark.parametrize("build", SEGMENTERS.values(), ids=SEGMENTERS)


@segmenters
@pytest.mark.parametrize("size", [(32, 32), (1, 1), (33, 57), (5, 64)])
def test_masks_are_as_large_as_images(build: Callable[..., nn.Module], size: tuple[int, int]) -> None:
    assert build(3, 2).eval()(torch.rand(2, 3, *size)).shape == (2, 2, *size)


@segmenters
def test_every_parameter_of_a_segmenter_gets_a_gradient(build: Callable[..., nn.Module]) -> None:
    model = build()
    model(torch.rand(3, 1, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@segmenters
def test_a_segmenter_overfits_one_batch(build: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    masks = torch.zeros(3, 32, 32)
    for i in range(3):
        masks[i, 8 * i : 8 * i + 12, 5:25] = 1
    images = masks[:, None] * 0.5 + 0.3 * torch.rand(3, 1, 32, 32)
    loss = partial(nn.functional.binary_cross_entropy_with_logits, target=masks[:, None])
    learnt = lambda logits: ((logits[:, 0] > 0) == (masks > 0)).float().mean() > 0.98  # noqa: E731
    assert learns(build(), images, loss, learnt, rate=1e-2, steps=90)


@segmenters
def test_a_segmenter_is_the_same_by_seed_and_scores_an_image_alike_alone(build: Callable[..., nn.Module]) -> None:
    models = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.append(build().eval())
    images = torch.rand(4, 1, 24, 24)
    assert torch.equal(models[0](images), models[1](images))
    assert not torch.equal(models[0](images), models[2](images))
    torch.testing.assert_close(models[0](images)[2:3], models[0](images[2:3]), atol=1e-4, rtol=1e-4)


@segmenters
def test_a_segmenters_architecture_table_adds_up(build: Callable[..., nn.Module]) -> None:
    model = build()
    table = architecture(model, (1, 64, 64))
    assert table["parameters"].sum() == count_parameters(model)
    assert by_stage(table)["parameters"].sum() == count_parameters(model)


@segmenters
def test_checkpointing_changes_memory_and_nothing_else(build: Callable[..., nn.Module]) -> None:
    images, results = torch.rand(3, 1, 64, 64), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = build(checkpointing=checkpointing, dropout=0.3)
        torch.manual_seed(1)  # the same channels are dropped
        kept = {}  # the numbers of each block of memory, once however many layers keep it
        keep = lambda t, kept=kept: kept.update({t.untyped_storage().data_ptr(): t.numel()}) or t  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            loss = model(images).square().mean()
        loss.backward()
        results.append(([p.grad for p in model.parameters()], list(model.buffers()), sum(kept.values())))
    (plain, plain_buffers, much), (twice, twice_buffers, little) = results
    assert all(torch.equal(a, b) for a, b in zip(plain, twice, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain_buffers, twice_buffers, strict=True))  # running means, too
    assert little < 0.7 * much  # 0.31 to 0.67


def test_what_is_computed_again_ends_before_a_last_convolution() -> None:
    convolution, norm, counts = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), {"norm": 0, "convolution": 0}
    for name, layer in (("norm", norm), ("convolution", convolution)):
        layer.register_forward_hook(lambda *_, name=name: counts.update({name: counts[name] + 1}))
    recomputed(nn.Sequential(norm, nn.ReLU(), convolution), torch.rand(2, 4, 8, 8, requires_grad=True)).sum().backward()
    assert counts == {"norm": 2, "convolution": 1}
    assert norm.num_batches_tracked == 1


def test_unet_has_the_reports_parameter_counts() -> None:
    assert count_parameters(UNet(1, 1)) == 31_036_481
    assert count_parameters(UNet(1, 2)) == 31_036_546
    assert 20.4e6 < count_parameters(UNet(1, 1, bottleneck=512)) < 20.6e6  # the report's drawing


def test_he_initialisation_is_larger_than_pytorchs() -> None:
    spreads = []
    for init in ("he", "default"):
        torch.manual_seed(0)
        spreads.append(UNet(init=init, features=(64, 64), bottleneck=64).bottleneck[0][0].weight.std().item())
    assert spreads[0] == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert spreads[1] < spreads[0] / 2


def test_the_reports_block_adds_after_relu() -> None:
    block, x = PreAddReluBlock(4, 4).eval(), torch.rand(2, 4, 6, 6) - 0.5
    branch = block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(x)))))
    torch.testing.assert_close(block(x), x + torch.relu(branch))
    assert (block(x) >= x).all()  # it can only add


def test_torchvisions_weights_fit_the_encoder() -> None:
    from torchvision import models as reference

    theirs = reference.resnet34(weights=None).eval()
    ours = ResNet34UNet(3, 1).eval()
    wanted = {n for n in ours.state_dict() if n.startswith(("stem.", "stages."))}
    found = imagenet_names(theirs.state_dict())
    assert set(found) == wanted
    ours.load_state_dict(found, strict=False)
    x = torch.rand(1, 3, 64, 64)
    y = theirs.layer4(
        theirs.layer3(theirs.layer2(theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x)))))))
    )
    z = nn.functional.max_pool2d(ours.stem(x), 3, 2, 1)
    for level in ours.stages:
        z = level(z)
    torch.testing.assert_close(z, y)


def test_imagenet_weights_that_cannot_be_had_are_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody answers there
    with pytest.raises(RequestError, match=r"could not be downloaded .* take a model without 'imagenet'"):
        load_imagenet(ResNet34UNet(3, 1))
    with pytest.raises(RequestError, match="fit only width 64"):
        load_imagenet(ResNet34UNet(3, 1, width=8))


@pytest.mark.parametrize(
    ("images", "shape", "stride"),
    [(8, (4, 4), 1), (6, (7, 7), 2), (5, (8, 8), 2), (16, (1, 1), 1), (4, (5, 3), 2), (1, (6, 6), 1)],
)
def test_maps_side_by_side_are_convolved_as_they_are_alone(images: int, shape: tuple[int, int], stride: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 3, 3, stride, padding=1, bias=False, dtype=torch.float64)
    x = torch.randn(images, 4, *shape, dtype=torch.float64, requires_grad=True)
    expected, found = plain(x), side_by_side(x, plain, stride)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    towards = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, [x, plain.weight], towards) for y in (expected, found)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_small_maps_lie_side_by_side_only_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "has_amx", lambda: True)
    calls = []
    monkeypatch.setattr(convolution, "side_by_side", lambda *given: calls.append(given[2]) or side_by_side(*given))
    layer, x = convolution.conv3x3(256, 8), torch.randn(8, 256, 4, 4)
    halving, y = convolution.conv3x3(256, 8, stride=2), torch.randn(8, 256, 7, 7)
    assert not convolution.small_for_amx(x)  # in float32
    plain, half = layer(x), halving(y)
    assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution.small_for_amx(x)
        assert not any(convolution.small_for_amx(y) for y in (x[:, :255], torch.randn(1, 256, 9, 9)))
        torch.testing.assert_close(layer(x).float(), plain, atol=0.05, rtol=0.05)
        torch.testing.assert_close(halving(y).float(), half, atol=0.05, rtol=0.05)
        assert calls == [1, 2]
        monkeypatch.setattr(convolution, "has_amx", lambda: False)
        assert not convolution.small_for_amx(x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_patches_by_one_matrix_product_are_a_transposed_convolution(bias: bool, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer, plain = convolution.Up2x2(6, 4, bias).double(), nn.ConvTranspose2d(6, 4, 2, 2, bias=bias).double()
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(3, 6, 5, 7, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    found, expected = layer(x), plain(x)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=layout)
    towards = torch.randn_like(expected)
    pairs = (layer, found), (plain, expected)
    gradients = [torch.autograd.grad(y, [x, *net.parameters()], towards) for net, y in pairs]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_each_of_the_two_decoders_has_its_rows() -> None:
    parts = by_stage(architecture(TwoDecoderNet(), (3, 32, 32))).set_index("part")["output"]
    assert [name for name in parts.index if name.startswith("decoders.1")] == [f"decoders.1.{i}" for i in range(3)]
    assert (parts["heads.0"], parts["heads.1"]) == ("2 × 32 × 32", "10 × 32 × 32")
