"""Lab 2: UNet on liver CT. From the parameters alone: data split by patient, model and recipe."""

import functools
from typing import ClassVar

import numpy as np
import pandas as pd

from labkit.data import liver
from labkit.data.loading import Preprocessing, Split, channel_statistics
from labkit.data.sources import Source
from labkit.errors import DataError
from labkit.labs import scoring, segmentation
from labkit.labs.parameters import text, whole
from labkit.labs.segmentation import METRIC, Data, SegmentationParameters, batches, build_model, build_recipe
from labkit.paths import data_root, data_root_is_named
from labkit.results.words import many

__all__ = ["METRIC", "NOTEBOOK", "Parameters", "batches", "build_model", "build_recipe", "find_data", "load_data"]
NOTEBOOK = "02_liver_unet"
RANDOM_SHARE = 0.1  # of the training slices that validate where the split is random


class Parameters(SegmentationParameters):
    """The parameters of notebook 02."""

    CHANNELS: ClassVar = 1

    volumes: text("slices of each patient in train, such as '0-161, 162-399'; empty: found in the pictures")
    validation_volume: whole(0, 99, "the patient, counted from 1, that chooses the epoch; 0: random slices, a leak")


def find_data(params: Parameters) -> Source:
    """Find the slices, decode and check them, and see whether they can be split; nothing is written but the cache."""
    source = liver.find(data_root(params.data_root), params.source, data_root_is_named(params.data_root))
    load_data(params, source)
    return source


def training_slices(params: Parameters, source: Source) -> tuple[Split, list[range]]:
    """All slices of ``train``, and which of them belong to each patient: as given, else found in the pictures."""
    count = sum(name.startswith("train/") for name in liver.slices(source))
    pool = liver.load(source, params.image_size).subset(np.arange(count))
    if params.volumes:
        return pool, liver.parse_volumes(params.volumes, count)
    return pool, liver.find_volumes(liver.changes(pool.images.numpy()))


def load_data(params: Parameters, source: Source) -> Data:
    """Split the slices of ``train`` by patient into training and validation; ``val`` is the test set, another patient.

    With ``validation_volume = 0`` a random tenth of the slices validates instead: neighbours of training slices, so
    the score is flattered. ``limit`` takes evenly spaced slices of each part.
    """
    names = liver.slices(source)
    pool, patients = training_slices(params, source)
    count = len(pool)
    test = liver.load(source, params.image_size).subset(np.arange(count, len(names)))
    groups = [f"patient {i}" for i, volume in enumerate(patients, 1) for _ in volume]
    groups += ["test patient"] * len(test)
    chosen = validation_places(params, patients, count)
    rest = np.setdiff1d(np.arange(count), chosen)
    parts = [thinned(split, params.limit) for split in (pool.subset(rest), pool.subset(chosen), test)]
    return segmentation.check_parts(
        Data(
            *parts,
            names=names,
            groups=groups,
            picture=lambda sample: np.asarray(liver.read_image(source, names[sample])),
            truth=functools.lru_cache(512)(lambda sample: np.asarray(liver.read_mask(source, names[sample])) > 0),
            complete_test=liver.IMAGES["val"],
        )
    )


def validation_places(params: Parameters, patients: list[range], count: int) -> np.ndarray:
    """Which of the ``count`` training slices validate; DataError if that leaves nothing to train on."""
    number = params.validation_volume
    if number == 0:
        return random_places(params.seed, count)
    if not (number <= len(patients) and len(patients) > 1):
        found = ", ".join(f"{v.start}-{v.stop - 1}" for v in patients)
        raise DataError(
            f"Parameter 'validation_volume' is {number}, but the training slices are {many(len(patients), 'volume')} "
            f"({found}): choose one of at least two, or give them as 'volumes'."
        )
    return np.array(patients[number - 1])


def random_places(seed: int, count: int) -> np.ndarray:
    """A random tenth of ``count`` slices, sorted."""
    rng = np.random.default_rng([seed, count])
    return np.sort(rng.permutation(count)[: max(1, round(RANDOM_SHARE * count))])


def thinned(split: Split, limit: int) -> Split:
    """At most ``limit`` slices, evenly spaced; 0 means all."""
    if not 0 < limit < len(split):
        return split
    return split.subset(np.linspace(0, len(split) - 1, limit).round().astype(int))


def preprocessing(params: Parameters, data: Data) -> Preprocessing:
    """Size, and mean and standard deviation of the training slices."""
    return segmentation.preprocessing(params, *channel_statistics(data.train.images))


def slice_table(params: Parameters, source: Source) -> pd.DataFrame:
    """One row per slice of ``train``: change to the slice before, patient, share of liver; evidence for the cuts."""
    pool, patients = training_slices(params, source)
    groups = [f"patient {i}" for i, volume in enumerate(patients, 1) for _ in volume]
    share = pool.targets.float().mean(dim=(1, 2)).numpy()
    change = liver.changes(pool.images.numpy())
    return pd.DataFrame({"slice": np.arange(len(pool)), "change": change, "group": groups, "share": share})


def copying_scores(params: Parameters, source: Source) -> tuple[np.ndarray, np.ndarray] | None:
    """Dice of masks copied from the most similar training slice: validation by patient, and by random slices.

    Random slices are drawn five times, so that luck plays less of a part. None if there is one patient only.
    """
    pool, patients = training_slices(params, source)
    if len(patients) < 2:
        return None
    chosen = patients[(params.validation_volume or 1) - 1]
    draws = [random_places(seed, len(pool)) for seed in range(5)]
    by_patient, *at_random = (
        scoring.copied_masks(pool.subset(np.setdiff1d(np.arange(len(pool)), places)), pool.subset(places))
        for places in (np.array(chosen), *draws)
    )
    return by_patient, np.concatenate(at_random)
