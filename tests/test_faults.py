"""Real runs that something happens to: killed starters and papermills, changed code, full and read-only disks."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
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
from labkit.running.execute import _watch
from labkit.running.headless import GRACE
from labkit.training.checkpoint import read_checkpoint

WORDS = ["04", "-p", "source", "sample", "-p", "limit", "120", "-p", "batch_size", "16", "-p", "blocks", "2"]
LONG = [*WORDS, "-p", "epochs", "300"]


def papermill_of(command: subprocess.Popen) -> list[psutil.Process]:
    return [p for p in psutil.Process(command.pid).children() if "labkit.running.headless" in p.cmdline()]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen, Path, psutil.Process]]:
    """A run in the middle of its training: its command, its folder, and the process of papermill."""
    with under_way("run", *LONG, "--out", tmp_path) as command:
        wait_for(lambda: list(tmp_path.glob("04_block_cnn/*/history.csv")))
        (papermill,) = papermill_of(command)
        yield command, only_run(tmp_path), papermill


def goes_on(folder: Path, epochs_before: int) -> None:
    """The same request again takes the training up, behind what was there; then it is stopped with Ctrl-C."""
    with under_way("run", *LONG, "--out", folder.parents[1]) as command:
        wait_for(lambda: len(pd.read_csv(folder / "history.csv")) > epochs_before + 2)
        command.send_signal(signal.SIGINT)
        assert command.wait(120) == 130
    assert "it goes on from its last checkpoint" in (folder / "log.txt").read_text("utf-8")
    assert pd.read_csv(folder / "history.csv")["epoch"].is_monotonic_increasing
    assert read_manifest(folder)["status"] == "interrupted"


def test_a_killed_papermill_takes_its_kernel_along_and_the_next_run_goes_on(started: tuple) -> None:
    command, folder, papermill = started
    kernel = psutil.Process(read_manifest(folder)["pid"])
    papermill.kill()
    assert command.wait(120) == 1
    assert not kernel.is_running()
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert (manifest["status"], manifest["error"]["type"]) == ("failed", "KernelDied")
    goes_on(folder, len(pd.read_csv(folder / "history.csv")))


def test_a_killed_labkit_run_ends_its_notebook_in_order_and_the_next_run_goes_on(started: tuple) -> None:
    command, folder, papermill = started
    kernel = psutil.Process(read_manifest(folder)["pid"])
    command.kill()
    psutil.wait_procs([papermill, kernel], timeout=90)
    assert not papermill.is_running()
    assert not kernel.is_running()
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert (manifest["status"], manifest["error"]["type"]) == ("interrupted", "KeyboardInterrupt")
    _, facts = read_checkpoint(folder / "checkpoints" / "last.safetensors")
    assert facts["state"]["epoch"] >= 1
    goes_on(folder, len(pd.read_csv(folder / "history.csv")))


def test_a_labkit_run_killed_before_its_kernel_has_begun_ends_at_once(tmp_path: Path) -> None:
    with under_way("run", *LONG, "--out", tmp_path) as command:
        (papermill,) = wait_for(lambda: papermill_of(command))
        command.kill()
    _, left = psutil.wait_procs([papermill], timeout=GRACE / 2)
    assert not left
    manifest = read_manifest(only_run(tmp_path))
    assert (manifest["status"], manifest["sessions"]) == ("interrupted", [])


def test_changed_code_is_named_and_needs_to_be_allowed(started: tuple) -> None:
    command, folder, _ = started
    command.send_signal(signal.SIGINT)
    assert command.wait(120) == 130
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["training_code"] |= {"labkit/training/loop.py": "another", "torch": "1.0"}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    refused = run("run", *LONG, "--out", folder.parents[1])
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "since then torch, labkit/training/loop.py changed: go on all the same with anyway = True (--anyway)" in line
    with under_way("run", *LONG, "--anyway", "--out", folder.parents[1]) as command:
        wait_for(lambda: len(read_manifest(folder)["sessions"]) == 2)
        epochs = len(pd.read_csv(folder / "history.csv"))
        wait_for(lambda: len(pd.read_csv(folder / "history.csv")) > epochs)
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
