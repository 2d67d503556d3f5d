"""Runs read back and put side by side: what may be compared, over seeds, effects, claims, differences."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import invoke
from conftest import as_nobody, params_of
from filelock import FileLock
from finished_runs import write_run, write_training
from scipy import stats

from labkit.cli import app
from labkit.errors import DataError, RequestError
from labkit.files import write_atomic
from labkit.labs import analysis, run_tables
from labkit.results import claims, compare, reported, run_words
from labkit.results.finished import find_runs, open_run
from labkit.results.locks import is_live
from labkit.running import comparing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_a_run_is_read_back(root: Path) -> None:
    run = open_run(write_run(root, scores=(0.5, 1.0), epochs=3))
    assert (run.metric, run.score.value, run.model) == ("dice", 0.75, "unet")
    assert run.chosen["epoch"] == 3
    assert compare.runs_table([run]).iloc[0][["gap", "minutes"]].tolist() == pytest.approx([0.1, 1.5])


@pytest.mark.parametrize("status", ["failed", "interrupted", "running"])
def test_what_is_not_finished_is_named_and_left_out(root: Path, status: str) -> None:
    kept, broken = write_run(root, seed=0), write_run(root, seed=1, status=status)
    runs, left_out = find_runs(root)
    assert [run.folder for run in runs] == [kept]
    (reason,) = left_out["reason"]
    assert left_out["folder"].tolist() == [f"02_liver_unet/{broken.name}"]
    assert ("failed" if status == "running" else status) in reason  # nobody is at work there any more


def damage(folder: Path, what: str) -> None:
    if what == "no manifest":
        (folder / "manifest.json").unlink()
    elif what == "manifest is a list":
        (folder / "manifest.json").write_text("[1, 2]")
    elif what == "manifest without data":
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["data"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    elif what == "no score":
        (folder / "results.json").write_text("{}")
    elif what == "score is a text":
        (folder / "results.json").write_text('{"dice": {"value": "much"}}')
    elif what == "score is infinite":
        (folder / "results.json").write_text('{"dice": {"value": 1e999}}')
    elif what == "empty history":
        (folder / "history.csv").write_bytes(b"")
    elif what == "history of another metric":
        (folder / "history.csv").write_text("epoch,seconds\n1,2\n")
    elif what == "binary history":
        (folder / "history.csv").write_bytes(bytes(range(256)))
    elif what == "no images":
        (folder / "per_image.csv").unlink()
    elif what == "images without scores":
        (folder / "per_image.csv").write_text("sample,image\n0,a\n")


DAMAGES = [
    "no manifest",
    "manifest is a list",
    "manifest without data",
    "no score",
    "score is a text",
    "score is infinite",
    "empty history",
    "history of another metric",
    "binary history",
    "no images",
    "images without scores",
]


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_run_is_one_sentence(root: Path, what: str) -> None:
    write_run(root, seed=0)
    damage(write_run(root, seed=1), what)
    runs, left_out = find_runs(root)
    assert len(runs) == 1
    (reason,) = left_out["reason"]
    assert "\n" not in reason
    assert len(reason) < 400


def test_foreign_folders_and_hidden_ones_are_no_runs(root: Path) -> None:
    write_run(root)
    (root / "02_liver_unet" / ".hidden").mkdir()
    (root / "02_liver_unet" / "holiday").mkdir()
    (root / "notes.txt").write_text("hello")
    runs, left_out = find_runs(root)
    assert len(runs) == 1
    assert left_out["folder"].tolist() == ["02_liver_unet/holiday"]


def test_a_rival_is_a_run_of_its_own(root: Path) -> None:
    folder = write_run(root, "03", scores=(0.7, 0.9), rival="unet", model="resnet34_unet")
    write_training(folder / "unet", "dice", (0.6, 0.6))
    (first, second), _ = find_runs(root)
    assert (first.model, second.model, second.is_rival) == ("resnet34_unet", "unet", True)
    assert compare.effect([first], [second])["difference"] == pytest.approx(0.2)
    assert len(run_tables.pairs([first, second])) == 2


def test_a_rivals_name_leads_nowhere_else(root: Path) -> None:
    folder = write_run(root, "03", rival="../../../etc")
    assert len(find_runs(root)[0]) == 1
    assert folder.exists()


def test_only_the_same_question_is_put_together(root: Path) -> None:
    write_run(root, "03", seed=0)
    write_run(root, "03", seed=1)
    write_run(root, "03", seed=2, target="border_only")
    write_run(root, "03", seed=3, test_images="u" * 64)
    write_run(root, "03", seed=4, obstacle="")
    groups = [len(group) for _, group in compare.by_question(find_runs(root)[0])]
    assert sorted(groups) == [1, 1, 1, 2]


def test_scores_over_seeds_have_mean_sd_and_students_interval(root: Path) -> None:
    values = (0.80, 0.84, 0.91)
    for seed, value in enumerate(values):
        write_run(root, seed=seed, scores=(value,))
    row = compare.over_seeds(find_runs(root)[0]).iloc[0]
    assert (row["n"], row["over"]) == (3, "seeds")
    assert row["mean"] == pytest.approx(np.mean(values))
    assert row["sd"] == pytest.approx(np.std(values, ddof=1))
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (row["low"], row["high"]) == pytest.approx((low, min(high, 1.0)))


def test_the_same_training_with_other_workers_is_no_further_seed(root: Path) -> None:
    for workers in (0, 1, 2):
        write_run(root, num_workers=workers)
    runs = find_runs(root)[0]
    row = compare.over_seeds(runs).iloc[0]
    assert (row["n"], row["over"]) == (1, "test images")
    assert run_tables.curves(runs)["label"].nunique() == 3  # a line each


def test_two_seeds_have_no_interval_and_one_has_that_of_its_images(root: Path) -> None:
    write_run(root, seed=0)
    single = compare.over_seeds(find_runs(root)[0]).iloc[0]
    assert (single["over"], single["low"]) == ("test images", pytest.approx(0.8))
    write_run(root, seed=1)
    assert np.isnan(compare.over_seeds(find_runs(root)[0]).iloc[0]["low"])


def test_the_effect_of_a_change_is_paired_image_by_image(root: Path) -> None:
    base = np.linspace(0.1, 0.9, 50)
    write_run(root, seed=0, scores=tuple(base))
    write_run(root, seed=1, scores=tuple(base))
    write_run(root, seed=0, scores=tuple(base + 0.05), loss="dice")
    (row,) = compare.effects(find_runs(root)[0]).to_dict("records")
    assert row["change"] == "loss = dice"
    assert row["difference"] == pytest.approx(0.05)
    assert (row["low"], row["high"]) == pytest.approx((0.05, 0.05))  # the same gain on every image
    assert (row["seeds"], row["over"]) == ("1 / 2", "50 test images")


def test_with_three_seeds_in_common_an_effect_is_as_sure_as_seeds_allow(root: Path) -> None:
    gains = (0.01, 0.05, -0.03)
    for seed, gain in enumerate(gains):
        write_run(root, seed=seed, scores=(0.8,) * 50)
        write_run(root, seed=seed, scores=(0.8 + gain,) * 50, loss="dice")
    write_run(root, seed=3, scores=(0.2,) * 50)  # which the other recipe has not
    effects = compare.effects(find_runs(root)[0])
    (row,) = effects.to_dict("records")
    assert (row["difference"], row["over"]) == (pytest.approx(0.01), "3 seeds")
    assert (row["low"], row["high"]) == pytest.approx(stats.t.interval(0.95, 2, np.mean(gains), stats.sem(gains)))
    said = run_words.effects(effects)
    assert "none moved" in said
    assert "test images" not in said


def test_of_equals_the_base_is_what_is_most_like_the_others(root: Path) -> None:
    ablations = {"ablation_attention": {"width": 8}, "ablation_base": {}, "ablation_bce": {"epochs": 5}}
    for experiment, changes in ablations.items():
        folder = write_run(root, experiment=experiment, **changes)
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        (folder / "manifest.json").write_text(json.dumps(manifest | {"changed": []}))
    assert set(compare.effects(find_runs(root)[0])["against"]) == {"ablation_base (unet)"}


def test_other_test_images_make_no_effect(root: Path) -> None:
    runs = [open_run(write_run(root, seed=0)), open_run(write_run(root, seed=1, test_images="u" * 64))]
    with pytest.raises(RequestError, match="cannot be compared"):
        compare.effect(runs[:1], runs[1:])


def test_labels_say_what_is_changed(root: Path) -> None:
    for seed in (0, 1):
        write_run(root, seed=seed)
    write_run(root, loss="dice", width=32)
    write_run(root, experiment="best")
    runs = find_runs(root)[0]
    assert set(compare.labels(runs).values()) == {
        "quick (unet)",
        "quick (unet): width = 32, loss = dice",
        "best (unet)",
    }


def test_the_plain_name_is_that_of_the_experiment_as_published(root: Path) -> None:
    for seed in (0, 1, 2):
        write_run(root, seed=seed, learning_rate=1e-4)  # a sweep, run more often
    write_run(root)
    runs = find_runs(root)[0]
    assert set(compare.labels(runs).values()) == {"quick (unet)", "quick (unet): learning_rate = 0.0001"}
    (row,) = compare.effects(runs).to_dict("records")
    assert (row["change"], row["against"]) == ("learning_rate = 0.0001", "quick (unet)")


def test_no_two_recipes_share_a_label(root: Path) -> None:
    write_run(root, test_images="t" * 64)
    for width in (32, 64):  # tested on other images, and told apart by a fourth change
        write_run(root, test_images="u" * 64, loss="dice", limit=5, learning_rate=0.1, width=width)
    runs = find_runs(root)[0]
    assert len(set(compare.labels(runs).values())) == len(runs) == 3


def test_what_differs_between_two_runs_is_told(root: Path) -> None:
    first = open_run(write_run(root, seed=0))
    second = open_run(write_run(root, seed=1, learning_rate=0.1))
    table = compare.differences(first, second).set_index("what")
    assert table.loc["learning_rate", "second"] == 0.1
    assert table.loc["seed", "kind"] == "parameters"
    words = compare.differences_words(first, second)
    assert "parameters (seed, learning_rate)" in words
    assert "same test images" in words
    other = open_run(write_run(root, seed=2, test_images="u" * 64))
    assert "do not compare" in compare.differences_words(first, other)
    assert compare.differences_words(first, first) == "There is one run only: nothing to put beside it."
    elsewhere = open_run(write_run(root / "of another machine", seed=0))
    assert compare.differences_words(first, elsewhere).startswith(f"The two runs {first.name} are alike.")


def test_a_claim_is_judged_by_repetitions_on_published_data_alone(root: Path) -> None:
    write_run(root, seed=0, experiment="dice_ce", scores=(0.92, 0.91), obstacle="")
    write_run(root, seed=1, experiment="dice_ce", scores=(0.2, 0.2))  # on the sample: does not count
    write_run(root, seed=2, experiment="best", scores=(0.2, 0.2), obstacle="")  # another recipe
    write_run(root, seed=3, experiment="dice_ce", scores=(0.2, 0.2), obstacle="", learning_rate=0.5)  # a changed one
    for workers in (1, 2):  # which learn the same
        write_run(root, seed=4, experiment="dice_ce", scores=(0.93, 0.92), obstacle="", num_workers=workers)
    table = claims.claims_table(find_runs(root)[0])
    row = table.query("notebook == '02_liver_unet' and quantity == 'test Dice'").iloc[0]
    assert (row["n"], row["verdict"]) == (2, "reproduced")
    assert row["ours"] == pytest.approx(0.92)
    assert row["difference"] == pytest.approx(0.92 - 0.9156)
    assert row["remark"]
    assert set(table.query("notebook == '01_mnist_resnet18'")["verdict"]) == {"not run"}
    curve = table.query("quantity == 'validation Dice, epoch 1'").iloc[0]
    assert (curve["reported"], curve["ours"]) == pytest.approx((0.4521, 0.5))


def test_three_seeds_judge_by_where_a_fourth_would_lie(root: Path) -> None:
    values = (0.95, 0.951, 0.949)
    for seed, value in enumerate(values):
        write_run(root, seed=seed, experiment="dice_ce", scores=(value,), obstacle="")
    row = claims.claims_table(find_runs(root)[0]).query("quantity == 'test Dice'").iloc[0]
    assert (row["n"], row["verdict"]) == (3, "better")
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) * np.sqrt(4 / 3)
    bounds = claims.interval([{"value": value} for value in values])
    assert bounds == pytest.approx({"low": 0.95 - half, "high": 0.95 + half})


def test_the_gain_of_one_experiment_over_another_is_taken_seed_by_seed(root: Path) -> None:
    for seed, (two, one) in enumerate([(0.70, 0.60), (0.72, 0.66)]):
        write_run(root, "05", seed=seed, experiment="two_decoders", scores=(two,), obstacle="")
        write_run(root, "05", seed=seed, experiment="one_decoder", scores=(one,), obstacle="")
    row = claims.claims_table(find_runs(root)[0]).query("split == 'gain'").iloc[0]
    assert (row["n"], row["ours"]) == (2, pytest.approx(0.08))


def test_the_claimed_speed_is_that_of_a_network_over_the_one_beside_it(root: Path) -> None:
    network = "resnet34_unet_pre_add_relu"
    folder = write_run(root, "03", experiment="resnet34_unet", obstacle="", rival="unet", model=network)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"changed": ["rival"]}))
    write_training(folder / "unet", "dice", (0.8, 0.9, 1.0))
    asked = "split == 'ratio'"
    assert claims.claims_table(find_runs(root)[0]).query(asked).iloc[0]["verdict"] == "not run"
    costs = [{"model": network, "test images/s": 30.0}, {"model": "unet", "test images/s": 12.0}]
    write_atomic(folder / "tables" / "costs.csv", pd.DataFrame(costs).to_csv(index=False))
    row = claims.claims_table(find_runs(root)[0]).query(asked).iloc[0]
    assert (row["ours"], row["reported"], row["verdict"]) == (2.5, 2.51, "other hardware")


def test_what_is_said_of_costs_and_pairs_holds_where_nothing_is_known(root: Path) -> None:
    write_run(root)
    runs = find_runs(root)[0]
    costs = run_tables.costs(runs).assign(parameters=None)
    assert run_words.cost(costs).startswith("The longest training took")
    assert run_words.convergence(run_tables.curves(runs)).startswith("No two networks were trained side by side")
    folder = write_run(root, "03", rival="unet", model="resnet34_unet")
    write_training(folder / "unet", "dice", (0.6, 0.6))
    write_run(root, "03", seed=1, rival="none", model="resnet34_unet")
    assert run_words.convergence(run_tables.curves(find_runs(root)[0])).count(" in epoch ") == 2


def test_every_reported_number_of_a_report_is_there_once() -> None:
    entries = reported.claims()
    keys = [tuple(e.get(k) for k in ("notebook", "report", "experiment", "metric", "split", "epoch")) for e in entries]
    assert len(set(keys)) == len(keys)
    shown = claims.untried(claims.claims_table([]))
    assert {"remark", "reported"} <= set(shown)
    assert not shown["quantity"].str.contains("epoch|class").any()


def test_sentences_hold_the_numbers_of_their_tables(root: Path) -> None:
    for seed in range(3):
        write_run(root, seed=seed, scores=(0.8 + 0.02 * seed, 0.9))
    write_run(root, loss="dice", scores=(0.7, 0.7))
    runs, left_out = find_runs(root)
    assert "**4 trained networks** from 1 lab: 4 on samples" in run_words.inventory(compare.runs_table(runs), left_out)
    assert "3 seeds" in run_words.seeds(compare.over_seeds(runs))
    said = run_words.effects(compare.effects(runs))
    assert "in lab 02, is" in said
    assert "−16.00 points (over 2 test images, too few for an interval)" in said
    assert "None of the 75" in run_words.claims(claims.claims_table(runs))


def test_the_analysis_wants_runs(root: Path) -> None:
    with pytest.raises(DataError, match="make some first"):
        analysis.find_data(params_of("06", runs_root=str(root)))
    write_run(root)
    params = params_of("06", runs_root=str(root))
    before = analysis.find_data(params)
    assert (before.kind, before.verified) == ("sample", False)
    write_run(root, seed=1, obstacle="")
    after = analysis.find_data(params)
    assert after.kind == "mixed"
    assert after.fingerprint != before.fingerprint
    with pytest.raises(DataError, match="of these labs"):
        analysis.find_data(params_of("06", runs_root=str(root), labs="01"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measure_side": 16}, "must be 0 or at least 32"),
        ({"labs": "2"}, "numbers such as 02,03"),
        ({"experiments": "../x"}, "names separated by commas"),
    ],
)
def test_parameters_of_the_analysis_are_checked(changes: dict, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        params_of("06", **changes)


def test_a_folder_of_runs_may_move(root: Path, tmp_path: Path) -> None:
    write_run(root)
    before = analysis.find_data(params_of("06", runs_root=str(root))).fingerprint
    shutil.move(root, tmp_path / "elsewhere 中文")
    assert analysis.find_data(params_of("06", runs_root=str(tmp_path / "elsewhere 中文"))).fingerprint == before


def test_what_is_missing_comes_with_its_command(root: Path) -> None:
    write_run(root, experiment="dice_ce", obstacle="other files")
    commands = set(analysis.missing(find_runs(root)[0])["command"])
    assert {
        "labkit run 01",
        "labkit run 02 -e dice_ce --data DIR",
        "labkit run 05 -e one_decoder --data DIR",
    } <= commands
    write_run(root, experiment="dice_ce", seed=1, obstacle="")
    assert commands - set(analysis.missing(find_runs(root)[0])["command"]) == {"labkit run 02 -e dice_ce --data DIR"}


@pytest.mark.parametrize("lab", ["01", "02", "03", "04", "05"])
def test_parameters_of_a_network_are_counted_from_its_run(root: Path, lab: str) -> None:
    (run,), _ = find_runs(write_run(root, lab).parents[1])
    assert run_tables.parameter_count(run) > 1000
    odd = write_run(root, lab, seed=1, image_size=-5)
    assert run_tables.parameter_count(open_run(odd)) is None


def test_a_small_organ_speaks_louder_in_the_dice_loss() -> None:
    table = run_tables.pull_of_foreground().pivot(index="foreground", columns="loss", values="pull")
    assert table["cross-entropy"].to_numpy() == pytest.approx(table.index.to_numpy())
    assert table["Dice loss"].to_numpy() == pytest.approx((1 + table.index.to_numpy()) / 2, abs=0.01)  # worked out


def test_compare_at_the_command_line(root: Path, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    first, second = write_run(root, seed=0), write_run(root, seed=1)
    write_run(root, seed=2, status="failed")
    app(["compare", str(root), "--csv", str(tmp_path / "runs.csv")], standalone_mode=False)
    said = capsys.readouterr().out
    assert "left out  02_liver_unet/quick-seed2" in said
    assert "0.800 to 1.000" in said
    assert "nan" not in said.lower()
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 2
    with pytest.raises(SystemExit) as stopped:
        app(["compare", str(root), "--csv", "/proc/nowhere/runs.csv"], standalone_mode=False)
    assert stopped.value.code == 2
    assert "/proc/nowhere/runs.csv cannot be written" in capsys.readouterr().err
    app(["compare", str(first), str(second)], standalone_mode=False)
    assert "differ in parameters (seed)" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["compare", "report", "figure curves --run", "predict --image x.png --run"])
def test_a_name_that_no_disk_can_hold_is_one_sentence(words: str, tmp_path: Path) -> None:
    said = invoke(*words.split(), tmp_path / (300 * "x"))
    assert said.exit_code == 2
    assert said.stderr.splitlines()[-1].startswith("labkit: ")
    assert "Traceback" not in said.stderr


def test_compare_without_runs_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["compare", str(tmp_path)], standalone_mode=False)
    assert ended.value.code == 2
    assert "There is no finished run in" in capsys.readouterr().err


def test_questions_that_read_alike_are_told_apart_by_what_differs(root: Path) -> None:
    for seed, ink in enumerate(("white", "colour")):
        write_run(root, "05", seed=seed, ink=ink)
    write_run(root, "04", seed=0)
    write_run(root, "04", seed=1, test_images="u" * 64)
    runs = find_runs(root)[0]
    asked = [question for question, _ in compare.by_question(runs)]
    assert len({*asked}) == 4
    assert [question.split(", ")[-1] for question in asked if question.startswith("Lab 05")] == [
        "ink = white",
        "ink = colour",
    ]
    assert [question.split(" (")[-1] for question in asked if question.startswith("Lab 04")] == [
        "other files or images: 1)",
        "other files or images: 2)",
    ]
    assert set(run_tables.points(runs)["panel"]) == set(compare.over_seeds(runs)["panel"]) == {*asked}


def test_what_may_not_be_read_is_named(open_folder: Path) -> None:
    runs = open_folder / "runs"
    kept = write_run(runs, "04")
    write_run(runs, "02").parent.chmod(0o700)
    with as_nobody():
        found, left_out = find_runs(runs)
        compared, again = comparing.find([runs])
    assert [run.folder for run in found] == [run.folder for run in compared] == [kept]
    assert left_out.to_dict("records") == again.to_dict("records")
    assert left_out.to_dict("records") == [
        {"folder": "runs/02_liver_unet", "reason": "it may not be read: ask for the right to."}
    ]


def test_a_run_of_another_user_is_live_while_its_lock_is_held(open_folder: Path) -> None:
    held = FileLock(open_folder / ".lock", mode=0o644)
    with held:
        (open_folder / ".lock").chmod(0o644)
        with as_nobody():
            assert is_live(open_folder)
    with as_nobody():
        assert not is_live(open_folder)


def test_a_folder_without_a_manifest_is_named_and_hidden_ones_are_no_runs(
    root: Path, capsys: pytest.CaptureFixture
) -> None:
    write_run(root, seed=0)
    (write_run(root, seed=1) / "manifest.json").unlink()
    write_run(root / ".old", seed=2)
    for place in (root, root / "02_liver_unet"):
        app(["compare", str(place)], standalone_mode=False)
        said = capsys.readouterr().out
        assert said.count("left out") == 1
        assert "left out  02_liver_unet/quick-seed1: it is no run folder" in said
