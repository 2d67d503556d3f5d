"""Lab 3: UNet and ResNet34-UNet on Oxford-IIIT Pet. From the parameters alone: data, models and recipe."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Self

import numpy as np
import pandas as pd
import torch
from pydantic import model_validator
from torch import Tensor

from labkit.data import pets
from labkit.data.loading import Preprocessing, channel_statistics, stratified
from labkit.data.sources import Source
from labkit.labs import scoring, segmentation
from labkit.labs.parameters import check_rival, choice, real
from labkit.labs.segmentation import METRIC, MODELS, Data, SegmentationParameters, batches, build_model, build_recipe
from labkit.paths import data_root, data_root_is_named

__all__ = ["METRIC", "NOTEBOOK", "Parameters", "batches", "build_model", "build_recipe", "find_data", "load_data"]
NOTEBOOK = "03_pet_resnet34_unet"
REPORTED = ((0.481, 0.449, 0.396), (0.269, 0.265, 0.273))  # mean and std of the whole data set, by the report
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Parameters(SegmentationParameters):
    """The parameters of notebook 03."""

    target: choice(*pets.TARGETS, meaning="which trimap values are foreground")
    validation_share: real(0, 0.9, "share of trainval that chooses the best epoch", above=True)
    normalise: choice("dataset", "imagenet", "none", meaning="whose mean and standard deviation")
    rival: choice("none", *MODELS, meaning="a second network, trained the same way, to compare with")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_rival(self)
        return self

    def networks(self) -> list[str]:
        """The networks that this run trains, by name."""
        return [name for name in (self.model, self.rival) if name != "none"]


def find_data(params: Parameters) -> Source:
    """Find the photos, decode and check them; nothing is written but the cache."""
    source = pets.find(data_root(params.data_root), params.source, data_root_is_named(params.data_root))
    load_data(params, source)
    return source


def load_data(params: Parameters, source: Source) -> Data:
    """Split ``trainval`` into training and validation, breed by breed, by seed; apply ``limit`` to each part."""
    everything = pets.load(source, params.image_size, params.target)
    listed = {part: pets.names_in(source.root, part) for part in pets.LISTS}
    names = [name for part in pets.LISTS for name, _ in listed[part]]
    breeds = np.array([breed for part in pets.LISTS for _, breed in listed[part]])
    count = len(listed["trainval"])
    held_out, rest = stratified(breeds[:count], max(1, round(params.validation_share * count)), params.seed)
    places = [rest, held_out, np.arange(count, len(names))]
    if params.limit:
        seeds = (params.seed, params.seed, 0)  # a limited test set is the same for every seed
        places = [
            p[stratified(breeds[p], min(params.limit, len(p)), seed)[0]] for p, seed in zip(places, seeds, strict=True)
        ]
    return segmentation.check_parts(
        Data(
            *(everything.subset(place) for place in places),
            names=names,
            groups=[name.rsplit("_", 1)[0] for name in names],
            picture=lambda sample: np.asarray(pets.read_image(source, names[sample])),
            truth=true_masks(source, names, params.target),
            complete_test=pets.IMAGES["test"],
        )
    )


def true_masks(source: Source, names: list[str], target: str) -> Callable[[int], np.ndarray]:
    """The mask (H, W) bool of a sample number under a named target."""
    return functools.lru_cache(maxsize=512)(
        lambda sample: pets.foreground(np.asarray(pets.read_trimap(source, names[sample])), target) > 0
    )


def with_target(data: Data, source: Source, target: str) -> Data:
    """The same images, scored against another reading of the trimaps."""
    return replace(data, truth=true_masks(source, data.names, target))


def preprocessing(params: Parameters, data: Data) -> Preprocessing:
    """Size, mean and standard deviation: of the training photos, of ImageNet, or 0 and 1."""
    mean, std = {
        "dataset": lambda: channel_statistics(data.train.images),
        "imagenet": lambda: IMAGENET,
        "none": lambda: ((0.0,) * 3, (1.0,) * 3),
    }[params.normalise]()
    return segmentation.preprocessing(params, mean, std)


def statistics_table(data: Data) -> pd.DataFrame:
    """Mean and standard deviation of each colour channel: of the training photos, and as the report has them."""
    rows = []
    for name, (mean, std) in {
        "these training photos": channel_statistics(data.train.images),
        "report": REPORTED,
    }.items():
        row = {
            f"{what} {colour}": f"{value:.3f}"
            for what, values in (("mean", mean), ("std", std))
            for colour, value in zip("RGB", values, strict=True)
        }
        rows.append({"of": name, **row})
    return pd.DataFrame(rows)


def target_scores(maps: Tensor, data: Data, source: Source) -> pd.DataFrame:
    """The same predicted masks against each reading of the trimaps, beside a guess of all foreground."""
    rows = []
    for target in pets.TARGETS:
        read = with_target(data, source, target)
        table, guess = (scoring.score(logits, data.test, read) for logits in (maps, torch.ones_like(maps)))
        scores = {"foreground": table["true_share"].mean(), "dice": table["dice"].mean(), "iou": table["iou"].mean()}
        rows.append({"target": target, **scores, "all foreground": guess["dice"].mean()})
    return pd.DataFrame(rows)
