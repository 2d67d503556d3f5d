"""Sweeps of real runs: a bad combination among good ones, the same command again, and requests that are refused."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest
from test_notebooks import labkit

WORDS = ["04", "-p", "source", "sample", "-p", "limit", "120", "-p", "batch_size", "16", "-p", "blocks", "2"]
WORDS += ["-p", "epochs", "1"]


def sweep(*words: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(labkit("sweep", *words), capture_output=True, text=True, timeout=300, check=False)


def test_a_sweep_merges_its_runs_and_does_not_repeat_them(tmp_path: Path) -> None:
    words = [*WORDS, "--grid", "learning_rate=0.002,0.001", "--jobs", "2", "--data", tmp_path, "--out", tmp_path / "o"]
    first = sweep(*words)
    assert first.returncode == 0, first.stderr
    (path,) = (tmp_path / "o" / "04_block_cnn").glob("sweep-quick-*.csv")
    table = pd.read_csv(path)
    assert table["learning_rate"].tolist() == [0.002, 0.001]
    assert table["best"].any()
    manifests = {m: m.read_bytes() for m in (tmp_path / "o").glob("*/*/manifest.json")}
    again = sweep(*words)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("complete already") == 2
    assert {m: m.read_bytes() for m in manifests} == manifests


WRONG = [
    (["--grid", "learning_rate=,,"], "is no list of values"),
    (["--grid", "learning_rate"], "is no list of values"),
    (["--grid", "width=-4,8"], "must be a whole number"),
    (["--grid", "seed=1,2"], "--seeds"),
    (["--grid", "learning_rate=1e-3,0.001"], "twice"),
    (["--jobs", "0"], "--jobs is 0"),
    (["--seeds", "0"], "--seeds is 0"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_a_wrong_sweep_is_one_sentence_and_exit_code_2(tmp_path: Path, words: list[str], sentence: str) -> None:
    refused = sweep(*WORDS, *words, "--data", tmp_path, "--out", tmp_path / "runs")
    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()
