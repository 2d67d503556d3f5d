"""The architectures, one per file, each built from plain arguments."""

from labkit.models.resnet import resnet18, resnet34, resnet50
from labkit.models.summary import architecture, count_parameters

__all__ = ["architecture", "count_parameters", "resnet18", "resnet34", "resnet50"]
