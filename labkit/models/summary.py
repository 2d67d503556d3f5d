"""What a network looks like from outside: its layers, their output shapes, kernels and parameters."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import pandas as pd

# how many parts of a layer's name are kept
FOLD = {"stages": 3, "encoder": 2, "decoder": 2, "decoders": 3, "heads": 2, "nodes": 2, "ups": 2}


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def architecture(model: nn.Module, input_shape: tuple[int, ...]) -> "pd.DataFrame":
    """One row per layer, activations aside, in the order of use: layer, output shape, kernel, parameters.

    ``input_shape`` is (C, H, W). The parameters add up to those of the model. One blank image runs through the model,
    in evaluation mode; the model is left as it was.
    """
    import pandas as pd  # takes as long as all the rest of the networks

    rows, training = [], model.training
    named = [
        (name, m)
        for name, m in model.named_modules()
        if not list(m.children()) and not isinstance(m, nn.ReLU | nn.Identity)
    ]

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        shape = " × ".join(map(str, output.shape[1:]))
        rows.append(
            {
                "layer": name,
                "kind": next(kind.__name__ for kind in type(module).__mro__ if kind.__module__.startswith("torch.")),
                "output": shape,
                "kernel": _kernel(module),
                "parameters": count_parameters(module),
            }
        )

    hooks = [
        m.register_forward_hook(lambda module, _, output, name=name: note(name, module, output)) for name, m in named
    ]
    try:
        like = next(model.parameters())
        with torch.inference_mode():
            model.eval()(torch.zeros(1, *input_shape, device=like.device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return pd.DataFrame(rows)


def by_stage(layers: "pd.DataFrame") -> "pd.DataFrame":
    """The table of ``architecture`` folded as in the reports: a row for the stem, each block or level, the end."""
    depth = layers["layer"].str.split(".").map(lambda parts: ".".join(parts[: FOLD.get(parts[0], 1)]))
    folded = layers.groupby(depth, sort=False).agg(
        layers=("layer", "size"),
        output=("output", "last"),
        kernel=("kernel", _kernels),
        parameters=("parameters", "sum"),
    )
    return folded.rename_axis("part").reset_index()


def _kernel(module: nn.Module) -> str:
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.MaxPool2d):
        return ""
    size, stride = (value if isinstance(value, int) else value[0] for value in (module.kernel_size, module.stride))
    return f"{size}×{size}" + (f", stride {stride}" if stride != 1 else "")


def _kernels(column: "pd.Series") -> str:
    return "; ".join(dict.fromkeys(kernel for kernel in column if kernel))
