"""What a run was made with: the machine, the versions, the code."""

import hashlib
import json
import os
import platform
import subprocess
from typing import Any

import torch

from labkit.paths import PACKAGE, project_root

STUDENT = "exercise"  # tag of the cells that a student fills in; no training depends on them
NOT_COMPARED = {STUDENT, "parameters"}  # parameters are compared by their values
TRAINS = "common.train("  # what stands in a cell that trains
TAUGHT_BY = ("data", "models", "training", "labs")  # the rooms of labkit on which it depends what a training learns


def environment() -> dict[str, Any]:
    """The machine and the versions, for the manifest."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpu": processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def processor() -> str:
    """The processor's name, and the best arithmetic it has for training: ``Intel Xeon with AMX``."""
    can = torch.cpu.get_capabilities()
    name = can.get("cpu_name") or platform.processor() or platform.machine()
    units = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "avx512_f": "AVX512", "avx2": "AVX2"}
    best = next((shown for key, shown in units.items() if can.get(key)), "")
    return f"{name} with {best}" if best else name


def code_version(notebook: str = "") -> dict[str, Any]:
    """Commit and cleanliness of the checkout, and a hash of the package and of the notebook's code cells."""
    digest = hashlib.sha256()
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.json")]):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    digest.update("\n".join(_code_cells(notebook)).encode())
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    dirty = None if changes is None else changes != ""
    return {"commit": commit, "dirty": dirty, "sha256": digest.hexdigest()}


def training_code(notebook: str) -> dict[str, str]:
    """Everything that what a training learns depends on, beside parameters and data: name -> version or hash.

    A training that was stopped goes on exactly only where all of this is as it was.
    """
    files = [path for room in TAUGHT_BY for path in sorted((PACKAGE / room).rglob("*.py"))]
    parts = {path.relative_to(PACKAGE.parent).as_posix(): path.read_bytes() for path in [*files, PACKAGE / "draws.py"]}
    cells = _code_cells(notebook)
    last = max((number for number, code in enumerate(cells, start=1) if TRAINS in code), default=len(cells))
    parts[f"the code cells of {notebook}, up to the training,"] = "\n".join(cells[:last]).encode()
    return {"torch": torch.__version__} | {name: hashlib.sha256(c).hexdigest()[:12] for name, c in parts.items()}


def _code_cells(notebook: str) -> list[str]:
    """The code of the workbook's notebook, cell by cell, but for those that a student fills in."""
    path = project_root() / "notebooks" / f"{notebook}.ipynb"
    cells = json.loads(path.read_text("utf-8"))["cells"] if path.is_file() else []
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    return ["".join(c["source"]) for c in cells if not NOT_COMPARED & set(c["metadata"].get("tags", []))]


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE), *words], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
