"""Parameters: the notebook's cell and the lab's class say the same, and nothing wrong gets through."""

import ast
import json
import re
import string
from pathlib import Path
from typing import Any, get_args

import papermill
import pytest
from commands import invoke
from conftest import DEFAULTS, NOTEBOOK
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import RequestError
from labkit.labs import common, lab_of
from labkit.labs import mnist_resnet18 as lab
from labkit.labs.common import notebook_defaults, read_experiment
from labkit.labs.parameters import Parameters, allowed, assigned
from labkit.results import reported
from labkit.running.request import find_notebook, make_request, notebooks

EXPERIMENTS = [
    (path, experiment)
    for path in notebooks()
    for experiment in sorted(p.stem for p in (path.parent / "experiments" / path.stem).glob("*.yaml"))
]
every_notebook = pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
every_experiment = pytest.mark.parametrize(
    ("path", "name"), EXPERIMENTS, ids=lambda v: v if isinstance(v, str) else v.stem[:2]
)


def cell(path: Path = NOTEBOOK) -> str:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))


@every_notebook
def test_cell_and_class_have_the_same_names_and_types(path: Path) -> None:
    nodes = [node for node in ast.parse(cell(path)).body if isinstance(node, ast.AnnAssign)]
    written = {node.target.id: node.annotation.id for node in nodes}
    fields = lab_of(path.stem).Parameters.model_fields
    kinds = {
        name: f.annotation if isinstance(f.annotation, type) else type(get_args(f.annotation)[0])
        for name, f in fields.items()
    }
    assert written == {name: kind.__name__ for name, kind in kinds.items()}


@every_notebook
def test_the_defaults_are_allowed(path: Path) -> None:
    assert lab_of(path.stem).Parameters.checked(notebook_defaults(path)).experiment == "quick"


@every_notebook
def test_papermill_understands_the_cell(path: Path) -> None:
    found = papermill.inspect_notebook(path)
    assert found.keys() == lab_of(path.stem).Parameters.model_fields.keys()
    assert all(entry["inferred_type_name"] != "None" and entry["help"] for entry in found.values())


@every_experiment
def test_every_experiment_is_allowed_and_named_like_its_file(path: Path, name: str) -> None:
    given = read_experiment(path, name)
    params = lab_of(path.stem).Parameters.checked(notebook_defaults(path) | given)
    assert params.experiment == name
    assert {key: getattr(params, key) for key in given} == given  # written as what they are: 0.00001, not 1e-5


@every_notebook
def test_every_experiment_that_a_notebook_or_the_readme_names_is_there(path: Path) -> None:
    known = {name for other, name in EXPERIMENTS if other == path}
    text = path.read_text("utf-8") + (NOTEBOOK.parents[1] / "README.md").read_text("utf-8")
    named = set(re.findall(rf"labkit run {path.stem[:2]}[^`\n]*? -e ([\w.]+)", text)) | set(
        re.findall(r"`((?:ablation|unet|resnet34_unet|dice_ce|adam|sgd)_\w+)`", text)
    )
    fields = lab_of(path.stem).Parameters.model_fields
    models = set(get_args(fields["model"].annotation)) if "model" in fields else set()
    assert named - models - {name for _, name in EXPERIMENTS} == set()
    assert set(re.findall(rf"labkit run {path.stem[:2]}[^`\n]*? -e ([\w.]+)", text)) <= known


def recipe(notebook: str, name: str) -> Any:
    path = find_notebook(notebook)
    return lab_of(path.stem).Parameters.checked(notebook_defaults(path) | read_experiment(path, name))


def test_the_segmentation_recipes_are_the_reports() -> None:
    aiot = recipe("02", "dice_ce")
    assert (aiot.image_size, aiot.batch_size, aiot.optimiser, aiot.learning_rate) == (512, 4, "adam", 1e-3)
    assert (aiot.weight_decay, aiot.loss, aiot.schedule, aiot.epochs) == (1e-5, "half_ce_half_dice", "plateau", 50)
    rows = {
        "unet_lr1e3_default_init": ("unet_default_init", 1, 1e-3, 10),
        "unet_lr1e3_he": ("unet", 1, 1e-3, 10),
        "unet_lr1e4": ("unet", 1, 1e-4, 10),
        "unet_dataset_norm": ("unet", 1, 1e-4, 10),
        "unet": ("unet", 8, 1e-4, 20),
        "resnet34_unet_10": ("resnet34_unet_pre_add_relu", 8, 1e-4, 10),
        "resnet34_unet": ("resnet34_unet_pre_add_relu", 8, 1e-4, 20),
    }
    for name, expected in rows.items():
        p = recipe("03", name)
        assert (p.model, p.batch_size, p.learning_rate, p.epochs) == expected
        assert (p.optimiser, p.weight_decay, p.loss, p.image_size, p.width) == ("adam", 2e-4, "bce_dice", 512, 64)
        assert (p.augmentation, p.target, p.dropout, p.rival) == ("affine", "pet_and_border", 0.1, "none")


@every_experiment
def test_a_run_by_a_reports_recipe_is_called_so(path: Path, name: str) -> None:
    claims = reported.claims_of(path.stem)
    if name not in set(claims["experiment"]):
        return
    params, own = recipe(path.stem, name).model_dump(), read_experiment(path, name)
    assert reported.recipe_words(params, name, own) == "the report's"
    assert all(reported.other_question(params, own, metric) == "" for metric in ("dice", "loss"))


def test_a_score_is_not_compared_with_the_answer_to_another_question() -> None:
    unet, resnet = recipe("03", "unet").model_dump(), recipe("03", "side_by_side").model_dump()
    claims = [read_experiment(find_notebook("03"), name) for name in ("unet", "resnet34_unet")]
    assert reported.other_question(resnet, claims[0], "dice") == "another network"
    assert reported.other_question(resnet, claims[1], "dice") == ""
    assert reported.other_question(unet | {"target": "border_only"}, claims[0], "dice") == "another target"
    assert reported.other_question(unet | {"loss": "dice"}, claims[0], "loss") == "another loss"
    assert reported.other_question(unet | {"image_size": 64}, claims[0], "dice") == ""  # scored at the photo's own size
    ours, claim = recipe("04", "best_cifar10").model_dump(), read_experiment(find_notebook("04"), "cifar10")
    assert reported.other_question(ours, claim, "accuracy") == "another network"
    assert reported.other_question(recipe("04", "cifar10").model_dump() | {"crop": 4}, claim, "accuracy") == ""
    pairs, claim = recipe("05", "two_decoders").model_dump(), read_experiment(find_notebook("05"), "two_decoders")
    for name, value in (("digit_size", 8), ("ink", "colour"), ("place", "centre"), ("image_size", 16)):
        assert reported.other_question(pairs | {name: value}, claim, "accuracy") == f"another {name.replace('_', ' ')}"
    assert reported.other_question(pairs | {"width": 8}, claim, "accuracy") == "another network"


def test_the_recipes_of_the_cmsc_report_are_the_reports() -> None:
    for name, size, blocks in (("mnist", 28, 1), ("cifar10", 32, 4)):
        p = recipe("04", name)
        assert (p.dataset, p.image_size, p.blocks, p.width, p.growth, p.tail) == (name, size, blocks, 0, 3, "halving")
        assert (p.rise_factor, p.rise_epochs, p.patience, p.validation_share) == (1.1, 5, 0, 0.2)
        assert (p.erase, p.early_pool, p.mirror) == (0, False, False)
    for name in ("two_decoders", "one_decoder", "log_softmax"):
        p = recipe("05", name)
        assert (p.model, p.width, p.epochs, p.rival) == (name, 32, 100, "none")
    for p in (recipe("04", "mnist"), recipe("04", "cifar10"), recipe("05", "two_decoders")):
        assert (p.batch_size, p.optimiser, p.learning_rate, p.schedule) == (128, "adam", 2e-3, "constant")
        assert (p.weight_decay, p.label_smoothing, p.flip, p.crop) == (0, 0, False, 0)


def test_the_reports_recipes_are_the_reports() -> None:
    adam = lab.Parameters.checked(DEFAULTS | read_experiment(NOTEBOOK, "adam_steplr"))
    assert (adam.optimiser, adam.learning_rate, adam.weight_decay, adam.batch_size) == ("adam", 1e-3, 1e-4, 128)
    assert (adam.schedule, adam.step_size, adam.epochs, adam.image_size) == ("step", 10, 20, 28)
    sgd = lab.Parameters.checked(DEFAULTS | read_experiment(NOTEBOOK, "sgd_hflip_32px"))
    assert (sgd.optimiser, sgd.learning_rate, sgd.weight_decay, sgd.batch_size) == ("sgd", 0.01, 1e-4, 64)
    assert (sgd.schedule, sgd.epochs, sgd.image_size, sgd.flip) == ("constant", 10, 32, True)


WRONG = [
    ("epoch", "1", "no parameter 'epoch': did you mean 'epochs'?"),
    ("epochs", "-3", "'epochs' is '-3', but must be a whole number from 1 to 10,000"),
    ("epochs", "2.5", "'epochs' is '2.5', but must be a whole number"),
    ("epochs", True, "'epochs' is True, but must be a whole number"),
    ("learning_rate", "nan", "'learning_rate' is 'nan', but must be a number above 0 to 10"),
    ("learning_rate", float("inf"), "must be a number above 0 to 10"),
    ("learning_rate", 0, "must be a number above 0 to 10"),
    ("source", "offical", "'source' is 'offical', but must be one of 'auto', 'official', 'download', 'sample'"),
    ("flip", "maybe", "'flip' is 'maybe', but must be true or false"),
    ("class_names", "cat", "two or more different names separated by commas"),
    ("class_names", "cat, dog,cat", "two or more different names"),
    ("class_names", "cat, ,dog", "two or more different names"),
    ("batch_size", 1, "'batch_size' is 1, but must be a whole number from 2"),
    (3, 1, "no parameter 3"),
    ("experiment", "../up", "up to 60 letters, digits"),
    ("model", "resnet19", "one of 'resnet18', 'resnet34', 'resnet50'"),
    ("seed", None, "'seed' is None, but must be a whole number from 0"),
    ("zzz", 1, "no parameter 'zzz': this notebook has experiment, seed"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), WRONG)
def test_what_is_wrong_is_said_in_a_sentence(name: Any, value: Any, sentence: str) -> None:
    with pytest.raises(RequestError) as caught:
        lab.Parameters.checked(DEFAULTS | {name: value})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("flip", "false", False),
        ("flip", "true", True),
        ("epochs", "3", 3),
        ("epochs", 3.0, 3),
        ("learning_rate", "1e-3", 1e-3),
    ],
)
def test_texts_from_the_command_line_are_read_as_meant(name: str, text: Any, value: Any) -> None:
    assert getattr(lab.Parameters.checked(DEFAULTS | {name: text}), name) == value


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(RequestError, match="'epochs' is missing"):
        lab.Parameters.checked({k: v for k, v in DEFAULTS.items() if k != "epochs"})


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.sampled_from(sorted(DEFAULTS)), st.text(string.printable, min_size=1, max_size=12)),
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=2)
    ),
)
def test_any_value_is_taken_or_refused_in_one_line(name: str, value: Any) -> None:
    message = ""
    try:
        params = lab.Parameters.checked(DEFAULTS | {name: value})
    except RequestError as error:
        message = str(error)
    else:
        assert lab.Parameters.checked(params.model_dump()) == params
    assert not message or (repr(name) in message and "\n" not in message)


def test_from_notebook_sees_what_papermill_injected() -> None:
    namespace = DEFAULTS | {"epoch": 1, "In": ["import numpy as np", cell(), "# Parameters\nepoch = 1\n"], "np": 3}
    with pytest.raises(RequestError, match="did you mean 'epochs'"):
        lab.Parameters.from_notebook(namespace)
    typed = DEFAULTS | {"epoch": 1, "In": [cell() + "epoch: int = 1", cell()]}
    assert lab.Parameters.from_notebook(typed).epochs == DEFAULTS["epochs"]  # the slip was mended
    later = DEFAULTS | {"epochs": 7, "history": [], "In": [cell(), "# Parameters\nepochs = 7\n", "history = []"]}
    assert lab.Parameters.from_notebook(later).epochs == 7


def test_assigned_names() -> None:
    assert list(assigned("a = 1\nb: int = 2\nc.d = 3\nif a:\n    e = 4")) == ["a", "b"]
    assert assigned("this is no Python") == {}


def test_what_departs_from_the_experiment_is_named() -> None:
    assert common.changed(lab, lab.Parameters.checked(DEFAULTS | {"seed": 5, "source": "sample"})) == []
    best = DEFAULTS | common.experiments(lab)["best"]
    assert common.changed(lab, lab.Parameters.checked(best)) == []
    assert common.changed(lab, lab.Parameters.checked(best | {"epochs": 7})) == ["epochs"]
    assert "epochs" in common.changed(lab, lab.Parameters.checked(DEFAULTS | {"experiment": "mine", "epochs": 9}))


def test_identity_leaves_out_where_the_data_came_from() -> None:
    params = lab.Parameters.checked(DEFAULTS)
    moved = lab.Parameters.checked(DEFAULTS | {"data_root": "/elsewhere", "source": "sample", "fresh": True})
    assert params.identity() == moved.identity()
    assert params.identity() != lab.Parameters.checked(DEFAULTS | {"seed": 1}).identity()


def test_every_field_can_be_described() -> None:
    for field in lab.Parameters.model_fields.values():
        assert allowed(field)
        assert field.description
    assert issubclass(lab.Parameters, Parameters)


def test_notebooks_are_found_by_number_name_and_path() -> None:
    for name in ("01", "1", NOTEBOOK.stem, NOTEBOOK.name, str(NOTEBOOK)):
        assert find_notebook(name) == NOTEBOOK
    assert NOTEBOOK in notebooks()
    with pytest.raises(RequestError, match=r"no notebook '99'.*01_mnist_resnet18"):
        find_notebook("99")


def test_a_copy_where_one_stands_comes_before_the_workbooks_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_notebook(NOTEBOOK.name) == NOTEBOOK
    (tmp_path / NOTEBOOK.name).write_bytes(NOTEBOOK.read_bytes())
    assert find_notebook(NOTEBOOK.name) == tmp_path / NOTEBOOK.name
    assert find_notebook("01") == NOTEBOOK


@pytest.mark.parametrize("place", ["data", "out"])
def test_the_home_of_nobody_is_one_sentence(place: str) -> None:
    with pytest.raises(RequestError, match="'~nobody-of-this-name/x' is not the path of a folder"):
        make_request("01", **{place: "~nobody-of-this-name/x"})


def test_a_renamed_copy_is_told_from_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "anna 01.ipynb").write_bytes(NOTEBOOK.read_bytes())
    with pytest.raises(RequestError, match=r"The name of '.*anna 01.ipynb' does not say which notebook it is"):
        find_notebook(str(tmp_path / "anna 01.ipynb"))


def test_a_parameter_may_be_typed_as_one_word(tmp_path: Path) -> None:
    for words in (["-p", "epochs", "many"], ["-p", "epochs=many"], ["--parameter", "epochs=many", "-p", "seed", "1"]):
        said = invoke("run", "01", *words, "--out", tmp_path)
        assert said.stderr.startswith("labkit: Parameter 'epochs' is 'many'"), said.stderr


def test_a_request_is_checked_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no experiment 'fast'.*quick"):
        make_request("01", "fast", out=str(tmp_path / "runs"))
    with pytest.raises(RequestError, match="did you mean 'epochs'"):
        make_request("01", overrides=[("epoch", "1")], out=str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "sentence"), [("a: [", "is not a YAML file"), ("- 1\n", "must hold lines of the form")]
)
def test_a_damaged_experiment_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    folder = tmp_path / "experiments" / NOTEBOOK.stem
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(content)
    with pytest.raises(RequestError, match=sentence):
        read_experiment(tmp_path / NOTEBOOK.name, "mine")
