"""Exercises: every solution passes, every usual mistake gets its own hint, and no answer breaks a check."""

import copy
import inspect
import json
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from labkit.errors import RequestError
from labkit.exercises import exercises_of, trial
from labkit.exercises.cells import section
from labkit.exercises.checker import Checker, recorded
from labkit.exercises.exercise import Exercise, Prediction, Question, Written
from labkit.exercises.verdict import MARKS, Verdict
from labkit.labs import LABS
from labkit.paths import project_root
from labkit.results import machine

EVERY = [exercise for notebook in LABS for exercise in exercises_of(notebook).values()]
WRITTEN = [exercise for exercise in EVERY if isinstance(exercise, Written)]
MISTAKES = [(exercise, name) for exercise in WRITTEN for name in exercise.mistakes]
written = pytest.mark.parametrize("exercise", WRITTEN, ids=lambda e: e.name)


def named(name: str) -> Any:
    return next(exercise for exercise in EVERY if exercise.name == name)


def filled_in(source: str) -> dict[str, Any]:
    """What a cell hands over to ``check``, by exercise."""
    given: dict[str, Any] = {}
    measured = {"flipped", "results", "targets_table", "history", "pull"}
    anything = dict.fromkeys(measured, torch)  # any object: expressions are cut off below
    source = source.split("prediction, ")[0] + "prediction)" if "prediction, " in source else source
    exec(source, anything | {"check": lambda name, answer: given.update({name: answer})})
    return given


@written
def test_the_solution_is_right(exercise: Written) -> None:
    verdict = exercise.judge(exercise.solution)
    assert (verdict.state, verdict.hint) == ("right", "")


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.name)
def test_an_empty_cell_is_not_attempted(exercise: Exercise) -> None:
    given = filled_in(exercise.starter())
    assert list(given) == [exercise.name]
    assert exercise.judge(given[exercise.name], 1.0).state == "not attempted"


@pytest.mark.parametrize(("exercise", "name"), MISTAKES, ids=lambda v: v if isinstance(v, str) else v.name)
def test_each_usual_mistake_gets_its_own_hint(exercise: Written, name: str) -> None:
    verdict = exercise.judge(exercise.mistakes[name].function)
    assert (verdict.state, verdict.mistake) == ("not yet", name)
    assert verdict.hint == exercise.mistakes[name].hint


@written
def test_no_function_may_change_what_it_is_given(exercise: Written) -> None:
    def spoils(*inputs: Any) -> Any:
        answer = exercise.solution(*copy.deepcopy(inputs))
        for given in inputs:
            if isinstance(given, torch.Tensor | np.ndarray | list):
                given[:] = [1.0] * len(given) if isinstance(given, list) else 1
        return answer

    verdict, numbers = exercise.judge(spoils), next(iter(exercise.cases().values()))
    plain = all(isinstance(given, int) for given in numbers)
    assert verdict.state == ("right" if plain else "not yet")
    assert plain or "changes what it is given" in verdict.hint


@written
def test_hints_are_many_and_different_and_do_not_give_the_solution_away(exercise: Written) -> None:
    hints = [mistake.hint for mistake in exercise.mistakes.values()]
    assert len(set(hints)) == len(hints) >= 3
    answer = inspect.getsource(exercise.solution).split("return ")[-1].strip()
    texts = [exercise.title, exercise.text, exercise.starter(), *hints]
    assert not [text for text in texts if answer in text]


def test_each_lab_predicts_writes_explains_and_asks() -> None:
    names = [exercise.name for exercise in EVERY]
    assert len(set(names)) == len(names)
    for notebook in LABS:
        kinds = [type(exercise) for exercise in exercises_of(notebook).values()]
        assert kinds[0] is Prediction
        assert kinds[-2:] == [Question, Question]
        assert len(kinds) >= 5
        assert set(kinds[1:-2]) == {Written}


@pytest.mark.parametrize("notebook", LABS)
def test_the_notebooks_hold_the_cells_that_the_exercises_make(notebook: str) -> None:
    cells = json.loads((project_root() / "notebooks" / f"{notebook}.ipynb").read_text("utf-8"))["cells"]
    made = section(notebook)
    assert cells[-len(made) :] == made, "run python -m labkit.exercises.cells"
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_what_holds_a_number_does_not_matter() -> None:
    dice = named("dice_from_counts")
    for form in (np.float32, np.float64, torch.tensor, np.array):
        assert dice.judge(lambda counts, form=form: form(dice.solution(counts))).state == "right"
    widths = named("tail_widths")
    assert widths.judge(lambda width, k: tuple(widths.solution(width, k))).state == "right"
    assert widths.judge(lambda width, k: np.array(widths.solution(width, k))).state == "right"
    rule = named("early_stopping")
    assert rule.judge(lambda *given: np.bool_(rule.solution(*given))).state == "right"


def test_a_function_that_changes_its_input_is_not_right() -> None:
    def in_place(x: torch.Tensor, branch: Any) -> torch.Tensor:
        x += branch(x)
        return x.relu_()

    verdict = named("residual_block").judge(in_place)
    assert verdict.state == "not yet"
    assert "changes what it is given" in verdict.hint

    def sorted_in_place(losses: list[float], factor: float, epochs: int) -> bool:
        stop = named("early_stopping").solution(losses, factor, epochs)
        losses.sort()
        return stop

    assert "changes what it is given" in named("early_stopping").judge(sorted_in_place).hint


def test_the_right_shape_of_rubbish_is_not_right() -> None:
    assert named("residual_block").judge(lambda x, branch: torch.zeros_like(x)).state == "not yet"
    assert named("one_sigmoid").judge(lambda logits, mask: torch.tensor(float("nan"))).state == "not yet"
    verdict = named("dice_from_counts").judge(lambda counts: 0.4)
    assert verdict.hint == "Not right yet, as for two slices."
    assert "instead of" in named("trimap_mask").judge(lambda trimap: trimap[0] == 1).hint
    assert "a str" in named("dice_from_counts").judge(str).hint
    assert named("photo_vote").judge(lambda classes: 10).hint.startswith("Right for one answer, the first class, but")


def test_an_error_is_told_in_a_sentence_with_its_line() -> None:
    def broken(counts: np.ndarray) -> float:
        tp = counts[0, 0]
        return {"fp": tp}["tp"]

    line = inspect.getsourcelines(broken)[1] + 2
    hint = named("dice_from_counts").judge(broken).hint
    assert hint == f"Your function stops with KeyError: 'tp' (line {line}: return {{'fp': tp}}['tp']).".replace(
        "'fp'", '"fp"'
    ).replace("['tp']", '["tp"]')
    hint = named("wilson_interval").judge(lambda right, n: right / (n - n)).hint
    assert hint.startswith("Your function stops with ZeroDivisionError: division by zero (line ")


def test_a_name_that_was_not_imported_is_named_with_its_import() -> None:
    code = compile("def f(a, b):\n    return stats.norm.ppf(a)", "cell", "exec")
    space: dict[str, Any] = {}
    exec(code, space)
    hint = named("paired_difference").judge(space["f"]).hint
    assert hint == "The name stats is not known here: write from scipy import stats at the top of the cell (line 2)."


def test_whatever_is_handed_over_gets_a_sentence() -> None:
    dice = named("dice_from_counts")
    assert "without brackets" in dice.judge(0.8).hint
    assert "arguments that the starter has" in dice.judge(lambda: 1.0).hint
    assert "return?" in dice.judge(lambda counts: print(end="")).hint

    def leaves(counts: np.ndarray) -> float:
        raise SystemExit

    assert "SystemExit" in dice.judge(leaves).hint
    assert dice.judge(None).state == dice.judge(...).state == "not attempted"


def test_a_loop_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.2)

    def endless(counts: np.ndarray) -> float:
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                continue

    began = time.monotonic()
    assert "loop that never ends" in named("dice_from_counts").judge(endless).hint
    assert time.monotonic() - began < 3
    assert named("dice_from_counts").judge(named("dice_from_counts").solution).state == "right"  # the alarm is off


def test_the_user_may_interrupt_a_check() -> None:
    def interrupted(counts: np.ndarray) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        named("dice_from_counts").judge(interrupted)


def test_mistakes_are_known_in_whatever_way_they_are_made() -> None:
    def shuffled(patients: np.ndarray, chosen: int) -> tuple[list[int], list[int]]:
        order = random.Random(0).sample(range(len(patients)), len(patients))
        return order[:-3], order[-3:]

    assert named("split_by_patient").judge(shuffled).mistake == "by_slice"
    resize = named("resize_mask")
    assert resize.judge(lambda mask, k: zoom(mask.astype(float), k, order=1)).mistake == "averaged"
    assert resize.judge(lambda mask, k: zoom(mask.astype(float), k, order=1).round()).mistake == "rounded"
    in_order = named("split_by_patient").solution
    assert (
        named("split_by_patient").judge(lambda p, c: [part[::-1].tolist() for part in in_order(p, c)]).state == "right"
    )


def test_a_prediction_is_compared_with_what_was_measured() -> None:
    guess = named("mirrored_digits")
    assert guess.judge(70, 22.67).hint == "Predicted 70 %, measured 22.67 %: 47.3 too high."
    assert guess.judge(np.float32(20), 22.67).hint.endswith("close.")
    assert guess.judge("70 %", 22.67).state == guess.judge([1, 2], 22.67).state == "not yet"
    assert "nothing to compare" in guess.judge(70, float("nan")).hint
    assert guess.judge(None, 22.67).hint == ""  # what was measured is not told before a guess


def test_of_a_prediction_the_first_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = SimpleNamespace(folder=tmp_path, manifest={"notebook": "01_mnist_resnet18"})
    for guesses in ((None, 70, None, 930, 70), (None, 40, 23)):
        check = Checker(run)  # of a kernel of its own
        for guess in guesses:
            check("mirrored_digits", guess, 22.67)
    (kept,) = json.loads((tmp_path / "exercises.json").read_text("utf-8"))["exercises"]
    assert (kept["first"], kept["answer"]) == ("70", "23")
    assert kept["hint"] == "Predicted 23 %, measured 22.67 %: close. The first prediction was 70."
    assert "measured 22.67 %: 17.3 too high. The first prediction was 70." in capsys.readouterr().out


def test_an_open_question_is_for_a_person() -> None:
    question = named("two_programs")
    assert question.judge("  \n").state == "not attempted"
    assert question.judge("No.").hint == "Write at least 80 characters; these are 3."
    assert question.judge("No.").answer == "No."
    answered = question.judge("reasons " * 20)
    assert answered.state == "answered"
    assert "A person will read it" in answered.hint
    assert answered.answer.startswith("reasons reasons")


def test_a_verdict_is_told_by_words_and_marks_not_by_colour_alone() -> None:
    assert len(set(MARKS.values())) == len(MARKS)
    for state, mark in MARKS.items():
        verdict = Verdict(exercise="x", state=state, hint="<b>a & b</b>")
        assert f"<b>{mark} {state}</b>" in verdict.html()
        assert "&lt;b&gt;a &amp; b" in verdict.html()
        assert verdict.sentence() == f"{mark} x: {state}. <b>a & b</b>"


def test_checks_are_kept_in_the_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    check = Checker(SimpleNamespace(folder=tmp_path, manifest={"notebook": "02_liver_unet"}))
    check("dice_from_counts", named("dice_from_counts").mistakes["pooled"].function)
    check("expected_dice", None, 0.9)
    kept = json.loads((tmp_path / "exercises.json").read_text("utf-8"))["exercises"]
    assert [(row["exercise"], row["state"], row["mistake"]) for row in kept] == [
        ("dice_from_counts", "not yet", "pooled"),
        ("expected_dice", "not attempted", ""),
    ]
    with pytest.raises(RequestError, match="did you mean 'dice_from_counts'"):
        check("dice_from_count", None)
    again = Checker(SimpleNamespace(folder=tmp_path, manifest={"notebook": "02_liver_unet"}))  # in a new kernel
    again("expected_dice", 0.9, 0.9)
    assert {name: verdict.state for name, verdict in recorded(tmp_path).items()} == {
        "dice_from_counts": "not yet",
        "expected_dice": "predicted",
    }


def test_no_training_depends_on_what_a_student_fills_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "project_root", lambda: tmp_path)
    (tmp_path / "notebooks").mkdir()
    found = []
    for answer in ("...", "1"):
        cells = [
            (f"seed = {answer}", ["parameters"]),
            ("common.train(x)", []),
            (f"plot({answer})", []),
            (answer, ["exercise", "raises-exception"]),
        ]
        listed = [{"cell_type": "code", "source": [text], "metadata": {"tags": tags}} for text, tags in cells]
        (tmp_path / "notebooks" / "lab.ipynb").write_text(json.dumps({"cells": listed}))
        found.append((machine.training_code("lab"), machine.code_version("lab")["sha256"]))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]  # another plot is another notebook all the same
