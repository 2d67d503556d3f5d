"""What the segmentation labs share: parameters, models by name, and masks scored at the size of the original image."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from pydantic import model_validator
from torch import Tensor, nn

from labkit.data.joint import POLICIES, JointAugmentation
from labkit.data.loading import Batches, Preprocessing, Split
from labkit.data.sources import Source
from labkit.errors import DataError
from labkit.labs import common
from labkit.labs.parameters import TrainingParameters, choice, real, switch, whole
from labkit.models import ResNet34UNet, UNet, UNetPlusPlus
from labkit.results.masks import plot_overlays
from labkit.training import losses
from labkit.training.loop import Recipe, forward
from labkit.training.losses import margin
from labkit.training.metrics import COUNTS, OVERLAPS, dice, hausdorff95, pixel_counts, threshold_counts
from labkit.training.precision import Precision

METRIC = "dice"
THRESHOLDS = 100  # steps between 0 and 1 in the threshold curve
TRADE = ("dice", "precision", "recall")  # what a threshold trades


def unet(in_channels: int, width: int, *, bottleneck: int = 16, **options: Any) -> UNet:
    """A UNet whose levels have 1, 2, 4 and 8 times ``width`` features, and its bottleneck ``bottleneck`` times."""
    return UNet(in_channels, features=[width * 2**i for i in range(4)], bottleneck=bottleneck * width, **options)


def unet_plus_plus(in_channels: int, width: int, **options: Any) -> UNetPlusPlus:
    """A UNet++ with the widths of ``unet``."""
    return UNetPlusPlus(in_channels, features=[width * 2**i for i in range(5)], **options)


def resnet34_unet(in_channels: int, width: int, **options: Any) -> ResNet34UNet:
    """A ResNet34-UNet whose stages have 1, 2, 4 and 8 times ``width`` features."""
    return ResNet34UNet(in_channels, width=width, **options)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "unet": unet,
    "unet_default_init": functools.partial(unet, init="default"),
    "unet_half_bottleneck": functools.partial(unet, bottleneck=8),  # as the AIoT report draws it
    "unet_without_skips": functools.partial(unet, skips=False),
    "unet_bilinear": functools.partial(unet, up="bilinear"),
    "attention_unet": functools.partial(unet, attention=True),
    "unet_plus_plus": unet_plus_plus,
    "resnet34_unet": resnet34_unet,
    "resnet34_unet_pre_add_relu": functools.partial(resnet34_unet, block="pre_add_relu"),  # the TAICA report's block
    "resnet34_unet_imagenet": functools.partial(resnet34_unet, pretrained=True),
}


class SegmentationParameters(TrainingParameters):
    """What labs 2 and 3 have in common."""

    batch_size: whole(1, 65_536, "images per step")
    limit: whole(0, 10_000_000, "at most so many images for training, and as many for the test; 0: all")
    image_size: whole(16, 1024, "side of the images the model sees, in pixels")
    model: choice(*MODELS, meaning="which network")
    width: whole(2, 256, "features on the first level")
    dropout: real(0, 0.9, "share of the bottleneck's channels left out in training")
    augmentation: choice(*POLICIES, meaning="what may happen to a training image and its mask")
    loss: choice(*losses.SEGMENTATION, meaning="what training makes small")
    pin_memory: switch("page-locked batches, which copy faster to a GPU; nothing on a CPU")
    checkpointing: switch("compute activations twice instead of keeping them: less memory, more time")

    @model_validator(mode="after")
    def _fits_the_networks(self) -> Self:
        for name in self.networks():
            if name.endswith("imagenet") and self.width != 64:
                raise ValueError(f"Parameter 'width' is {self.width}, but ImageNet's weights need 64.")
            if self.batch_size == 1 and self.image_size < 128:
                raise ValueError(
                    f"Parameter 'batch_size' is 1, but at image_size {self.image_size} batch normalisation may be left "
                    f"with a single number: take at least 2, or an image_size of at least 128."
                )
        return self

    def networks(self) -> list[str]:
        """The networks that this run trains, by name."""
        return [self.model]


@dataclass(frozen=True)
class Data:
    """The three parts of a segmentation data set, at network size, and its images and masks at their own size."""

    train: Split
    val: Split
    test: Split
    names: list[str]  # of every sample number
    groups: list[str]  # the patient or breed of every sample number
    picture: Callable[[int], np.ndarray]  # sample number -> image (H, W) or (H, W, 3), uint8
    truth: Callable[[int], np.ndarray]  # sample number -> mask (H, W), bool
    complete_test: int  # images in the test set of the published data

    def parts(self) -> dict[str, Split]:
        """The splits by name."""
        return {"training": self.train, "validation": self.val, "test": self.test}

    def facts(self) -> dict[str, Any]:
        """For the manifest: how many images each part has, which groups, and a fingerprint of which images."""
        parts = {"train" if name == "training" else name: split for name, split in self.parts().items()}
        return {
            "counts": {name: len(split) for name, split in parts.items()},
            "groups": {name: sorted({self.groups[i] for i in split.samples}) for name, split in parts.items()},
            "splits": {name: split.fingerprint() for name, split in parts.items()},
        }

    def obstacle(self, source: Source) -> str:
        """What forbids putting a score on these data beside a published one; empty if nothing does."""
        if not (source.verified or source.complete):
            return "sample data" if source.kind == "sample" else "these files are not the published ones"
        n, whole = len(self.test), self.complete_test
        return "" if n == whole else f"only {n:,} of the {whole:,} test images"


def check_parts(data: Data) -> Data:
    """The data, if each part has images and none is in two parts; DataError else."""
    parts = data.parts()
    for name, split in parts.items():
        least = 2 if name == "training" else 1
        if len(split) < least:
            raise DataError(
                f"Only {len(split)} images are left for {name}, at least {least} are needed: take more data, a higher "
                f"limit (0 means all), or another split."
            )
    everything = np.concatenate([split.samples for split in parts.values()])
    if len(np.unique(everything)) < len(everything):
        raise DataError("An image is in two of training, validation and test: splits must not overlap.")
    return data


def build_model(params: SegmentationParameters, in_channels: int, name: str = "", fetch: bool = True) -> nn.Module:
    """The network ``name`` (else the one the parameters name), its weights drawn by seed.

    Without ``fetch``, a network that would start from ImageNet's weights does without them.
    """
    torch.manual_seed(params.seed)
    build, options = MODELS[name or params.model], {"dropout": params.dropout, "checkpointing": params.checkpointing}
    if not fetch and "pretrained" in getattr(build, "keywords", {}):
        options["pretrained"] = False
    return build(in_channels, params.width, **options)


def preprocessing(params: SegmentationParameters, mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
    """The size that the parameters ask for, and a mean and standard deviation per channel."""
    return Preprocessing(params.image_size, tuple(mean), tuple(max(value, 1e-6) for value in std))


def batches(params: SegmentationParameters, split: Split, preparation: Preprocessing, train: bool = False) -> Batches:
    """The batches of a split: shuffled and augmented for training, plain otherwise."""
    return Batches(
        split,
        batch_size=params.batch_size if train else 8,
        preprocessing=preparation,
        augmentation=JointAugmentation(params.augmentation) if train and params.augmentation != "none" else None,
        shuffle=train,
        seed=params.seed,
        workers=params.num_workers,
        pin_memory=params.pin_memory,
    )


def build_recipe(params: SegmentationParameters, model: nn.Module) -> Recipe:
    """The loss that the parameters name, and Dice as the score that chooses the epoch."""
    loss = losses.SEGMENTATION[params.loss]
    return common.build_recipe(params, model, objective=loss, loss=loss, metric=dice, metric_name=METRIC)


def segment(model: nn.Module, batches: Batches, precision: Precision) -> Tensor:
    """Foreground logits of all images at network size, in the order of ``batches``: (N, h, w) float16 on the CPU."""
    logits = (forward(model, images, precision) for images, _ in batches.from_step(epoch=0))
    return torch.cat([margin(batch).half().cpu() for batch in logits])


def snapshot(model: nn.Module, batches: Batches, precision: Precision) -> Callable[[], np.ndarray]:
    """A function that draws image, true and predicted mask of four images as they are now: (4 h, 3 w, 3) uint8."""
    few = np.linspace(0, len(batches.split) - 1, 4).astype(int)

    def draw() -> np.ndarray:
        images, masks = batches.batch(few)
        shown = batches.split.images[few].float().mean(dim=1)  # (4, h, w), grey
        predicted = 255.0 * (margin(forward(model, images, precision)).cpu() > 0)
        rows = torch.cat([shown, 255.0 * masks, predicted], dim=2).flatten(0, 1)  # (4 h, 3 w)
        return rows.byte()[..., None].repeat(1, 1, 3).numpy()

    return draw


def augmented(batches: Batches, epochs: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The image with the largest mask as each epoch shows the two: uint8 (h, w) or (h, w, 3), and bool (h, w)."""
    pictures, masks, where = [], [], batches.split.targets.sum(dim=(1, 2)).argmax()[None].numpy()
    for epoch in range(epochs):
        image, mask = batches.split.images[where].float() / 255, batches.split.targets[where]
        if batches.augmentation:
            image, mask = batches.augmentation(image, mask, batches.seed, epoch, batches.split.samples[where])
        shown = (255 * image[0].clamp(0, 1)).byte().permute(1, 2, 0).squeeze(-1)
        pictures.append(shown.numpy())
        masks.append(mask[0].numpy() > 0)
    return pictures, masks


def overlay_figure(cases: pd.DataFrame, maps: Tensor, data: Data) -> Figure:
    """The test images of ``chosen_cases``, a row for each case, with true and predicted outlines."""
    rows, place = list(cases.itertuples()), {sample: i for i, sample in enumerate(data.test.samples)}
    truths = [data.truth(row.sample) for row in rows]
    predictions = [at_size(maps[place[row.sample]], t.shape) > 0.5 for row, t in zip(rows, truths, strict=True)]
    titles = [f"{row.case}: {row.image}\nDice {row.dice:.3f}" for row in rows]
    pictures = [data.picture(row.sample) for row in rows]
    columns = int((cases["case"] == "worst").sum())
    title = "Worst, median and best test images"
    return plot_overlays(pictures, truths, predictions, titles, title=title, columns=columns)


def at_size(logits: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Foreground probabilities (H, W) at the size of the original image, from logits (h, w): bilinear, then sigmoid."""
    if logits.shape != shape:
        logits = F.interpolate(logits.float()[None, None], shape, mode="bilinear", align_corners=False)[0, 0]
    return torch.sigmoid(logits.float()).numpy()


def score(maps: Tensor, split: Split, data: Data, outlines: bool = False) -> pd.DataFrame:
    """One row per image: pixel counts, overlap scores and true area, all at the original size, for p > 0.5.

    ``maps`` (N, h, w) are foreground logits of the images of ``split``; ``outlines`` adds the 95 % Hausdorff distance.
    """
    rows = []
    for sample, logits in zip(split.samples, maps, strict=True):
        truth = data.truth(sample)
        predicted = at_size(logits, truth.shape) > 0.5
        counts = pixel_counts(*(torch.from_numpy(mask)[None] for mask in (predicted, truth)))[0]
        row = {"sample": sample, "image": data.names[sample], "group": data.groups[sample]}
        row |= dict(zip(COUNTS, map(int, counts), strict=True))
        if outlines:
            row["hausdorff95"] = hausdorff95(predicted, truth)
        rows.append(row)
    table = pd.DataFrame(rows)
    counts = torch.tensor(table[list(COUNTS)].to_numpy(), dtype=torch.float64)
    for name, overlap in OVERLAPS.items():
        table[name] = overlap(counts).numpy()
    return table.assign(true_share=(table["tp"] + table["fn"]) / counts.sum(dim=1).numpy())


def threshold_curve(maps: Tensor, split: Split, data: Data) -> pd.DataFrame:
    """Mean Dice, precision and recall over the images of ``split`` at every threshold on the probability."""
    curves = []
    for sample, logits in zip(split.samples, maps, strict=True):
        truth = data.truth(sample)
        counts = torch.from_numpy(threshold_counts(at_size(logits, truth.shape), truth, THRESHOLDS)).double()
        curves.append(np.stack([OVERLAPS[name](counts).numpy() for name in TRADE]))
    stacked = np.stack(curves)[:, :, :-1]  # no probability is above 1: nothing is predicted there
    with np.errstate(invalid="ignore"):
        mean = np.nansum(stacked, axis=0) / np.isfinite(stacked).sum(axis=0)  # NaN where no image has a precision
    return pd.DataFrame({"threshold": np.arange(THRESHOLDS) / THRESHOLDS} | dict(zip(TRADE, mean, strict=True)))


def trivial_scores(data: Data) -> pd.DataFrame:
    """Test scores of three predictors that do not look at the image: what a score has to beat.

    All background, all foreground, and the pixels that are foreground in at least half of the training masks.
    """
    often = data.train.targets.sum(dim=0) / len(data.train)
    usual = torch.where(often >= 0.5, 1.0, -1.0)
    guesses = {"all background": -torch.ones_like(usual), "all foreground": torch.ones_like(usual)}
    guesses["the usual place"] = usual
    rows = []
    for name, guess in guesses.items():
        table = score(guess.expand(len(data.test), -1, -1), data.test, data)
        rows.append({"predictor": name, **table[["dice", "iou", "pixel_accuracy"]].mean()})
    return pd.DataFrame(rows)


def copied_masks(train: Split, queries: Split, side: int = 32) -> np.ndarray:
    """Dice of each query (N,) if the mask of the training image most like it is copied: no learning at all.

    Images are compared as ``side`` × ``side`` thumbnails by squared difference. High where the split leaks.
    """
    thumbs = [F.adaptive_avg_pool2d(s.images[np.arange(len(s))].float(), side).flatten(1) for s in (train, queries)]
    nearest = torch.cdist(thumbs[1], thumbs[0]).argmin(dim=1)  # (N,)
    guess = train.targets[nearest.numpy()].float()[:, None] * 2 - 1
    return dice(guess, queries.targets).numpy()


def chosen_cases(table: pd.DataFrame, each: int = 4) -> pd.DataFrame:
    """The worst, the median and the best images by Dice, ``each`` of a kind, with a column ``case``."""
    ordered = table.sort_values("dice", kind="stable")
    n = len(ordered)
    each = min(each, max(1, n // 3))
    middle = max(each, n // 2 - each // 2)
    kinds = {"worst": ordered[:each], "median": ordered[middle : middle + each], "best": ordered[max(n - each, 0) :]}
    return pd.concat([rows.assign(case=kind) for kind, rows in kinds.items()])
