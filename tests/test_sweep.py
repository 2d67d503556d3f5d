"""Sweeps of real runs: killed and started again, two at once, a bad combination among good ones, wrong requests."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
from commands import labkit, options, run, wait_for
from finished_runs import write_run

from labkit.files import write_json
from labkit.results.finished import open_run
from labkit.results.manifest import read_manifest
from labkit.running import hardware, sweep
from labkit.running.grid import Planned
from labkit.running.outcome import complete_already
from labkit.running.request import make_request

SMALL = {"source": "sample", "limit": 120, "batch_size": 2, "blocks": 2, "epochs": 4}  # seconds, to be stopped within
SMALL |= {"optimiser": "adamw", "weight_decay": 1}  # with these a learning rate of 10 multiplies weights by -9 a step
SAMPLE = [("source", "sample")]
WORDS = ["04", *options(SMALL)]
GRID = ["--grid", "learning_rate=0.002,0.001", "--seeds", "2", "--jobs", "2"]
FREE = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


def start(*words: str | Path, **more: str) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(labkit(*words), env=FREE | more, **pipes)


def ended(command: subprocess.Popen) -> subprocess.CompletedProcess:
    out, said = command.communicate(timeout=900)
    return subprocess.CompletedProcess(command.args, command.returncode, out, said)


def states(out: Path) -> dict[Path, str]:
    """How each run under ``out`` stands."""
    return {path.parent: read_manifest(path.parent)["status"] for path in out.glob("*/*/manifest.json")}


@dataclass
class Swept:
    """A sweep of 2 × 2 runs, killed half-way, and the two that were then started over the same runs at once."""

    place: list[str]  # --data and --out, for more of the same
    going: Path  # a run that was under way when the sweep was killed
    left: list[psutil.Process]  # processes of the killed sweep that did not end
    after: dict[Path, str]  # how the runs stood then
    kept: dict[Path, bytes]  # manifests of those that were complete
    both: list[subprocess.CompletedProcess]
    out: Path


def kill_half_way(command: subprocess.Popen, out: Path) -> tuple[Path, list[psutil.Process]]:
    """SIGKILL as soon as a third run trains: one is complete. The third, and what is left after a while."""

    def training() -> list[Path]:
        sessions = {path: read_manifest(path)["sessions"] for path in states(out)}
        in_order = sorted((path for path in sessions if sessions[path]), key=lambda path: sessions[path][0]["started"])
        return [path for path in in_order[2:] if (path / "progress.txt").exists()]

    *_, going = wait_for(training)
    family = psutil.Process(command.pid).children(recursive=True)
    command.kill()
    command.communicate()
    return going, psutil.wait_procs(family, timeout=120)[1]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    root = tmp_path_factory.mktemp("sweep")
    place, out = ["--data", str(root), "--out", str(root / "runs")], root / "runs"
    command = start("sweep", *WORDS, *GRID, *place)
    try:
        going, left = kill_half_way(command, out)
    finally:
        command.kill()
    after = states(out)
    kept = {path: (path / "manifest.json").read_bytes() for path, state in after.items() if state == "completed"}
    again = [start("sweep", *WORDS, *GRID, *place) for _ in range(2)]
    return Swept(place, going, left, after, kept, [ended(one) for one in again], out)


def test_a_killed_sweep_ends_its_runs_in_order(swept: Swept) -> None:
    assert not swept.left
    assert swept.after[swept.going] == "interrupted"
    assert "running" not in swept.after.values()
    assert 1 <= len(swept.kept) < 4


def test_a_killed_sweep_started_again_does_only_what_is_missing(swept: Swept) -> None:
    assert list(states(swept.out).values()) == ["completed"] * 4
    assert {path: (path / "manifest.json").read_bytes() for path in swept.kept} == swept.kept
    assert len(read_manifest(swept.going)["sessions"]) == 2
    for finished in swept.both:
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr.count("complete already") >= len(swept.kept)


def test_two_sweeps_at_once_share_their_runs_and_agree(swept: Swept) -> None:
    one, other = swept.both
    assert one.stdout == other.stdout
    stopped = [path for path, state in swept.after.items() if state == "interrupted"]
    sessions = {path: len(read_manifest(path)["sessions"]) for path in states(swept.out)}
    assert sessions == {path: 1 + (path in stopped) for path in sessions}  # none was done twice


def test_the_merged_table_is_that_of_the_runs(swept: Swept) -> None:
    (path,) = swept.out.glob("04_block_cnn/sweep-quick-*.csv")
    table = pd.read_csv(path).set_index("learning_rate")
    scores: dict[float, list[float]] = {0.002: [], 0.001: []}
    for folder in states(swept.out):
        value = json.loads((folder / "results.json").read_text("utf-8"))["accuracy"]["value"]
        scores[read_manifest(folder)["parameters"]["learning_rate"]].append(value)
    assert table.index.tolist() == list(scores)
    assert table["test"].to_dict() == pytest.approx({rate: pd.Series(of).mean() for rate, of in scores.items()})
    assert table["test_sd"].to_dict() == pytest.approx({rate: pd.Series(of).std() for rate, of in scores.items()})
    assert table["seeds"].tolist() == [2, 2]
    assert table["best"].any()


def test_a_run_of_a_sweep_has_the_numbers_of_a_plain_run(swept: Swept, tmp_path: Path) -> None:
    manifests = {path: read_manifest(path) for path in states(swept.out)}
    one = {"learning_rate": 0.001, "seed": 1}
    (in_sweep,) = (path for path, found in manifests.items() if one.items() <= found["parameters"].items())
    threads = manifests[in_sweep]["environment"]["threads"]  # a sweep gives each its share, and fewer jobs more
    words = [*WORDS, "-p", "learning_rate", "0.001", "-p", "seed", "1", *swept.place[:2], "--out", tmp_path]
    finished = ended(start("run", *words, OMP_NUM_THREADS=str(threads)))
    assert finished.returncode == 0, finished.stderr
    (plain,) = states(tmp_path)
    assert plain.relative_to(tmp_path) == in_sweep.relative_to(swept.out)
    for name in ("results.json", "per_image.csv"):
        assert (in_sweep / name).read_bytes() == (plain / name).read_bytes(), name
    times = ["seconds", "images_per_second"]
    histories = [pd.read_csv(folder / "history.csv").drop(columns=times) for folder in (in_sweep, plain)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_a_combination_that_fails_is_named_and_the_others_finish(swept: Swept) -> None:
    finished = ended(start("sweep", *WORDS, "--grid", "learning_rate=10,0.003,0.001", *swept.place))
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    *_, last = finished.stderr.splitlines()
    assert last.startswith("learning_rate=10.0 seed=0  failed in cell ")
    assert "TrainingError: " in last
    (failed,) = (path for path, state in states(swept.out).items() if state == "failed")
    error = json.loads((failed / "manifest.json").read_text("utf-8"))["error"]
    assert "learning rate 10, precision" in error["message"]
    assert isinstance(error["cell"], int)
    assert "Traceback" in (failed / "log.txt").read_text("utf-8")  # what papermill wrote to stderr is kept
    assert not (failed / "results.json").exists()
    done = {read_manifest(path)["parameters"]["learning_rate"]: state for path, state in states(swept.out).items()}
    assert done == {10.0: "failed", 0.003: "completed", 0.002: "completed", 0.001: "completed"}
    table, *_ = finished.stdout.split("* best")
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["0.003", "0.001"]


WRONG = [
    (["--grid", "learning_rate=,,"], "is no list of values"),
    (["--grid", "learning_rate"], "is no list of values"),
    (["--grid", "width=-4,8"], "must be a whole number"),
    (["--grid", "seed=1,2"], "--seeds"),
    (["--grid", "learning_rate=1e-3,0.001"], "twice"),
    (["--grid", "learning_rate=0.001,0.001"], "has a value twice"),
    (["--jobs", "0"], "--jobs is 0"),
    (["--seeds", "0"], "--seeds is 0"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_a_wrong_sweep_is_one_sentence_and_exit_code_2(tmp_path: Path, words: list[str], sentence: str) -> None:
    place = ["--data", str(tmp_path), "--out", str(tmp_path / "runs")]
    refused = run("sweep", *WORDS, *words, *place)
    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_where_memory_is_short_fewer_runs_go_at_a_time_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(hardware, "memory", lambda: (8 * hardware.GIB, 3 * hardware.GIB, False))
    assert sweep.jobs_that_fit(1) == 1
    assert capsys.readouterr().err == ""
    assert sweep.jobs_that_fit(4) == 1
    assert capsys.readouterr().err == "1 run at a time, not 4: free memory has no room for more (2 GiB each).\n"


def test_where_the_test_images_chose_no_run_is_called_the_best() -> None:
    table = pd.DataFrame({"best": [False, False]})
    assert sweep.star(table).startswith("None is marked as best")
    assert "chose nothing" in sweep.star(table.assign(best=[True, False]))


@pytest.mark.parametrize(("targets", "same"), [(["pet", "pet"], True), (["pet", "pet_and_border"], False)])
def test_runs_that_answer_different_questions_have_no_best(tmp_path: Path, targets: list[str], same: bool) -> None:
    runs = [open_run(write_run(tmp_path, "03", width=i + 4, target=target)) for i, target in enumerate(targets)]
    planned = Planned({}, make_request("03", "quick", SAMPLE), "03")
    assert sweep.comparable([(planned, run) for run in runs]) is same


def test_a_complete_run_of_another_version_is_done_again_or_kept_with_a_word(tmp_path: Path) -> None:
    request = make_request("04", "quick", [("source", "sample")], str(tmp_path), str(tmp_path / "runs"))
    request.folder.mkdir(parents=True)
    write_json(request.folder / "manifest.json", {"status": "completed"})  # an old one, which names no code
    write_json(request.folder / "results.json", {"accuracy": {"value": 0.5}})
    assert complete_already(request) is None
    score = {"value": 0.5, "n": 40, "low": 0.4, "high": 0.6, "interval": "95 % Wilson"}
    write_json(request.folder / "results.json", {"accuracy": score})
    assert (
        complete_already(request).score("accuracy").endswith("complete already, by other code: --fresh runs it again")
    )
