"""The loop: the same to the bit, interrupted or not; and what it says when it cannot go on."""

import dataclasses
import json
import os
import platform
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save

from labkit.data.loading import Batches
from labkit.errors import RequestError, TrainingError
from labkit.labs import block_cnn as lab
from labkit.training.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from labkit.training.loop import Recipe, evaluate, fit, predict
from labkit.training.losses import cross_entropy
from labkit.training.memory import freed_memory_kept
from labkit.training.metrics import accuracy
from labkit.training.precision import choose_device, choose_precision, gpu_format
from labkit.training.progress import Progress, clock
from labkit.training.resume import Observer, State
from labkit.training.stopping import either, loss_rise, never, patience, stopped_at

TIMES = ("seconds", "images_per_second")


def pieces(params: lab.Parameters) -> tuple[torch.nn.Module, Recipe, Batches, Batches, Batches]:
    """Lab 4's network and recipe by ``params``, and the batches for training, validation and test."""
    data, model = lab.load_data(params, lab.find_data(params)), lab.build_model(params)
    preparation = lab.preprocessing(params, data)
    batches = [
        lab.batches(params, split, preparation, split is data.train) for split in (data.train, data.val, data.test)
    ]
    return model, lab.build_recipe(params, model), *batches


def train(params: lab.Parameters, folder: Path, observers: Any = (), **changes: Any) -> tuple[list[dict], Any]:
    """Train by ``params`` in ``folder``; history without its times, and the model."""
    model, recipe, training, validation, _ = pieces(params.model_copy(update=changes))
    history = fit(model, training, validation, recipe, folder, observers)
    return [{k: v for k, v in row.items() if k not in TIMES} for row in history], model


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class StopAt(Observer):
    """Presses Ctrl-C after a step."""

    def __init__(self, epoch: int, step: int):
        self.place = (epoch, step)

    def on_step(self, state: State, steps: int) -> None:
        if (state.epoch, state.step) >= self.place and self.place:
            self.place = ()
            os.kill(os.getpid(), signal.SIGINT)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tiny: lab.Parameters, tmp_path: Path) -> None:
    first, model = train(tiny, tmp_path / "a")
    again, twin = train(tiny, tmp_path / "b", num_workers=2)
    other, _ = train(tiny, tmp_path / "c", seed=1)
    assert first == again
    assert same_weights(model, twin)
    assert first != other
    assert first[-1]["train_loss"] < first[0]["train_loss"]


@pytest.mark.parametrize("optimiser", ["adamw", "muon", "sgd"])
def test_an_interrupted_training_goes_on_to_the_same_bits(
    tiny: lab.Parameters, tmp_path: Path, optimiser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.training.loop.LOOK_EVERY", 0.0)  # so that every step is seen and may be the last
    whole, model = train(tiny, tmp_path / "whole", optimiser=optimiser)
    for stop in (StopAt(0, 2), StopAt(1, 1)):
        with pytest.raises(KeyboardInterrupt):
            train(tiny, tmp_path / "parts", [stop], optimiser=optimiser)
    _, facts = read_checkpoint(tmp_path / "parts" / "last.safetensors")
    assert 0 < facts["state"]["step"] < 4
    parts, twin = train(tiny, tmp_path / "parts", optimiser=optimiser)
    assert parts == whole
    assert same_weights(model, twin)
    a, b = (read_checkpoint(tmp_path / run / "best.safetensors")[0] for run in ("whole", "parts"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_training_goes_on_only_in_the_precision_it_began_in(tiny: lab.Parameters, tmp_path: Path) -> None:
    train(tiny, tmp_path, precision="float32", epochs=1)
    with pytest.raises(RequestError, match="precision was 'float32' and is now 'bfloat16'"):
        train(tiny, tmp_path, precision="bfloat16", epochs=2)


def test_signal_handlers_are_given_back(tiny: lab.Parameters, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, tmp_path, [StopAt(0, 1)])
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    tiny: lab.Parameters, tmp_path: Path, value: float
) -> None:
    model, recipe, training, validation, _ = pieces(tiny)
    calls = []

    def spoilt(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return cross_entropy(logits, targets) * (value if len(calls) == 6 else 1)

    recipe.objective = spoilt
    with pytest.raises(TrainingError, match=rf"{value} at step 2 of 4 in epoch 2 \(learning rate .*, precision \w+\)"):
        fit(model, training, validation, recipe, tmp_path)
    _, facts = read_checkpoint(tmp_path / "last.safetensors")
    assert facts["state"]["epoch"] == 1
    assert all(torch.isfinite(t).all() for t in read_checkpoint(tmp_path / "best.safetensors")[0].values())


def test_the_best_epoch_is_kept_not_the_last(tiny: lab.Parameters, tmp_path: Path) -> None:
    model, recipe, training, validation, _ = pieces(tiny)
    recipe = dataclasses.replace(recipe, epochs=3, metric_name="score", stop_early=never)
    epochs = iter([0.2, 0.9, 0.5])
    recipe.metric = lambda logits, targets: torch.zeros(len(targets)) if model.training else next_score(targets)
    scores: dict[str, float] = {}

    def next_score(targets: torch.Tensor) -> torch.Tensor:
        scores["now"] = next(epochs)
        return torch.full((len(targets),), scores["now"])

    history = fit(model, training, validation, recipe, tmp_path)
    assert [round(row["val_score"], 1) for row in history] == [0.2, 0.9, 0.5]
    tensors, row = read_checkpoint(tmp_path / "best.safetensors")
    assert row["epoch"] == 2
    assert all(torch.equal(tensors[f"model.{name}"], t) for name, t in model.state_dict().items())


def test_patience_counts_epochs_without_a_better_score() -> None:
    stop, rows = patience(2, "score"), [{"val_score": score} for score in (0.1, 0.5, 0.4, 0.5)]
    assert [stop(rows[:n]) for n in range(5)] == [False, False, False, False, True]
    assert not patience(0, "score")(rows * 25)


def test_the_reports_rule_counts_epochs_above_a_multiple_of_the_lowest_loss() -> None:
    def stop_of(*losses: float) -> int | None:
        return stopped_at(loss_rise(1.1, 5), [{"val_loss": loss} for loss in losses])

    assert stop_of(1.0, *[1.2] * 5) == 6
    assert stop_of(1.0, *[1.2] * 4) is None
    assert stop_of(1.0, *[1.2] * 4, 1.05, *[1.2] * 5) == 11  # not in a row
    assert stop_of(1.0, *[1.09] * 50) is None  # never above 1.1 times
    assert stop_of(1.0, *[1.2] * 4, 0.5, *[0.54] * 9, *[0.56] * 5) == 20  # the minimum moves
    assert stop_of(*[1.0] * 50) is None
    assert stopped_at(loss_rise(0, 5), [{"val_loss": loss} for loss in (1.0, *[9.0] * 20)]) is None
    assert stopped_at(either(loss_rise(1.1, 5), never), [{"val_loss": loss} for loss in (1.0, *[9.0] * 20)]) == 6


def test_scores_do_not_depend_on_the_batch_size(tiny: lab.Parameters) -> None:
    model, *_, test = pieces(tiny)
    precision = choose_precision("float32", choose_device("cpu"))
    results = []
    for size in (1, 7, 1000):
        batches = dataclasses.replace(test, batch_size=size)
        results.append(evaluate(model, batches, cross_entropy, accuracy, precision))
    for losses, scores in results[1:]:
        np.testing.assert_allclose(losses, results[0][0], atol=1e-5)
        np.testing.assert_array_equal(scores, results[0][1])
    logits = predict(model, test, precision)
    assert np.array_equal(accuracy(logits, test.split.targets).numpy(), results[0][1])


def test_float16_and_float32_train_too(tiny: lab.Parameters, tmp_path: Path) -> None:
    for precision in ("float16", "float32"):
        history, _ = train(tiny, tmp_path / precision, precision=precision, epochs=1)
        assert np.isfinite(history[0]["train_loss"])


def test_freed_memory_stays_for_the_next_step_and_goes_when_the_training_is_over() -> None:
    def resident() -> int:
        return psutil.Process().memory_info().rss

    block = 16 * 2**20
    size = 16 * block
    before = resident()
    with freed_memory_kept():
        blocks = [torch.ones(block, dtype=torch.uint8) for _ in range(16)]
        del blocks
        within = resident()
    keeps = platform.libc_ver()[0] == "glibc"
    assert (within - before > size / 2) == keeps
    assert resident() - before < size / 2


def test_sixteen_bits_are_taken_where_a_gpu_has_units_for_them() -> None:
    names = [gpu_format(*capability)["name"] for capability in ((6, 1), (7, 0), (7, 5), (8, 0), (9, 0))]
    assert names == ["float32", "float16", "float16", "bfloat16", "bfloat16"]


def test_a_device_that_is_not_there_is_refused() -> None:
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    if choose_device("auto").type != missing:
        with pytest.raises(RequestError, match=f"{missing!r} is not available: this machine has .*cpu"):
            choose_device(missing)


@pytest.mark.parametrize("harm", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\x80\x04pickle" + b[:50]])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, harm: Any) -> None:
    path, model = tmp_path / "last.safetensors", torch.nn.Linear(2, 2)
    save_checkpoint(path, model, {})
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(RequestError, match=r"last\.safetensors cannot be read"):
        load_checkpoint(path, model)


def test_a_foreign_checkpoint_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x", torch.nn.Linear(2, 3), {})
    with pytest.raises(RequestError, match="belongs to another model"):
        load_checkpoint(tmp_path / "x", torch.nn.Linear(2, 2))
    (tmp_path / "y").write_bytes(save({"a": torch.zeros(1)}))
    with pytest.raises(RequestError, match="was not written by labkit"):
        read_checkpoint(tmp_path / "y")


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    save_checkpoint(tmp_path / "x", model, {"loss": 0.1 + 0.2}, optimiser)
    twin = torch.nn.Linear(3, 2)
    twin_optimiser = torch.optim.Adam(twin.parameters())
    assert load_checkpoint(tmp_path / "x", twin, twin_optimiser) == {"loss": 0.1 + 0.2}
    assert same_weights(model, twin)
    ours, theirs = optimiser.state_dict()["state"], twin_optimiser.state_dict()["state"]
    assert all(torch.equal(ours[i][slot], theirs[i][slot]) for i in ours for slot in ours[i])
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_progress_without_a_screen_is_a_line_an_epoch(
    tiny: lab.Parameters, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes: list[str] = []
    train(tiny, tmp_path, [Progress(2, "accuracy", notes.append)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "step 4/4" in notes[-1]
    assert json.dumps(notes[-1])


def test_clock() -> None:
    assert [clock(s) for s in (5, 65, 3661, float("nan"))] == ["0:05", "1:05", "1:01:01", "-:--"]


def test_a_stop_while_the_last_epoch_is_saved_is_still_an_interruption(tiny: lab.Parameters, tmp_path: Path) -> None:
    class StopAtTheEnd(StopAt):
        def on_epoch(self, history: list[dict], val_scores: np.ndarray) -> None:
            if len(history) == tiny.epochs:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(tiny, tmp_path, [StopAtTheEnd(99, 0)])
    assert caught.type is KeyboardInterrupt  # by this name the manifest says "interrupted"
    assert read_checkpoint(tmp_path / "last.safetensors")[1]["state"]["epoch"] == tiny.epochs
