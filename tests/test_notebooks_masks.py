"""Notebooks 02 and 03 executed for real: what they leave behind, and what stops them before they begin."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import only_run, options, papermill, run
from conftest import check_exercises, check_figures, check_no_widgets
from PIL import Image
from segments import LIVER_NOTEBOOK, TINY_LIVER, TINY_PETS, write_liver, write_pets

from labkit.results.manifest import read_manifest


@pytest.fixture(scope="module", params=["02", "03"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, str]:
    """A run on the sample, and what the command printed."""
    number, out = request.param, tmp_path_factory.mktemp("runs")
    small = {"02": TINY_LIVER | {"limit": 20}, "03": TINY_PETS}[number] | {"tensorboard": "true"}
    finished = run("run", number, *options(small), "--data", tmp_path_factory.mktemp("data"), "--out", out)
    assert finished.returncode == 0, finished.stderr
    return number, only_run(out, number), finished.stdout


FIGURES = ["augmentation", "curves", "overlays", "spread", "size", "thresholds"]
OWN = {"02": ["slices", "volumes"], "03": ["photos", "targets", "sigmoids", "rivals"]}


def test_the_run_folder_is_complete(done: tuple[str, Path, str]) -> None:
    number, folder, said = done
    assert "(sample)  test Dice 0." in said
    manifest = read_manifest(folder)
    assert (manifest["status"], manifest["data"]["kind"]) == ("completed", "sample")
    assert set(manifest["preprocessing"]) == {"channels", "size", "mean", "std"}
    check_exercises(folder)
    check_no_widgets(folder)
    results = json.loads((folder / "results.json").read_text("utf-8"))
    assert {"dice", "iou", "pixel_accuracy", "precision", "recall", "hausdorff95", "loss", "dice_pooled"} <= set(
        results
    )
    assert all(r.keys() >= {"value", "n", "low", "high", "over"} for r in results.values())
    per_image = pd.read_csv(folder / "per_image.csv")
    assert results["dice"]["value"] == pytest.approx(per_image["dice"].mean())
    assert list(pd.read_csv(folder / "history.csv"))[:5] == [
        "epoch",
        "train_loss",
        "train_dice",
        "val_loss",
        "val_dice",
    ]
    for name in FIGURES + OWN[number]:
        for form in ("png", "pdf", "svg", "csv", "alt.txt"):
            assert (folder / "figures" / f"{name}.{form}").stat().st_size > 20
    for name in ("parts", "architecture", "trivial", "results", "reported"):
        assert (folder / "tables" / f"{name}.tex").read_text("utf-8").startswith("\\begin{tabular}")
    if number == "03":
        assert len(pd.read_csv(folder / "unet" / "history.csv")) == 2
        assert len(pd.read_csv(folder / "tables" / "costs.csv")) == 2
        assert (folder / "unet" / "checkpoints" / "best.safetensors").exists()


def test_every_figure_can_be_drawn_again(done: tuple[str, Path, str]) -> None:
    number, folder, _ = done
    assert check_figures(folder) == sorted(FIGURES + OWN[number])


def test_the_manifest_says_which_patients_or_animals_are_in_which_part(done: tuple[str, Path, str]) -> None:
    number, folder, _ = done
    groups = read_manifest(folder)["data"]["groups"]
    if number == "02":
        everything = groups["train"] + groups["validation"] + groups["test"]
        assert len(everything) == len(set(everything)) == 4
    else:
        assert groups["train"] == groups["test"] == ["cat", "dog"]


def test_the_executed_notebook_is_clean_and_its_pictures_speak(done: tuple[str, Path, str]) -> None:
    number, folder, _ = done
    cells = json.loads((folder / "notebook.ipynb").read_text("utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == len(FIGURES + OWN[number])
    assert all(len(output["metadata"]["image/png"]["alt"]) > 40 for output in pictures)
    assert not [output for output in outputs if output["output_type"] == "stream" and output["name"] == "stderr"]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert "not comparable: sample data" in json.dumps(outputs)


def test_tensorboard_gets_curves_and_masks(done: tuple[str, Path, str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(done[1] / "tensorboard"))
    events.Reload()
    assert "val_dice" in events.Tags()["scalars"]
    assert len(events.Images("image, true mask, predicted mask")) == 2


def test_the_run_can_be_used_on_an_image(done: tuple[str, Path, str], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((50, 31, 3), np.uint8)).save(tmp_path / "a.png")
    finished = run("predict", "--run", done[1], "--image", tmp_path / "a.png", "--output", tmp_path / "mask.png")
    assert finished.returncode == 0, finished.stderr
    assert Image.open(tmp_path / "mask.png").size == (31, 50)


def test_plain_papermill_runs_the_liver_lab_on_files_of_ones_own(tmp_path: Path) -> None:
    root = write_liver(tmp_path / "data")
    small = options(TINY_LIVER | {"epochs": 1, "validation_volume": 0})
    finished = papermill(LIVER_NOTEBOOK, tmp_path, *small, data=root)
    assert finished.returncode == 0, finished.stderr
    manifest = read_manifest(only_run(tmp_path / "runs"))
    assert (manifest["status"], manifest["data"]["kind"], manifest["data"]["verified"]) == (
        "completed",
        "official",
        False,
    )


def test_a_lab_with_one_network_and_one_image_a_part(tmp_path: Path) -> None:
    root = write_pets(tmp_path / "data", trainval=3, test=1)
    small = TINY_PETS | {"limit": 0, "epochs": 1, "rival": "none", "image_size": 128, "batch_size": 1}
    finished = run("run", "03", *options(small), "--data", root, "--out", tmp_path / "runs")
    assert finished.returncode == 0, finished.stderr + finished.stdout
    counts = read_manifest(only_run(tmp_path / "runs"))["data"]["counts"]
    assert counts == {"train": 2, "validation": 1, "test": 1}


def test_damaged_data_stop_the_run_before_it_is_one(tmp_path: Path) -> None:
    liver, pets = write_liver(tmp_path / "liver"), write_pets(tmp_path / "pets")
    os.remove(liver / "liver" / "train" / "003_mask.png")
    (pets / "oxford-iiit-pet" / "images" / "dog_3.jpg").write_bytes(b"no photo")
    for number, root, sentence in (("02", liver, "003.png has no mask"), ("03", pets, "dog_3.jpg cannot be read")):
        finished = run("run", number, "--data", root, "--out", tmp_path / "runs")
        assert finished.returncode == 2
        assert sentence in finished.stderr
        assert len(finished.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "runs").exists()


WRONG = [
    (["02", "-p", "validation_volume", "9"], "the training slices are 3 volumes"),
    (["02", "-p", "volumes", "0-9"], "is in no volume"),
    (["02", "-p", "model", "u-net"], "must be one of 'unet'"),
    (["03", "-p", "target", "pet"], "must be one of 'pet_and_border'"),
    (["03", "-p", "loss", "dcie"], "must be one of 'bce'"),
    (["03", "-p", "source", "official"], "No folder"),
]


@pytest.mark.parametrize(
    ("words", "sentence"), WRONG, ids=lambda value: "_".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_request_is_one_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    finished = run("run", *words, "--data", tmp_path, "--out", tmp_path / "runs")
    assert finished.returncode == 2
    assert sentence in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()
