"""The segmentation labs: what is scored, at which size, and training that repeats itself and can be gone on with."""

import gc
import warnings
import weakref
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from segments import liver_params, pets_params, write_liver, write_pets
from sklearn.metrics import f1_score

from labkit.errors import RequestError
from labkit.labs import liver_unet, pet_resnet34_unet, scoring, segmentation
from labkit.results import mask_tables, mask_words, masks
from labkit.training.checkpoint import read_checkpoint
from labkit.training.cost import cost_table, kept_for_backward
from labkit.training.loop import evaluate, fit
from labkit.training.losses import bce_dice
from labkit.training.metrics import dice
from labkit.training.precision import choose_device, choose_precision
from labkit.training.resume import Observer

CPU = choose_precision("float32", choose_device("cpu"))
TIMES = ("seconds", "images_per_second")


@pytest.fixture(params=["liver", "pets"])
def lab_and_params(request: pytest.FixtureRequest, tmp_path: Path) -> tuple:
    if request.param == "liver":
        return liver_unet, liver_params(write_liver(tmp_path), precision="float32", dropout=0.2)
    return pet_resnet34_unet, pets_params(write_pets(tmp_path), precision="float32", dropout=0.2)


def train(lab: object, params: object, folder: Path, observers: tuple = (), **changes: object) -> tuple:
    params = params.model_copy(update=changes)
    data = lab.load_data(params, lab.find_data(params))
    prep, model = lab.preprocessing(params, data), lab.build_model(params)
    shuffled = {"compose": data.compose} if hasattr(data, "compose") else {"train": True}
    batches = lab.batches(params, data.train, prep, **shuffled), lab.batches(params, data.val, prep)
    history = fit(model, *batches, lab.build_recipe(params, model), folder, observers)
    return [{k: v for k, v in row.items() if k not in TIMES} for row in history], model


def test_training_repeats_itself_with_and_without_workers(lab_and_params: tuple, tmp_path: Path) -> None:
    lab, params = lab_and_params
    first, model = train(lab, params, tmp_path / "a")
    again, twin = train(lab, params, tmp_path / "b", num_workers=2, pin_memory=True)
    other, _ = train(lab, params, tmp_path / "c", seed=1)
    assert first == again
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))
    assert other != first


class Stop(Observer):
    """Ends the training the hard way after some steps, once."""

    def __init__(self) -> None:
        self.left = 3

    def on_step(self, state: object, steps: int) -> None:
        import os
        import signal

        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def check_resumed(lab: object, params: object, folder: Path, workers: int) -> None:
    """A training that is interrupted and taken up again ends with the bits of one that was not."""
    whole, _ = train(lab, params, folder / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(lab, params, folder / "stopped", (Stop(),), num_workers=workers)
    resumed, _ = train(lab, params, folder / "stopped", num_workers=workers)
    assert resumed == whole
    ends = [read_checkpoint(folder / name / "best.safetensors")[0] for name in ("whole", "stopped")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_training_goes_on_to_the_bit(
    lab_and_params: tuple, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, params = lab_and_params
    monkeypatch.setattr("labkit.training.loop.LOOK_EVERY", 0.0)
    check_resumed(lab, params, tmp_path, workers)


def test_masks_are_scored_at_the_size_of_the_original(lab_and_params: tuple) -> None:
    lab, params = lab_and_params
    data = lab.load_data(params, lab.find_data(params))
    model = lab.build_model(params)
    batches = lab.batches(params, data.test, lab.preprocessing(params, data))
    maps = scoring.segment(model, batches, CPU)
    table = scoring.score(maps, data.test, data, outlines=True)
    assert len(table) == len(data.test)
    for row, logits in zip(table.itertuples(), maps, strict=True):
        truth = data.truth(row.sample)
        assert row.tp + row.fp + row.fn + row.tn == truth.size
        said = scoring.at_size(logits, truth.shape) > 0.5
        assert row.dice == pytest.approx(f1_score(truth.ravel(), said.ravel(), zero_division=1), abs=1e-6)
        assert row.true_share == pytest.approx(truth.mean())
        assert data.picture(row.sample).shape[:2] == truth.shape


def test_scores_do_not_depend_on_how_test_images_are_batched(lab_and_params: tuple) -> None:
    lab, params = lab_and_params
    data = lab.load_data(params, lab.find_data(params))
    model, prep = lab.build_model(params), lab.preprocessing(params, data)
    tables = []
    for size in (1, 2, len(data.test)):
        batches = lab.batches(params, data.test, prep)
        batches.batch_size = size
        batches.__post_init__()
        dices = evaluate(model, batches, bce_dice, dice, CPU)[1]
        tables.append((scoring.score(scoring.segment(model, batches, CPU), data.test, data), dices))
    for table, dices in tables[1:]:
        assert np.allclose(table[["dice", "iou"]], tables[0][0][["dice", "iou"]], atol=1e-6)
        assert np.allclose(dices, tables[0][1], atol=1e-6)


def test_a_perfect_map_scores_one_and_an_inverted_one_nothing(tmp_path: Path) -> None:
    params = liver_params(write_liver(tmp_path), image_size=48)
    data = liver_unet.load_data(params, liver_unet.find_data(params))
    maps = 20.0 * data.test.targets - 10
    assert (scoring.score(maps, data.test, data)["dice"] == 1).all()
    assert (scoring.score(-maps, data.test, data)["dice"] == 0).all()
    trivial = scoring.trivial_scores(data).set_index("predictor")
    assert trivial.loc["all background", "dice"] == 0
    share = np.array([data.truth(i).mean() for i in data.test.samples])
    assert trivial.loc["all foreground", "dice"] == pytest.approx((2 * share / (1 + share)).mean())
    assert trivial.loc["all background", "pixel_accuracy"] == pytest.approx(1 - share.mean())


def test_results_name_their_averages(tmp_path: Path) -> None:
    params = liver_params(write_liver(tmp_path))
    data = liver_unet.load_data(params, liver_unet.find_data(params))
    maps = torch.randn(len(data.test), 32, 32)
    table = scoring.score(maps, data.test, data, outlines=True)
    results = mask_tables.segmentation_results(table, np.arange(3.0))
    tp, fp, fn = table[["tp", "fp", "fn"]].sum()
    assert results["dice_pooled"]["value"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert results["dice"]["value"] == pytest.approx(table["dice"].mean())
    assert results["loss"]["value"] == 1
    assert results["dice"]["over"] != results["dice_pooled"]["over"]
    for result in results.values():
        assert result["low"] <= result["value"] <= result["high"]


def test_the_threshold_curve_at_one_half_is_the_score(tmp_path: Path) -> None:
    params = liver_params(write_liver(tmp_path))
    data = liver_unet.load_data(params, liver_unet.find_data(params))
    maps = torch.randn(len(data.test), 32, 32)
    curve = scoring.threshold_curve(maps, data.test, data)
    table = scoring.score(maps, data.test, data)
    half = curve.set_index("threshold").loc[0.5]
    for name in ("dice", "precision", "recall"):
        assert half[name] == pytest.approx(table[name].mean())


@pytest.mark.parametrize("n", [1, 2, 3, 5, 40])
def test_cases_are_worst_median_and_best(n: int) -> None:
    table = pd.DataFrame({"sample": range(n), "dice": np.random.default_rng(0).random(n)})
    cases = scoring.chosen_cases(table)
    worst, best = cases[cases["case"] == "worst"], cases[cases["case"] == "best"]
    assert worst["dice"].min() == table["dice"].min()
    assert n == 1 or best["dice"].max() == table["dice"].max()
    assert len(worst) == min(4, max(1, n // 3))
    assert len(best) == (len(worst) if n > 1 else 0)
    assert not cases.index.has_duplicates


def test_what_a_model_costs_is_counted(tmp_path: Path) -> None:
    images, masks = torch.rand(2, 1, 32, 32), torch.zeros(2, 32, 32).long()
    models = {
        "plain": segmentation.unet(1, 4),
        "checkpointed": segmentation.unet(1, 4, checkpointing=True),
        "wide": segmentation.unet(1, 8),
    }
    costs = cost_table(models, images, masks, bce_dice, CPU, rounds=1).set_index("model")
    assert costs.loc["plain", "parameters"] == costs.loc["checkpointed", "parameters"]
    assert costs.loc["checkpointed", "memory (MiB)"] < 0.6 * costs.loc["plain", "memory (MiB)"]
    ratio = costs.loc["wide", "multiply-adds (10⁹)"] / costs.loc["plain", "multiply-adds (10⁹)"]
    assert 3.5 < ratio < 4.05  # twice the width, four times the products, but for first layer and head
    first = 1 * 4 * 9 * 32 * 32 / 1e9
    assert costs.loc["plain", "multiply-adds (10⁹)"] > first
    assert (costs[["training images/s", "test images/s"]] > 0).all().all()


def test_imagenet_weights_are_not_fetched_for_a_model_that_will_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("labkit.models.resnet34_unet.load_imagenet")
    params = pets_params(write_pets(tmp_path), model="resnet34_unet_imagenet", width=64)
    assert pet_resnet34_unet.build_model(params, fetch=False).stem[0].out_channels == 64


RULES = [
    ({"model": "unet", "rival": "unet"}, "'rival' is 'unet' like 'model'"),
    ({"rival": "resnet34_unet_imagenet"}, "ImageNet's weights need a width of 64 (it is 8) and 3 channels"),
    ({"width": 4}, "'width' is 4, but 'resnet34_unet' needs at least 8"),
    ({"batch_size": 1}, "'batch_size' is 1, but at image_size 64"),
]


@pytest.mark.parametrize(("changes", "sentence"), RULES)
def test_parameters_that_do_not_go_together_are_refused(tmp_path: Path, changes: dict, sentence: str) -> None:
    with pytest.raises(RequestError) as caught:
        pets_params(tmp_path, **changes)
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_words_are_made_of_the_numbers() -> None:
    assert "0.313" in mask_words.sigmoids(mask_tables.sigmoid_curves())
    said = mask_words.leak((np.zeros(3), np.array([0.0, 1.0])))
    assert "**0.500** on random slices (n = 2" in said
    assert "these 0.50 are what the neighbours give away" in said
    assert "give nothing away" in mask_words.leak((np.ones(3), np.zeros(2)))
    assert "one patient only" in mask_words.leak(None)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("kind", ["nothing there", "nothing found", "perfect"])
def test_words_and_figures_stand_up_to_odd_results(tmp_path: Path, n: int, kind: str) -> None:
    truths = np.zeros((n, 6, 6), bool)
    if kind != "nothing there":
        truths[:, 1:4, 1:4] = True
    data = SimpleNamespace(names=[f"i{i}" for i in range(n)], groups=["a"] * n, truth=lambda i: truths[i])
    split = SimpleNamespace(samples=np.arange(n))
    maps = torch.from_numpy(np.where(truths, 5.0, -5.0)) if kind == "perfect" else torch.full((n, 6, 6), -5.0)
    table = scoring.score(maps, split, data, outlines=True)
    results = mask_tables.segmentation_results(table, np.zeros(n))
    trivial = pd.DataFrame({"predictor": ["all background"], "dice": [0.0]})
    curve = scoring.threshold_curve(maps, split, data)
    sentences = [
        mask_words.results(table, results, trivial),
        mask_words.averages(results),
        mask_words.spread(table, results["dice_pooled"]["value"]),
        mask_words.size(table),
        mask_words.errors(table),
        mask_words.thresholds(curve),
        mask_words.cases(scoring.chosen_cases(table)),
    ]
    assert not [sentence for sentence in sentences if "nan" in sentence.lower()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masks.plot_score_spread(table, pooled=1.0)
        masks.plot_score_against_size(table)
        masks.plot_thresholds(curve)
    plt.close("all")


def test_to_count_what_a_step_keeps_keeps_nothing() -> None:
    model, seen = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)), []
    model[1].register_forward_hook(lambda module, inputs, output: seen.append(weakref.ref(output)))
    assert kept_for_backward(model, lambda: model(torch.rand(4, 8)).sum()) >= 4 * 8 * 4
    gc.collect()
    assert seen[0]() is None
