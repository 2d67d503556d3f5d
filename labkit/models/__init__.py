"""The architectures, one per file, each built from plain arguments."""

from labkit.models.block_cnn import BlockCNN
from labkit.models.resnet import resnet18, resnet34, resnet50
from labkit.models.resnet34_unet import ResNet34UNet
from labkit.models.summary import architecture, count_parameters
from labkit.models.two_decoder import ImageClassNet, TwoDecoderNet
from labkit.models.unet import UNet
from labkit.models.unet_plus_plus import UNetPlusPlus

__all__ = [
    "BlockCNN",
    "ImageClassNet",
    "ResNet34UNet",
    "TwoDecoderNet",
    "UNet",
    "UNetPlusPlus",
    "architecture",
    "count_parameters",
    "resnet18",
    "resnet34",
    "resnet50",
]
