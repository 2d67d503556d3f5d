"""Lab 2: UNet on liver CT. From the parameters alone: data split by patient, model and recipe."""

import functools

import numpy as np
import pandas as pd
from torch import nn

from labkit.data import liver
from labkit.data.joint import POLICIES
from labkit.data.loading import Preprocessing, Split, channel_statistics
from labkit.data.sources import Source
from labkit.errors import DataError
from labkit.labs import segmentation
from labkit.labs.parameters import choice, text, whole
from labkit.labs.segmentation import METRIC, Data, SegmentationParameters, build_recipe
from labkit.paths import data_root, data_root_is_named

__all__ = ["METRIC", "NOTEBOOK", "Parameters", "build_model", "build_recipe", "find_data", "load_data"]
NOTEBOOK = "02_liver_unet"
RANDOM_SHARE = 0.1  # of the training slices that validate where the split is random


class Parameters(SegmentationParameters):
    """The parameters of notebook 02."""

    volumes: text("slices of each patient in train, such as '0-161, 162-399'; empty: found in the pictures")
    validation_volume: whole(0, 99, "the patient, counted from 1, that chooses the epoch; 0: random slices, a leak")
    augmentation: choice(*POLICIES, meaning="what may happen to a training slice and its mask")


def find_data(params: Parameters) -> Source:
    """Find the slices, decode and check them, and see whether they can be split; nothing is written but the cache."""
    source = liver.find(data_root(params.data_root), params.source, data_root_is_named(params.data_root))
    load_data(params, source)
    return source


def volumes(params: Parameters, everything: Split) -> list[range]:
    """The slices of each patient in ``train``: as given, else found where the picture changes abruptly."""
    images = everything.images.numpy()
    if params.volumes:
        return liver.parse_volumes(params.volumes, len(images))
    return liver.find_volumes(liver.changes(images))


def load_data(params: Parameters, source: Source) -> Data:
    """Split the slices of ``train`` by patient into training and validation; ``val`` is the test set, another patient.

    With ``validation_volume = 0`` a random tenth of the slices validates instead: neighbours of training slices, so
    the score is flattered. ``limit`` takes evenly spaced slices of each part.
    """
    everything, names = liver.load(source, params.image_size), liver.slices(source)
    count = sum(name.startswith("train/") for name in names)
    pool, test = everything.subset(np.arange(count)), everything.subset(np.arange(count, len(names)))
    patients = volumes(params, pool)
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
            truth=functools.cache(lambda sample: np.asarray(liver.read_mask(source, names[sample])) > 0),
            complete_test=20,
        )
    )


def validation_places(params: Parameters, patients: list[range], count: int) -> np.ndarray:
    """Which of the ``count`` training slices validate; DataError if that leaves nothing to train on."""
    number = params.validation_volume
    if number == 0:
        rng = np.random.default_rng([params.seed, count])
        return np.sort(rng.permutation(count)[: max(1, round(RANDOM_SHARE * count))])
    if not (number <= len(patients) and len(patients) > 1):
        found = ", ".join(f"{v.start}-{v.stop - 1}" for v in patients)
        raise DataError(
            f"Parameter 'validation_volume' is {number}, but the training slices are {len(patients)} volumes "
            f"({found}): choose one of at least two, or give them as 'volumes'."
        )
    return np.array(patients[number - 1])


def thinned(split: Split, limit: int) -> Split:
    """At most ``limit`` slices, evenly spaced; 0 means all."""
    if not 0 < limit < len(split):
        return split
    return split.subset(np.linspace(0, len(split) - 1, limit).round().astype(int))


def preprocessing(params: Parameters, data: Data) -> Preprocessing:
    """Size, and mean and standard deviation of the training slices."""
    mean, std = channel_statistics(data.train.images)
    return Preprocessing(params.image_size, mean, tuple(max(value, 1e-6) for value in std))


def build_model(params: Parameters, name: str = "", will_load: bool = False) -> nn.Module:
    """The network for one grey channel, its weights drawn by seed."""
    return segmentation.build_model(params, 1, name, will_load)


def batches(params: Parameters, split: Split, preparation: Preprocessing, train: bool = False) -> segmentation.Batches:
    """The batches of a split: shuffled and augmented for training, plain otherwise."""
    return segmentation.batches(params, split, preparation, params.augmentation, train)


def slice_table(params: Parameters, source: Source) -> pd.DataFrame:
    """One row per slice of ``train``: change to the slice before, patient, share of liver; evidence for the cuts."""
    everything = liver.load(source, params.image_size)
    pool = everything.subset(np.arange(sum(name.startswith("train/") for name in liver.slices(source))))
    groups = [f"patient {i}" for i, volume in enumerate(volumes(params, pool), 1) for _ in volume]
    share = pool.targets.float().mean(dim=(1, 2)).numpy()
    change = liver.changes(pool.images.numpy())
    return pd.DataFrame({"slice": np.arange(len(pool)), "change": change, "group": groups, "share": share})


def cut_limit(slices: pd.DataFrame) -> float:
    """The change above which a new patient begins."""
    return float(liver.JUMP * slices["change"][1:].median())


def say_volumes(slices: pd.DataFrame, params: Parameters) -> str:
    """Which patients there are, how clear the evidence is, and which of them validates."""
    ranges = slices.groupby("group", sort=False)["slice"].agg(["min", "max"])
    named = ", ".join(f"{name}: slices {row['min']}–{row['max']}" for name, row in ranges.iterrows())
    starts = slices["group"] != slices["group"].shift()
    within, between = slices["change"][1:][~starts[1:]], slices["change"][1:][starts[1:]]
    evidence = (
        f" Within a patient the largest change is {within.max():.1f} grey values, between patients the smallest is "
        f"{between.min():.1f}."
        if len(between)
        else ""
    )
    chosen = f"Patient {params.validation_volume} validates" if params.validation_volume else "Random slices validate"
    return f"{len(ranges)} patients in train ({named}).{evidence} {chosen}, the test patient is one more."


def copying_scores(params: Parameters, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Dice of masks copied from the most similar training slice: validation by patient, and by random slices."""
    patient = params.validation_volume or 1
    splits = [params.model_copy(update={"validation_volume": number, "limit": 0}) for number in (patient, 0)]
    by_patient, at_random = (load_data(split, source) for split in splits)
    return (
        segmentation.copied_masks(by_patient.train, by_patient.val),
        segmentation.copied_masks(at_random.train, at_random.val),
    )
