"""Lab 5: class maps of a trained network, scored image by image and class by class."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from labkit.data.loading import Batches, Split
from labkit.results.picture_tables import in_grey, pictures
from labkit.training.loop import forward
from labkit.training.metrics import confusion_matrix
from labkit.training.precision import Precision


@dataclass(frozen=True)
class ClassMaps:
    """What a network says of every pixel, and what is true: class numbers (N, H, W), digits below K, photos from K."""

    truth: Tensor
    said: Tensor
    best_digit: Tensor  # the likeliest of the digits' classes, as if the pixel were known to be the digit's
    best_photo: Tensor  # the likeliest of the photos' classes
    num_classes: int  # K

    @property
    def is_digit(self) -> Tensor:
        """Where the digit truly is, bool."""
        return self.truth < self.num_classes

    @property
    def in_true_mask(self) -> Tensor:
        """The network's classes, had it been told which pixels are the digit's."""
        return torch.where(self.is_digit, self.best_digit, self.best_photo)


def class_maps(model: nn.Module, batches: Batches, precision: Precision, num_classes: int) -> ClassMaps:
    """The class maps of all images, in the order of ``batches``."""
    parts = []
    for images, _ in batches.from_step(epoch=0):
        logits = forward(model, images, precision).cpu()  # (B, 2 K, H, W)
        digit, photo = logits[:, :num_classes].argmax(1), num_classes + logits[:, num_classes:].argmax(1)
        parts.append(torch.stack([logits.argmax(1), digit, photo]).byte())
    return ClassMaps(batches.split.targets, *torch.cat(parts, dim=1), num_classes=num_classes)


def pair_table(pairs: Split, names: list[str], num_classes: int) -> pd.DataFrame:
    """Digits on photos as ``plot_pairs`` draws them: the classes of each pair, its image and the mask of its digit."""
    truth = pairs.targets.numpy()
    rows = [
        {"digit": names[classes.min()], "photo": names[classes.max()], "digit_share": float(mask.mean()), "mask": mask}
        for classes, mask in zip(truth, truth < num_classes, strict=True)
    ]
    return pd.DataFrame(rows).assign(image=pictures(pairs.images))


def error_table(cases: pd.DataFrame, test: Split, maps: ClassMaps) -> pd.DataFrame:
    """Rows of ``pixel_table`` with what ``plot_pair_errors`` draws: images in grey, and what is wrong in them."""
    where = cases.index.to_numpy(copy=True)
    truth, said = maps.truth[where], maps.said[where]
    other = (truth < maps.num_classes) != (said < maps.num_classes)
    return cases.assign(
        image=[in_grey(image) for image in pictures(test.subset(where).images)],
        wrong_source=list(other.numpy()),
        wrong_class=list((~other & (truth != said)).numpy()),
    )


def pixel_table(maps: ClassMaps, samples: np.ndarray, names: list[str]) -> pd.DataFrame:
    """One row an image: its two classes, the share of right pixels (all, the digit's, the photo's, and of digit against
    photo), and the class named most often for each of the two."""
    right, digit, k = maps.said == maps.truth, maps.is_digit, maps.num_classes
    said_digit = maps.said < k

    def share(hit: Tensor, where: Tensor) -> np.ndarray:
        return ((hit & where).sum(dim=(1, 2)) / where.sum(dim=(1, 2))).numpy()

    return pd.DataFrame(
        {
            "sample": samples,
            "digit": [names[i] for i in maps.truth.amin(dim=(1, 2))],
            "photo": [names[i] for i in maps.truth.amax(dim=(1, 2))],
            "said_digit": majority(maps.said, said_digit, names),
            "said_photo": majority(maps.said, ~said_digit, names),
            "digit_share": digit.float().mean(dim=(1, 2)).numpy(),
            "pixel_accuracy": right.float().mean(dim=(1, 2)).numpy(),
            "digit_accuracy": share(right, digit),
            "photo_accuracy": share(right, ~digit),
            "source_accuracy": (said_digit == digit).float().mean(dim=(1, 2)).numpy(),
        }
    )


def majority(said: Tensor, where: Tensor, names: list[str]) -> list[str]:
    """The class named most often ``where`` (N, H, W) holds, image by image; "none" where it holds nowhere."""
    counts = torch.zeros(len(said), len(names))
    counts.scatter_add_(1, said.flatten(1).long(), where.flatten(1).float())
    return [names[row.argmax()] if row.any() else "none" for row in counts]


def overlap_counts(maps: ClassMaps) -> np.ndarray:
    """Pixels of each image in the intersection and in the union of true and predicted class: (N, 2, 2 K) float64."""
    classes = range(2 * maps.num_classes)
    both = [((maps.said == c) & (maps.truth == c)).sum(dim=(1, 2)) for c in classes]
    either = [((maps.said == c) | (maps.truth == c)).sum(dim=(1, 2)) for c in classes]
    return torch.stack([torch.stack(both, dim=1), torch.stack(either, dim=1)], dim=1).double().numpy()


def mean_iou(counts: np.ndarray) -> float:
    """Mean over the classes that occur of the IoU of all pixels together, from ``overlap_counts`` (N, 2, C)."""
    both, either = counts.sum(axis=0)
    return float(np.mean(both[either > 0] / either[either > 0]))


def pixel_confusion(maps: ClassMaps, names: list[str]) -> pd.DataFrame:
    """Pixels by true (rows) and predicted class (columns)."""
    counts = confusion_matrix(maps.truth.flatten().numpy(), maps.said.flatten().numpy(), len(names))
    return pd.DataFrame(counts, index=names, columns=names)


def class_scores(confusion: pd.DataFrame) -> pd.DataFrame:
    """Each class of ``pixel_confusion``: its pixels, the share of them that are right, its IoU (NaN: no pixel)."""
    counts = confusion.to_numpy().astype(float)
    right, true, said = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        shares = {"accuracy": right / true, "IoU": right / (true + said - right)}
    return pd.DataFrame({"class": confusion.index, "pixels": true.astype(int), **shares})


def what_limits(maps: ClassMaps) -> pd.DataFrame:
    """Pixel accuracy of predictors that are told a part of the answer, beside this network's: what limits the score."""
    k, digit = maps.num_classes, float(maps.is_digit.float().mean())
    often = torch.bincount(maps.truth.flatten().long(), minlength=2 * k).max() / maps.truth.numel()
    knows = {
        "always the most frequent class": float(often),
        "knows the mask, guesses both classes": 1 / k,
        "knows the mask and the digit, guesses the photo": digit + (1 - digit) / k,
        "knows the mask and the photo, guesses the digit": (1 - digit) + digit / k,
        "this network": float((maps.said == maps.truth).float().mean()),
        "this network, told the mask": float((maps.in_true_mask == maps.truth).float().mean()),
        "this network's mask, told both classes": float(((maps.said < k) == maps.is_digit).float().mean()),
    }
    return pd.DataFrame({"predictor": list(knows), "pixel accuracy": list(knows.values())})
