"""Widgets driven by their traits, as a browser does: what they show follows, and is right. Then a real kernel."""

import base64
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import params_of
from examples import run_curves
from ipywidgets import IntSlider, Widget
from jupyter_client.manager import start_new_kernel
from matplotlib.figure import Figure
from PIL import Image
from segments import liver_params, write_liver

from labkit.data.drawing import as_mnist, picture_of
from labkit.labs import block_cnn, liver_unet, mnist_resnet18
from labkit.results import tables
from labkit.results.manifest import read_manifest
from labkit.training.interrupt import SAVED
from labkit.training.loop import rate_at
from labkit.training.precision import choose_precision
from labkit.training.resume import State
from labkit.widgets import draw, explore, frontend, plan
from labkit.widgets.explorer import Explorer

masks, predictions, runs = (offer.__wrapped__ for offer in (explore.masks, explore.predictions, explore.runs))
digit = draw.digit.__wrapped__
schedule, augmentation = plan.schedule.__wrapped__, plan.augmentation.__wrapped__


def picture(explorer: Explorer) -> np.ndarray:
    """What the widget shows, (H, W, 3) uint8."""
    (text,) = re.findall(r"base64,([^\"]+)", explorer.view.value)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def sentence(explorer: Explorer) -> str:
    """What it says; to those who cannot see it, too."""
    (said,) = re.findall("<p>(.*)</p>", explorer.view.value)
    assert f'alt="{said}"' in explorer.view.value
    return said


def drawn(explorer: Explorer) -> Figure:
    """The figure that the widget shows, before it is a picture."""
    figure = Figure(explorer.size)
    explorer.draw(figure, **{name: control.value for name, control in explorer.controls.items()})
    return figure


@pytest.fixture(scope="module")
def liver(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, torch.Tensor]:
    """Three test slices with a disc as liver, and logits of a disc that is too far to the right and fades outwards."""
    params = liver_params(write_liver(tmp_path_factory.mktemp("data")))
    data = liver_unet.load_data(params, liver_unet.find_data(params))
    rows, columns = np.mgrid[:48, :48]
    maps = [8 - np.hypot(rows - 24, columns - 20 - i) for i in range(len(data.test))]
    return data, torch.from_numpy(np.stack(maps)).half()


def by_hand(data: Any, maps: torch.Tensor, place: int, threshold: float) -> str:
    """Dice of a slice, without labkit."""
    predicted = 1 / (1 + np.exp(-maps[place - 1].double().numpy())) > threshold
    truth = data.truth(data.test.samples[place - 1])
    return f"Dice {2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()):.3f}"


def test_mask_explorer_follows_its_controls(liver: tuple[Any, torch.Tensor]) -> None:
    explorer = masks(*liver, each="slice")
    shown = {explorer.view.value}
    for name, value in {"place": 3, "threshold": 0.9, "opacity": 0.1, "view": "true"}.items():
        before = picture(explorer)
        explorer.controls[name].value = value
        assert (picture(explorer) != before).any(), name
        shown.add(explorer.view.value)
        assert sentence(explorer).startswith(
            by_hand(*liver, *(explorer.controls[n].value for n in ("place", "threshold")))
        )
    assert len(shown) == 5


def test_mask_explorer_counts_what_is_missed_and_what_is_false(liver: tuple[Any, torch.Tensor]) -> None:
    explorer = masks(*liver, each="slice")
    explorer.controls["threshold"].value = 0.99
    data, maps = liver
    truth, predicted = data.truth(data.test.samples[1]), torch.sigmoid(maps[1].double()).numpy() > 0.99
    missed, false = (truth & ~predicted).sum(), (predicted & ~truth).sum()
    assert missed > false
    assert f"{missed:,} missed, {false:,} false" in sentence(explorer)


@pytest.fixture(scope="module")
def digits(sample_root: Path) -> tuple[Any, Any, pd.DataFrame]:
    """Parameters and data of lab 1, and predictions of which a third are wrong."""
    params = params_of("01", data_root=str(sample_root), limit=150)
    data = mnist_resnet18.load_data(params, mnist_resnet18.find_data(params))
    noise = torch.randn(len(data.test), 10, generator=torch.Generator().manual_seed(0))
    logits = noise + 2 * torch.nn.functional.one_hot(torch.as_tensor(data.test.targets).long(), 10)
    return params, data, tables.predictions(logits, data.test.targets, data.test.samples, data.class_names)


def test_prediction_browser_shows_the_images_of_its_titles(digits: tuple[Any, Any, pd.DataFrame]) -> None:
    _, data, per_image = digits
    explorer = predictions(per_image, data.test, data.class_names)
    assert sentence(explorer).startswith(f"Images 1 to 16 of {len(per_image)}")
    explorer.controls["page"].value = 2
    expected = per_image.sort_values("loss", ascending=False).index[16:32]
    for ax, row in zip(drawn(explorer).axes, expected, strict=True):
        assert (np.asarray(ax.images[0].get_array()) == data.test.images[np.array([row])][0, 0].numpy()).all()
        assert ax.get_title() == "{true} →\n{predicted} ({loss:.2f})".format(**per_image.loc[row])


def test_prediction_browser_keeps_to_the_classes(digits: tuple[Any, Any, pd.DataFrame]) -> None:
    _, data, per_image = digits
    explorer = predictions(per_image, data.test, data.class_names)
    explorer.controls["page"].value = explorer.controls["page"].max
    before = picture(explorer)
    wrong = per_image[~per_image["correct"]]
    explorer.controls["true"].value, explorer.controls["said"].value = wrong.iloc[0][["true", "predicted"]]
    count = (
        (per_image["true"] == wrong.iloc[0]["true"]) & (per_image["predicted"] == wrong.iloc[0]["predicted"])
    ).sum()
    assert f"1 to {count} of {count} ({count} of the {count} wrong)" in sentence(explorer)
    assert (explorer.controls["page"].value, explorer.controls["page"].max) == (1, 1)
    assert (picture(explorer) != before).any()


FOUR = [[(4, 3), (3, 9), (10, 9)], [(8, 5), (8, 15)]]


def ink_of(image: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Centre of mass and size of what is white in an image (1, 1, 28, 28): x and y, in pixels."""
    ink = image[0, 0].double().numpy()
    y, x = np.nonzero(ink > 64)
    weights = ink / ink.sum()
    rows, columns = np.mgrid[:28, :28] + 0.5
    return np.array([(weights * columns).sum(), (weights * rows).sum()]), np.array([np.ptp(x) + 1, np.ptp(y) + 1])


@pytest.mark.parametrize("far", [0.0, 9.0])
@pytest.mark.parametrize("large", [0.3, 1.0, 1.5])
def test_a_drawing_is_prepared_as_mnist_was(far: float, large: float) -> None:
    strokes = [[(far + large * x, far + large * y) for x, y in stroke] for stroke in FOUR]
    centre, size = ink_of(as_mnist(strokes))
    assert centre == pytest.approx([14, 14], abs=0.1)
    assert size.max() == pytest.approx(20, abs=1)
    assert size[0] / size[1] == pytest.approx((7 * 17.5 / 12 + 2.5) / 20, abs=0.1)


def test_a_drawing_stays_where_it_was_drawn() -> None:
    image = picture_of([[(5, 20), (15, 20)]], thickness=2)[0, 0]
    assert image[19:21, 5:15].min() > 200
    assert max(image[:19].max(), image[21:].max()) < 50  # a dot of the fine picture is an eighth of a pixel
    assert picture_of([[(3.5, 4.5)]], thickness=3)[0, 0, 3:6, 2:5].min() > 64  # a dot
    assert not picture_of([[(40, 40), (50, 50)]]).any()


@pytest.mark.parametrize("strokes", [[[(14, 14)]], [[(30, 30), (60, 60)]], [[(2, 2), (2, 2)]]], ids=str)
def test_a_dot_and_what_was_drawn_outside_are_prepared_too(strokes: list[Any]) -> None:
    assert ink_of(as_mnist(strokes))[0] == pytest.approx([14, 14], abs=0.1)


def test_a_drawn_digit_is_read_as_training_would_read_it(digits: tuple[Any, Any, pd.DataFrame]) -> None:
    params, data, _ = digits
    model = mnist_resnet18.build_model(params)
    read = mnist_resnet18.reader(model, params, choose_precision("float32", torch.device("cpu")))
    explorer = digit(read, data.class_names, FOUR)
    with torch.inference_mode():
        x = (as_mnist(FOUR).float() / 255 - 0.1307) / 0.3081
        expected = model.eval()(x).softmax(1)[0].numpy()
    figure = drawn(explorer)
    assert [bar.get_height() for bar in figure.axes[1].patches] == pytest.approx(list(100 * expected), rel=1e-3)
    assert sentence(explorer).startswith(
        f"It reads {data.class_names[expected.argmax()]} ({100 * expected.max():.2f} %)"
    )
    assert [ax.get_title("center") for ax in figure.axes[2:]] == ["stem", *(f"stages.{i}" for i in range(4))]
    assert [ax.images[0].get_array().shape for ax in figure.axes[2:]] == [(s, s) for s in (28, 28, 14, 7, 4)]
    before = picture(explorer)
    explorer.controls["prepared"].value = False
    assert (drawn(explorer).axes[0].images[0].get_array() == picture_of(FOUR)[0, 0].numpy()).all()
    assert (picture(explorer) != before).any()


def test_strokes_on_the_board_are_read_when_the_pen_is_lifted() -> None:
    pytest.importorskip("ipycanvas", reason="the extra draw is not installed")
    given = []

    def read(image: torch.Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        given.append(image)
        return np.array([0.25, 0.75]), {"stem": np.eye(4)}

    explorer = digit(read, ["none", "some"], [])
    assert (sentence_of_nothing := explorer.view.value).endswith("<p>Nothing is drawn yet.</p>")
    assert not given
    board = explorer.box.children[0].children[0]
    canvas, clear = board.children[1:]
    explorer.controls["prepared"].value = False
    for event, x, y in [("move", 10, 10), ("down", 50, 200), ("move", 150, 200), ("up", 150, 200), ("move", 9, 9)]:
        canvas._handle_frontend_event(None, {"event": f"mouse_{event}", "x": x, "y": y}, [])
    assert len(given) == 1
    assert (given[0] == picture_of([[(5, 20), (15, 20)]])).all()
    assert sentence(explorer).startswith("It reads some (75.00 %)")
    for event, *touches in [("start", {"x": 140, "y": 140}), ("move", {"x": 140, "y": 200}), ("end",)]:
        canvas._handle_frontend_event(None, {"event": f"touch_{event}", "touches": touches}, [])
    assert (given[1] == picture_of([[(5, 20), (15, 20)], [(14, 14), (14, 20)]])).all()
    clear.click()
    assert explorer.view.value == sentence_of_nothing


def test_without_a_canvas_the_board_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "find_spec", lambda name: None)
    explorer = digit(lambda image: (np.array([0.1, 0.9]), {"stem": np.eye(4)}), ["that", "it"], FOUR)
    assert "pip install ipycanvas" in explorer.box.children[0].children[0].children[0].value
    assert sentence(explorer).startswith("It reads it")


def test_schedule_designer_draws_the_rates_that_training_sets(digits: tuple[Any, Any, pd.DataFrame]) -> None:
    params, steps = digits[0], 7
    recipe = mnist_resnet18.build_recipe(params, mnist_resnet18.build_model(params))
    explorer = schedule(params, recipe, steps)
    for name, value in {
        "schedule": "step",
        "learning_rate": 0.02,
        "epochs": 5,
        "warmup_epochs": 1.5,
        "step_size": 2,
    }.items():
        explorer.controls[name].value = value
    changes = {"schedule": "step", "learning_rate": 0.02, "epochs": 5, "warmup_epochs": 1.5, "step_size": 2}
    other = params_of("01", **params.model_dump() | changes)
    trained = mnist_resnet18.build_recipe(other, mnist_resnet18.build_model(other))
    x, y = drawn(explorer).axes[0].lines[0].get_data()
    assert len(x) == 5 * steps
    assert y == pytest.approx([rate_at(trained, State(epoch=int(t)), t - int(t)) for t in x])
    assert "step_size = 2" in sentence(explorer)


def test_augmentation_playground_shows_what_training_sees(digits: tuple[Any, Any, pd.DataFrame]) -> None:
    params, data, _ = digits
    explorer = augmentation(params, mnist_resnet18, data.train)
    before = picture(explorer)
    explorer.controls["rotate"].value, explorer.controls["place"].value = 90, 4
    assert (picture(explorer) != before).any()
    other = params_of("01", **params.model_dump() | {"rotate": 90.0, "batch_size": 1000})
    batches = mnist_resnet18.batches(other, data.train, train=True)
    places = drawn(explorer).axes
    for epoch in (0, 5):
        images, _ = next(batches.from_step(epoch))
        seen = images * mnist_resnet18.STD + mnist_resnet18.MEAN
        shown = torch.from_numpy(np.asarray(places[epoch].images[0].get_array())) / 255
        assert (seen[:, 0] - shown).abs().amax(dim=(1, 2)).min() < 0.003  # one of the batch, to the step of grey


def test_augmentation_playground_has_the_controls_of_its_lab(sample_root: Path) -> None:
    params = params_of("04", data_root=str(sample_root), crop=3)
    controls = augmentation(params, block_cnn, block_cnn.load_data(params, block_cnn.find_data(params)).train).controls
    assert list(controls) == ["place", "flip", "crop", "erase"]
    assert controls["crop"].value == 3


def test_run_comparison_draws_the_chosen_runs() -> None:
    curves = run_curves().reset_index(drop=True)
    explorer = runs(curves)
    first, second = curves["panel"].unique()
    for panel in (second, first):
        explorer.controls["panel"].value = panel
        labels = list(curves[curves["panel"] == panel]["label"].unique())
        assert list(explorer.controls["names"].options) == labels
        assert len(drawn(explorer).axes[0].lines) == len(labels)
    explorer.controls["names"].value, explorer.controls["x"].value = (labels[1],), "seconds"
    (line,) = drawn(explorer).axes[0].lines
    part = curves[curves["label"] == labels[1]]
    assert (line.get_xdata() == part["seconds"]).all()
    assert f"best {part['score'].max():.3f} in epoch {part['epoch'].loc[part['score'].idxmax()]}" in sentence(explorer)
    explorer.controls["names"].value = ()
    assert explorer.view.value == "<p>Choose a run; several with Ctrl or Shift.</p>"


def test_what_cannot_be_drawn_is_said(digits: tuple[Any, Any, pd.DataFrame]) -> None:
    params = digits[0]
    recipe = mnist_resnet18.build_recipe(params, mnist_resnet18.build_model(params))
    explorer = schedule(params, recipe, 7)
    explorer.controls["warmup_epochs"].max = 5000
    explorer.controls["warmup_epochs"].value = 4000
    assert re.fullmatch(r"<p>Parameter .*warmup_epochs.* must be .*</p>", explorer.view.value)


def test_the_picture_is_that_of_the_last_values_though_two_threads_call() -> None:
    begun, finish = threading.Event(), threading.Event()

    def draw(figure: Figure, first: int, second: int) -> str:
        if (first, second) == (1, 0):
            begun.set()
            finish.wait(10)
        return f"{first} {second}"

    explorer = Explorer(draw, {"first": IntSlider(0), "second": IntSlider(0)})
    threads = [
        threading.Thread(target=setattr, args=(explorer.controls[name], "value", 1)) for name in ("first", "second")
    ]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    threads[1].join(0.5)
    finish.set()
    for thread in threads:
        thread.join(10)
    assert sentence(explorer) == "1 1"


def test_every_control_is_named(liver: tuple[Any, torch.Tensor], digits: tuple[Any, Any, pd.DataFrame]) -> None:
    params, data, per_image = digits
    recipe = mnist_resnet18.build_recipe(params, mnist_resnet18.build_model(params))
    made = [masks(*liver, each="slice"), predictions(per_image, data.test, data.class_names), runs(run_curves())]
    made += [schedule(params, recipe, 7), augmentation(params, mnist_resnet18, data.train)]
    assert all(control.description for explorer in made for control in explorer.controls.values())


def test_nothing_is_built_where_nobody_looks() -> None:
    def build() -> Widget:
        raise AssertionError("built")

    frontend.offered(build)()


class Kernel:
    """A real kernel, and cells that are run in it as a front end or as a program runs them."""

    def __init__(self, folder: Path):
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    def run(
        self, code: str, cell: str | None = "a cell", hook: Callable[[dict], None] = lambda message: None
    ) -> list[dict]:
        """The messages of a cell; ``cell`` is its name, as JupyterLab and VS Code give it, and papermill does not."""
        session, messages = self.client.session, []
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        metadata = {} if cell is None else {"cellId": cell}
        asked = session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(asked)
        end = time.monotonic() + 90
        while not messages or messages[-1]["content"].get("execution_state") != "idle":
            assert time.monotonic() < end, "the cell does not end"
            message = self.client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") == asked["header"]["msg_id"]:
                messages.append(message)
                hook(message)
        return messages

    def click(self, button: str) -> None:
        """Press a button as a browser does."""
        data = {"method": "custom", "content": {"event": "click"}}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", {"comm_id": button, "data": data}))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel in which a small network is ready to be trained for a very long time, in the run folder ``run``."""
    folder = tmp_path_factory.mktemp("kernel")
    made = Kernel(folder)
    small = {
        "limit": 60,
        "image_size": 16,
        "blocks": 1,
        "width": 2,
        "epochs": 9999,
        "batch_size": 8,
        "rise_factor": 0.0,
    }
    values = params_of("04", data_root=str(folder), source="sample", **small).model_dump()
    ready = made.run(
        f"""
from labkit.labs import block_cnn as lab, common
from labkit.widgets import frontend, live
params = lab.Parameters.checked({values!r})
import os; os.environ["LABKIT_RUNS"] = {str(folder / "runs")!r}
run, source = common.open_run(lab, params)
data = lab.load_data(params, source)
preparation = lab.preprocessing(params, data)
batches = lab.batches(params, data.train, preparation, train=True), lab.batches(params, data.val, preparation)
"""
    )
    assert not of(ready, "error"), of(ready, "error")
    yield made
    made.client.stop_channels()
    made.manager.shutdown_kernel(now=True)


def of(messages: list[dict], kind: str) -> list[dict]:
    """The contents of the messages of a kind."""
    return [message["content"] for message in messages if message["msg_type"] == kind]


ASK = """
from ipywidgets import IntSlider
from types import SimpleNamespace
frontend.offered(lambda: SimpleNamespace(box=IntSlider()))()
"""


def test_a_widget_is_shown_to_a_front_end_alone(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = of(kernel.run(ASK), "display_data")
    count = "from ipywidgets.widgets import widget\nprint(len(widget._instances))"
    (first,) = of(kernel.run(count, cell=None), "stream")
    kernel.run(ASK)  # the same cell again: what it showed before is closed
    (second,) = of(kernel.run(count, cell=None), "stream")
    assert first["text"] == second["text"]
    assert shown["data"].keys() == {"text/plain", frontend.VIEW}
    assert "VBox" not in shown["data"]["text/plain"]
    kernel.run('os.environ["JPY_SESSION_NAME"] = "a.ipynb"')  # as a program that a notebook has started inherits it
    again = (
        "import sys\ndel sys.modules['labkit.widgets.explorer']\nimport labkit.widgets.explorer"  # makes none either
    )
    silent = kernel.run(again + ASK, cell=None)
    assert not of(silent, "display_data") + of(silent, "comm_open") + of(silent, "stream")


TRAIN = """
model = lab.build_model(params)
recipe = lab.build_recipe(params, model)
with live.training(recipe) as watch:
    common.train(run, params, model, *batches, recipe, watch=watch)
"""


def stopped_by_a_click(kernel: Kernel) -> tuple[list[dict], float]:
    """Train, press the button after some drawings, and the seconds it then took to the end of the cell."""
    seen: dict[str, Any] = {"drawings": 0}

    def look(message: dict) -> None:
        state = message["content"].get("data", {}).get("state", {})
        if state.get("description") == "Stop training":
            seen["button"] = message["content"]["comm_id"]
        seen["drawings"] += "<img" in str(state.get("value"))
        if seen["drawings"] == 3 and "clicked" not in seen:
            seen["clicked"] = time.monotonic()
            kernel.click(seen["button"])

    messages = kernel.run(TRAIN, hook=look)
    return messages, time.monotonic() - seen["clicked"]


def test_the_stop_button_ends_the_training_in_order_and_it_goes_on(kernel: Kernel, tmp_path: Path) -> None:
    steps = []
    for session in range(2):
        messages, seconds = stopped_by_a_click(kernel)
        (error,) = of(messages, "error")
        assert (error["ename"], error["evalue"]) == ("KeyboardInterrupt", SAVED)
        assert error["traceback"] == [f"KeyboardInterrupt: {SAVED}"]
        assert seconds < 20  # of the hours that it would have taken
        printed = "".join(content["text"] for content in of(messages, "stream"))
        assert ("goes on after step" in printed) == (session == 1)
        folder = Path(of(kernel.run("print(run.folder)"), "stream")[0]["text"].strip())
        assert read_manifest(folder)["status"] == "interrupted"
        steps.append(len(pd.read_csv(folder / "history.csv")))
    assert 0 < steps[0] < steps[1]
    last = of(messages, "update_display_data")[-1]["data"]
    assert set(last) == {"text/plain", "text/html"}  # a saved notebook has the curves, and no widget
    assert "<img" in last["text/html"]
    assert "epochs done" in last["text/plain"]


def test_a_training_without_a_front_end_has_no_widget(kernel: Kernel) -> None:
    silent = kernel.run(
        "with live.training(lab.build_recipe(params, lab.build_model(params))) as w: print(w)", cell=None
    )
    assert [content["text"] for content in of(silent, "stream")] == ["[]\n"]
    assert not of(silent, "display_data") + of(silent, "comm_open")


def test_what_the_parameters_cell_says_is_where_the_controls_begin(digits: tuple[Any, Any, pd.DataFrame]) -> None:
    far = {"schedule": "step", "learning_rate": 5.0, "step_size": 900, "warmup_epochs": 0.0}
    for changes in (far, far | {"learning_rate": 1e-6}):
        params = params_of("01", **digits[0].model_dump() | changes)
        explorer = schedule(params, mnist_resnet18.build_recipe(params, mnist_resnet18.build_model(params)), 7)
        assert {name: explorer.controls[name].value for name in changes} == pytest.approx(changes)
