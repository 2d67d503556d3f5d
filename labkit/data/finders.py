"""The data sets of the workbook by name: how each is found, and whether anything of it lies under a data root."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.data import cifar10, liver, mnist, pets
from labkit.data.sources import Source, lies_there
from labkit.errors import DataError, LabError
from labkit.paths import data_root, data_root_is_named

FIND = {"mnist": mnist.find, "liver": liver.find, "cifar10": cifar10.find, "pets": pets.find}
PLACES = {  # under the data root; any of them is enough for a lab to leave its sample alone
    "mnist": tuple(mnist.LAYOUT),
    "liver": ("liver",),
    "cifar10": (cifar10.BATCHES, cifar10.TREE.folder),
    "pets": (pets.FOLDER,),
}


def is_there(name: str, root: Path) -> bool:
    """Whether anything of the data set ``name`` lies under ``root``, whole or not; DataError if nobody may look."""
    with refusals_as_sentences():
        return any(_is_something(root / place) for place in PLACES[name])


def _is_something(path: Path) -> bool:
    try:
        os.stat(path)  # Path.exists calls what nobody may look at not there, from Python 3.14 on
    except (FileNotFoundError, NotADirectoryError):
        return lies_there(path)
    return True


def official(name: str, root: str) -> Source:
    """The data set ``name`` itself, no sample, under the data root that ``root`` names; DataError if it is unusable."""
    with refusals_as_sentences():
        return FIND[name](data_root(root), "official", data_root_is_named(root))


@contextmanager
def refusals_as_sentences() -> Iterator[None]:
    """Turn the system's refusal to read a file or folder into a DataError."""
    try:
        yield
    except LabError:
        raise
    except OSError as error:
        raise DataError(
            f"{error.filename or 'The data folder'} cannot be used ({error.strerror}): see to it that it can be read, "
            f"or name another folder as data_root (--data)."
        ) from error
