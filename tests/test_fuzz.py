"""Nothing gets in by parameters, notebooks, run folders and models: each reader works, or refuses in one sentence."""

import json
import shutil
from pathlib import Path
from typing import Any

import damage
import pytest
from conftest import params_of
from finished_runs import write_run
from fuzzing import TRIED, inputs, survives
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labkit.labs import LABS, analysis, common, lab_of, run_tables
from labkit.labs.common import notebook_defaults
from labkit.labs.parameters import MARK, Parameters, assigned, is_annotated
from labkit.report import document, sections
from labkit.report.check import check, nodes
from labkit.report.render import read
from labkit.report.settings import read_settings
from labkit.results import claims, compare, figures, plots, run_words
from labkit.results.finished import find_runs
from labkit.running import comparing
from labkit.running.figure import draw_again
from labkit.running.predictor import load_predictor
from labkit.running.request import find_notebook
from labkit.training.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def good(work: Path) -> Path:
    """A run of lab 2 with all that the report shows of one."""
    run = write_run(work / "good")
    (run / "tables").mkdir()
    (run / "tables" / "parts.csv").write_text("part,images,foreground,least,most\ntest,3,0.04,0.0,0.09\n")
    (run / "tables" / "reported.csv").write_text("report,quantity,reported,ours,verdict\na,test dice,0.9,0.8,worse\n")
    (run / "per_class.csv").write_text("class,n,accuracy,low,high,precision,f1\n7,3,1.0,0.9,1.0,1.0,1.0\n")
    figures.save(
        run / "figures", "curves", plots.plot_history, find_runs(work / "good")[0][0].history, "2.", "", metric="dice"
    )
    return run


@pytest.mark.parametrize("lab", list(LABS))
@inputs()
@given(data=st.data())
def test_parameters(lab: str, data: st.DataObject) -> None:
    values = data.draw(damage.facts(params_of(lab[:2]).model_dump()))
    params = survives("parameters", lambda: lab_of(lab).Parameters.checked(values))
    if params and lab not in ("06_analysis",):
        common.build_schedule(params)


@inputs()
@given(
    st.text() | st.from_regex(r"(# Parameters\n)?(%\w+ |!|\w+(: \w+)? = )*[\[({'\"\-\d]*", fullmatch=True), damage.JUNK
)
def test_cells(source: str, value: Any) -> None:
    survives("cells", lambda: (assigned(source), is_annotated(source)))
    survives("cells", lambda: Parameters.from_notebook({"In": [f"{MARK}\n{source}"], "seed": value}))


@inputs()
@given(data=st.data())
def test_notebooks_and_experiments(work: Path, data: st.DataObject) -> None:
    path, source = work / "02_liver_unet.ipynb", find_notebook("02")
    path.write_bytes(data.draw(damage.content(source.read_bytes())))
    survives("notebooks", lambda: notebook_defaults(path))
    experiment = work / "experiments" / path.stem / "own.yaml"
    experiment.parent.mkdir(parents=True, exist_ok=True)
    known = (source.parent / "experiments" / path.stem / "quick.yaml").read_bytes()
    words = st.text(alphabet="abc:-[]{}&*!?|>'\"%@`#, \n\t0123456789.", max_size=80).map(str.encode)
    experiment.write_bytes(data.draw(damage.content(known) | words))
    values = survives("experiments", lambda: common.read_experiment(path, "own"))
    survives("experiments", lambda: lab_of(path.stem).Parameters.checked(values or {}))


def report_lines(runs: list, left_out: Any, out: Path) -> str:
    """The Markdown of all parts of a report but its own two figures, which take long to draw."""
    texts = dict.fromkeys(("background", "results", "analysis"), "")
    parts = [sections.lab_section(run, texts, out, sections.FULL) for run in document.main_runs(runs)]
    parts += [document.objective(runs, "", 2), document.comparison(runs, "", out, sections.SHORTEST)]
    parts += [document.problems(runs, left_out), document.conclusions(runs, runs), document.reproduction(runs, 2)]
    return "\n\n".join(parts)


def tables_of(runs: list, left_out: Any) -> None:
    """What notebook 6 and the report make of runs."""
    table, costs, curves = compare.runs_table(runs), run_tables.costs(runs), run_tables.curves(runs)
    run_words.inventory(table, left_out), run_words.cost(costs), run_words.learning_curves(curves)
    run_words.climbing(curves), run_words.convergence(curves), run_words.gaps(run_tables.points(runs))
    run_words.seeds(compare.over_seeds(runs)), run_words.effects(compare.effects(runs))
    compare.differences_words(*run_tables.two_alike(runs))
    shares = run_tables.imbalance(runs)
    assert not len(shares) or run_words.imbalance(shares)
    run_words.claims(claims.claims_table(runs)), analysis.missing(runs)


@inputs(0.3)
@given(data=st.data())
def test_run_folders(work: Path, good: Path, data: st.DataObject) -> None:
    root = work / "runs"
    if not root.exists():
        write_run(root, seed=1, loss="dice")
        write_run(root, "01", seed=1)
        write_run(work / "other", "01")
    base = data.draw(st.sampled_from([good, work / "other" / "01_mnist_resnet18" / "quick-seed0"]))
    shutil.rmtree(root / "02_liver_unet" / "quick-seed0", ignore_errors=True)
    data.draw(damage.folder(base, root / base.parent.name / base.name))
    found = survives("run folders", lambda: find_runs(root), may_refuse=False)
    known = analysis.known(*found)
    survives("run folders: compare", lambda: list(comparing.lines([root])), may_refuse=False)
    survives("run folders: lab 6", lambda: tables_of(*known), may_refuse=False)
    survives("run folders: report", lambda: report_lines(*known, work / "out"), may_refuse=False)


MARKUP = [words for words in damage.ATTACKS if words.isprintable() and len(words) < 100]


@inputs(0.05)
@given(data=st.data())
def test_words_of_a_run_folder_stay_words_in_a_whole_report(work: Path, good: Path, data: st.DataObject) -> None:
    manifest, word = json.loads((good / "manifest.json").read_text()), st.sampled_from(MARKUP)
    manifest |= {name: data.draw(word) for name in ("experiment", "device", "precision")}
    manifest["environment"] = {name: data.draw(word) for name in ("cpu", "threads", "python", "torch", "platform")}
    manifest["parameters"] |= {name: data.draw(word) for name in ("optimiser", "schedule", "model", data.draw(word))}
    manifest["data"] |= {"name": data.draw(word), "obstacle": data.draw(word), "counts": {data.draw(word): 3}}
    manifest["warnings"] = [data.draw(word)]
    run, out = work / "one" / "02_liver_unet" / "quick", work / "whole"
    shutil.copytree(good, run, dirs_exist_ok=True)
    (run / "manifest.json").write_text(json.dumps(manifest))
    TRIED["run folders: whole report"] += 1
    runs, left_out = find_runs(work / "one")
    assert len(runs) == 1
    text = document.document(runs, left_out, read_settings(work / "empty"), work / "empty", out, sections.FULL)
    (out / "report.md").write_text(text, "utf-8")
    report = read(out / "report.md")
    check(report, out)
    found = list(nodes(report))
    assert not [tag for tag, _ in found if tag.startswith("Raw")]
    assert not [target for tag, target in found if tag in ("Link", "Image") and "passwd" in str(target[2])]
    assert not [formula for tag, formula in found if tag == "Math" and "href" in formula[1]]


@inputs(0.3)
@given(data=st.data())
def test_figures(work: Path, good: Path, data: st.DataObject) -> None:
    run = data.draw(damage.folder(good, work / "drawn" / "02_liver_unet" / "run"))
    for name, kind, load, write in (("json", damage.facts, json.loads, json.dumps), ("csv", damage.table, str, str)):
        path = run / "figures" / f"curves.{name}"
        if path.is_file() and not path.is_symlink() and data.draw(st.booleans()):
            original = (good / "figures" / path.name).read_text()
            path.write_text(write(data.draw(kind(load(original)))), "utf-8", "surrogatepass")
    survives("figures", lambda: figures.redrawn(run, "curves", "svg"))


@inputs()
@given(
    st.sampled_from(["../x", "", "\0", "curves\0", "/etc/passwd", "curves/../curves"]) | st.text(), st.text(), st.text()
)
def test_figure_names_and_widths(work: Path, good: Path, name: str, width: str, form: str) -> None:
    survives("names of figures", lambda: draw_again(good, [name], output=work / "one.svg"))
    survives("widths of figures", lambda: draw_again(good, ["none"], width, form))


@inputs(0.5)
@given(data=st.data())
def test_predictors(work: Path, data: st.DataObject) -> None:
    run = work / "run"
    params = params_of("04", blocks=2, width=2, image_size=8, seed=0)
    manifest = {"status": "completed", "notebook": "04_block_cnn", "parameters": params.model_dump()}
    manifest["preprocessing"] = {"channels": 3, "size": 8, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    manifest["data"] = {"class_names": [*"abcdefghij"]}
    if not run.exists():
        save_checkpoint(run / "checkpoints" / "best.safetensors", lab_of("04_block_cnn").build_model(params), {})
    (run / "manifest.json").write_text(json.dumps(data.draw(damage.facts(manifest))), "utf-8", "surrogatepass")
    image = Image.new("RGB", (9, 7))
    survives("runs to predict with", lambda: load_predictor(run, "cpu").classes(image))
