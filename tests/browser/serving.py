"""A JupyterLab server of its own: its port, its token, a copy of the notebooks, and folders for data and runs."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from labkit.paths import project_root

QUIET = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


class Server:
    """JupyterLab on this machine, until ``close``; everything that it writes lies under ``folder``."""

    def __init__(self, folder: Path):
        self.notebooks, self.data, self.runs = folder / "notebooks", folder / "data", folder / "runs"
        shutil.copytree(project_root() / "notebooks", self.notebooks)
        for place in (self.data, self.runs, folder / "settings"):
            place.mkdir()
        (folder / "settings" / "overrides.json").write_text(json.dumps(QUIET))
        self.token, self.address = secrets.token_hex(16), f"http://127.0.0.1:{free_port()}"
        self.log = open(folder / "jupyter.log", "wb")  # noqa: SIM115 (closed with the server)
        self.process = subprocess.Popen(
            self._command(folder), cwd=folder, env=self._environment(folder), stdout=self.log, stderr=self.log
        )
        self._wait()

    def _command(self, folder: Path) -> list[str]:
        options = {
            "ServerApp.port": self.address.rsplit(":", 1)[1],
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self.notebooks,
            "ServerApp.open_browser": False,
            "ServerApp.allow_root": True,
            "IdentityProvider.token": self.token,
            "LabApp.app_settings_dir": folder / "settings",
            "LabApp.extension_manager": "readonly",  # the other one asks the network
        }
        return [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]

    def _environment(self, folder: Path) -> dict[str, str]:
        """The caller's, with nothing of the caller's own settings of Jupyter in it."""
        names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        places = {name: str(folder / name.lower()) for name in (*names, "JUPYTERLAB_WORKSPACES_DIR")}
        return os.environ | places | {"LABKIT_DATA": str(self.data), "LABKIT_RUNS": str(self.runs)}

    def _wait(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                self.ask("GET", "api/status")
                return
            except OSError:
                assert self.process.poll() is None, Path(self.log.name).read_text("utf-8", "replace")
                assert time.monotonic() < end, "JupyterLab does not answer"
                time.sleep(0.2)

    def ask(self, method: str, path: str) -> Any:
        """What the server's REST interface answers."""
        headers = {"Authorization": f"token {self.token}"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.address}/{path}", None, headers, method=method)
        ) as f:
            return json.loads(f.read() or "null")

    def end_kernels(self) -> None:
        """As closing all notebooks with "Shut down kernel" does."""
        for session in self.ask("GET", "api/sessions"):
            self.ask("DELETE", f"api/sessions/{session['id']}")

    def copy(self, number: str, name: str = "", **changes: object) -> Path:
        """A fresh copy of a notebook, under ``name``, with other values in its parameters cell."""
        (original,) = (project_root() / "notebooks").glob(f"{number}_*.ipynb")
        notebook = json.loads(original.read_text("utf-8"))
        for cell in notebook["cells"]:
            if "parameters" in cell["metadata"].get("tags", []):
                cell["source"] = changed("".join(cell["source"]), changes)
        path = self.notebooks / (f"{name}/{original.name}" if name else original.name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(notebook), "utf-8")
        return path

    def close(self) -> None:
        """End the kernels and the server."""
        self.end_kernels()
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def changed(source: str, changes: dict[str, object]) -> str:
    """The text of a parameters cell, with other values."""
    for name, value in changes.items():
        source, found = re.subn(rf"(?m)^({name}: \w+ = ).*?(?=  #|$)", lambda m, v=value: m[1] + repr(v), source)
        assert found == 1, name
    return source
