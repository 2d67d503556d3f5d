"""The run folder, the figures (through what is drawn, not through pixels), the tables and the words."""

import io
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import DEFAULTS, params_of
from filelock import FileLock
from IPython.core.interactiveshell import InteractiveShell

from labkit.errors import RequestError
from labkit.files import write_atomic, write_json
from labkit.labs import digit_on_photo, mnist_resnet18
from labkit.labs.common import experiments
from labkit.results import notebook, plots, reported, tables, words
from labkit.results.locks import is_live
from labkit.results.manifest import end_from_outside, read_manifest
from labkit.results.run import History, Run, folder_name

FACTS = {
    "notebook": "01",
    "experiment": "quick",
    "parameters": {"seed": 0},
    "device": "cpu",
    "precision": "float32",
    "data": {"kind": "sample"},
}
RESULTS = {"accuracy": {"value": 0.5, "n": 2, "low": 0.1, "high": 0.9}}
HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "train_loss": [1.0, 0.5, 0.2],
        "train_accuracy": [0.6, 0.8, 0.95],
        "val_loss": [0.9, 0.4, 0.45],
        "val_accuracy": [0.7, 0.9, 0.9],
        "learning_rate": [0.1, 0.1, 0.01],
    }
)


@pytest.fixture(autouse=True)
def _style() -> Any:
    plots.use_style()
    yield
    plt.close("all")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_run_is_running_then_completed(folder: Path) -> None:
    run = Run(folder, FACTS)
    assert run.story() == "A new run."
    assert read_manifest(folder)["status"] == "running"
    run.begin_session()
    with pytest.raises(RequestError, match="is not complete"):
        run.finish()
    run.save_results(RESULTS)
    run.finish()
    manifest = read_manifest(folder)
    assert manifest["status"] == "completed"
    assert manifest["error"] is None
    assert {"started", "finished", "seconds", "environment", "code"} <= manifest.keys()
    assert {"python", "torch", "platform", "cpu", "threads", "gpu"} <= manifest["environment"].keys()
    run.release()


def test_a_failed_run_says_what_and_where(folder: Path) -> None:
    run = Run(folder, FACTS)
    run.fail(ValueError("no such thing"), cell=7)
    assert read_manifest(folder)["status"] == "failed"
    assert read_manifest(folder)["error"] == {"type": "ValueError", "message": "no such thing", "cell": 7}
    run.release()


def test_ctrl_c_is_an_interruption(folder: Path) -> None:
    run = Run(folder, FACTS)
    run.fail(KeyboardInterrupt())
    assert read_manifest(folder)["status"] == "interrupted"
    run.release()


def test_a_run_whose_process_is_gone_is_found_out(folder: Path) -> None:
    run = Run(folder, FACTS)
    run.release()
    assert json.loads((folder / "manifest.json").read_text())["status"] == "running"
    assert read_manifest(folder)["status"] == "failed"
    assert read_manifest(folder)["error"]["type"] == "KernelDied"
    error = {"type": "KernelDied", "message": "gone", "cell": None}
    end_from_outside(folder, "the token of another starter", error)
    assert json.loads((folder / "manifest.json").read_text())["status"] == "running"
    end_from_outside(folder, "", error)
    assert json.loads((folder / "manifest.json").read_text())["status"] == "failed"


def test_a_complete_run_stays_complete_when_looked_at_again(folder: Path) -> None:
    run = Run(folder, FACTS)
    run.save_results(RESULTS)
    run.finish()
    run.release()
    again = Run(folder, FACTS)
    assert again.story().startswith("This run is complete")
    again.fail(ValueError("a typing mistake in a cell of one's own"))
    assert read_manifest(folder)["status"] == "completed"
    again.release()
    fresh = Run(folder, FACTS, fresh=True)
    assert fresh.story() == "A new run."
    assert sorted(p.name for p in folder.iterdir()) == [".lock", ".reserve", "manifest.json"]
    fresh.release()


def test_an_interrupted_run_is_running_again_when_training_goes_on(folder: Path) -> None:
    run = Run(folder, FACTS)
    run.fail(KeyboardInterrupt())
    run.save_results(RESULTS)
    with pytest.raises(RequestError, match="is not complete"):
        run.finish()
    run.go_on()
    assert read_manifest(folder)["status"] == "running"
    run.finish()
    run.release()


@pytest.mark.parametrize(
    ("lost", "story"),
    [("results.json", "it goes on from its last checkpoint"), ("checkpoints/last.safetensors", "A new run.")],
)
def test_a_run_that_lost_a_part_is_not_complete_and_does_that_part_again(folder: Path, lost: str, story: str) -> None:
    run = Run(folder, FACTS)
    for name in ("history.csv", "checkpoints/last.safetensors"):
        write_atomic(folder / name, "")
    run.save_results(RESULTS)
    run.finish()
    run.release()
    (folder / lost).unlink()
    again = Run(folder, FACTS)
    assert story in again.story()
    assert read_manifest(folder)["status"] == "running"
    again.release()


def test_to_read_a_complete_run_again_takes_no_part_of_its_time(folder: Path) -> None:
    run = Run(folder, FACTS)
    run.save_results(RESULTS)
    run.finish()
    run.release()
    then = read_manifest(folder)
    again = Run(folder, FACTS)
    again.began -= 1000  # the reader took his time
    again.save_results(RESULTS)
    again.finish()
    again.release()
    now = read_manifest(folder)
    assert (now["seconds"], now["finished"]) == (then["seconds"], then["finished"])


def test_a_folder_has_one_writer(folder: Path) -> None:
    folder.mkdir()
    with FileLock(folder / ".lock"), pytest.raises(RequestError, match="in use by another process"):
        Run(folder, FACTS)
    assert not (folder / "manifest.json").exists()


def test_a_folder_whose_emptying_was_broken_off_is_empty_for_the_next_run(folder: Path) -> None:
    run = Run(folder, FACTS)
    run.save_results(RESULTS)
    run.finish()
    run.release()
    os.replace(folder / "manifest.json", folder / ".emptying")  # as far as a killed process had come
    again = Run(folder, FACTS)
    again.release()
    assert again.story() == "A new run."
    assert {path.name for path in folder.iterdir()} == {".lock", ".reserve", "manifest.json"}


def test_a_pipe_in_place_of_a_lock_holds_nobody(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / ".lock")
    assert not is_live(folder)


def test_a_folder_that_could_not_be_claimed_is_given_up(folder: Path) -> None:
    (folder / "manifest.json").mkdir(parents=True)  # what cannot be written over
    with pytest.raises(OSError, match=r"manifest\.json could not be written"):
        Run(folder, FACTS)
    assert not is_live(folder)


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"cannot be written .*--out"):
        Run(tmp_path / "file" / "run", FACTS)


def test_folder_names_follow_notebook_parameters_and_data() -> None:
    identity = {"experiment": "quick", "seed": 3, "epochs": 1}
    name = folder_name("01", identity, "f")
    assert name.startswith("quick-seed3-")
    assert len(name) == len("quick-seed3-") + 8
    assert name == folder_name("01", dict(reversed(identity.items())), "f")
    others = [
        folder_name("02", identity, "f"),
        folder_name("01", identity | {"epochs": 2}, "f"),
        folder_name("01", identity, "g"),
    ]
    assert len({name, *others}) == 4


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"
    write_atomic(path, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_no_nan_and_csv_keeps_every_bit(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": math.nan, "b": [1, {"c": -math.inf}], "名": "é"})
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == {"a": None, "b": [1, {"c": None}], "名": "é"}
    History(tmp_path).save_csv("x", pd.DataFrame([{"a": 0.1 + 0.2, "b": 1}]))
    assert (tmp_path / "x.csv").read_text() == "a,b\n0.30000000000000004,1\n"


def test_curves_show_both_series_and_mark_the_chosen_epoch() -> None:
    ax = plots.plot_curve(HISTORY, name="accuracy", chosen=2)
    train, val, chosen = ax.lines
    assert train.get_ydata().tolist() == HISTORY["train_accuracy"].tolist()
    assert val.get_ydata().tolist() == HISTORY["val_accuracy"].tolist()
    assert (chosen.get_xdata()[0], chosen.get_ydata()[0]) == (2, 0.9)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["training", "validation", "chosen epoch 2"]
    assert train.get_linestyle() != val.get_linestyle()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "accuracy")
    assert plots.plot_curve(HISTORY, name="loss").get_ylabel() == "loss (nats)"


def test_plots_draw_on_the_axes_they_are_given() -> None:
    _, ax = plt.subplots()
    assert plots.plot_curve(HISTORY, name="loss", ax=ax) is ax
    counts = pd.DataFrame({"class": ["a", "b"], "training": [3, 4], "test": [1, 2]})
    assert plots.plot_class_counts(counts, ax=plt.subplots()[1]).get_title(loc="left") == "Images per class"


def test_epochs_have_no_halves_even_where_there_is_but_one() -> None:
    ax = plots.plot_curve(HISTORY[:1], name="loss")
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]


def test_bars_have_the_tables_heights() -> None:
    counts = pd.DataFrame({"class": ["a", "b"], "training": [3, 4], "test": [1, 2]})
    assert [bar.get_height() for bar in plots.plot_class_counts(counts).patches] == [3, 4, 1, 2]
    shares = pd.DataFrame({"block": ["1", "2"], "branch cut": [0.5, 0.25], "way round cut": [0.1, 0.2]})
    bars = plots.plot_paired_bars(shares, title="t", ylabel="y").patches
    assert [round(bar.get_height()) for bar in bars] == [50, 25, 10, 20]


def test_a_confusion_matrix_shades_mistakes_only() -> None:
    ax = plots.plot_confusion(pd.DataFrame({"true": ["a", "b"], "a": [90, 0], "b": [2, 80]}))
    assert ax.images[0].get_array().tolist() == [[0, 2], [0, 0]]
    assert sorted(text.get_text() for text in ax.texts) == ["2", "80", "90"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")


def test_per_class_intervals_are_drawn() -> None:
    scores = pd.DataFrame({"class": ["a"], "accuracy": [0.9], "low": [0.8], "high": [0.95], "reported": [0.99]})
    ax = plots.plot_per_class(scores)
    assert ax.containers[0].lines[0].get_ydata().tolist() == pytest.approx([90])
    assert ax.lines[-1].get_ydata().tolist() == pytest.approx([99])


def test_an_image_grid_has_a_title_for_every_image() -> None:
    figure = plots.plot_images(
        pd.DataFrame({"image": [np.zeros((4, 4), np.uint8)] * 10, "title": [str(i) for i in range(10)]}), title="Ten"
    )
    assert [ax.get_title(loc="center") for ax in figure.axes[:10]] == [str(i) for i in range(10)]
    assert figure.get_suptitle() == "Ten"


def test_names_of_files_are_no_mathematics() -> None:
    table = pd.DataFrame({"image": [np.zeros((4, 4), np.uint8)], "title": ["US$_5_AU$.png"]})
    plots.plot_images(table, title="One").savefig(io.BytesIO())


def test_loss_against_accuracy_has_a_series_a_kind() -> None:
    points = tables.loss_accuracy_points(HISTORY, {"accuracy": {"value": 0.9}, "loss": {"value": 0.3}}, (0.97, 0.82))
    ax = plots.plot_loss_against_accuracy(points)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["training", "validation", "test", "reported"]
    assert ax.get_xscale() == ax.get_yscale() == "log"
    said = words.loss_against_accuracy(points, (0.97, 0.82))
    assert "95.00 % (training), with a mean loss of 0.200; the report gives 0.8200, 4.1 times as much" in said


def test_predictions_and_results() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    table = tables.predictions(logits, torch.tensor([0, 1, 1]), np.array([5, 6, 7]), ["cat", "dog"])
    assert table["predicted"].tolist() == ["cat", "dog", "cat"]
    assert table["correct"].tolist() == [True, True, False]
    assert table["loss"][2] == pytest.approx(math.log(1 + math.exp(3)))
    results = tables.classification_results(table)
    assert results["accuracy"]["value"] == pytest.approx(2 / 3)
    assert results["accuracy"]["n"] == 3
    assert results["accuracy"]["low"] < 2 / 3 < results["accuracy"]["high"]
    matrix = tables.confusion(table, ["cat", "dog"])
    assert matrix.to_numpy().tolist() == [[1, 0], [1, 1]]
    assert "made once, is reading dog as cat" in words.confusion(matrix)
    assert tables.class_scores(matrix)["accuracy"].tolist() == [1, 0.5]


def test_the_chosen_epoch_is_the_earlier_of_equals_with_the_lower_loss() -> None:
    assert tables.chosen_epoch(HISTORY, "accuracy") == 2


def test_words_follow_the_numbers() -> None:
    said = words.history(HISTORY, "accuracy", 2)
    assert "rises from 70.00 % to 90.00 %" in said
    assert "epoch 2 is chosen" in said
    assert words.history(HISTORY.head(1), "accuracy", 1).startswith("After one epoch")
    dip = pd.concat([HISTORY.head(2)] * 2, ignore_index=True).assign(
        epoch=range(1, 5), val_accuracy=[0.3, 0.6, 0.1, 0.7]
    )
    assert "goes from 30.00 % to 70.00 %, by way of 10.00 % after epoch 3, and" in words.history(dip, "accuracy", 4)
    assert tables.progress_table(dip, "accuracy")["epoch"].tolist() == [1, 2, 3, 4]
    assert [words.duration(seconds) for seconds in (9.4, 90)] == ["9 seconds", "1.5 minutes"]
    assert "there is no mistake" in words.confusion(pd.DataFrame([[3]], ["a"], ["a"]))
    assert "flatters nothing" in words.selection(0.0, 0, 0, 3, 10)
    assert "+1.00 points" in words.selection(0.01, 0, 0.02, 3, 10)


def test_a_cell_that_asks_for_another_run_says_nothing_of_this_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    shell = InteractiveShell()
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell)
    run = Run(folder, FACTS)
    run.begin_session()
    notebook.watch_cells(run)
    shell.run_cell("run, source = common.open_run(lab, params)  # of parameters that are refused")
    assert read_manifest(folder)["status"] == "running"
    shell.run_cell("1 / 0")
    assert (read_manifest(folder)["status"], read_manifest(folder)["error"]["type"]) == ("failed", "ZeroDivisionError")
    run.release()


def test_the_progress_table_has_the_reports_rows_the_last_and_the_chosen_one() -> None:
    history = pd.concat([HISTORY] * 4, ignore_index=True).assign(epoch=range(1, 13))
    assert tables.progress_table(history, "accuracy")["epoch"].tolist() == [1, 2, 5, 10, 12]
    chosen_on_test = tables.progress_table(history, "accuracy", "test")
    assert [words.heading_of(name) for name in chosen_on_test][3:5] == ["test loss", "test accuracy"]
    assert set(chosen_on_test) <= {"epoch"} | set(tables.progress_formats("accuracy"))


@pytest.mark.parametrize(
    ("metric", "claimed", "low", "high", "expected"),
    [
        ("accuracy", 0.99, 0.985, 0.995, "reproduced"),
        ("accuracy", 0.99, 0.991, 0.995, "better"),
        ("accuracy", 0.99, 0.97, 0.985, "worse"),
        ("loss", 0.03, 0.01, 0.02, "better"),
        ("loss", 0.03, 0.04, 0.05, "worse"),
    ],
)
def test_verdicts(metric: str, claimed: float, low: float, high: float, expected: str) -> None:
    claim = {"metric": metric, "value": claimed}
    assert reported.verdict(claim, {"value": (low + high) / 2, "low": low, "high": high}) == expected


def test_no_number_of_ours_stands_beside_a_reported_one_where_it_would_not_be_fair() -> None:
    results = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in ("accuracy", "loss")}
    recipes = experiments(mnist_resnet18)
    quick = DEFAULTS | {"experiment": "quick"}
    table = reported.against_ours("01_mnist_resnet18", quick, recipes, results, HISTORY, "sample data")
    assert table["ours"].isna().all()
    assert set(table["verdict"]) == {"not comparable: sample data"}
    assert set(table["recipe"]) == {"another (quick)"}
    adam = DEFAULTS | recipes["adam_steplr"]
    table = reported.against_ours("01_mnist_resnet18", adam, recipes, results, HISTORY)
    assert table["ours"].notna().all()
    assert table["recipe"].tolist()[:2] == ["the report's"] * 2
    table = reported.against_ours("01_mnist_resnet18", adam | {"epochs": 3}, recipes, results, HISTORY)
    assert table["recipe"].tolist()[:2] == ["the report's, but epochs = 3"] * 2
    two, results = params_of("05", width=32).model_dump(), {"pixel_accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}
    recipes = experiments(digit_on_photo)
    score, gain = reported.against_ours("05_digit_on_photo", two, recipes, results, HISTORY).to_dict("records")
    assert (score["quantity"], score["ours"]) == ("test pixel_accuracy", 0.5)
    assert gain["quantity"] == "pixel_accuracy, gain over one_decoder"
    assert gain["verdict"] == "not comparable: a gain takes both networks, over several seeds (lab 6)"


def test_whether_a_loss_has_turned_is_said_of_the_images_that_chose() -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "val_loss": [1.0, 0.5, 0.8], "val_accuracy": [0.5, 0.6, 0.7]})
    assert words.turn(history, "accuracy", "test") == (
        "The test loss is lowest after epoch 2 (0.500) and 0.800 after the last; meanwhile the test accuracy goes from "
        "60.00 % to 70.00 %."
    )
    assert words.turn(history[:2], "accuracy").endswith("it has not turned.")
    shown = plots.plot_history(history.assign(train_loss=1, train_accuracy=0.5), metric="accuracy", held_out="test")
    assert [text.get_text() for text in shown.legends[0].get_texts()] == ["training", "test"]


def test_latex_tables_escape_what_latex_would_swallow(folder: Path) -> None:
    run = Run(folder, FACTS)
    notebook.table(run, "t", pd.DataFrame({"train_loss": [0.5], "a&b": ["x_y"], "share": [0.25]}), share="percent")
    latex = (folder / "tables" / "t.tex").read_text("utf-8")
    assert re.search(r"train\\_loss & a\\&b & share", latex)
    assert "x\\_y & 25.00 \\%" in latex
    run.release()


def test_a_table_without_a_row_is_said_to_be_empty_and_not_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(folder, FACTS)
    notebook.table(run, "reported", pd.DataFrame([]), ours="percent")
    run.release()
    assert "Markdown" in capsys.readouterr().out
    assert not (folder / "tables").exists()
