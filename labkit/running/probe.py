"""Imports what labkit needs and says, one JSON line a step, what came of it: for the doctor, in a process of its own.

A broken library may end the process without a word (by a signal, or by OpenMP, which aborts); then the last line names
the step that did it.
"""

import functools
import importlib
import importlib.metadata
import json
import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

from labkit.paths import data_root, data_root_is_named


def canonical(name: str) -> str:
    """The name of a distribution as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def owners() -> dict[str, list[str]]:
    """Of each module that can be imported, the distributions that bring it."""
    return {name: [canonical(d) for d in found] for name, found in importlib.metadata.packages_distributions().items()}


def load(library: str) -> dict[str, Any]:
    """Import all that ``library`` brings."""
    for name in owners():
        if library in owners()[name] and not name.startswith("_"):
            importlib.import_module(name)
    return {}


def operators() -> dict[str, Any]:
    """Call an operator of torchvision that is compiled for one version of PyTorch."""
    import torch
    import torchvision

    torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5)
    return {"torch": torch.__version__, "torchvision": torchvision.__version__}


def graphics() -> dict[str, Any]:
    """What PyTorch says of an NVIDIA card: the build's CUDA, the card, and its complaints."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        facts = {"built": torch.version.cuda, "available": available, "architectures": torch.cuda.get_arch_list()}
        if available:
            facts |= {"name": torch.cuda.get_device_name(), "capability": torch.cuda.get_device_capability()}
        elif torch.version.cuda:
            try:
                torch.cuda.init()
            except (RuntimeError, AssertionError) as error:
                warnings.warn(str(error), stacklevel=1)
    return facts | {"says": [str(warning.message) for warning in said]}


def openmp() -> list[str]:
    """The kinds of OpenMP runtimes that the imports have brought into this process: libgomp, libomp, libiomp."""
    from threadpoolctl import threadpool_info

    return sorted({info["prefix"] for info in threadpool_info() if info["user_api"] == "openmp"})


def fonts() -> dict[str, str]:
    """The files of the two fonts that figures and reports use."""
    from matplotlib import font_manager
    from noto_cjk_sans_otc import FONT_PATH

    return {"DejaVu Sans": font_manager.findfont("DejaVu Sans", fallback_to_default=False), "Noto CJK": str(FONT_PATH)}


def use() -> dict[str, Any]:
    """What a run would take."""
    import torch

    from labkit.training.precision import choose_device, choose_precision

    precision = choose_precision("auto", choose_device("auto"))
    facts = {"device": precision.device.type, "precision": precision.name, "reason": precision.reason}
    return facts | {"threads": torch.get_num_threads()}


def data_sets(root: str) -> dict[str, dict[str, Any]]:
    """Of each data set: is anything there, and what is it or what is wrong with it?"""
    from labkit.data.finders import FIND, is_there, official
    from labkit.errors import DataError

    facts = {}
    for name in FIND:
        facts[name] = {"there": True, "error": ""}  # a folder that cannot even be read is there
        try:
            facts[name]["there"] = is_there(name, data_root(root))
            if facts[name]["there"] or data_root_is_named(root):
                facts[name]["name"] = official(name, root).name
        except DataError as error:
            facts[name]["error"] = str(error)
    return facts


STEPS: dict[str, Callable[[str], Any]] = {
    "operators": lambda root: operators(),
    "graphics": lambda root: graphics(),
    "openmp": lambda root: openmp(),
    "fonts": lambda root: fonts(),
    "use": lambda root: use(),
    "data sets": data_sets,
}


def main(root: str, libraries: list[str]) -> None:
    """Take all steps; each prints a line before it and one after it."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print while they are imported goes elsewhere
    for name in [*libraries, *STEPS]:
        print(json.dumps({"begin": name}), file=output, flush=True)
        try:
            line = {"step": name, "facts": STEPS[name](root) if name in STEPS else load(name)}
        except Exception as error:  # whatever a broken library raises is what the doctor wants to know
            line = {"step": name, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(line), file=output, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
