"""The frame: imports run one way, the two environments agree, notebooks are clean, the README's commands exist."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from labkit.results.machine import STUDENT

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
START = ROOT / "notebooks" / "00_start_here.ipynb"  # no lab: it trains nothing and leaves no run
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
LAYERS = [
    ("data", "models"),
    ("training", "results"),
    ("labs",),
    ("exercises", "widgets"),
    ("running",),
    ("report",),
    ("cli",),
]
SECTIONS = ["Setup", "Parameters", "Data", "Model", "Train", "Evaluate", "Inspect", "Reported", "Export", "Exercises"]


def layer(module: str) -> int | None:
    """The height of a module of labkit; None for the ground that all stand on (errors, files, paths, draws)."""
    room = module.split(".")[1] if "." in module else ""
    return next((i for i, rooms in enumerate(LAYERS) if room in rooms), None)


def imports(path: Path) -> list[str]:
    """The modules of labkit that a file imports, wherever in the file."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    names = [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    names += [
        f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "labkit" for a in n.names
    ]
    return [
        n
        for n in names + [a.name for x in nodes if isinstance(x, ast.Import) for a in x.names]
        if n.startswith("labkit")
    ]


def test_imports_run_one_way() -> None:
    wrong = []
    for path in (ROOT / "labkit").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        height = layer(module)
        for name in imports(path):
            other = layer(name)
            if other is not None and (height is None or other > height):
                wrong.append(f"{module} imports {name}")
    assert not wrong


def test_no_two_rooms_import_each_other() -> None:
    edges = set()
    for path in (ROOT / "labkit").rglob("*.py"):
        room = path.relative_to(ROOT / "labkit").parts[0].removesuffix(".py")
        edges |= {(room, name.split(".")[1]) for name in imports(path) if "." in name}
    assert not {(a, b) for a, b in edges if a != b and (b, a) in edges}


def test_conda_installs_the_very_same_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert f"python{project['requires-python']}" in conda
    assert environment["name"] == project["name"]
    installed = next(line for line in pip if line.startswith("-e ."))
    made = re.search(r"-c (\S+) -e '(\S+)'", (ROOT / "Makefile").read_text("utf-8"))
    assert made
    assert f"-e {made[2]}" == installed
    assert f"-c {made[1]}" in pip
    assert set(re.findall(r"\w+", made[2])) == set(project["optional-dependencies"])


def test_every_dependency_is_pinned_by_name_and_version_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*", line) for line in lines)
    pinned = {line.split("==")[0] for line in lines}
    wanted = project["dependencies"] + [d for extra in project["optional-dependencies"].values() for d in extra]
    assert {re.split(r"[<>=!]", name)[0] for name in wanted} <= pinned


def test_packages_used_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {
        "PIL": "torchvision",
        "yaml": "pyyaml",
        "sklearn": "scikit-learn",
        "IPython": "ipykernel",
        "click": "click",
        "pypandoc": "pypandoc-binary",
        "noto_cjk_sans_otc": "noto-cjk-sans-otc",
        "jupyter_client": "jupyterlab",
    }
    declared = {
        re.split(r"[<>=!]", name)[0] for name in project["dependencies"] + project["optional-dependencies"]["draw"]
    }
    used = set()
    for path in (ROOT / "labkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                used.add(node.module.split(".")[0])
    foreign = used - set(sys.stdlib_module_names) - {"labkit"}
    assert {names.get(name, name) for name in foreign} <= declared


def test_the_labs_start_without_what_is_slow_to_import() -> None:
    asked = "import sys, labkit.labs as labs; [labs.lab_of(name) for name in labs.LABS]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert "labkit.labs.analysis" in loaded
    assert not {"torchvision", "torch._dynamo", "scipy.stats", "sklearn", "typst"} & set(loaded)


@every_notebook
def test_notebooks_are_committed_without_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert "papermill" not in notebook["metadata"]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert path.stat().st_size < 60_000


@every_notebook
def test_notebooks_have_one_parameters_cell_and_define_nothing(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    own = [cell for cell in cells if cell["cell_type"] == "code" and STUDENT not in cell["metadata"].get("tags", [])]
    code = ["".join(cell["source"]) for cell in own]  # a student's cell may define a function: test_exercises.py
    (tagged,) = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    code.remove(tagged)  # a list of names; the rest is code to be read
    assert not [source for source in code if re.search(r"^\s*(def|class) ", source, re.M)]
    assert max(len(source.splitlines()) for source in code) <= 30


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path != START], ids=lambda path: path.stem)
def test_labs_keep_the_order_of_sections(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert len(re.findall(r"^# ", text, re.M)) == 1
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert len(headings) == len(SECTIONS)
    assert all(heading.startswith(section) for heading, section in zip(headings, SECTIONS, strict=True))


def test_the_readmes_commands_are_in_the_makefile() -> None:
    readme, makefile = (ROOT / "README.md").read_text("utf-8"), (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert {"help", "install", "lab", "test", "test-browser", "jupyter", "lint", "clean"} <= targets
    assert set(re.findall(r"`make ([a-z-]+)`", readme)) <= targets
    assert {"lab", "test"} <= set(re.findall(r"make ([a-z-]+)", readme))


def test_the_readmes_tree_is_true() -> None:
    tree = (ROOT / "README.md").read_text("utf-8").split("```text")[1].split("```")[0]
    named = [line.split()[0] for line in tree.splitlines() if line and not line.startswith(" ")]
    assert named
    assert all((ROOT / name).exists() for name in named)


@pytest.mark.parametrize(
    "page",
    [page for place in ("", "docs/", "data/", "benchmarks/") for page in ROOT.glob(f"{place}*.md")],
    ids=lambda page: f"{page.parent.name}/{page.name}",
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_every_promise_is_held_by_a_test_that_is_there() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", page)
    assert len(named) > 30
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text("utf-8"), f"{file}::{name}"
