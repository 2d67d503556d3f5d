"""Lab 2: predict, write a Dice, a split by patient and a loss, change the loss, weigh two programs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.exercises.exercise import Mistake, Prediction, Question, Written
from labkit.exercises.trial import Cases

expected_dice = Prediction(
    "expected_dice",
    "Predict: how well will the liver be found?",
    "Do this before you run the notebook. With the parameters as they come, a small UNet learns from at most 60 slices "
    "in about a minute, and is tested on another patient. What will the mean Dice over the test slices be?\n\n"
    "1 is a perfect outline, 0 misses everything; the liver fills only a small part of a slice.",
    measured='results["dice"]["value"]',
    close=0.05,
    most=1,
    asked="between 0 and 1",
)


def dice(counts: np.ndarray) -> float:
    """Mean Dice over images, from counts (N, 4) of tp, fp, fn and tn pixels; 1 for an image whose masks are empty."""
    tp, fp, fn, _ = counts.T
    size = 2 * tp + fp + fn
    return float(np.where(size == 0, 1.0, 2 * tp / np.maximum(size, 1)).mean())


def ratio(counts: np.ndarray, empty: float, twice: float = 2.0) -> np.ndarray:
    """Dice of each image (N,), with a value of one's choice for empty masks; ``twice`` 1 gives IoU."""
    tp, fp, fn, _ = counts.T
    size = twice * tp + fp + fn
    return np.where(size == 0, empty, twice * tp / np.maximum(size, 1))


def pooled(counts: np.ndarray) -> float:
    """Dice of the pixels of all images together."""
    return float(ratio(counts.sum(axis=0, keepdims=True), 1.0)[0])


def count_cases() -> Cases:
    """Large and small livers, and a slice without one."""
    return {
        "two slices": (np.array([[80, 10, 10, 900], [1, 3, 2, 994]]),),
        "a slice without a liver": (np.array([[0, 0, 0, 100], [30, 4, 6, 60]]),),
        "a slice where a liver was invented": (np.array([[0, 7, 0, 93], [30, 0, 0, 70]]),),
    }


dice_from_counts = Written(
    "dice_from_counts",
    "Write the Dice coefficient from counts",
    "For each test slice the pixels were counted: true positive, false positive, false negative, true negative. Dice "
    "is twice the overlap over the sum of the two sizes. Return the mean over the slices, as one number.\n\n"
    "Two things decide whether your number is the one in the table above: what is averaged over what, and what a slice "
    "without any liver counts.",
    solution=dice,
    cases=count_cases,
    mistakes={
        "pooled": Mistake(
            "You add up the pixels of all slices first: that is the pooled Dice, in which large livers dominate. Each "
            "slice has a Dice of its own, and those are averaged.",
            pooled,
        ),
        "iou": Mistake(
            "This is IoU, overlap over union. In Dice the overlap counts twice, above and below.",
            lambda counts: float(ratio(counts, 1.0, twice=1.0).mean()),
        ),
        "empty_is_nan": Mistake(
            "A slice without liver, and without a prediction, gives 0 / 0: say what it counts instead.",
            lambda counts: float((2 * counts[:, 0] / (2 * counts[:, 0] + counts[:, 1] + counts[:, 2])).mean()),
        ),
        "empty_is_zero": Mistake(
            "A slice without liver that was left alone counts 0 with you, as if it were a failure; it is a full "
            "success.",
            lambda counts: float(ratio(counts, 0.0).mean()),
        ),
        "empty_left_out": Mistake(
            "Slices without liver are left out of your mean: then a network gets no credit for leaving them alone.",
            lambda counts: float(np.nanmean(ratio(counts, np.nan))),
        ),
        "accuracy": Mistake(
            "This is pixel accuracy: the true negatives do not enter a Dice, or a large background would carry it.",
            lambda counts: float(((counts[:, 0] + counts[:, 3]) / counts.sum(axis=1)).mean()),
        ),
        "not_averaged": Mistake(
            "You give one Dice for each slice; asked for is their mean.",
            lambda counts: ratio(counts, 1.0),
        ),
        "one_factor": Mistake(
            "A perfect mask gets more than 1 from you: the overlap lies in both masks, so it counts twice below, too.",
            lambda counts: float(2 * ratio(counts, 0.5, twice=1.0).mean()),
        ),
    },
)


def split(patients: np.ndarray, chosen: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the training and of the validation slices; patients (N,) is the patient of each slice."""
    return np.flatnonzero(patients != chosen), np.flatnonzero(patients == chosen)


def parts(answer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation slices, each in order."""
    first, second = (np.sort(np.asarray(part)) for part in answer)
    return first, second


def last_slices(patients: np.ndarray, chosen: int) -> tuple[np.ndarray, np.ndarray]:
    """As many slices as the chosen patient has, from the end."""
    everything, held_out = np.arange(len(patients)), int((patients == chosen).sum())
    return everything[:-held_out], everything[-held_out:]


def leaks(inputs: tuple[np.ndarray, int], answer: Sequence[Any]) -> bool:
    """Whether a patient is on both sides."""
    patients = inputs[0]
    return bool(set(patients[np.asarray(answer[0])]) & set(patients[np.asarray(answer[1])]))


def split_cases() -> Cases:
    """Three patients, one after the other and mixed."""
    in_order, mixed = np.array([1, 1, 1, 2, 2, 2, 2, 3, 3]), np.array([1, 2, 1, 3, 2, 4, 3, 1])
    return {
        "the second patient": (in_order, 2),
        "the first patient": (in_order.copy(), 1),
        "slices in mixed order": (mixed, 3),
    }


split_by_patient = Written(
    "split_by_patient",
    "Write a split that does not leak",
    "Every slice belongs to a patient. Hold out all slices of the patient `chosen` for validation, and train on all "
    "others. Return two NumPy arrays of slice numbers, counted from 0: first training, then validation.\n\n"
    "`patients[i]` is the patient of slice i. A slice in neither part is wasted, a slice in both is a leak.",
    solution=split,
    cases=split_cases,
    view=parts,
    mistakes={
        "by_slice": Mistake(
            "A patient has slices on both sides: you split by slice. Neighbours are nearly the same picture, so the "
            "network would be asked what it was just told. Whole patients stay together.",
            last_slices,
            leaks,
        ),
        "all_train": Mistake(
            "Validation is right, but its slices are still among the training slices: take them out there.",
            lambda patients, chosen: (np.arange(len(patients)), np.flatnonzero(patients == chosen)),
        ),
        "swapped": Mistake(
            "The two parts are swapped: you train on the one patient and validate on all others.",
            lambda patients, chosen: split(patients, chosen)[::-1],
        ),
        "patients_from_zero": Mistake(
            "You hold out the patient before the chosen one: patients go by the numbers that stand in the array, not "
            "by places counted from 0.",
            lambda patients, chosen: split(patients, chosen - 1),
        ),
        "tuples": Mistake(
            "`np.where` with a condition alone returns a tuple with an array in it, one for each axis: take the array "
            "out, or use `np.flatnonzero`.",
            lambda patients, chosen: (np.where(patients != chosen), np.where(patients == chosen)),
            lambda inputs, answer: any(isinstance(part, tuple) for part in answer),
        ),
        "masks": Mistake(
            "You return arrays of true and false; asked for are the numbers of the slices.",
            lambda patients, chosen: (patients != chosen, patients == chosen),
        ),
        "patient_numbers": Mistake(
            "You return numbers of patients; asked for are the numbers of their slices.",
            lambda patients, chosen: (patients[patients != chosen], patients[patients == chosen]),
        ),
    },
)


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice loss of each image (N,), from logits (N, H, W) and masks (N, H, W) of 0 and 1."""
    return soft(torch.sigmoid(logits), mask)


def soft(p: Tensor, mask: Tensor, above: float = 1.0, below: float = 1.0) -> Tensor:
    """1 − Dice of probabilities, with so much added above and below the line."""
    overlap, sizes = (p * mask).sum(dim=(1, 2)), (p + mask).sum(dim=(1, 2))
    return 1 - (2 * overlap + above) / (sizes + below)


def loss_cases() -> Cases:
    """Two images, and one without foreground."""
    random = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(2, 4, 5, generator=random)
    mask = (torch.rand(2, 4, 5, generator=random) < 0.3).float()
    return {"two images": (logits, mask), "an empty mask": (logits[:1].clone(), torch.zeros(1, 4, 5))}


soft_dice = Written(
    "dice_loss",
    "Write a Dice that can be trained",
    "Counts have no gradient. Put probabilities in their place: the overlap is the sum of p · mask, the sizes are the "
    "sums of p and of mask. The loss is 1 − (2 · overlap + 1) / (sizes + 1), for each image by itself.\n\n"
    "The 1 above and below keeps the ratio defined, and smooth, where there is nothing to find.",
    solution=dice_loss,
    cases=loss_cases,
    mistakes={
        "no_sigmoid": Mistake(
            "Logits are no probabilities: they can be negative, or 7. Something has to come first.",
            lambda logits, mask: soft(logits, mask),
        ),
        "threshold": Mistake(
            "You decide every pixel with a threshold first. Then small changes of the weights change nothing, the "
            "gradient is 0, and nothing is learnt: leave the probabilities as they are.",
            lambda logits, mask: soft((logits > 0).float(), mask),
        ),
        "batch": Mistake(
            "One number for the whole batch: the pixels of all images are added up, so the loss of an image depends on "
            "what else is in its batch. Sum over height and width only.",
            lambda logits, mask: soft(torch.sigmoid(logits).flatten(0, 1)[None], mask.flatten(0, 1)[None])[0],
        ),
        "averaged": Mistake(
            "The mean over the images is taken already; asked for is one number for each.",
            lambda logits, mask: dice_loss(logits, mask).mean(),
        ),
        "score": Mistake(
            "This is high where the masks agree: a score. A loss has to be low there.",
            lambda logits, mask: 1 - dice_loss(logits, mask),
        ),
        "not_smooth": Mistake(
            "The 1 is missing above and below the line: an empty mask then gets the loss 1 whatever the network says.",
            lambda logits, mask: soft(torch.sigmoid(logits), mask, 0, 0),
        ),
    },
)

small_livers = Question(
    "loss_and_small_livers",
    "Change and explain: which loss finds small livers?",
    "Write down which of `bce`, `dice` and `bce_dice` you expect to be best on the slices with the least liver. Then "
    "run the notebook once with each (`loss` in the parameters cell, or `-p loss bce`, `-p loss dice`).\n\n"
    "Compare the left side of *Is Dice lower for small livers?* and explain what you see by what each loss counts.",
    least=120,
)

surgeon = Question(
    "two_programs",
    "Which program would you give to a surgeon?",
    "Two programs have a mean Dice of 0.90. One has 0.90 on each of twenty slices; the other has 1.00 on eighteen and "
    "0 on two. Which one would you give to a surgeon, and which number would you ask for beside the mean?\n\n"
    "There is no right answer here, only reasons.",
)

EXERCISES = (expected_dice, dice_from_counts, split_by_patient, soft_dice, small_livers, surgeon)
