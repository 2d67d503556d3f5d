"""The command itself, and how its errors are told."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from labkit.errors import LabError, RequestError, one_line

PATH = click.Path(path_type=Path)


class InProject(click.Path):
    """A path as it was typed, where something is there, else of that name in the project."""

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """``runs/02_liver_unet/RUN`` is found from a terminal in ``notebooks/``, too."""
        from labkit.paths import project_root

        path = Path(super().convert(value, param, ctx))
        return path if os.path.exists(path) or not os.path.exists(project_root() / path) else project_root() / path


FOUND = InProject(path_type=Path)


class WithParameters(click.Command):
    """A command that takes ``-p NAME=VALUE`` for ``-p NAME VALUE``, as ``--grid`` has it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Part the two where they are one word."""
        parted: list[str] = []
        for before, word in zip(["", *args], args, strict=False):
            parted += word.split("=", 1) if before in ("-p", "--parameter") else [word]
        return super().parse_args(ctx, parted)


EXIT_CODES = {"completed": 0, "failed": 1, "interrupted": 130}


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """An error that a user can mend is its sentence and an exit code, and no traceback."""
    try:
        yield
    except LabError as error:
        click.echo(f"labkit: {error}", err=True)
        sys.exit(2 if isinstance(error, RequestError) else 1)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno is None:  # nobody reads on; or it is no file's error
            raise
        what = error.filename or "A file"
        said = one_line(f"{what} cannot be read or written ({error.strerror}): make room, or name another place.")
        click.echo(f"labkit: {said}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("labkit: interrupted", err=True)
        sys.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def app() -> None:
    """Run the notebooks of the workbook and look after their data."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a sign that the terminal lacks ends no command
