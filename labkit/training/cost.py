"""What a model costs, in numbers that do not depend on the machine (parameters, arithmetic, memory) and in seconds."""

import statistics
import time
from collections.abc import Callable, Mapping

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labkit.training.loop import PerImage, forward
from labkit.training.precision import Precision


def cost_table(
    models: Mapping[str, nn.Module],
    images: Tensor,
    targets: Tensor,
    objective: PerImage,
    precision: Precision,
    rounds: int = 3,
) -> pd.DataFrame:
    """One row a model, for one batch of images (B, C, H, W) with targets.

    Parameters; multiply-adds of one forward pass, in thousand millions per image; MiB that one training step keeps
    for the backward pass in float32, per image; images/s in training and at test: medians of ``rounds`` rounds in
    which the models take turns, so that a machine that slows down slows all of them. The models are not trained, but
    their running means move: give fresh ones.
    """
    rows = {name: fixed_costs(model, images, targets, objective, precision) for name, model in models.items()}
    seconds: dict[str, dict[str, list[float]]] = {name: {"training": [], "test": []} for name in models}
    for _ in range(rounds + 1):  # the first turn warms up
        for name, model in models.items():
            step = lambda model=model: training_step(model, images, targets, objective, precision)  # noqa: E731
            look = lambda model=model: forward(model, images, precision)  # noqa: E731
            for what, call in (("training", step), ("test", look)):
                seconds[name][what].append(timed(call, precision.device))
    for name, row in rows.items():
        for what, found in seconds[name].items():
            row[f"{what} images/s"] = len(images) / statistics.median(found[1:])
    return pd.DataFrame([{"model": name, **row} for name, row in rows.items()])


def fixed_costs(
    model: nn.Module, images: Tensor, targets: Tensor, objective: PerImage, precision: Precision
) -> dict[str, float]:
    """Parameters, multiply-adds and memory (in float32) of one model; it is moved to the device."""
    model.to(precision.device, memory_format=torch.channels_last)
    whole = Precision("float32", precision.device, "the same on every machine")
    with FlopCounterMode(display=False) as counter:
        forward(model, images[:1], whole)
    kept = kept_for_backward(model, lambda: training_step(model, images, targets, objective, whole, back=False))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "multiply-adds (10⁹)": counter.get_total_flops() / 2e9,
        "memory (MiB)": kept / len(images) / 2**20,
    }


def training_step(
    model: nn.Module, images: Tensor, targets: Tensor, objective: PerImage, precision: Precision, back: bool = True
) -> Tensor:
    """Forward, loss and (with ``back``) backward; the weights stay as they are."""
    model.train()
    with precision.autocast():
        logits = model(precision.place(images)).float()
    loss = objective(logits, precision.place(targets)).mean()
    if back:
        loss.backward()
        model.zero_grad(set_to_none=True)
    return loss


def kept_for_backward(model: nn.Module, run: Callable[[], Tensor]) -> int:
    """Bytes of the tensors that ``run`` keeps for its backward pass, each storage counted once, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would hold the graph that holds it, for good

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = run()
    del loss
    return sum(kept.values())


def timed(call: Callable[[], Tensor], device: torch.device) -> float:
    """Seconds that ``call`` takes, its work on a GPU included."""
    began = time.perf_counter()
    call()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - began
