"""Checkpoints: tensors and plain facts in one safetensors file, written whole or not at all; no code can hide in it."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from labkit.errors import RequestError
from labkit.files import write_atomic


def save_checkpoint(
    path: Path, model: nn.Module, facts: dict[str, Any], optimiser: torch.optim.Optimizer | None = None
) -> None:
    """Write weights, the optimiser's state if given, and ``facts`` (anything JSON can hold) to ``path``."""
    tensors = {f"model.{name}": t for name, t in model.state_dict().items()}
    if optimiser:
        for i, slots in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{slot}": t for slot, t in slots.items() if isinstance(t, Tensor)}
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_atomic(path, save(tensors, metadata={"facts": json.dumps(facts)}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors by name, and the facts; a damaged or foreign file raises one sentence."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RequestError(
            f"The checkpoint {path} cannot be read ({error}): it is damaged or was not written by labkit; delete it, "
            f"or train again with fresh=True (--fresh)."
        ) from error


def load_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Put the weights of ``path`` into ``model`` (and the state into ``optimiser``); return the facts."""
    tensors, facts = read_checkpoint(path)
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RequestError(
            f"The checkpoint {path} belongs to another model: its weights do not fit the {type(model).__name__} of "
            f"these parameters; give the folder of the right run, or train again with fresh=True (--fresh)."
        ) from error
    if optimiser:
        _load_optimiser(optimiser, tensors)
    return facts


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
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
