"""Notebooks 04 and 05 executed for real, and their networks used on a picture."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import only_run, options, run
from conftest import check_exercises, check_figures, check_no_widgets
from PIL import Image

from labkit.results.manifest import read_manifest

TINY = {
    "04": {"limit": 200, "epochs": 2, "blocks": 2, "width": 4},
    "05": {"limit": 120, "epochs": 2, "width": 4},
}
FIGURES = {
    "04": ["images", "curves", "stops", "per_class", "confusion", "block_maps", "mistakes"],
    "05": ["pairs", "epochs", "curves", "rivals", "limits", "confusion", "overlays"],
}


@pytest.fixture(scope="module", params=["04", "05"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A run on the sample."""
    number, out = request.param, tmp_path_factory.mktemp("runs")
    finished = run("run", number, *options(TINY[number]), "--data", tmp_path_factory.mktemp("data"), "--out", out)
    assert finished.returncode == 0, finished.stderr
    return number, only_run(out, number)


def test_the_run_folder_is_complete(done: tuple[str, Path]) -> None:
    number, folder = done
    manifest = read_manifest(folder)
    assert (manifest["status"], manifest["data"]["kind"]) == ("completed", "sample")
    assert len(manifest["data"]["class_names"]) == {"04": 10, "05": 20}[number]
    check_exercises(folder)
    check_no_widgets(folder)
    results = json.loads((folder / "results.json").read_text("utf-8"))
    per_image = pd.read_csv(folder / "per_image.csv")
    metric, column = {"04": ("accuracy", "correct"), "05": ("pixel_accuracy", "pixel_accuracy")}[number]
    assert results[metric]["value"] == pytest.approx(per_image[column].mean())
    for name in FIGURES[number]:
        for form in ("png", "pdf", "svg", "csv", "alt.txt"):
            assert (folder / "figures" / f"{name}.{form}").stat().st_size > 20
    if number == "05":
        assert len(pd.read_csv(folder / "one_decoder" / "history.csv")) == 2


def test_every_figure_can_be_drawn_again(done: tuple[str, Path]) -> None:
    number, folder = done
    assert check_figures(folder) == sorted(FIGURES[number])


def test_the_executed_notebook_is_clean_and_its_pictures_speak(done: tuple[str, Path]) -> None:
    number, folder = done
    cells = json.loads((folder / "notebook.ipynb").read_text("utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == len(FIGURES[number])
    assert all(len(output["metadata"]["image/png"]["alt"]) > 40 for output in pictures)
    assert not [output for output in outputs if output["output_type"] == "stream" and output["name"] == "stderr"]
    assert "not comparable: sample data" in json.dumps(outputs)


def test_the_network_answers_for_a_picture(done: tuple[str, Path], tmp_path: Path) -> None:
    number, folder = done
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 41, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.png")
    words = ["predict", "--run", folder, "--image", tmp_path / "a.png"]
    said = run(*words, *["--output", tmp_path / "mask.png"] * (number == "05"))
    assert said.returncode == 0, said.stderr
    names = read_manifest(folder)["data"]["class_names"]
    if number == "04":
        assert said.stdout.split("a.png")[1].split()[0] in names
    else:
        digit, on, photo = said.stdout.split("a.png")[1].split(",")[0].split()
        assert (digit in [*names[:10], "none"], on, photo in [*names[10:], "none"]) == (True, "on", True)
        assert Image.open(tmp_path / "mask.png").size == (41, 50)


OTHERS = {
    "04": {"dataset": "mnist", "tail": "halving", "blocks": 1, "width": 0, "growth": 3, "image_size": 28}
    | {"limit": 60, "epochs": 30, "learning_rate": 0.1, "rise_factor": 1, "rise_epochs": 1},
    "05": {"limit": 60, "epochs": 1, "width": 4, "model": "image_classes", "rival": "none", "select_on": "test"},
}


@pytest.mark.parametrize("number", OTHERS)
def test_the_networks_and_rules_of_the_other_experiments_run_too(number: str, tmp_path: Path) -> None:
    finished = run("run", number, *options(OTHERS[number]), "--data", tmp_path, "--out", tmp_path / "runs")
    assert finished.returncode == 0, finished.stderr
    folder = only_run(tmp_path / "runs", number)
    text = (folder / "notebook.ipynb").read_text("utf-8")
    if number == "04":
        losses = pd.read_csv(folder / "history.csv")["val_loss"]
        assert 1 < len(losses) < 30
        assert losses.iloc[-1] > losses.min()
        assert f"stops after epoch {len(losses)}" in text
        assert "231,717 parameters" in text  # the report's network
    else:
        assert not (folder / "figures" / "rivals.png").exists()
        assert "The test set has chosen the epoch" in text
        assert json.loads((folder / "figures" / "curves.json").read_text("utf-8"))["options"]["held_out"] == "test"
