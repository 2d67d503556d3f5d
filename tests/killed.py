"""What the tests of resuming train, in processes of its own that may be killed at any moment."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from conftest import DEFAULTS
from segments import liver_params
from torch import nn

from labkit.labs import liver_unet, mnist_resnet18
from labkit.training import checkpoint, loop, resume

TIMES = ("seconds", "images_per_second")
STEPS = {"classification": (12, 8), "segmentation": (12, 6)}  # epochs, and steps in each: more than 20 kills let pass


def parts_of(task: str, root: Path, workers: int) -> tuple[nn.Module, Any, Any, loop.Recipe]:
    """Model, training and validation batches and recipe of a task, with dropout and augmentation."""
    changes = {"epochs": STEPS[task][0], "num_workers": workers, "precision": "float32", "seed": 3}
    if task == "segmentation":
        lab = liver_unet
        params = liver_params(root, dropout=0.3, augmentation="elastic", batch_size=2, **changes)
        data, model = lab.load_data(params, lab.find_data(params)), lab.build_model(params)
        options = (lab.preprocessing(params, data),)
    else:
        lab = mnist_resnet18
        small = {"limit": 64, "image_size": 12, "batch_size": 6, "validation_share": 0.25, "rotate": 20, "shift": 0.2}
        params = lab.Parameters.checked(DEFAULTS | small | changes | {"data_root": str(root), "model": "resnet18"})
        data = lab.load_data(params, lab.find_data(params))
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten())
        model, options = nn.Sequential(body, nn.Linear(800, 10)), ()
    batches = lab.batches(params, data.train, *options, train=True), lab.batches(params, data.val, *options)
    recipe = lab.build_recipe(params, model)
    recipe.identity = params.identity()
    return model, *batches, recipe


class Tell(resume.Observer):
    """Tells the parent after every step where the training stands."""

    def __init__(self, pipe: Connection):
        self.pipe = pipe

    def on_begin(self, state: resume.State, steps: int) -> None:
        self.pipe.send((state.epoch, state.step))

    on_step = on_begin


def train(task: str, root: Path, folder: Path, workers: int, pipe: Connection, trap: str = "", nth: int = 0) -> None:
    """Train in this process, saving after every step; at the end, send a digest of everything that came out.

    ``trap`` names a place in the writing of checkpoints at which this process kills itself, the ``nth`` time.
    """
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of the processes that prepare batches
    loop.LOOK_EVERY = resume.SAVE_EVERY = 0.0
    resume.SHARE = 1e9
    set_trap(trap, nth)
    model, batches, val, recipe = parts_of(task, root, workers)
    history = loop.fit(model, batches, val, recipe, folder, [Tell(pipe)])
    pipe.send(digest(model, history, loop.predict(model, val, recipe.precision)))


def digest(model: nn.Module, history: list[dict], logits: torch.Tensor) -> str:
    """SHA-256 of weights, history (but for its times) and logits, to the bit."""
    rows = [{name: value for name, value in row.items() if name not in TIMES} for row in history]
    tensors = {**model.state_dict(), "logits": logits}
    return checkpoint.digest({k: t.contiguous() for k, t in tensors.items()}, json.dumps(rows))


def set_trap(trap: str, nth: int) -> None:
    """Let this process kill itself when the writing of a checkpoint comes to the place ``trap`` the ``nth`` time."""
    if not trap:
        return
    left = [nth]

    def or_die(act: Callable, *args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            if trap == "half written":
                act(*args, **options)
                os.truncate(args[1], os.path.getsize(args[1]) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*args, **options)

    place, name = {
        "half written": (checkpoint, "save_file"),
        "before fsync": (os, "fsync"),
        "before a rename": (os, "replace"),
    }[trap]
    real = getattr(place, name)
    setattr(place, name, lambda *args, **options: or_die(real, *args, **options))


def killed_at_random(context: Any, arguments: tuple, kills: int, seed: int) -> tuple[str, int, list]:
    """Start, kill, start again; the digest at the end, how often it was killed, and where each session began."""
    dice, done, began = random.Random(seed), 0, []
    while True:
        here, there = context.Pipe()
        process = context.Process(target=train, args=(*arguments, there))
        process.start()
        there.close()
        messages = said(here, process)
        began.append(next(messages))
        if done < kills:
            for _ in range(dice.randint(1, 2)):
                next(messages)
            time.sleep(dice.uniform(0, 0.02))
            os.kill(process.pid, signal.SIGKILL)
            done += 1
        *_, last = [None, *messages]
        process.join()
        if isinstance(last, str):
            return last, done, began


def said(pipe: Connection, process: Any) -> Iterator[Any]:
    """What a process sends as long as it lives; a message in the middle of which it was killed does not count."""
    with contextlib.suppress(EOFError, ConnectionResetError):
        while pipe in wait([pipe, process.sentinel]):
            yield pipe.recv()
