"""What surrounds the runs: ``labkit doctor``, and ``labkit data list``, ``check`` and ``get``."""

import sys

import click

from labkit.cli.common import app, errors_as_sentences
from labkit.errors import LabError

DATA_SETS = ["mnist", "liver", "cifar10", "pets"]  # as in data/finders.py, which takes long to import


@app.command()
@click.option("--data", "root", default="", metavar="DIR", help="Folder of the data sets.")
@click.option("--out", default="", metavar="DIR", help="Folder of the runs.")
def doctor(root: str, out: str) -> None:
    """Say what is wrong on this machine and how to mend it, and what a run would use."""
    from labkit.paths import data_root, runs_root
    from labkit.running.doctor import examine, used
    from labkit.running.findings import exit_code

    with errors_as_sentences():
        data_root(root), runs_root(out)  # a folder of nobody is a wrong request, known at once
        findings, steps = examine(root, out)
        for finding in findings:
            click.echo(finding)
        click.echo("\nA run would use")
        for line in used(root, out, steps):
            click.echo(f"  {line}")
    sys.exit(exit_code(findings))


@app.group()
def data() -> None:
    """Look at the data sets, and fetch them."""


@data.command("list")
@click.option("--data", "root", default="", metavar="DIR", help="Folder of the data sets.")
def data_list(root: str) -> None:
    """Say which data sets are there, and whether they are the published ones."""
    with errors_as_sentences():
        from labkit.data.finders import official
        from labkit.data.sources import registry

        for name, facts in registry().items():
            try:
                found = official(name, root)
                state = f"{found.name}. {found.caveat()}".replace("**", "")
            except LabError as error:
                state = str(error)
            click.echo(f"{name}  {facts['what']} ({facts['licence']}, {facts['megabytes']} MB)\n  {state}")


@data.command("check")
@click.argument("names", nargs=-1, type=click.Choice(DATA_SETS))
@click.option("--data", "root", default="", metavar="DIR", help="Folder of the data sets.")
@click.option(
    "--pictures", is_flag=False, flag_value="auto", default="", metavar="[FILE.png]", help="Also draw what is odd."
)
def data_check(names: tuple[str, ...], root: str, pictures: str) -> None:
    """Look at every picture of the data sets NAMES, or of all that are there, and say what is damaged or odd."""
    with errors_as_sentences():
        from labkit.running.data_check import check
        from labkit.running.findings import exit_code

        findings = []
        for text, found in check(names, root, pictures):
            click.echo(f"{text}\n")
            findings += found
    sys.exit(exit_code(findings))


@data.command("get")
@click.argument("name", type=click.Choice(DATA_SETS))
@click.option("--data", "root", default="", metavar="DIR", help="Folder of the data sets.")
def data_get(name: str, root: str) -> None:
    """Download a data set and check it; go on where an earlier call ended. LABKIT_MIRROR: an address tried first."""
    with errors_as_sentences():
        from labkit.data.finders import FIND
        from labkit.paths import data_root

        source = FIND[name](data_root(root), "download")
        click.echo(f"{source.name}: complete and checked in {source.root}")
