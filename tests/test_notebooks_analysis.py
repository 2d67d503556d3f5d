"""The analysis and the report of real runs: notebooks executed, folders read back, documents made by the command."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pdfua
import pytest
from commands import options, papermill, run
from conftest import TINY, check_exercises, check_figures, check_no_widgets

from labkit.paths import project_root
from labkit.results.manifest import read_manifest
from labkit.running.request import make_request

QUICK = ["04", *options(TINY | {"epochs": 1, "blocks": 2, "width": 4})]


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """Two seeds of lab 4, a run that failed, and their analysis; the folder of the runs, and what was printed."""
    out = tmp_path_factory.mktemp("runs, 中文")
    for seed in (0, 1):
        assert run("run", *QUICK, "-p", "seed", str(seed), "--out", out).returncode == 0
    assert run("run", *QUICK, "-p", "learning_rate", "10", "--timeout", "0.5", "--out", out).returncode == 1
    return out, run("run", "06", "-p", "measure_side", "32", "--out", out)


def folder_of(out: Path) -> Path:
    (folder,) = (out / "06_analysis").iterdir()
    return folder


def test_the_analysis_ends_with_a_line(analysed: tuple[Path, subprocess.CompletedProcess]) -> None:
    out, finished = analysed
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("06_analysis  quick  2 trained networks of 1 lab  0 of 75 reported numbers tried")
    assert read_manifest(folder_of(out))["status"] == "completed"


def test_the_analysis_shows_the_runs_and_names_the_failed_one(
    analysed: tuple[Path, subprocess.CompletedProcess],
) -> None:
    folder = folder_of(analysed[0])
    left_out = pd.read_csv(folder / "tables" / "left_out.csv")
    assert left_out["reason"].str.contains("longer than 0.5 s").tolist() == [True]
    scores = pd.read_csv(folder / "tables" / "scores.csv")
    assert scores["n"].tolist() == [2]
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert {"curves", "cost_score", "gaps", "scores", "speed", "pull"} <= names
    assert set(check_figures(folder)) == names
    check_exercises(folder)
    check_no_widgets(folder)
    cells = json.loads((folder / "notebook.ipynb").read_text("utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] in ("error", "stream")]


def test_the_same_runs_are_not_analysed_twice_and_other_ones_are(
    analysed: tuple[Path, subprocess.CompletedProcess], tmp_path: Path
) -> None:
    again = run("run", "06", "-p", "measure_side", "32", "--out", analysed[0])
    assert "complete already" in again.stdout
    fewer = tmp_path / "runs"
    shutil.copytree(analysed[0], fewer)
    shutil.rmtree(
        next(
            path.parent
            for path in fewer.glob("04*/*/manifest.json")
            if read_manifest(path.parent)["status"] == "completed"
        )
    )
    assert (
        make_request("06", "quick", [("measure_side", "32")], out=str(fewer)).folder.name != folder_of(analysed[0]).name
    )


def test_the_report_of_real_runs(analysed: tuple[Path, subprocess.CompletedProcess], tmp_path: Path) -> None:
    made = run("report", "--runs", analysed[0], "--out", tmp_path / "report")
    assert made.returncode == 0, made.stderr
    lines = made.stdout.splitlines()
    assert lines[0].startswith("left out  04_block_cnn/quick-seed0")
    assert [Path(line).suffix for line in lines[1:]] == [".pdf", ".docx", ".tex", ".html"]
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert page.count("<figure") >= 5
    assert not pdfua.validate(str(tmp_path / "report" / "report.pdf")).findings
    assert "curves" in {path.stem.split("-")[-1] for path in (tmp_path / "report" / "figures").iterdir()}


def test_plain_papermill_analyses_too(analysed: tuple[Path, subprocess.CompletedProcess], tmp_path: Path) -> None:
    notebook = project_root() / "notebooks" / "06_analysis.ipynb"
    words = ["-p", "runs_root", str(analysed[0]), "-p", "measure_side", "0"]
    done = papermill(notebook, tmp_path, *words)
    assert done.returncode == 0, done.stderr


def test_without_runs_nothing_is_started(tmp_path: Path) -> None:
    refused = run("run", "06", "--out", tmp_path / "runs")
    assert refused.returncode == 2
    assert "There are no finished runs under" in refused.stderr
    assert not (tmp_path / "runs").exists()


def test_all_refuses_a_parameter_that_the_analysis_has_not_before_anything_runs(tmp_path: Path) -> None:
    refused = run("run", "--all", "-p", "epochs", "1", "--out", tmp_path / "runs")
    assert refused.returncode == 2
    assert "There is no parameter 'epochs'" in refused.stderr
    assert not (tmp_path / "runs").exists()
