"""The command ``labkit``: within the process of the tests, which has imported all it needs, or in one of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from labkit.cli import app


def labkit(*words: object) -> list[str]:
    """The command line of a process of its own."""
    return [sys.executable, "-c", "from labkit.cli import app; app()", *map(str, words)]


def run_alone(*words: object, **options: Any) -> subprocess.CompletedProcess:
    """A command carried out in a process of its own."""
    return subprocess.run(labkit(*words), capture_output=True, text=True, timeout=300, check=False, **options)


def invoke(*words: object) -> Result:
    """A command carried out in this process; the notebooks that it runs have processes of their own all the same."""
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        result = CliRunner().invoke(app, [str(word) for word in words])
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run(*words: object) -> subprocess.CompletedProcess:
    """The same, told as of a process."""
    result = invoke(*words)
    return subprocess.CompletedProcess(words, result.exit_code, result.stdout, result.stderr)


def papermill(notebook: Path, folder: Path, *words: str, data: Path | None = None) -> subprocess.CompletedProcess:
    """A notebook executed by plain papermill from the root folder; ``out.ipynb`` and ``runs`` come into ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "papermill", str(notebook), str(folder / "out.ipynb"), "--no-progress-bar", *words],
        cwd="/",
        env=environment(folder / "runs", data or folder),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def only_run(out: Path, number: str = "[0-9][0-9]") -> Path:
    """The one run folder under ``out``, of the lab with that number."""
    (folder,) = (path for path in out.glob(f"{number}_*/*") if path.is_dir())
    return folder


@contextmanager
def under_way(*words: object) -> Iterator[subprocess.Popen]:
    """A command under way, which does not outlive the test, whatever becomes of that."""
    process = subprocess.Popen(labkit(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def options(values: dict[str, object]) -> list[str]:
    """``-p NAME VALUE`` for each."""
    return [word for name, value in values.items() for word in ("-p", name, str(value))]


def environment(runs: Path, data: Path) -> dict[str, str]:
    """The variables of a process that finds its folders without an option."""
    return os.environ | {"LABKIT_RUNS": str(runs), "LABKIT_DATA": str(data)}


def wait_for(condition: Callable[[], Any], seconds: float = 400) -> Any:
    """What ``condition`` gives as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found
