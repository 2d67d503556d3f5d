"""What is wrong on this machine, how to mend it, and what a run would use: the lines that ``labkit doctor`` prints.

Nothing but the standard library is imported outside a check, and what may bring down a process is imported in another
one (``probe``): a broken machine gives findings instead of a traceback.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from labkit.paths import PACKAGE, data_root, runs_root
from labkit.running import hardware
from labkit.running.findings import Finding
from labkit.running.probe import STEPS, canonical

PATIENCE = 300  # seconds that all imports together may take; from a slow network disk they take minutes
AGAIN = "run 'make clean install' to make .venv anew"
FIRST = ("numpy", "torch", "torchvision")
Steps = dict[str, dict[str, Any]]  # of each step of the probe: ``facts`` or an ``error``


def check_python() -> Iterator[Finding]:
    """Version and place of the interpreter."""
    what = f"Python {platform.python_version()} is at {sys.executable}"
    if sys.version_info >= (3, 11):  # noqa: UP036 (it may have been installed by force)
        yield Finding("good", what)
    else:
        yield Finding("wrong", f"{what} and labkit needs 3.11", "make .venv anew with a newer Python")


def requirements(library: str) -> list[Any]:
    """The requirements that a distribution declares for this machine, without extras."""
    from packaging.requirements import Requirement

    needs = map(Requirement, importlib.metadata.requires(library) or [])
    return [need for need in needs if not need.marker or need.marker.evaluate({"extra": ""})]


def libraries() -> list[str]:
    """The libraries that labkit declares; NumPy and PyTorch, which others need, before these."""
    try:
        names = [canonical(need.name) for need in requirements("labkit")]
    except ImportError:  # labkit is not installed, or packaging is missing: check_versions says so
        names = []
    return sorted(dict.fromkeys([*FIRST, *names]), key=lambda name: (*FIRST, name).index(name))


def check_versions() -> Iterator[Finding]:
    """Whether each library that is declared, and PyTorch for torchvision, is there in a version that is allowed."""
    needs = [("labkit", need) for need in requirements("labkit")]
    needs += [("torchvision", need) for need in requirements("torchvision") if need.name == "torch"]
    wrong = 0
    for library, need in needs:
        try:
            found = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            found = "not there"
        if found == "not there" or not need.specifier.contains(found, prereleases=True):
            wrong += 1
            wanted = f"{need.name} {need.specifier}".strip()
            yield Finding("wrong", f"{library} needs {wanted}, which is {found}", AGAIN)
    if not wrong:
        yield Finding("good", f"All {len(needs)} requirements of labkit are met")


def probe(root: str) -> Steps:
    """Import everything in another process and gather what it says; the step in which it dies has an error."""
    command = [sys.executable, "-P", "-m", "labkit.running.probe", root, *libraries()]
    try:
        ran = subprocess.run(command, capture_output=True, timeout=PATIENCE)
        text, how = ran.stdout, f"it ended Python with exit code {ran.returncode}, {last_line(ran.stderr)}"
    except subprocess.TimeoutExpired as late:
        text, how = late.stdout or b"", f"it took longer than {PATIENCE} s"
    lines = [json.loads(line) for line in text.decode("utf-8").splitlines()]
    steps = {line["step"]: line for line in lines if "step" in line}
    if not lines or "begin" in lines[-1]:
        steps[lines[-1]["begin"] if lines else "start"] = {"error": how}
    return steps


def last_line(said: bytes) -> str:
    """The last line of what a process said."""
    return next(iter(said.decode("utf-8", "replace").strip().splitlines()[::-1]), "without a word")


def brief(error: str, letters: int = 160) -> str:
    """An error in one line that is not too long."""
    line = " ".join(error.split())
    return line if len(line) <= letters else f"{line[:letters]} …"


def check_imports(steps: Steps) -> Iterator[Finding]:
    """What cannot be imported: the first with its reason, PyTorch and torchvision too; the rest often follows."""
    broken = {name: step["error"] for name, step in steps.items() if "error" in step and name not in STEPS}
    named = [name for i, name in enumerate(broken) if i == 0 or name in FIRST]
    for name in named:
        remedy = f"run '{sys.executable} -m pip install --force-reinstall {name}', or {AGAIN[4:]}"
        if name.startswith("torch"):
            remedy = f"PyTorch and torchvision must be of one release, so {AGAIN}"
        yield Finding("wrong", f"{name} cannot be imported ({brief(broken[name])})", remedy)
    if others := [name for name in broken if name not in named]:
        yield Finding("wrong", f"Neither can {', '.join(others)}", "mend what comes first and ask again")
    if not broken:
        yield Finding("good", f"{sum(name not in STEPS for name in steps)} libraries can be imported")


def check_operators(steps: Steps) -> Iterator[Finding]:
    """Whether torchvision was compiled for this PyTorch; only asked where both can be imported."""
    step = steps.get("operators", {})
    if "facts" in step:
        yield Finding("good", "PyTorch {torch} and torchvision {torchvision} work together".format(**step["facts"]))
    elif step and all("facts" in steps.get(name, {}) for name in FIRST):
        what = f"PyTorch and torchvision do not belong together ({brief(step['error'])})"
        yield Finding("wrong", what, f"they must be of one release, so {AGAIN}")


def check_asked(name: str, steps: Steps, check: Callable[[Any], Iterable[Finding]]) -> Iterator[Finding]:
    """What ``check`` says of the facts of a step; that there are none, unless an import is broken and so the reason."""
    step, broken = steps.get(name, {}), any("error" in steps[other] for other in steps if other not in STEPS)
    if "facts" in step:
        yield from check(step["facts"])
    elif "error" in step and not broken:
        remedy = "run 'labkit data check'" if name == "data sets" else AGAIN
        yield Finding("wrong", f"{name} cannot be checked ({brief(step['error'])})", remedy)


def check_openmp(kinds: list[str]) -> Iterator[Finding]:
    """Whether the libraries bring OpenMP runtimes that are known to disturb each other in one process."""
    both, allowed = {"libiomp", "libomp"} <= set(kinds), "KMP_DUPLICATE_LIB_OK" in os.environ
    remedy = "install all libraries from one place (all by pip, or all by conda)"
    if both or (allowed and len(kinds) > 1):
        hidden = ", and KMP_DUPLICATE_LIB_OK hides it, though results may be wrong" if allowed else ""
        yield Finding("wrong", f"OpenMP runtimes that clash are loaded ({', '.join(kinds)}){hidden}", remedy)
    elif len(kinds) > 1:
        yield Finding("note", f"Several OpenMP runtimes are loaded ({', '.join(kinds)})", f"if runs hang, {remedy}")
    elif allowed:
        yield Finding("note", "KMP_DUPLICATE_LIB_OK is set, which would hide a clash of OpenMP runtimes", "unset it")


def check_fonts(files: dict[str, str]) -> Iterator[Finding]:
    """Whether the fonts of figures and reports are there."""
    missing = [name for name, file in files.items() if not Path(file).is_file()]
    for name in missing:
        yield Finding("wrong", f"The font {name} is not there ({files[name]})", AGAIN)
    if not missing:
        yield Finding("good", f"The fonts {' and '.join(files)} are there")


def check_kernel() -> Iterator[Finding]:
    """Whether Jupyter's kernel python3, which all notebooks name, runs this Python."""
    from jupyter_client.kernelspec import NoSuchKernel
    from jupyter_client.manager import KernelManager

    remedy = f"run '{sys.executable} -m ipykernel install --sys-prefix --name python3'"
    try:
        manager = KernelManager(kernel_name="python3")
        command, folder = Path(manager.format_kernel_cmd()[0]), manager.kernel_spec.resource_dir
    except (NoSuchKernel, OSError, ValueError) as error:
        yield Finding("wrong", f"Jupyter has no kernel python3 that can be used ({brief(str(error))})", remedy)
        return
    if command.parent == Path(sys.executable).parent:
        yield Finding("good", "Jupyter's kernel python3 runs this Python")
    else:
        there = "" if shutil.which(command) else ", which does not exist"
        what = f"Jupyter's kernel python3 runs another Python, {command}{there}"
        yield Finding("wrong", what, f"delete {folder}, or {remedy}")


def check_git() -> Iterator[Finding]:
    """Whether git can tell the version of the code, for the manifest of a run."""
    lost = "so manifests will not say which commit ran"
    if not shutil.which("git"):
        yield Finding("note", f"There is no git, {lost}", "install it")
        return
    asked = subprocess.run(["git", "-C", str(PACKAGE), "rev-parse", "HEAD"], capture_output=True, timeout=30)
    if asked.returncode:
        yield Finding("note", f"git does not know this checkout ({brief(last_line(asked.stderr))}), {lost}")


def check_data_sets(facts: dict[str, Any]) -> Iterator[Finding]:
    """Data that are there but cannot be used: no lab falls back on its sample then."""
    for name, fact in facts.items():
        if fact["error"] and fact["there"]:
            yield Finding(
                "wrong", f"{name} cannot be used ({brief(fact['error'], 400)})", "'labkit data check' lists all"
            )


def examine(root: str, out: str) -> tuple[list[Finding], Steps]:
    """All findings, and what the probe has found."""
    steps = probe(root)
    threads = steps.get("use", {}).get("facts", {}).get("threads", 0)
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "Python": check_python,
        "versions": check_versions,
        "imports": lambda: check_imports(steps),
        "torchvision": lambda: check_operators(steps),
        "kernel": check_kernel,
        "memory": hardware.check_memory,
        "cores": lambda: hardware.check_cores(threads),
        "data folder": lambda: hardware.check_data(root),
        "folder of runs": lambda: hardware.check_runs(out),
        "temporary folder": hardware.check_temporary,
        "git": check_git,
    }
    asked = {
        "openmp": check_openmp,
        "fonts": check_fonts,
        "graphics": lambda said: hardware.check_graphics(said, hardware.graphics_cards()),
        "use": hardware.check_precision,
        "data sets": check_data_sets,
    }
    checks |= {name: lambda name=name: check_asked(name, steps, asked[name]) for name in asked}
    return [finding for name, check in checks.items() for finding in guarded(name, check)], steps


def guarded(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check; a check that fails is one itself."""
    try:
        yield from check()
    except Exception as error:  # the next check may still say something
        yield Finding("wrong", f"{name} cannot be checked ({brief(f'{type(error).__name__}: {error}')})", AGAIN)


def used(root: str, out: str, steps: Steps) -> Iterator[str]:
    """What a run would use, line by line."""
    if use := steps.get("use", {}).get("facts"):
        yield f"device     {use['device']}"
        yield f"precision  {use['precision']} ({use['reason']})"
        yield f"threads    {use['threads']}"
    yield f"data       {data_root(root)}"
    for name, fact in steps.get("data sets", {}).get("facts", {}).items():
        sample = "not there: its sample will be used"
        refused = fact["error"] and (fact["there"] or not data_root(root).is_dir())
        yield f"  {name:8} {'cannot be used' if refused else fact.get('name', sample)}"
    yield f"runs       {runs_root(out)}"
