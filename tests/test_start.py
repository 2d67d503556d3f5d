"""The first notebook: executed without data and with damaged ones; what it says of a machine, and of data."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import papermill, run
from conftest import write_idx

from labkit.errors import RequestError
from labkit.paths import project_root
from labkit.running import start
from labkit.running.findings import Finding

NOTEBOOK = project_root() / "notebooks" / "00_start_here.ipynb"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """All outputs of the notebook, executed by plain papermill with no data but an MNIST file that is cut short."""
    folder = tmp_path_factory.mktemp("start")
    data = write_idx(folder / "data")
    (data / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    finished = papermill(NOTEBOOK, folder, "-p", "examples", "2", data=data)
    assert finished.returncode == 0, finished.stderr
    assert not (folder / "runs").exists()
    cells = json.loads((folder / "out.ipynb").read_text("utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_there_is_a_picture_of_each_lab_whose_data_can_be_read(outputs: list[dict]) -> None:
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 5  # all but lab 1; lab 5 takes its samples where the photos are missing
    assert all(len(output["metadata"]["image/png"]["alt"]) > 30 for output in pictures)
    assert {output["output_type"] for output in outputs} == {"display_data"}


def test_damaged_data_are_one_sentence_where_the_picture_would_be(outputs: list[dict]) -> None:
    said = ["".join(output["data"].get("text/markdown", "")) for output in outputs]
    assert sum(text.startswith("> ") and "train-images-idx3-ubyte" in text for text in said) == 1
    assert any("- **wrong**: mnist cannot be used" in text for text in said)


def test_the_first_notebook_is_no_lab_and_labkit_run_says_so() -> None:
    for name in ("00", "0", "00_start_here", str(NOTEBOOK)):
        finished = run("run", name)
        assert finished.returncode == 2
        assert "is no lab and leaves no run" in finished.stderr


def test_what_is_amiss_comes_with_its_remedy_and_what_is_wrong_comes_first() -> None:
    note, wrong = Finding("note", "It is old"), Finding("wrong", "It is broken", "mend it")
    said = start.remedies([Finding("good", "Fine"), note, wrong]).splitlines()
    assert said[-2:] == ["- **wrong**: It is broken. To mend it: mend it.", "- **note**: It is old."]
    assert start.remedies([Finding("good", "Fine")]) == "**Nothing is wrong**: 1 check, all good."


def test_another_seed_draws_other_pictures() -> None:
    one, same, other = (start.Parameters(data_root="", examples=5, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(start.chosen(100, one), start.chosen(100, same))
    assert not np.array_equal(start.chosen(100, one), start.chosen(100, other))
    assert len(start.chosen(3, one)) == 3


def test_too_many_pictures_are_refused() -> None:
    values = {"data_root": "", "examples": 100, "seed": 0}
    with pytest.raises(RequestError, match="'examples' is 100, but must be a whole number from 1 to 8"):
        start.Parameters.checked(values)


def test_the_table_of_data_tells_what_is_here_from_what_is_not(tmp_path: Path) -> None:
    table = start.data_sets(str(write_idx(tmp_path / "data"))).set_index("data set")
    assert table.loc["MNIST", "here"] == "data in the MNIST layout"
    assert table.loc["CIFAR-10", "here"] == "no: the sample is taken"
