"""Resuming: after any kill to the same bits; damaged checkpoints; what has changed; too little memory or disk."""

import errno
import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import killed
import pytest
import torch
from conftest import write_idx
from segments import write_liver

from labkit.errors import RequestError, StorageError, TrainingError
from labkit.training import loop, resume
from labkit.training.checkpoint import DamagedError, read_checkpoint, save_checkpoint
from labkit.training.resume import Checkpoints, Observer, State

KILLS = 20
LOADED = ("labkit.labs.mnist_resnet18", "labkit.labs.liver_unet", "labkit.results.figures")
LATE = "torch._dynamo"  # which the first optimiser of a process imports, and takes seconds for


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums are made in an order that depends on the number of threads; so are their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that begin with everything imported and nothing computed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*LOADED, LATE, "hypothesis", "pytest"])
    return context


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of both tasks."""
    folder = tmp_path_factory.mktemp("data")
    write_idx(folder, train=70, test=20, side=12)
    return write_liver(folder)


@pytest.fixture(scope="module")
def whole(processes: Any, root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What comes out of each task if nobody disturbs it."""
    folder = tmp_path_factory.mktemp("whole")
    return {t: killed.killed_at_random(processes, (t, root, folder / t, 0), 0, 0)[0] for t in killed.STEPS}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("task", list(killed.STEPS))
def test_killed_at_random_moments_it_ends_with_the_same_bits(
    processes: Any, root: Path, tmp_path: Path, whole: dict[str, str], task: str, workers: int
) -> None:
    result, kills, began = killed.killed_at_random(processes, (task, root, tmp_path, workers), KILLS, workers)
    assert kills == KILLS
    assert began == sorted(began)  # no session lost what an earlier one had saved
    assert began[-1] > (0, 0)
    assert result == whole[task]


@pytest.mark.parametrize("trap", ["half written", "before fsync", "before a rename"])
@pytest.mark.parametrize("nth", [2, 3, 4, 5, 6])
def test_killed_while_a_checkpoint_is_written_it_ends_with_the_same_bits(
    processes: Any, root: Path, tmp_path: Path, whole: dict[str, str], trap: str, nth: int
) -> None:
    here, there = processes.Pipe()
    process = processes.Process(
        target=killed.train, args=("classification", root, tmp_path, 0, there), kwargs={"trap": trap, "nth": nth}
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert killed.killed_at_random(processes, ("classification", root, tmp_path, 0), 0, 0)[0] == whole["classification"]
    assert here.poll()


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def one_bit_flipped(content: bytes) -> bytes:
    """In the last tensor, where no reader would notice."""
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def nothing(content: bytes) -> bytes:
    return b""


class Marks(dict):
    """Unpickling this would write a file."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch payload-was-run",)


def a_program(content: bytes) -> bytes:
    return pickle.dumps(Marks())


def saved_mid_way(root: Path, folder: Path) -> Any:
    """A small training that was stopped in its second epoch; its parts, to go on with."""
    parts = killed.parts_of("classification", root, 0)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(*parts, folder, [StopAt(11)])
    return killed.parts_of("classification", root, 0)


class StopAt(Observer):
    """Presses Ctrl-C after so many looks; remembers what it was told."""

    def __init__(self, looks: int = 0):
        self.looks, self.warnings, self.began = looks, [], []

    def on_begin(self, state: State, steps: int) -> None:
        self.began.append((state.epoch, state.step))

    def on_step(self, state: State, steps: int) -> None:
        self.looks -= 1
        if self.looks == 0:
            os.kill(os.getpid(), signal.SIGINT)

    def on_warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def _every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at and saved, as in ``killed``."""
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(resume, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(resume, "SHARE", 1e9)


@pytest.mark.usefixtures("_every_step")
@pytest.mark.parametrize("harm", [half, one_bit_flipped, nothing, a_program])
def test_in_place_of_a_damaged_checkpoint_the_one_before_is_used(
    root: Path, tmp_path: Path, whole: dict[str, str], harm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, batches, val, recipe = saved_mid_way(root, tmp_path)
    last, watcher = tmp_path / "last.safetensors", StopAt()
    last.write_bytes(harm(last.read_bytes()))
    history = loop.fit(model, batches, val, recipe, tmp_path, [watcher])
    (warning,) = watcher.warnings
    assert "missing or damaged: the training goes on from previous.safetensors" in warning
    assert watcher.began == [(1, 3)]
    assert killed.digest(model, history, loop.predict(model, val, recipe.precision)) == whole["classification"]
    assert not (tmp_path / "payload-was-run").exists()


@pytest.mark.usefixtures("_every_step")
def test_where_both_are_damaged_nothing_is_made_up(root: Path, tmp_path: Path) -> None:
    parts = saved_mid_way(root, tmp_path)
    for name in ("last", "previous"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(DamagedError, match=r"last\.safetensors cannot be read .* fresh = True \(--fresh\)"):
        loop.fit(*parts, tmp_path)


@pytest.mark.usefixtures("_every_step")
def test_a_training_of_other_parameters_or_data_is_refused_with_the_difference(root: Path, tmp_path: Path) -> None:
    model, batches, val, recipe = saved_mid_way(root, tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    recipe.identity = {**recipe.identity, "learning_rate": 0.5, "data": "others"}
    with pytest.raises(RequestError) as caught:
        loop.fit(model, batches, val, recipe, tmp_path)
    assert "learning_rate was 0.001 and is now 0.5, data was None and is now 'others'" in str(caught.value)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_a_training_that_is_over_is_not_repeated_and_keeps_little(root: Path, tmp_path: Path) -> None:
    model, batches, val, recipe = killed.parts_of("classification", root, 0)
    history = loop.fit(model, batches, val, recipe, tmp_path)
    sizes = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"best", "last", "previous"}
    assert sizes["last"] < sizes["best"] / 5  # no weights but the best, nothing of the optimiser
    twin, watcher = killed.parts_of("classification", root, 0)[0], StopAt()
    assert loop.fit(twin, batches, val, recipe, tmp_path, [watcher]) == history
    assert not watcher.began
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))


def test_weights_of_another_epoch_are_not_taken_for_the_best(root: Path, tmp_path: Path) -> None:
    model, batches, val, recipe = killed.parts_of("classification", root, 0)
    history = loop.fit(model, batches, val, recipe, tmp_path)
    save_checkpoint(tmp_path / "best.safetensors", model, history[0] | {"epoch": 99})
    with pytest.raises(DamagedError, match="holds epoch 99, but epoch"):
        loop.fit(model, batches, val, recipe, tmp_path)


def test_a_state_that_makes_no_sense_is_damage(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimiser, scaler = torch.optim.SGD(model.parameters()), torch.amp.GradScaler("cpu", enabled=False)
    for state in ({"epoch": "many"}, {"history": [{"epoch": [1]}]}, [], {"parts": None}):
        save_checkpoint(tmp_path / "last.safetensors", model, {"identity": {}, "scaler": {}, "state": state})
        with pytest.raises(DamagedError):
            Checkpoints(tmp_path, {}).load(model, optimiser, scaler, print)


class Hungry(torch.nn.Module):
    """Asks for more memory than any machine has if it is given more than ``most`` images at once."""

    def __init__(self, model: torch.nn.Module, most: int):
        super().__init__()
        self.model, self.most, self.seen = model, most, []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            torch.empty(2**56)
        self.seen.append(len(images))
        return self.model(images)


def test_where_the_memory_does_not_suffice_a_batch_goes_in_parts(root: Path, tmp_path: Path) -> None:
    watcher, histories = StopAt(), []
    for most in (6, 3):
        model, batches, val, recipe = killed.parts_of("classification", root, 0)
        model[0][1], model[0][3] = torch.nn.Identity(), torch.nn.Identity()  # which depend on what comes together
        hungry = Hungry(model, most)
        recipe.optimiser = torch.optim.SGD(hungry.parameters(), 0.1)
        histories.append(loop.fit(hungry, batches, val, recipe, tmp_path / str(most), [watcher]))
    (warning,) = watcher.warnings
    assert "epoch 1, step 1 on a batch goes through the network in 2 parts" in warning
    assert "can't allocate memory" in warning
    assert set(hungry.seen) <= {1, 2, 3}
    for a, b in zip(*histories, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)
        assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-4)
    assert read_checkpoint(tmp_path / "3" / "last.safetensors")[1]["state"]["parts"] == 2


def test_memory_for_not_even_two_images_is_an_error_in_one_sentence(root: Path, tmp_path: Path) -> None:
    model, batches, val, recipe = killed.parts_of("classification", root, 0)
    with pytest.raises(TrainingError, match=r"does not suffice for 2 image\(s\) at a time: take a smaller image_size"):
        loop.fit(Hungry(model, 1), batches, val, recipe, tmp_path)
    with pytest.raises(TrainingError, match=r"does not suffice for 1 image\(s\)"):
        loop.predict(Hungry(model, 0), val, recipe.precision)


class KillWorker(Observer):
    """Kills a process that prepares batches, as a system does that runs out of memory."""

    def on_step(self, state: State, steps: int) -> None:
        for child in multiprocessing.active_children():
            if child.daemon:
                os.kill(child.pid, signal.SIGKILL)


def test_a_killed_worker_is_named_and_the_training_can_go_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, str]
) -> None:
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.0)
    parts = killed.parts_of("classification", root, 2)
    with pytest.raises(TrainingError, match=r"prepares batches was killed, .* num_workers = 2: run again"):
        loop.fit(*parts, tmp_path, [KillWorker()])
    model, batches, val, recipe = killed.parts_of("classification", root, 2)
    history = loop.fit(model, batches, val, recipe, tmp_path)
    assert killed.digest(model, history, loop.predict(model, val, recipe.precision)) == whole["classification"]


@pytest.mark.usefixtures("_every_step")
def test_a_full_disk_stops_with_a_sentence_and_the_training_goes_on_when_there_is_room(
    root: Path, small_disk: Path, whole: dict[str, str]
) -> None:
    folder = small_disk / "checkpoints"
    model, *_ = parts = saved_mid_way(root, folder)
    (small_disk / "ballast").write_bytes(bytes(free(small_disk) - 2**14))
    with pytest.raises(StorageError, match=r"last\.safetensors could not be written \(.*No space left") as caught:
        loop.fit(*parts, folder)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "previous.safetensors",
    ]
    (small_disk / "ballast").unlink()
    model, batches, val, recipe = killed.parts_of("classification", root, 0)
    history = loop.fit(model, batches, val, recipe, folder)
    assert killed.digest(model, history, loop.predict(model, val, recipe.precision)) == whole["classification"]


def free(folder: Path) -> int:
    """Bytes that still fit."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


class NoRoom(torch.optim.SGD):
    """An optimiser for whose means there is no memory."""

    def step(self, *_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


def test_memory_that_does_not_suffice_for_the_optimiser_is_an_error_in_one_sentence(root: Path, tmp_path: Path) -> None:
    model, batches, val, recipe = killed.parts_of("classification", root, 0)
    recipe.optimiser = NoRoom(model.parameters(), 0.1)
    with pytest.raises(TrainingError, match=r"does not suffice for the optimiser's running means .*smaller network"):
        loop.fit(model, batches, val, recipe, tmp_path)


def test_the_last_weights_are_kept_until_the_best_are_known_to_be_whole(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batches, val, recipe = killed.parts_of("classification", root, 0)
    save = loop.save_checkpoint

    def save_and_damage(path: Path, *what: Any) -> None:
        save(path, *what)
        path.write_bytes(b"damaged")

    monkeypatch.setattr(loop, "save_checkpoint", save_and_damage)
    with pytest.raises(DamagedError, match=r"best\.safetensors"):
        loop.fit(model, batches, val, recipe, tmp_path)
    tensors, facts = read_checkpoint(tmp_path / "last.safetensors")
    assert not facts["state"]["complete"]
    assert any(name.startswith("model.") for name in tensors)


def test_a_disk_that_refuses_at_the_flush_leaves_both_checkpoints(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a disk in the network is full, or a quota is used up, that is known only then."""
    model, *_, recipe = killed.parts_of("classification", root, 0)
    checkpoints = Checkpoints(tmp_path, recipe.identity)
    for epoch in (1, 2):
        checkpoints.save(model, recipe.optimiser, {}, State(epoch=epoch))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError):
        checkpoints.save(model, recipe.optimiser, {}, State(epoch=3))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
