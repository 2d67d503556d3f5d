"""What the tests share: small data in the official layout, and a lab small enough to train in a second."""

import functools
import gzip
import http.server
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.pop("LABKIT_DATA", None)
os.environ.pop("LABKIT_RUNS", None)
os.environ.pop("LABKIT_MIRROR", None)

import matplotlib as mpl
import numpy as np
import pytest
from fuzzing import report

from labkit.data.samples import handwritten_digits, idx_bytes
from labkit.exercises import exercises_of
from labkit.labs import lab_of
from labkit.labs.common import notebook_defaults
from labkit.labs.parameters import Parameters
from labkit.paths import project_root
from labkit.results import figures
from labkit.running.request import find_notebook

mpl.use("Agg")
NOTEBOOK = project_root() / "notebooks" / "01_mnist_resnet18.ipynb"
DEFAULTS = notebook_defaults(NOTEBOOK)
TINY = {"limit": 150, "image_size": 12, "epochs": 2, "batch_size": 32, "validation_share": 0.2}


def params_of(number: str, **changes: object) -> Parameters:
    """The parameters of a notebook's defaults, some of them changed."""
    notebook = find_notebook(number)
    return lab_of(notebook.stem).Parameters.checked(notebook_defaults(notebook) | changes)


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root that holds the sample of handwritten digits; the folder inside is in the official layout."""
    return handwritten_digits(tmp_path_factory.mktemp("data"))


@pytest.fixture
def tiny(sample_root: Path) -> Parameters:
    """Parameters of lab 4 that train in a fraction of a second."""
    return params_of("04", **TINY, dataset="mnist", blocks=2, width=8, data_root=str(sample_root))


def write_idx(root: Path, train: int = 40, test: int = 20, classes: int = 10, side: int = 28, seed: int = 0) -> Path:
    """Write a random data set in MNIST's layout; return its root."""
    rng = np.random.default_rng(seed)
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", train), ("t10k", test)):
        labels = np.arange(n) % classes
        images = rng.integers(0, 80, (n, side, side)) + 17 * labels[:, None, None]
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return root


def gzipped(root: Path, target: Path) -> None:
    """Pack the raw files of ``root`` as the mirrors offer them."""
    target.mkdir(parents=True, exist_ok=True)
    for path in (root / "MNIST" / "raw").glob("*-ubyte"):
        (target / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and remembers what was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str, type[Mirror]]]:
    """A folder, the address that serves it on this machine, and the handler that counts."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = type("Counting", (Mirror,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}/", handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 4 MiB; making one takes the rights of root on Linux."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here: it takes root on Linux")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the fuzz tests of a module; in the end they say how many inputs they tried, if they were asked."""
    yield tmp_path_factory.mktemp("fuzz")
    report()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: with two files at work at a time, none of them is left to the end."""
    longest = (
        "test_faults",
        "test_notebooks",
        "test_sweep",
        "test_notebooks_masks",
        "test_notebooks_pairs",
        "test_notebooks_analysis",
        "test_start",
    )
    places = {name: place for place, name in enumerate(longest)}
    items.sort(key=lambda item: places.get(item.path.stem, len(longest)))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that every user may look into, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="labkit-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def as_nobody() -> Iterator[None]:
    """The rights of a user who owns nothing, for as long as the block lasts; to take them takes root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can become another user")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def parted(svg: bytes) -> tuple[str, np.ndarray]:
    """An SVG file without its numbers, and those; names of clip paths, which are made of numbers, left out."""
    text, number = re.sub(r"\bp[0-9a-f]{10}\b", "clip", svg.decode("utf-8")), r"-?\d+(?:\.\d+)?"
    return re.sub(number, "#", text), np.array(re.findall(number, text), float)


def check_figures(folder: Path) -> list[str]:
    """The figures of a run: each can be drawn again, the PNG to the byte, from a small CSV, and is told in words."""
    drawn = figures.names(folder)
    assert drawn == sorted(path.stem for path in (folder / "figures").glob("*.png"))
    for name in drawn:
        kept = folder / "figures" / name
        assert figures.redrawn(folder, name, "png") == kept.with_suffix(".png").read_bytes(), name
        text, numbers = parted(kept.with_suffix(".svg").read_bytes())
        again, others = parted(figures.redrawn(folder, name, "svg"))
        assert text == again, name
        assert np.allclose(numbers, others, atol=0.01), name  # of a point: the last digits of a layout may differ
        assert (folder / "figures" / f"{name}.csv").stat().st_size < 1e6
        assert re.search(r"[0-9].*\.$", (folder / "figures" / f"{name}.alt.txt").read_text("utf-8").strip(), re.DOTALL)
    return drawn


def check_no_widgets(folder: Path) -> None:
    """No widget, nor what stands for one, is in the executed notebook of a run, nor what it would have printed."""
    notebook = json.loads((folder / "notebook.ipynb").read_text("utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert outputs
    for output in outputs:
        output.get("data", {}).pop("image/png", None)  # in whose letters any word may be found
    assert not re.search(r"jupyter\.widget|VBox|HBox|A widget was here|Stop training", json.dumps(outputs))
    assert "widgets" not in notebook["metadata"]


def check_exercises(folder: Path) -> None:
    """The exercises of a run whose student has filled in nothing: each was looked at and is not attempted."""
    kept = json.loads((folder / "exercises.json").read_text("utf-8"))["exercises"]
    assert [row["exercise"] for row in kept] == list(exercises_of(folder.parent.name))
    assert {row["state"] for row in kept} == {"not attempted"}
