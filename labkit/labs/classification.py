"""What the classification labs share: parameters, three parts of a data set, batches and recipe."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labkit.data.augment import Augmentation
from labkit.data.loading import Batches, Preprocessing, Split, channel_statistics, limited, split_off_validation
from labkit.data.sources import Source
from labkit.errors import DataError
from labkit.labs import common
from labkit.labs.parameters import TrainingParameters, choice, real, switch, whole
from labkit.labs.parts import Parts
from labkit.results.words import many
from labkit.training.loop import Recipe
from labkit.training.losses import cross_entropy
from labkit.training.metrics import accuracy
from labkit.training.stopping import Stop, never

METRIC = "accuracy"
SCORED_PIXELS = 256 * 64**2  # of a batch in validation and test, 256 images at most: less than training needs


class ClassificationParameters(TrainingParameters):
    """What labs that classify have in common."""

    limit: whole(0, 10_000_000, "at most so many training images, and as many test images; 0: all")
    validation_share: real(0, 0.9, "share of the training images that chooses the best epoch", above=True)
    select_on: choice("validation", "test", meaning="which images choose the best epoch; 'test' flatters the score")
    image_size: whole(8, 512, "side of the images the model sees, in pixels")
    flip: switch("augmentation: every second image left-right")
    label_smoothing: real(0, 0.5, "share of the target spread over all classes")


@dataclass(frozen=True)
class Data(Parts):
    """The three parts of a classified data set."""

    class_names: list[str]

    def facts(self, source: Source) -> dict[str, Any]:
        """For the manifest: counts, fingerprints, and the names of the classes in the order of the logits."""
        return super().facts(source) | {"class_names": self.class_names}


def divide(
    params: ClassificationParameters, pool: Split, test: Split, class_names: list[str], complete_test: int
) -> Data:
    """Apply ``limit``, and split validation off the training images, class by class, by seed.

    A limited test set is the same for every seed, so that seeds can be compared. ``complete_test``: how many test
    images were published.
    With ``select_on = "test"`` nothing is held out and the test set is the validation set, as in the AIoT report.
    """
    pool, test = limited(pool, params.limit, params.seed), limited(test, params.limit, seed=0)
    train, val = pool, test
    if params.select_on == "validation":
        train, val = split_off_validation(pool, params.validation_share, params.seed)
    if len(train) < 2:
        raise DataError(
            f"Of {many(len(pool), 'image')} {len(train)} would be left for training: raise limit or lower "
            f"validation_share."
        )
    return Data(train, val, test, complete_test, class_names=class_names)


def batches(
    params: ClassificationParameters,
    split: Split,
    preparation: Preprocessing,
    augmentation: Augmentation | None = None,
    train: bool = False,
) -> Batches:
    """The batches of a split: shuffled and augmented for training, plain otherwise."""
    return Batches(
        split,
        batch_size=params.batch_size if train else max(1, min(256, SCORED_PIXELS // params.image_size**2)),
        preprocessing=preparation,
        augmentation=augmentation if train else None,
        shuffle=train,
        seed=params.seed,
        workers=params.num_workers,
        pin_memory=True,
    )


def preprocessing(params: ClassificationParameters, images: Tensor) -> Preprocessing:
    """The size that the parameters ask for, and mean and standard deviation of each channel of ``images``."""
    mean, std = channel_statistics(images)
    return Preprocessing(params.image_size, mean, tuple(max(value, 1e-6) for value in std))


def build_recipe(
    params: ClassificationParameters, model: nn.Module, stop_early: Stop = never, metric_name: str = METRIC
) -> Recipe:
    """Cross-entropy and accuracy, of images or of pixels, with the optimiser and schedule of the parameters."""
    smoothing = params.label_smoothing
    objective = functools.partial(cross_entropy, label_smoothing=smoothing) if smoothing else cross_entropy
    return common.build_recipe(
        params,
        model,
        objective=objective,
        loss=cross_entropy,
        metric=accuracy,
        metric_name=metric_name,
        stop_early=stop_early,
    )


def maps_after(stages: Mapping[str, nn.Module], images: Tensor) -> dict[str, np.ndarray]:
    """What the first of images (N, C, H, W) is after each of ``stages`` in a row: the strongest channel, (H, W)."""
    maps, x = {}, images[:1].to(next(next(iter(stages.values())).parameters()).device)
    with torch.inference_mode():
        for name, stage in stages.items():
            x = stage.eval()(x)
            maps[name] = x[0, strongest(x)].float().cpu().numpy()
    return maps


def strongest(features: Tensor) -> int:
    """The channel of features (N, C, H, W) with the highest mean in the first image."""
    return int(features[0].mean(dim=(1, 2)).argmax())
