"""Checkpoints: tensors and plain facts in one safetensors file, written whole or not at all; no code can hide in it."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from labkit.errors import RequestError
from labkit.files import whole_file


class DamagedError(RequestError):
    """A checkpoint that is not, to the last bit, what labkit has written."""

    def __init__(self, path: Path, why: object):
        super().__init__(
            f"The checkpoint {path} cannot be read ({why}): it is damaged or was not written by labkit; delete it, or "
            f"train again with fresh = True (--fresh)."
        )


def save_checkpoint(
    path: Path,
    model: nn.Module | None,
    facts: Mapping[str, Any],
    optimiser: torch.optim.Optimizer | None = None,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Write weights and the optimiser's state, where given, and ``facts`` (anything JSON can hold) to ``path``.

    ``before`` is called when the new file is safe on the disk and about to take its place. StorageError on a full disk.
    """
    tensors = {f"model.{name}": t for name, t in model.state_dict().items()} if model else {}
    if optimiser:
        for i, slots in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{slot}": t for slot, t in slots.items() if isinstance(t, Tensor)}
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text = json.dumps(facts)
    with whole_file(path, before) as unfinished:
        try:
            save_file(tensors, unfinished, {"facts": text, "sha256": digest(tensors, text)})
        except SafetensorError as error:  # "… No space left on device (os error 28)"
            number = re.search(r"os error (\d+)", str(error))
            raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else error) from error


def digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    """SHA-256 of every name, type, shape and bit, as 64 hexadecimal digits."""
    total = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors by name, and the facts; DamagedError unless every bit is as it was written."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if notes["sha256"] != digest(tensors, notes["facts"]):
            raise ValueError("its checksum is wrong")
        return tensors, dict(json.loads(notes["facts"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise DamagedError(path, error) from error


def load_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Put the weights of ``path`` into ``model`` (and the state into ``optimiser``); return the facts."""
    tensors, facts = read_checkpoint(path)
    put(tensors, path, model, optimiser)
    return facts


def put(
    tensors: Mapping[str, Tensor], path: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None = None
) -> None:
    """Put tensors that were read from ``path`` into ``model`` and ``optimiser``; RequestError if they do not fit."""
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    try:
        model.load_state_dict(weights)
        if optimiser:
            _load_optimiser(optimiser, tensors)
    except (RuntimeError, ValueError, IndexError, KeyError) as error:
        raise RequestError(
            f"The checkpoint {path} belongs to another model: its weights do not fit the {type(model).__name__} of "
            f"these parameters; give the folder of the right run, or train again with fresh = True (--fresh)."
        ) from error


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the optimiser's slots (momenta, step counts), parameter by parameter.

    A momentum must lie in memory like its parameter (channels last, say): fused optimisers walk both as flat arrays.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimiser":
            index, slot = rest.split(".", 1)
            like = parameters[int(index)]
            laid_out = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
            state.setdefault(int(index), {})[slot] = laid_out
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
