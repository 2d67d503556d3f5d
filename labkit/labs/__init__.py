"""The labs, one module per notebook; found by the notebook's name."""

from importlib import import_module
from types import ModuleType

LABS = {
    "01_mnist_resnet18": "mnist_resnet18",
    "02_liver_unet": "liver_unet",
    "03_pet_resnet34_unet": "pet_resnet34_unet",
    "04_block_cnn": "block_cnn",
    "05_digit_on_photo": "digit_on_photo",
    "06_analysis": "analysis",
}


def lab_of(notebook: str) -> ModuleType:
    """The lab module of a notebook's stem; KeyError if there is none."""
    return import_module(f"labkit.labs.{LABS[notebook]}")
