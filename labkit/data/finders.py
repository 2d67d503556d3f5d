"""The data sets of the workbook by name: how each is found, and whether anything of it lies under a data root."""

from pathlib import Path

from labkit.data import cifar10, liver, mnist, pets

FIND = {"mnist": mnist.find, "liver": liver.find, "cifar10": cifar10.find, "pets": pets.find}
PLACES = {  # under the data root; any of them is enough for a lab to leave its sample alone
    "mnist": tuple(mnist.LAYOUT),
    "liver": ("liver",),
    "cifar10": (cifar10.BATCHES, cifar10.TREE.folder),
    "pets": (pets.FOLDER,),
}


def is_there(name: str, root: Path) -> bool:
    """Whether anything of the data set ``name`` lies under ``root``, whole or not."""
    return any((root / place).exists() for place in PLACES[name])
