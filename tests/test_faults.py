"""Real runs that something happens to: killed starters and papermills, changed code, full and read-only disks."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from commands import only_run, run, run_alone, under_way, wait_for
from conftest import write_idx
from test_data import published

from labkit.data.mnist import LAYOUT
from labkit.data.samples import textures
from labkit.files import write_json
from labkit.results.manifest import read_manifest
from labkit.running import asking
from labkit.running.asking import GRACE
from labkit.running.execute import _watch
from labkit.training.checkpoint import read_checkpoint

WORDS = ["04", "-p", "source", "sample", "-p", "limit", "120", "-p", "batch_size", "16", "-p", "blocks", "2"]
LONG = [*WORDS, "-p", "epochs", "1000", "-p", "rise_factor", "0"]


def papermill_of(command: subprocess.Popen) -> list[psutil.Process]:
    return [p for p in psutil.Process(command.pid).children() if "labkit.running.headless" in p.cmdline()]


def epochs_of(folder: Path) -> int:
    """How many epochs the history of a run has, which are 1, 2, 3 and so on, each once."""
    epochs = pd.read_csv(folder / "history.csv")["epoch"].tolist()
    assert epochs == list(range(1, len(epochs) + 1))
    return len(epochs)


def goes_on(folder: Path, epochs_before: int) -> None:
    """The same request again takes the training up, behind what was there; then it is stopped with Ctrl-C."""
    with under_way("run", *LONG, "--out", folder.parents[1]) as command:
        wait_for(lambda: epochs_of(folder) > epochs_before + 2)
        command.send_signal(signal.SIGINT)
        assert command.wait(120) == 130
    assert "it goes on from its last checkpoint" in (folder / "log.txt").read_text("utf-8")
    assert read_manifest(folder)["status"] == "interrupted"


@dataclass
class Killed:
    """A run of which one process was killed: who was left, what the command said, and the manifest as it is."""

    left: list[psutil.Process]
    code: int
    said: str
    manifest: dict[str, Any]
    epoch: int


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Killed]]:
    """A long run, started again each time after its kernel, papermill and ``labkit run`` itself were killed in turn."""
    out, found = tmp_path_factory.mktemp("runs"), {}
    for victim in ("kernel", "papermill", "command"):
        before = epochs_of(only_run(out)) if found else 0
        with under_way("run", *LONG, "--out", out) as command:
            wait_for(lambda: list(out.glob("04_block_cnn/*/history.csv")))
            folder = only_run(out)
            wait_for(lambda folder=folder, before=before: epochs_of(folder) > before + 1)
            family = {"papermill": papermill_of(command)[0], "kernel": psutil.Process(read_manifest(folder)["pid"])}
            family.get(victim, command).kill()
            _, said = command.communicate(timeout=120)
        left = psutil.wait_procs(list(family.values()), timeout=90)[1]
        epoch = read_checkpoint(folder / "checkpoints" / "last.safetensors")[1]["state"]["epoch"]
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        found[victim] = Killed(left, command.returncode, said, manifest, epoch)
    return folder, found


@pytest.mark.parametrize("victim", ["kernel", "papermill"])
def test_a_killed_kernel_or_papermill_ends_the_run_and_the_next_goes_on(victim: str, killed: tuple) -> None:
    one = killed[1][victim]
    assert (one.left, one.code) == ([], 1)
    assert "KernelDied" in one.said
    assert (one.manifest["status"], one.manifest["error"]["type"]) == ("failed", "KernelDied")
    assert one.epoch >= 1


def test_a_killed_labkit_run_ends_its_notebook_in_order_and_the_next_run_goes_on(killed: tuple) -> None:
    folder, found = killed
    one = found["command"]
    assert not one.left
    assert (one.manifest["status"], one.manifest["error"]["type"]) == ("interrupted", "KeyboardInterrupt")
    assert [found[victim].epoch for victim in found] == sorted({found[victim].epoch for victim in found})
    goes_on(folder, epochs_of(folder))


def test_a_labkit_run_killed_before_its_kernel_has_begun_ends_at_once(tmp_path: Path) -> None:
    with under_way("run", *LONG, "--out", tmp_path) as command:
        (papermill,) = wait_for(lambda: papermill_of(command))
        command.kill()
    _, left = psutil.wait_procs([papermill], timeout=GRACE / 2)
    assert not left
    manifest = read_manifest(only_run(tmp_path))
    assert (manifest["status"], manifest["sessions"]) == ("interrupted", [])


def test_changed_code_is_named_and_needs_to_be_allowed(killed: tuple) -> None:
    folder, _ = killed
    sessions = len(read_manifest(folder)["sessions"])
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["training_code"] |= {"labkit/training/loop.py": "another", "torch": "1.0"}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    refused = run("run", *LONG, "--out", folder.parents[1])
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "since then torch, labkit/training/loop.py changed: go on all the same with anyway = True (--anyway)" in line
    with under_way("run", *LONG, "--anyway", "--out", folder.parents[1]) as command:
        wait_for(lambda: len(read_manifest(folder)["sessions"]) > sessions)
        epochs = epochs_of(folder)
        wait_for(lambda: epochs_of(folder) > epochs)
        command.send_signal(signal.SIGINT)
        assert command.wait(120) == 130
    goes_on(folder, epochs)  # what was allowed once is the code of the run from then on


def test_a_run_on_a_disk_that_fills_says_so_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    for size in ("256k", "2m", "3m", "64m"):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(small_disk)], check=True)
        finished = run("run", *WORDS, "-p", "epochs", "2", "--out", small_disk)
        for path in [*small_disk.rglob("*.json"), *small_disk.rglob("*.ipynb")]:
            json.loads(path.read_text("utf-8"))
        for path in small_disk.rglob("*.safetensors"):
            read_checkpoint(path)
        if size != "64m":
            assert finished.returncode == 1, finished.stdout
            assert "No space left on device" in finished.stderr
    assert finished.returncode == 0, finished.stderr
    folder = only_run(small_disk)
    assert read_manifest(folder)["status"] == "completed"
    assert not list(folder.rglob(".*.unfinished"))
    assert not (folder / ".reserve").exists()


def test_data_that_cannot_be_written_beside_are_read_all_the_same(small_disk: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    shutil.copytree(textures(tmp_path) / "cifar10", small_disk / "cifar10")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    words = ["-p", "source", "official", "-p", "epochs", "1", "--data", small_disk, "--out", tmp_path / "runs"]
    finished = run_alone("run", *WORDS, *words, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert finished.returncode == 0, finished.stderr
    assert "images in the CIFAR-10 layout" in finished.stdout


AS_ONE_OF_EIGHT = """
import json, sys
from pathlib import Path
from labkit.cli import app
from labkit.data import mnist
mnist.find(Path(sys.argv[1]), "download", published=json.loads(sys.argv[2]))
sys.exit(app(sys.argv[3:]) if sys.argv[3:] else 0)
"""


def test_parallel_runs_with_nothing_there_make_one_download_and_all_finish(tmp_path: Path, mirror: Any) -> None:
    """Eight ask for the data at once, and two of them train on them."""
    served, address, handler = mirror
    known = published(write_idx(tmp_path / "truth", train=120, test=40), served, address)
    words = [*WORDS, "-p", "dataset", "mnist", "-p", "epochs", "1", "--data", tmp_path / "data", "--out", tmp_path]
    words[2:4] = ["source", "official"]
    asks = [sys.executable, "-c", AS_ONE_OF_EIGHT, str(tmp_path / "data"), json.dumps(known)]
    trains = [[*asks, "run", *map(str, words), "-p", "seed", seed] for seed in "01"]
    eight = [subprocess.Popen(command) for command in [*trains, *[asks] * 6]]
    assert [process.wait(timeout=500) for process in eight] == [0] * 8
    assert len(handler.asked) == len(LAYOUT)
    folders = [path for path in tmp_path.glob("04_block_cnn/*") if path.is_dir()]
    assert sorted(read_manifest(folder)["seed"] for folder in folders) == [0, 1]
    assert {read_manifest(folder)["status"] for folder in folders} == {"completed"}


@pytest.mark.parametrize(("saved", "status"), [(True, "completed"), (False, "failed")])
def test_a_run_whose_notebook_could_not_be_saved_is_not_complete(tmp_path: Path, saved: bool, status: str) -> None:
    write_json(tmp_path / "manifest.json", {"status": "completed", "token": "ours"})
    if saved:
        write_json(tmp_path / "notebook.ipynb", {"cells": []})
    _watch(subprocess.Popen(["false"]), tmp_path, "ours", 0)
    assert read_manifest(tmp_path)["status"] == status


DEAF = """
import pathlib, signal, sys, time
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(0))  # the first one it does not care for
print("ready", flush=True)
step = 0
while len(heard) < 2:
    time.sleep(0.05)
    step += 1
    if sys.argv[1] == "trains":
        pathlib.Path("progress.txt").write_text(f"step {step}")
"""


@pytest.mark.parametrize("what", ["trains", "draws"])
def test_a_notebook_that_has_not_heard_is_asked_again(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "AGAIN", 0.5)
    words = [sys.executable, "-c", DEAF, what]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as kernel:
        assert kernel.stdout.readline() == "ready\n"
        asked = asking.Asked(tmp_path, kernel.pid)
        wait_for(lambda: asked.ask_again_if_unheard() or kernel.poll() == 0, seconds=30)


def test_a_training_that_has_heard_is_left_to_finish_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second interrupt would end it at once, unsaved."""
    sent = []
    monkeypatch.setattr(asking.os, "kill", lambda *_: sent.append(0))
    monkeypatch.setattr(asking, "AGAIN", 0)
    (tmp_path / "progress.txt").write_text("step 3")
    asked = asking.Asked(tmp_path, 0)
    for said in ("step 3", "step 4", "step 4"):
        (tmp_path / "progress.txt").write_text(said)
        asked.ask_again_if_unheard()
    assert len(sent) == 1
