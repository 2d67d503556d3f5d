"""Lab 5: digits on photos, the network with two decoders, and scores worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import params_of, write_idx
from overfitting import learns
from test_cifar10 import write_batches
from test_segmentation import check_resumed
from torch import nn

from labkit.data import composite, mnist
from labkit.data.composite import DigitOnPhoto, digits_of_size
from labkit.data.loading import Split, split_off_validation
from labkit.errors import DataError, RequestError
from labkit.labs import digit_on_photo as lab
from labkit.labs import pair_scoring
from labkit.labs.pair_scoring import ClassMaps
from labkit.models import ImageClassNet, TwoDecoderNet, architecture, count_parameters
from labkit.models.two_decoder import chain_rule, log_joint, outer_product
from labkit.results import pairs, tables, words
from labkit.training.losses import cross_entropy
from labkit.training.metrics import accuracy


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root where both samples are made."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def data(root: Path) -> lab.Data:
    params = params_of("05", data_root=str(root), limit=200)
    return lab.load_data(params, lab.find_data(params))


def strokes(count: int, size: int) -> Split:
    """Digits with one vertical stroke, as many classes as digits."""
    images = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    images[..., size // 2] = 200
    return Split(images, torch.arange(count), np.arange(count))


def test_every_image_has_exactly_two_classes_a_digits_and_a_photos(data: lab.Data) -> None:
    for classes in (*data.val.targets, *data.test.targets):
        digit, photo = torch.unique(classes)
        assert digit < 10 <= photo < 20


def test_no_digit_is_held_out_where_the_test_chooses_the_epoch(root: Path, data: lab.Data) -> None:
    params = params_of("05", data_root=str(root), limit=200, select_on="test")
    chosen_on_test = lab.load_data(params, lab.find_data(params))
    assert chosen_on_test.digits["train"] == data.digits["train"] + data.digits["val"]
    assert chosen_on_test.digits["val"] == chosen_on_test.digits["test"] == data.digits["test"]
    assert torch.equal(chosen_on_test.val.images[:], data.test.images[:])


def test_images_are_normalised_by_training_pairs_from_everywhere(
    data: lab.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "SEEN", 20)
    some = data.train.subset(np.linspace(0, len(data.train) - 1, 20).astype(int))
    seen = data.compose.fixed(some).images / 255
    assert lab.preprocessing(params_of("05"), data).mean == pytest.approx(seen.mean(dim=(0, 2, 3)).tolist(), abs=1e-4)


@pytest.mark.parametrize("ink", composite.INKS)
@pytest.mark.parametrize("place", composite.PLACES)
def test_a_pair_follows_from_seed_epoch_and_photo_alone(ink: str, place: str) -> None:
    lay = DigitOnPhoto(strokes(5, 12), 5, place, ink)
    photos, labels, samples = torch.rand(8, 3, 16, 16), torch.arange(8) % 5, np.arange(8) + 100
    images, classes = lay(photos, labels, 3, 1, samples)
    some = [6, 2]
    again = lay(photos[some], labels[some], 3, 1, samples[some])
    assert torch.equal(images[some], again[0])
    assert torch.equal(classes[some], again[1])
    for seed, epoch in ((4, 1), (3, 2)):
        assert not torch.equal(classes, lay(photos, labels, seed, epoch, samples)[1])
    digit = classes < 5
    assert torch.equal(digit.sum(dim=(1, 2)), torch.full((8,), 12))  # the stroke, whole, wherever it lies
    assert torch.equal(classes[~digit].view(8, -1)[:, 0], 5 + labels)
    assert torch.equal(images.movedim(1, -1)[~digit], photos.movedim(1, -1)[~digit])  # the photo is as it was
    columns = {int(m.any(dim=0).nonzero()[0]) for m in digit}
    assert columns == {8} if place == "centre" else len(columns) > 1


def test_ink_covers_as_it_is_opaque() -> None:
    photos = torch.full((1, 3, 16, 16), 0.5)
    for ink, value in (("white", 0.5 + 0.5 * 200 / 255), ("black", 0.5 - 0.5 * 200 / 255)):
        image, classes = DigitOnPhoto(strokes(1, 12), 1, "centre", ink)(
            photos, torch.zeros(1).long(), 0, 0, np.arange(1)
        )
        assert torch.allclose(image[0, :, classes[0] == 0], torch.tensor(value))


def test_digits_of_one_part_stay_in_it_and_test_pairs_stay_the_same(root: Path) -> None:
    one, other = (params_of("05", data_root=str(root), limit=0, seed=seed) for seed in (0, 1))
    source = lab.find_data(one)
    first, second = lab.load_data(one, source), lab.load_data(other, source)
    assert torch.equal(first.test.images, second.test.images)
    assert torch.equal(first.test.targets, second.test.targets)
    assert first.digits == {"train": 1293, "val": 144, "test": 360}
    assert set(first.train.samples).isdisjoint(first.val.samples)
    _, held_out = split_off_validation(mnist.load(source.sources[0], 10)[0], one.validation_share, one.seed)
    assert set(first.compose.digits.samples).isdisjoint(held_out.samples)
    assert len(first.compose.digits) == first.digits["train"]
    assert len(first.facts(source)["class_names"]) == 20


def test_training_pairs_differ_between_epochs_and_not_between_workers(root: Path) -> None:
    params = params_of("05", data_root=str(root), limit=60)
    data = lab.load_data(params, lab.find_data(params))
    train = lab.batches(params, data.train, lab.preprocessing(params, data), data.compose)
    epochs = [[classes for _, classes in train.from_step(epoch)] for epoch in (0, 0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(*epochs[:2], strict=True))
    train.workers = 2
    assert all(torch.equal(a, b) for a, (_, b) in zip(epochs[0], train.from_step(0), strict=True))
    assert not torch.equal(epochs[0][0], epochs[2][0])


def test_a_blank_digit_is_refused_and_sizes_are_kept() -> None:
    digits, file = strokes(3, 28), Path("some-digits")
    assert digits_of_size(digits, 20, file).images.shape == (3, 1, 20, 20)
    digits.images[1] = 0
    with pytest.raises(DataError, match="Image 1 of some-digits is blank at 20 pixels, or fills"):
        digits_of_size(digits, 20, file)
    digits.images[1, 0, 3, 3] = 1  # which vanishes
    with pytest.raises(DataError, match=r"Image 1 of some-digits is blank at 8 pixels.* larger digit_size"):
        digits_of_size(digits, 8, file)


def test_digits_and_photos_may_have_the_same_names() -> None:
    assert lab.pair_classes(2, ["cat", "ship"]) == ["0", "1", "cat", "ship"]
    names = lab.pair_classes(2, ["1", "true"])
    assert names == ["0", "1", "photo 1", "photo true"]
    confusion = tables.with_classes(pair_scoring.pixel_confusion(by_hand(), [*names[:3], "true"]))
    assert confusion.columns.is_unique
    _, right = pairs.plot_confusion_blocks(confusion, num_classes=2).axes
    assert [text.get_text() for text in right.texts] == ["83", "17", "100"]


def test_what_is_said_of_digits_and_photos_is_said_of_each(root: Path) -> None:
    params = params_of("05", data_root=str(root))
    both = lab.find_data(params)
    assert both.caveat().count("**Sample data**") == 1
    digits, photos = both.sources
    found = replace(digits, verified=True), replace(photos, kind="official", odd=(), complete=False)
    said = replace(both, sources=found).caveat()
    assert said.startswith("Handwritten digits (sample): The data are the published files, to the last byte. Textures")
    assert "not the published ones" in said
    assert "the rest" not in said


def test_too_few_digits_and_other_numbers_of_classes_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, train=3, test=30, classes=3)
    write_batches(tmp_path, train=24, test=40)
    small = {"source": "official", "limit": 0, "digit_size": 28}
    with pytest.raises(
        DataError, match="have 3 classes, but num_classes is 10: set it to the number of classes that digits"
    ):
        lab.find_data(params_of("05", data_root=str(tmp_path), **small))
    with pytest.raises(DataError, match="No digit of 3 is left for training: give more"):
        lab.find_data(params_of("05", data_root=str(tmp_path), num_classes=3, validation_share=0.9, **small))
    assert lab.find_data(params_of("05", data_root=str(tmp_path), num_classes=3, validation_share=0.4, **small))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_classes": 129}, "from 2 to 128"),
        ({"digit_size": 33}, "more than fits an image_size of 32"),
        ({"crop": 32}, "more than fits"),
        ({"rival": "two_decoders"}, "like 'model'"),
        ({"ink": "red"}, "must be one of 'white', 'black', 'colour'"),
    ],
)
def test_what_does_not_fit_together_is_said(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        params_of("05", **changes)


def test_auto_mixes_no_sample_with_real_data(tmp_path: Path) -> None:
    from conftest import write_idx

    source = composite.find(write_idx(tmp_path), "auto")  # digits are there, photos are not
    assert (source.kind, [part.kind for part in source.sources]) == ("sample", ["sample", "sample"])
    with pytest.raises(DataError, match="No folder cifar-10-batches-py"):
        composite.find(tmp_path, "official")


@pytest.mark.parametrize("name", lab.MODELS)
def test_the_contract_of_a_network_with_two_answers(name: str) -> None:
    model = lab.build_model(params_of("05", num_classes=4, width=8, model=name, rival="none"))
    for size in ((32, 32), (1, 1), (13, 7)):
        assert model.eval()(torch.rand(2, 3, *size)).shape == (2, 8, *size)
    assert architecture(model, (3, 32, 32))["parameters"].sum() == count_parameters(model)
    images, classes = torch.rand(4, 3, 16, 16), torch.arange(4)[:, None, None].repeat(1, 16, 16)
    classes = torch.where(torch.arange(16) < 8, classes, 4 + classes)
    images[..., :8] += 1 + torch.arange(4.0)[:, None, None, None]
    loss = lambda logits: cross_entropy(logits, classes).mean()  # noqa: E731
    learnt = lambda logits: accuracy(logits, classes).mean() > 0.9  # noqa: E731
    assert learns(model.train(), images, loss, learnt, rate=1e-2, steps=80)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_two_decoders_have_one_more_and_the_reports_widths() -> None:
    two, one = TwoDecoderNet(), TwoDecoderNet(decoders=1)
    for wrong in ({"decoders": 3}, {"joint": "sum"}):
        with pytest.raises(ValueError, match="expected 1 or 2, and one of"):
            TwoDecoderNet(**wrong)
    assert count_parameters(two) - count_parameters(one) == count_parameters(one.decoders[0])
    assert [count_parameters(m) for m in (two, one, ImageClassNet())] == [4_218_604, 2_711_084, 764_022]
    levels = [level[0].out_channels for level in two.encoder]
    assert levels == [32, 64, 128, 256]


def test_the_joint_is_a_distribution_and_the_product_is_not() -> None:
    source, kind = torch.randn(2, 2, 3, 3), torch.randn(2, 10, 3, 3)
    p = log_joint(source, kind).exp()
    assert torch.allclose(p.sum(dim=1), torch.ones(2, 3, 3))
    assert torch.allclose(p[:, 10:].sum(dim=1), source.softmax(dim=1)[:, 1])
    assert torch.allclose(outer_product(source, kind)[:, 13], source[:, 1] * kind[:, 3])


def test_the_chain_rule_gives_a_distribution_that_takes_source_and_class_for_dependent() -> None:
    source, kind = torch.randn(2, 2, 3, 3), torch.randn(2, 10, 1, 1)
    p = chain_rule(source, kind).exp()
    assert torch.allclose(p.sum(dim=1), torch.ones(2, 3, 3))
    assert torch.allclose(p[:, :5].sum(dim=1), source.softmax(dim=1)[:, 0])
    expected = source.softmax(dim=1)[:, 1] * kind[:, 5:].softmax(dim=1)[:, 3]
    assert torch.allclose(p[:, 8], expected)


def test_the_class_of_the_whole_image_is_the_same_at_every_pixel() -> None:
    model = ImageClassNet(num_classes=4, width=8).eval()
    answers = model(torch.rand(3, 3, 19, 16)).unflatten(1, (2, 4)).log_softmax(dim=2)
    assert torch.allclose(answers, answers[..., :1, :1], atol=1e-5)
    sources = model(torch.rand(3, 3, 19, 16)).unflatten(1, (2, 4)).logsumexp(dim=2)  # (3, 2, 19, 16)
    assert sources.std(dim=(2, 3)).min() > 0


def test_losses_and_accuracy_of_pixels_are_means_over_an_image() -> None:
    logits, classes = torch.randn(3, 5, 4, 6), torch.randint(0, 5, (3, 4, 6))
    expected = nn.functional.cross_entropy(logits, classes, reduction="none").mean(dim=(1, 2))
    assert torch.allclose(cross_entropy(logits, classes), expected)
    assert torch.allclose(accuracy(logits, classes), (logits.argmax(1) == classes).float().mean(dim=(1, 2)))


def by_hand() -> ClassMaps:
    """Two images of 2 × 4 pixels, K = 2: in the first the digit's class is wrong, in the second one pixel's source."""
    truth = torch.tensor([[[0, 0, 3, 3]] * 2, [[1, 2, 2, 2]] * 2])
    said = torch.tensor([[[1, 1, 3, 3]] * 2, [[1, 2, 2, 2], [2, 2, 2, 3]]])
    digit, photo = torch.tensor([[[1] * 4] * 2, [[1] * 4] * 2]), torch.tensor([[[3] * 4] * 2, [[2] * 4] * 2])
    return ClassMaps(truth, said, digit, photo, 2)


def test_scores_by_hand() -> None:
    maps, names = by_hand(), ["0", "1", "cat", "ship"]
    table = pair_scoring.pixel_table(maps, np.array([7, 9]), names)
    assert table["pixel_accuracy"].tolist() == [0.5, 0.75]
    assert table["digit_accuracy"].tolist() == [0.0, 0.5]
    assert table["photo_accuracy"].tolist() == pytest.approx([1.0, 5 / 6])
    assert table["source_accuracy"].tolist() == [1.0, 7 / 8]
    assert table[["digit", "photo", "said_digit", "said_photo"]].to_numpy().tolist() == [
        ["0", "ship", "1", "ship"],
        ["1", "cat", "1", "cat"],
    ]
    limits = pair_scoring.what_limits(maps).set_index("predictor")["pixel accuracy"]
    assert limits["this network"] == pytest.approx(10 / 16)
    assert limits["this network, told the mask"] == pytest.approx(12 / 16)
    assert limits["this network's mask, told both classes"] == pytest.approx(15 / 16)
    assert limits["knows the mask and the digit, guesses the photo"] == pytest.approx(6 / 16 + 10 / 16 / 2)
    assert limits["always the most frequent class"] == pytest.approx(6 / 16)
    iou = pair_scoring.mean_iou(pair_scoring.overlap_counts(maps))
    assert iou == pytest.approx(np.mean([0 / 4, 1 / 6, 5 / 7, 4 / 5]))
    confusion = pair_scoring.pixel_confusion(maps, names)
    assert confusion.to_numpy().tolist() == [[0, 4, 0, 0], [0, 1, 1, 0], [0, 0, 5, 1], [0, 0, 0, 4]]
    classes = pair_scoring.class_scores(confusion)
    assert classes["pixels"].tolist() == [4, 2, 6, 4]
    assert classes["accuracy"].tolist() == pytest.approx([0, 1 / 2, 5 / 6, 1])
    assert classes["IoU"].mean() == pytest.approx(iou)
    errors = pair_scoring.error_table(
        table.iloc[[1, 0]], Split(torch.zeros(2, 3, 2, 4), maps.truth, np.arange(2)), maps
    )
    first, second = errors.loc[0], errors.loc[1]
    assert not first["wrong_source"].any()
    assert first["wrong_class"].tolist() == [[True, True, False, False]] * 2
    assert second["wrong_source"].tolist() == [[False] * 4, [True, False, False, False]]
    assert second["wrong_class"].tolist() == [[False] * 4, [False, False, False, True]]
    assert "6.25 % of the pixels are taken for digit" in pairs.confusion_words(confusion, 2)
    assert "What limits it is **the class**" in pairs.limits_words(pair_scoring.what_limits(maps))


def test_results_have_what_the_frame_expects() -> None:
    maps = by_hand()
    table = pair_scoring.pixel_table(maps, np.arange(2), ["0", "1", "cat", "ship"])
    results = pairs.pair_results(table, np.ones(2), pair_scoring.overlap_counts(maps), pair_scoring.mean_iou)
    assert {"pixel_accuracy", "digit_accuracy", "photo_accuracy", "source_accuracy", "mean_iou", "loss"} == set(results)
    assert results["pixel_accuracy"]["value"] == pytest.approx(0.625)
    assert all(r["low"] <= r["value"] <= r["high"] for r in results.values())
    assert "+0.00 points" in words.rivals(("a", "b"), (table, table[::-1]), "pixel_accuracy")


def test_figures_show_what_the_tables_say() -> None:
    stroke = np.zeros((8, 8), bool)
    stroke[3:, 4] = True
    for mask, middle, free in ((stroke, 5, 0), (stroke[::-1], 2, 7)):
        pair = pd.DataFrame([{"image": np.zeros((8, 8, 3)), "mask": mask, "digit": "1", "photo": "cat"}])
        *_, classes = pairs.plot_pairs(pair).axes
        assert np.array_equal(classes.images[0].get_array(), ~mask)
        digit, photo = classes.texts
        assert (digit.get_text(), digit.get_position()) == ("1", (4, middle))
        assert (photo.get_text(), photo.get_position()[1]) == ("cat", free)
    limits = pd.DataFrame({"predictor": ["a guess", "this network"], "pixel accuracy": [0.1, 0.7]})
    assert [bar.get_width() for bar in pairs.plot_limits(limits).patches] == pytest.approx([10, 70])
    confusion = pair_scoring.pixel_confusion(by_hand(), ["0", "1", "cat", "ship"])
    left, right = pairs.plot_confusion_blocks(tables.with_classes(confusion), num_classes=2).axes
    assert [text.get_text() for text in left.texts] == ["100", "50"]
    assert [text.get_text() for text in right.texts] == ["83", "17", "100"]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_training_on_pairs_goes_on_to_the_bit(
    root: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.training.loop.LOOK_EVERY", 0.0)
    small = {"limit": 60, "epochs": 2, "width": 4, "batch_size": 16, "precision": "float32", "ink": "colour", "crop": 2}
    params = params_of("05", data_root=str(root), **small)
    check_resumed(lab, params, tmp_path, workers)


def test_label_smoothing_reaches_the_objective_and_not_the_loss(root: Path) -> None:
    params = params_of("05", data_root=str(root), label_smoothing=0.2)
    recipe = lab.build_recipe(params, lab.build_model(params))
    logits, classes = 5 * torch.randn(2, 20, 4, 4), torch.randint(0, 20, (2, 4, 4))
    assert torch.equal(recipe.objective(logits, classes), cross_entropy(logits, classes, 0.2))
    assert torch.equal(recipe.loss(logits, classes), cross_entropy(logits, classes))
