"""The command ``labkit``. Exit codes: 0 done, 1 the run failed, 2 the request was wrong, 130 interrupted."""

from labkit.cli import machine, results, runs  # noqa: F401 - each adds its commands to the app
from labkit.cli.common import app

__all__ = ["app"]
