"""Taking up a training where it stopped: what is kept of it, when, and what must not have changed meanwhile.

A training has no random state: order, augmentation and dropout of every step follow from (seed, epoch, step). Weights,
the optimiser's state, the loss scaler's and ``State`` are therefore all that there is to keep.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from labkit.errors import RequestError
from labkit.training.checkpoint import DamagedError, put, read_checkpoint, save_checkpoint
from labkit.training.stopping import Row

SAVE_EVERY = 30.0  # seconds between two savings within an epoch, at least
SHARE = 0.02  # of the time that saving may take; where it is slow, it is done less often


@dataclass
class State:
    """Where a training stands: ``step`` steps into ``epoch`` (both from 0), with the sums of that epoch so far."""

    epoch: int = 0
    step: int = 0
    images: int = 0
    loss_sum: float = 0.0
    metric_sum: float = 0.0
    seconds: float = 0.0
    parts: int = 1  # pieces in which a batch goes through the network, since whole it did not fit into memory
    complete: bool = False  # all epochs are over
    history: list[Row] = field(default_factory=list)

    def scores(self, name: str) -> list[float]:
        """The validation scores of the epochs finished so far."""
        return [row[f"val_{name}"] for row in self.history]


class Observer:
    """Who watches a training: the progress bar, history.csv, TensorBoard. This one sees and does nothing."""

    def on_begin(self, state: State, steps: int) -> None:
        """Before the first step of a session; ``steps`` is the number of steps in an epoch."""

    def on_step(self, state: State, steps: int) -> None:
        """A few times a second."""

    def on_epoch(self, history: list[Row], val_scores: np.ndarray) -> None:
        """After each epoch: its row is the last of ``history``; the validation metric of each image, (N,)."""

    def on_warning(self, text: str) -> None:
        """Something was not as it should be, and the training goes on all the same."""


class Autosave(Observer):
    """Calls ``save`` between two steps when the last time is long enough ago."""

    def __init__(self, save: Callable[[], None]):
        self.save, self.cost, self.saved = save, 0.0, time.monotonic()

    def on_step(self, state: State, steps: int) -> None:
        """Save if it is time to."""
        began = time.monotonic()
        if began - self.saved >= max(SAVE_EVERY, self.cost / SHARE):
            self.save()
            self.saved = time.monotonic()
            self.cost = self.saved - began


class Checkpoints:
    """``last.safetensors``, from which a training goes on, and ``previous.safetensors``, the one before it.

    ``identity`` is what the training follows from (parameters, data, precision): it must be the same when going on.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]):
        self.last, self.previous = folder / "last.safetensors", folder / "previous.safetensors"
        self.identity = dict(identity)

    def save(
        self, model: nn.Module | None, optimiser: torch.optim.Optimizer | None, scaler: dict[str, Any], state: State
    ) -> None:
        """Keep where the training stands. At every moment one whole checkpoint is on the disk."""
        facts = {"identity": self.identity, "state": asdict(state), "scaler": scaler}
        save_checkpoint(self.last, model, facts, optimiser, before=self._make_way)

    def complete(self, state: State) -> None:
        """Write that the training is over, in both files; nothing of the optimiser is needed any more."""
        state.complete = True
        for _ in range(2):
            self.save(None, None, {}, state)

    def _make_way(self) -> None:
        if self.last.exists():
            os.replace(self.last, self.previous)

    def load(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        warn: Callable[[str], None],
    ) -> State:
        """Put the newest whole checkpoint into model, optimiser and scaler; a new State if there is none.

        ``warn`` is told if the last one was damaged. RequestError if none is whole, or it is of another training.
        """
        damaged: list[DamagedError] = []
        for path in (self.last, self.previous):
            if path.exists():
                try:
                    state = self._read(path, model, optimiser, scaler)
                except DamagedError as error:
                    damaged.append(error)
                    continue
                if path == self.previous:
                    warn(f"The last checkpoint is missing or damaged: the training goes on from {path.name}.")
                return state
        if damaged:
            raise damaged[0]
        return State()

    def _read(
        self, path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> State:
        tensors, facts = read_checkpoint(path)
        try:
            state = TypeAdapter(State).validate_python(facts["state"])
            then, scale = dict(facts["identity"]), dict(facts["scaler"])
        except (ValidationError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(path, str(error).splitlines()[0]) from error
        check_identity(path, then, self.identity)
        if not state.complete:
            put(tensors, path, model, optimiser)
            scaler.load_state_dict(scale)
        return state


def can_go_on(folder: Path) -> bool:
    """Whether there is a checkpoint in ``folder``, whole or not."""
    return any((folder / f"{name}.safetensors").exists() for name in ("last", "previous"))


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names that are not the same in both, in order."""
    return [name for name in {**then, **now} if then.get(name) != now.get(name)]


def check_identity(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """RequestError, with every difference, unless the training in ``path`` follows from the same things."""
    if changed := differences(then, now):
        shown = ", ".join(f"{name} was {then.get(name)!r} and is now {now.get(name)!r}" for name in changed)
        raise RequestError(
            f"The training in {path} cannot be gone on with, since {shown}: take the earlier value, or start over "
            f"with fresh = True (--fresh)."
        )
