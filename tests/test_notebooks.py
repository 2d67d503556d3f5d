"""Notebooks executed for real, in real kernels, by papermill and by labkit run; and what is left of stopped ones."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from commands import environment, labkit, only_run, options, papermill, run, run_alone, wait_for
from conftest import DEFAULTS, NOTEBOOK, TINY, check_exercises, check_figures, check_no_widgets, write_idx
from filelock import FileLock
from jupyter_client.manager import start_new_kernel

from labkit.data.mnist import LAYOUT
from labkit.exercises.submitted import CHECKED, read_submission, rows
from labkit.exercises.verdict import MIME
from labkit.labs import mnist_resnet18 as lab
from labkit.results.manifest import read_manifest
from labkit.training.checkpoint import read_checkpoint
from labkit.training.loop import fit

SMALL = options(TINY)
# Of lab 4, which begins to train soonest; it would train for many minutes.
SLOW = ["04", *options({"source": "sample", "limit": 120, "blocks": 2, "epochs": 1000, "rise_factor": 0})]


ODD = "läufe {x} 'y' 中文"  # a folder of runs, from where one stands


def training_has_begun(out: Path) -> bool:
    return any(out.glob("0*/*/checkpoints/last.safetensors"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """A run folder made by labkit run on the sample, and what the command printed; its places are odd ones."""
    here = tmp_path_factory.mktemp("a place")
    (here / "mine").mkdir()
    words = ["run", "01", *SMALL, "-p", "tensorboard", "true", "--out", ODD]
    finished = run_alone(*words, cwd=here, env=os.environ | {"LABKIT_DATA": "mine"})
    return only_run(here / ODD), finished


def test_labkit_run_ends_with_a_line_in_any_place(
    done: tuple[Path, subprocess.CompletedProcess],
) -> None:
    folder, finished = done
    assert finished.returncode == 0, finished.stderr
    assert folder.parents[1].name == ODD
    assert (folder.parents[2] / "mine" / "samples").is_dir()
    (line,) = finished.stdout.splitlines()
    assert re.match(
        r"01_mnist_resnet18  quick  handwritten digits \(sample\)  test accuracy [\d.]+ % \(95 % Wilson", line
    )
    assert line.endswith(f"{ODD}/01_mnist_resnet18/{folder.name}")


def test_the_run_folder_is_complete(done: tuple[Path, subprocess.CompletedProcess]) -> None:
    folder, _ = done
    manifest = read_manifest(folder)
    assert manifest["status"] == "completed"
    assert manifest["data"]["kind"] == "sample"
    check_exercises(folder)
    check_no_widgets(folder)
    assert manifest["data"]["counts"] == {"train": 120, "validation": 30, "test": 150}
    assert manifest["parameters"]["epochs"] == 2
    assert re.fullmatch(r"quick-seed0-[0-9a-f]{8}", folder.name)
    history = pd.read_csv(folder / "history.csv")
    scores = ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    assert list(history) == ["epoch", *scores, "learning_rate", "seconds", "images_per_second"]
    assert history["epoch"].tolist() == [1, 2]
    results = json.loads((folder / "results.json").read_text())
    assert results["accuracy"].keys() >= {"value", "n", "low", "high"}
    per_image = pd.read_csv(folder / "per_image.csv")
    assert per_image["correct"].mean() == pytest.approx(results["accuracy"]["value"])
    assert pd.read_csv(folder / "per_class.csv")["n"].sum() == len(per_image) == results["accuracy"]["n"]
    assert (folder / "checkpoints" / "best.safetensors").stat().st_size > 40e6
    assert list((folder / "tensorboard").iterdir())
    log = (folder / "log.txt").read_text("utf-8")
    assert len(log.splitlines()) >= 4
    assert "Fatal" not in log
    assert "Traceback" not in log
    for name in ("curves", "confusion", "digits", "per_class", "mirrored", "lesions", "learning_rate"):
        for form in ("png", "pdf", "svg", "csv", "alt.txt"):
            assert (folder / "figures" / f"{name}.{form}").stat().st_size > 20
    for name in ("per_class", "reported", "progress", "architecture"):
        assert (folder / "tables" / f"{name}.tex").read_text("utf-8").startswith("\\begin{tabular}")


def test_every_figure_can_be_drawn_again(done: tuple[Path, subprocess.CompletedProcess]) -> None:
    assert len(check_figures(done[0])) >= 11


def test_the_executed_notebook_has_pictures_with_alt_text_and_no_warnings(
    done: tuple[Path, subprocess.CompletedProcess],
) -> None:
    cells = json.loads((done[0] / "notebook.ipynb").read_text("utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 11
    assert all(output["metadata"]["image/png"]["alt"] for output in pictures)
    assert not [output for output in outputs if output["output_type"] == "stream" and output["name"] == "stderr"]
    assert not [output for output in outputs if output["output_type"] == "error"]
    text = json.dumps(outputs)
    assert "**Sample data**" in text
    assert "not comparable: sample data" in text
    assert "11,172,810" in text


def test_what_a_check_shows_knows_its_cell_so_that_a_later_change_is_seen(
    done: tuple[Path, subprocess.CompletedProcess], tmp_path: Path
) -> None:
    executed = done[0] / "notebook.ipynb"
    assert {row.state for row in rows(read_submission(executed))} == {"not attempted"}
    notebook = json.loads(executed.read_text("utf-8"))
    for cell in notebook["cells"]:
        if CHECKED.search("".join(cell["source"])):
            assert any(MIME in output.get("data", {}) for output in cell["outputs"])
            cell["source"] = ["answer = 1\n", *cell["source"]]
    (tmp_path / "later.ipynb").write_text(json.dumps(notebook), "utf-8")
    assert {row.state for row in rows(read_submission(tmp_path / "later.ipynb"))} == {"not run"}


def test_the_same_request_reuses_what_is_complete(done: tuple[Path, subprocess.CompletedProcess]) -> None:
    folder, first = done
    before = (folder / "manifest.json").read_bytes()
    again = run("run", "01", *SMALL, "-p", "source", "sample", "-p", "tensorboard", "true", "--out", folder.parents[1])
    assert again.returncode == 0
    assert "complete already" in again.stdout
    assert (folder / "manifest.json").read_bytes() == before
    assert first.returncode == 0


def test_runs_may_be_moved(done: tuple[Path, subprocess.CompletedProcess], tmp_path: Path) -> None:
    folder, _ = done
    shutil.copytree(folder.parents[1], tmp_path / "there 中文")
    words = [*SMALL, "-p", "source", "sample", "-p", "tensorboard", "true", "--out", tmp_path / "there 中文"]
    again = run("run", "01", *words)
    assert again.returncode == 0
    assert "complete already" in again.stdout
    assert "there 中文" in again.stdout


def test_a_refused_request_takes_nothing_away_and_unreadable_results_are_made_again(
    done: tuple[Path, subprocess.CompletedProcess], tmp_path: Path
) -> None:
    folder = tmp_path / NOTEBOOK.stem / done[0].name
    shutil.copytree(done[0], folder)
    words = [*SMALL, "-p", "source", "sample", "-p", "tensorboard", "true", "--out", tmp_path]
    with FileLock(folder / ".lock"):
        refused = run("run", "01", *words, "--fresh")
    assert refused.returncode == 2
    assert "in use by another process" in refused.stderr
    assert (folder / "notebook.ipynb").read_bytes() == (done[0] / "notebook.ipynb").read_bytes()
    (folder / "results.json").write_text("")
    again = run("run", "01", *words)
    assert again.returncode == 0
    assert (folder / "results.json").read_bytes() == (done[0] / "results.json").read_bytes()


def test_plain_papermill_stops_before_the_data_with_a_sentence(tmp_path: Path) -> None:
    finished = papermill(NOTEBOOK, tmp_path, "-p", "epoch", "1")
    assert finished.returncode == 1
    assert "RequestError: There is no parameter 'epoch': did you mean 'epochs'?" in finished.stderr
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "samples").exists()


WRONG = [
    (["-p", "epoch", "1"], "did you mean 'epochs'?"),
    (["-p", "epochs", "-3"], "must be a whole number from 1"),
    (["-p", "learning_rate", "nan"], "must be a number above 0"),
    (["-p", "epochs", "2.5"], "must be a whole number"),
    (["-p", "source", "offical"], "must be one of 'auto'"),
    (["-e", "nothing"], "There is no experiment 'nothing'"),
    (["--data", "/nowhere"], "The data folder /nowhere does not exist"),
    (["--out", "/proc/nowhere"], "cannot be written"),
    (["-p", "device", "cuda"], "is not available"),
]


@pytest.mark.parametrize(
    ("words", "sentence"), WRONG, ids=lambda value: "_".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_request_is_one_sentence_and_exit_code_2(tmp_path: Path, words: list[str], sentence: str) -> None:
    if "cuda" in words and os.path.exists("/dev/nvidia0"):
        words = ["-p", "device", "mps"]
    options = [] if "--out" in words else ["--out", tmp_path / "runs"]
    data = [] if "--data" in words else ["--data", tmp_path]
    finished = run("run", "01", *words, *options, *data)
    assert finished.returncode == 2
    assert sentence in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("size", [0, 1000])
def test_damaged_data_stop_the_run_before_it_is_one(tmp_path: Path, size: int) -> None:
    root = write_idx(tmp_path / "data")
    broken = root / next(iter(LAYOUT))
    broken.write_bytes(broken.read_bytes()[:size])
    finished = run("run", "01", "--data", root, "--out", tmp_path / "runs")
    assert finished.returncode == 2
    assert str(broken) in finished.stderr
    assert not (tmp_path / "runs").exists()


def test_one_notebook_or_all_must_be_named() -> None:
    assert run("run").returncode == 2
    assert run("run", "01", "--all").returncode == 2
    assert run("run", "77").returncode == 2
    assert run("run").stderr == "labkit: Give one notebook (01, a name or a path), or --all for every one.\n"
    for words, sentence in {
        ("--all", "--jobs", "0"): "--jobs is 0, but must be a whole number from 1.",
        ("01", "--jobs", "2"): "--jobs is 2, but more than one at once needs --all, and goes without --timeout.",
        ("--all", "--jobs", "3", "--timeout", "9"): "--jobs is 3, but more than one at once needs --all, and goes "
        "without --timeout.",
    }.items():
        refused = run("run", *words)
        assert (refused.returncode, refused.stderr) == (2, f"labkit: {sentence}\n")
    for words in (["figure", "--run", "x"], ["figure", "curves", "--all", "--run", "x"]):
        finished = run(*words)
        assert finished.stderr == "labkit: Give the names of figures of the run, or --all for every one.\n"
        assert finished.returncode == 2


def test_other_data_in_the_same_format_train_by_plain_papermill_and_are_never_called_mnist(tmp_path: Path) -> None:
    root = write_idx(tmp_path / "data", train=120, test=60, classes=4, side=20)
    names = "shirt,shoe,bag,coat"
    words = ["-p", "class_names", names, "-p", "source", "official", *SMALL, "-p", "epochs", "1"]
    finished = papermill(NOTEBOOK, tmp_path, *words, data=root)
    assert finished.returncode == 0, finished.stderr
    folder = only_run(tmp_path / "runs")
    assert read_manifest(folder)["status"] == "completed"
    assert len(pd.read_csv(folder / "history.csv")) == 1
    data = read_manifest(folder)["data"]
    assert (data["kind"], data["verified"], data["name"]) == ("official", False, "data in the MNIST layout")
    assert pd.read_csv(folder / "per_class.csv")["class"].tolist() == names.split(",")
    assert set(pd.read_csv(folder / "tables" / "reported.csv")["verdict"]) == {
        "not comparable: these files are not the published ones"
    }


def test_a_run_that_takes_too_long_is_stopped_and_says_so(tmp_path: Path) -> None:
    finished = run("run", *SLOW, "--out", tmp_path, "--timeout", "15")
    manifest = read_manifest(only_run(tmp_path))
    assert finished.returncode == 1
    assert (manifest["status"], manifest["error"]["type"]) == ("failed", "TimeoutError")
    assert "longer than 15 s" in finished.stderr
    assert (only_run(tmp_path) / "notebook.ipynb").exists()  # which papermill leaves only where it ended by itself


def test_of_two_that_start_at_once_one_is_refused_and_the_other_unharmed(tmp_path: Path) -> None:
    words = ["run", *SLOW, "--out", tmp_path]
    both = [subprocess.Popen(labkit(*words), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        wait_for(lambda: any(process.poll() is not None for process in both))
        refused, going = sorted(both, key=lambda process: process.poll() is None)
        assert refused.returncode == 2
        assert "in use by another process" in refused.stderr.read()
        wait_for(lambda: training_has_begun(tmp_path))
        assert read_manifest(only_run(tmp_path))["status"] == "running"
        going.send_signal(signal.SIGTERM)
        assert going.wait(120) == 130
    finally:
        for process in both:
            process.kill()
    assert read_manifest(only_run(tmp_path))["status"] == "interrupted"


def test_data_list_says_what_is_there(tmp_path: Path) -> None:
    assert "No MNIST files" in run("data", "list", "--data", tmp_path).stdout
    write_idx(tmp_path)
    assert "not the published ones" in run("data", "list", "--data", tmp_path).stdout


def test_interrupt_kernel_and_run_again_goes_on_from_the_step(tmp_path: Path) -> None:
    """The square button in the middle of an epoch, then the cells again: the numbers are those of one go.

    What a student sees of it is looked at in the browser (test_stop_and_go_on).
    """
    cells = [c for c in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    given = TINY | {"epochs": 4, "batch_size": 8, "source": "sample"}
    sources.insert(2, "# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in given.items()))
    training = next(i for i, source in enumerate(sources) if "common.train(" in source)
    manager, client = start_new_kernel(kernel_name="python3", env=environment(tmp_path / "runs", tmp_path), cwd="/")
    try:
        for source in sources[:training]:
            assert client.execute_interactive(source, output_hook=silent)["content"]["status"] == "ok"
        asked = client.execute(sources[training])
        wait_for(lambda: training_has_begun(tmp_path / "runs"))
        manager.interrupt_kernel()
        reply = next(
            m for m in iter(lambda: client.get_shell_msg(timeout=120), None) if m["parent_header"]["msg_id"] == asked
        )
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        folder = only_run(tmp_path / "runs")
        assert read_manifest(folder)["status"] == "interrupted"
        state = read_checkpoint(folder / "checkpoints" / "last.safetensors")[1]["state"]
        assert 1 <= state["epoch"] < 4
        for source in sources[: training + 1]:
            assert client.execute_interactive(source, output_hook=silent)["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    params = lab.Parameters.checked(DEFAULTS | given | {"data_root": str(tmp_path)})
    data, model = lab.load_data(params, lab.find_data(params)), lab.build_model(params)
    batches = lab.batches(params, data.train, train=True), lab.batches(params, data.val)
    whole = pd.DataFrame(fit(model, *batches, lab.build_recipe(params, model), tmp_path / "whole"))
    resumed = pd.read_csv(folder / "history.csv")
    scores = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"]
    pd.testing.assert_frame_equal(resumed[scores], whole[scores], check_exact=True)


def silent(message: dict) -> None:
    """Take a kernel's output and show nothing."""
