"""labkit check: what notebooks say of their exercises, good ones and bad ones, and one of them run again for real."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import damage
import pandas as pd
import pytest
from click.testing import Result
from commands import invoke
from conftest import NOTEBOOK, TINY, as_nobody
from fuzzing import inputs, survives
from hypothesis import given
from hypothesis import strategies as st

from labkit.exercises import exercises_of
from labkit.exercises.checker import cell_mark
from labkit.exercises.submitted import read_submission, rows
from labkit.exercises.verdict import MIME
from labkit.running import checking

LAB = exercises_of(NOTEBOOK.stem)
RIGHT = {
    "mirrored_digits": "prediction = 50",
    "residual_block": "def residual_block(x, branch):\n    return torch.relu(x + branch(x))",
    "cross_entropy": "from torch.nn.functional import cross_entropy as mean_cross_entropy",
    "wilson_interval": "from labkit.training.metrics import wilson as interval",
    "ten_times_the_rate": f"answer = '{'I expected this. ' * 9}'",
    "better_by_a_tenth": f"answer = '{'How many seeds? ' * 9}'",
}
STATES = ["predicted", "right", "right", "right", "answered", "answered"]
Notebook = dict[str, Any]


def workbook() -> Notebook:
    """Notebook 01 as it is handed out."""
    return json.loads(NOTEBOOK.read_text("utf-8"))


def student_cells(notebook: Notebook) -> dict[str, dict[str, Any]]:
    """The cells to be filled in, by exercise."""
    return {name: cell for cell in notebook["cells"] for name in LAB if cell["id"] == f"lab1-{name}-answer"}


def filled(answers: dict[str, str]) -> Notebook:
    """The notebook with these answers in front of the checks, not yet run."""
    notebook = workbook()
    for name, cell in student_cells(notebook).items():
        if name in answers:
            check = LAB[name].starter().splitlines()[-1]
            cell["source"] = f"{answers[name]}\n{check}".splitlines(keepends=True)
    return notebook


def run(notebook: Notebook, **verdicts: dict[str, str]) -> Notebook:
    """The notebook with what the checks would show of ``verdicts``, fields by exercise."""
    for name, cell in student_cells(notebook).items():
        if name in verdicts:
            mark = cell_mark("".join(cell["source"]))
            data = {MIME: {"exercise": name, "cell": mark} | verdicts[name], "text/plain": "…"}
            cell["outputs"] = [{"output_type": "display_data", "data": data, "metadata": {}}]
    return notebook


def good() -> Notebook:
    """Everything done."""
    return run(filled(RIGHT), **{name: {"state": state} for name, state in zip(LAB, STATES, strict=True)})


def save(folder: Path, notebook: Notebook, name: str = NOTEBOOK.name) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(notebook), "utf-8")
    return folder / name


def check(*words: object) -> Result:
    return invoke("check", *words)


def told(path: Path) -> dict[str, tuple[str, str]]:
    """State and hint of each exercise."""
    return {row.exercise: (row.state, row.hint) for row in rows(read_submission(path))}


def test_a_good_notebook(tmp_path: Path) -> None:
    said = check(save(tmp_path, good()))
    assert said.exit_code == 0
    assert said.output.splitlines()[-1].strip() == "6 of 6 done"
    assert [line.split()[1] for line in said.output.splitlines()[1:-1]] == STATES


def test_an_empty_notebook(tmp_path: Path) -> None:
    said = check(NOTEBOOK)
    assert said.exit_code == 0
    assert said.output.count("not attempted") == len(LAB)
    assert said.output.splitlines()[-1].strip() == "0 of 6 done"


def test_a_wrong_notebook_gets_our_hint_whatever_it_says_itself(tmp_path: Path) -> None:
    wrong = {"state": "not yet", "mistake": "no_relu", "hint": "all is well"}
    found = told(save(tmp_path, run(filled(RIGHT), residual_block=wrong)))
    assert found["residual_block"] == ("not yet", LAB["residual_block"].mistakes["no_relu"].hint)
    assert found["cross_entropy"][0] == "not run"


def test_what_was_changed_after_it_was_run_is_not_believed(tmp_path: Path) -> None:
    notebook = good()
    student_cells(notebook)["residual_block"]["source"].insert(0, "# later\n")
    assert told(save(tmp_path, notebook))["residual_block"] == (
        "not run",
        "The cell was changed after it was run: run it again and save.",
    )


def test_a_cell_that_stops_and_one_that_is_gone(tmp_path: Path) -> None:
    notebook = good()
    error = {"output_type": "error", "ename": "SyntaxError", "evalue": "'(' was never\nclosed", "traceback": []}
    student_cells(notebook)["cross_entropy"]["outputs"] = [error]
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "lab1-wilson_interval-answer"]
    found = told(save(tmp_path, notebook))
    assert found["cross_entropy"] == ("stopped", "The cell stops with SyntaxError: '(' was never closed.")
    assert found["wilson_interval"][0] == "missing"


def test_a_damaged_and_a_foreign_notebook_are_one_sentence_each(tmp_path: Path) -> None:
    (tmp_path / "half.ipynb").write_text(json.dumps(good())[:5000])
    foreign = save(tmp_path, {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, "mine.ipynb")
    old = save(tmp_path, {"worksheets": [], "metadata": {}, "nbformat": 3}, "old.ipynb")
    for path, sentence in (
        (tmp_path / "half.ipynb", "is not a JSON file"),
        (foreign, "is no notebook of this workbook: it has none of the exercises."),
        (old, "is no notebook (cells: Field required)."),
    ):
        said = check(path)
        assert said.exit_code == 1
        assert sentence in said.output
        assert len(said.output.splitlines()) == 2


def test_what_is_not_there_is_a_wrong_request(tmp_path: Path) -> None:
    for path in (tmp_path / "no.ipynb", tmp_path):
        said = check(path)
        assert said.exit_code == 2
        assert said.output.startswith("labkit: There is no ")
        assert len(said.output.splitlines()) == 1


def test_forty_notebooks_are_a_table_and_one_bad_one_is_a_row(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    for number in range(37):
        save(inbox / f"student {number:02}", good() if number else workbook())
    (inbox / "zoe_01_mnist_resnet18.ipynb").write_bytes(b"\0")
    (inbox / "out.ipynb").symlink_to("/etc/passwd")
    save(inbox / "formula", run(filled(RIGHT), residual_block={"state": "not yet", "hint": "=1+1", "answer": "@x"}))
    save(inbox / ".ipynb_checkpoints", workbook())
    said = check(inbox, "--csv", tmp_path / "all.csv")
    assert said.exit_code == 1
    assert len(said.output.splitlines()) == 40 + 1
    assert (tmp_path / "all.csv").read_bytes().startswith("\ufeffstudent,".encode())  # by which Excel knows UTF-8
    table = pd.read_csv(tmp_path / "all.csv", keep_default_na=False)
    assert list(table) == list(checking.COLUMNS)
    assert len(table) == 38 * len(LAB) + 2
    first = table[table["student"] == "student 00"]
    assert set(first["state"]) == {"not attempted"}
    assert table[table["student"] == "student 36"]["state"].tolist() == STATES
    bad = table[table["problem"] != ""].set_index("path")["problem"]
    assert "is not a JSON file" in bad["zoe_01_mnist_resnet18.ipynb"]
    assert "leads out of its folder" in bad["out.ipynb"]
    assert set(table[table["path"].str.startswith("zoe")]["student"]) == {"zoe"}
    formula = table[(table["student"] == "formula") & (table["exercise"] == "residual_block")].iloc[0]
    assert (formula["hint"], formula["answer"]) == ("'=1+1", "'@x")
    assert set(table["rerun"]) == set(table["match"]) == {""}  # nothing was executed


def test_a_fault_of_ours_in_one_notebook_loses_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(submission: Any) -> list:
        raise MemoryError("no room")

    monkeypatch.setattr(checking, "rows", fails)
    found = checking.check(save(tmp_path, good()), "a", rerun=False)
    assert found.problem.endswith("cannot be looked at (no room).")


@inputs(0.5)
@given(data=st.data())
def test_nothing_gets_in_by_notebooks(work: Path, data: st.DataObject) -> None:
    small = good()
    small["cells"] = list(student_cells(small).values())
    path = save(work, data.draw(damage.facts(small)))
    survives("notebooks", lambda: rows(read_submission(path)))
    path.write_bytes(data.draw(damage.content(json.dumps(small).encode())))
    survives("notebooks", lambda: rows(read_submission(path)))


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, pd.DataFrame]:
    """A notebook that says of everything that it is right, checked with --rerun: output and table."""
    wrong = RIGHT | {
        "residual_block": "def residual_block(x, branch):\n    return x + torch.relu(branch(x))",
        "cross_entropy": "def mean_cross_entropy(logits, labels):\n    return 1 / 0\n",
        "wilson_interval": "def interval(right, n)\n",  # a syntax error
        "better_by_a_tenth": "from labkit.exercises import trial\n\ntrial.SECONDS = 0.3\nanswer = ''",
    }
    claimed = {name: {"state": state} for name, state in zip(LAB, STATES, strict=True)}
    notebook = run(
        filled(wrong), **copy.deepcopy(claimed) | {"mirrored_digits": {"state": "predicted", "answer": "50"}}
    )
    values = TINY | {"epochs": 1, "data_root": "/of/the/student", "fresh": True}
    source = "# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in values.items())
    cell = {"cell_type": "code", "source": source, "metadata": {"tags": ["injected-parameters"]}, "outputs": []}
    place = next(i for i, c in enumerate(notebook["cells"]) if "parameters" in c["metadata"].get("tags", []))
    notebook["cells"].insert(place + 1, cell | {"id": "x", "execution_count": 1})
    folder = tmp_path_factory.mktemp("handed in")
    path = save(folder / "anna", notebook)
    said = check(path, "--rerun", "--csv", folder / "a.csv", "--data", tmp_path_factory.mktemp("data"))
    return said, pd.read_csv(folder / "a.csv", keep_default_na=False).set_index("exercise")


def test_checks_work_in_a_real_kernel_and_tell_what_was_edited(again: tuple[Result, pd.DataFrame]) -> None:
    said, table = again
    assert not any(table["problem"]), said.output
    assert table["rerun"].to_dict() == {
        "mirrored_digits": "predicted",
        "residual_block": "not yet",
        "cross_entropy": "not yet",
        "wilson_interval": "stopped",
        "ten_times_the_rate": "answered",
        "better_by_a_tenth": "not attempted",
    }
    assert table["match"].tolist() == ["yes", "no", "no", "no", "no", "no"]
    assert "Run again, it is: stopped." in said.output
    assert said.exit_code == 1


def test_a_notebook_that_does_not_run_again_is_a_problem_in_a_sentence(tmp_path: Path) -> None:
    notebook = good()
    notebook["cells"] = [cell for cell in notebook["cells"] if "parameters" not in cell["metadata"].get("tags", [])]
    said = check(save(tmp_path, notebook), "--rerun")
    assert said.exit_code == 1
    assert "has no cell tagged 'parameters'" in said.output
    assert "6 of 6 done" in said.output  # what it says of itself is shown all the same


def test_a_folder_that_may_not_be_read_is_a_row_and_not_passed_over(open_folder: Path) -> None:
    save(open_folder / "alice", workbook())
    save(open_folder / "bob", good()).parent.chmod(0o700)
    with as_nobody():
        found = [checking.check(path, name, rerun=False) for path, name in checking.notebooks_in([open_folder])]
    alice, bob = found
    assert (alice.problem, len(alice.rows)) == ("", len(LAB))
    assert bob.problem == f"{open_folder / 'bob'} may not be read: ask for the right to, or leave it out."
    assert checking.table(found)["student"].iloc[-1] == "bob"


def test_a_name_that_is_no_utf_8_costs_nobody_a_row(tmp_path: Path) -> None:
    save(tmp_path / "zoe", workbook())
    save(Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller")), workbook())  # from an old zip archive
    table = tmp_path / "all.csv"
    said = check(tmp_path, "--csv", table)
    assert (said.exit_code, said.exception) == (0, None)
    assert set(pd.read_csv(table)["student"]) == {"M ller", "zoe"}


def test_of_several_folders_each_row_says_whose_it_is(tmp_path: Path) -> None:
    folders = [save(tmp_path / "in" / name, workbook()).parent for name in ("alice", "bob")]
    found = checking.notebooks_in(folders)
    assert [name for _, name in found] == [f"{name}/{NOTEBOOK.name}" for name in ("alice", "bob")]


@pytest.mark.parametrize("mark", ["", " (1)", "-Copy2"])
def test_the_mark_of_a_copy_is_no_part_of_a_name(mark: str) -> None:
    for name, student in {
        f"alice/01_mnist_resnet18{mark}.ipynb": "alice",
        f"01_mnist_resnet18_bo{mark}.ipynb": "bo",
    }.items():
        assert checking.student_of(checking.Checked(Path(name), name)) == student


def test_a_table_that_cannot_be_written_is_said_before_anything_is_looked_at(tmp_path: Path) -> None:
    path = save(tmp_path, good())
    for place, fault in {tmp_path: "it is a folder", Path("/proc/nowhere/all.csv"): "No such file"}.items():
        said = check(path, "--csv", place)
        assert said.exit_code == 2
        assert said.output.startswith(f"labkit: {place} cannot be written ({fault}")
        assert len(said.output.splitlines()) == 1


def test_a_notebook_that_interrupts_itself_does_not_end_the_check_of_the_others(tmp_path: Path) -> None:
    """It looks like Ctrl-C, but nobody has pressed that."""
    notebook = good()
    place = next(i for i, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code")
    stop = {"cell_type": "code", "source": "raise KeyboardInterrupt", "metadata": {}, "outputs": []}
    notebook["cells"].insert(place + 1, stop | {"id": "stop", "execution_count": None})
    save(tmp_path / "a", notebook)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "empty.ipynb").write_text("")
    said = check(tmp_path, "--rerun", "--csv", tmp_path / "all.csv", "--data", tmp_path)
    assert said.exit_code == 1
    first, second, _ = said.output.splitlines()
    assert "Run again, it failed" in first or "Run again, it interrupted" in first
    assert "KeyboardInterrupt" in first
    assert "empty.ipynb is not a JSON file" in second
