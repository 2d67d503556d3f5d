"""Lab 5: predict, write a joint distribution, a class map and a vote, change the ink, judge a gain."""

import numpy as np
import torch
from torch import Tensor

from labkit.exercises.exercise import Mistake, Prediction, Question, Written
from labkit.exercises.trial import Cases
from labkit.models.two_decoder import log_joint, outer_product

photo = Prediction(
    "photo_accuracy",
    "Predict: which share of the photo's pixels is right?",
    "Do this before you run the notebook. Of the pixels that belong to the photo, which share gets the right one of "
    "twenty classes, in percent? Ten per cent would be a guess among the photos' ten.\n\n"
    "The kinds of photo are easy to tell for you. How many of them are there to learn from, and for how long?",
    measured='100 * results["photo_accuracy"]["value"]',
    close=5,
    most=100,
    unit="%",
    asked="in percent",
)


def joint(source: Tensor, kind: Tensor) -> Tensor:
    """Logarithms of a true joint distribution from logits: (N, S, H, W) and (N, K, H, W) -> (N, S · K, H, W)."""
    return log_joint(source, kind)


def each_with_each(source: Tensor, kind: Tensor) -> Tensor:
    """Every channel of the one plus every channel of the other, source by source."""
    return (source[:, :, None] + kind[:, None]).flatten(1, 2)


def joint_cases() -> Cases:
    """Two sources and three classes; pixels that differ."""
    random = torch.Generator().manual_seed(5)
    source, kind = (2 * torch.randn(2, channels, 3, 4, generator=random) for channels in (2, 3))
    return {
        "two images": (source, kind),
        "a pixel that says no twice": (-3 * torch.ones(1, 2, 1, 1), kind[:1, :, :1, :1].clone()),
    }


joint_probability = Written(
    "joint_probability",
    "Write the joint probability of two decoders",
    "One decoder gives logits for *digit or photo*, the other for the class. If the two answers are independent, their "
    "probabilities multiply, so their logarithms add. Return the log-probability of every pair, source by source: "
    "channel s · K + k is class k of source s.\n\n"
    "`torch.log_softmax` makes log-probabilities of logits. Over which dimension?",
    solution=joint,
    cases=joint_cases,
    mistakes={
        "product_of_logits": Mistake(
            "You multiply logits: two strong no, −3 and −3, then make a strong yes. It is logarithms of probabilities "
            "that add.",
            outer_product,
        ),
        "sum_of_logits": Mistake(
            "The right pairs, but logits are not log-probabilities yet: the sums do not belong to probabilities that "
            "add up to 1.",
            each_with_each,
        ),
        "probabilities": Mistake(
            "These are probabilities; asked for are their logarithms.",
            lambda source, kind: log_joint(source, kind).exp(),
        ),
        "class_by_class": Mistake(
            "The right numbers in another order: yours goes class by class. Channel s · K + k is class k of source s.",
            lambda source, kind: log_joint(kind, source),
        ),
        "over_pixels": Mistake(
            "Your softmax runs over the pixels of a row: then pixels compete with each other. The classes of one pixel "
            "must add up to 1.",
            lambda source, kind: each_with_each(source.log_softmax(3), kind.log_softmax(3)),
        ),
        "over_images": Mistake(
            "Your softmax runs over the images of the batch: the classes of one pixel must add up to 1.",
            lambda source, kind: each_with_each(source.log_softmax(0), kind.log_softmax(0)),
        ),
        "side_by_side": Mistake(
            "The two answers stand one behind the other, S + K channels; asked for is every pair, S · K.",
            lambda source, kind: torch.cat([source.log_softmax(1), kind.log_softmax(1)], dim=1),
        ),
    },
)


def class_map(opacity: np.ndarray, digit: int, photo: int) -> np.ndarray:
    """Class of each pixel of an image whose digit has this opacity (H, W): 0 to 9 for digits, 10 to 19 for photos."""
    return np.where(opacity >= 0.5 * opacity.max(), digit, 10 + photo)


def ink_cases() -> Cases:
    """Black ink and faint ink; a pixel exactly at half."""
    ink = np.array([[0.0, 0.2, 0.0], [0.5, 1.0, 0.6], [0.0, 0.4, 0.0]])
    return {"a strong digit": (ink, 7, 3), "a faint digit": (0.5 * ink, 1, 0), "another photo": (ink.copy(), 0, 9)}


classes_of_pixels = Written(
    "class_map",
    "Write the class map of a pair",
    "A pixel is the digit's where the ink covers at least half as much as where it covers most; elsewhere it is the "
    "photo's. Digits have the classes 0 to 9, photos 10 to 19. `photo` is the photo's own number, from 0 to 9.\n\n"
    "Not every digit is drawn with a full pen: what is *half* for a faint one?",
    solution=class_map,
    cases=ink_cases,
    mistakes={
        "fixed_threshold": Mistake(
            "A faint digit vanishes: half of 1 is not half of where this ink covers most.",
            lambda opacity, digit, photo: np.where(opacity >= 0.5, digit, 10 + photo),
        ),
        "not_shifted": Mistake(
            "Photo 3 and digit 3 get the same class with you: photos have the classes 10 to 19.",
            lambda opacity, digit, photo: np.where(opacity >= 0.5 * opacity.max(), digit, photo),
        ),
        "above": Mistake(
            "A pixel that covers exactly half as much is the digit's: at least half.",
            lambda opacity, digit, photo: np.where(opacity > 0.5 * opacity.max(), digit, 10 + photo),
        ),
        "swapped": Mistake(
            "Digit and photo are swapped: the digit is where the ink is.",
            lambda opacity, digit, photo: np.where(opacity >= 0.5 * opacity.max(), 10 + photo, digit),
        ),
        "any_ink": Mistake(
            "Every trace of ink is the digit's with you; the soft edge belongs to the photo.",
            lambda opacity, digit, photo: np.where(opacity > 0, digit, 10 + photo),
        ),
        "mean": Mistake(
            "You compare with the mean of the ink, which depends on how much of the photo is empty. Compare with where "
            "it covers most.",
            lambda opacity, digit, photo: np.where(opacity >= opacity.mean(), digit, 10 + photo),
        ),
    },
)


def vote(classes: np.ndarray) -> int:
    """The photo's class (10 to 19) that most pixels name, from the class of each pixel (H, W)."""
    return 10 + int(np.bincount(classes[classes >= 10] - 10).argmax())


def vote_cases() -> Cases:
    """Photos whose pixels disagree, and a digit that is larger than any of the photo's answers."""
    return {
        "pixels that disagree": (np.array([[12, 12, 12, 19], [18, 12, 7, 7], [19, 19, 18, 7]]),),
        "a large digit": (np.array([[3, 3, 3, 3], [3, 11, 11, 3], [14, 11, 3, 15]]),),
        "one answer, the first class": (np.array([[10, 10], [10, 2]]),),
    }


photo_vote = Written(
    "photo_vote",
    "Write the vote of the pixels",
    "All pixels of the photo show the same object, yet each decides for itself. Let those that call themselves photo "
    "(10 to 19) vote: return the class that most of them name. Pixels of the digit have no vote.\n\n"
    "Class numbers are names: may they be averaged?",
    solution=vote,
    cases=vote_cases,
    mistakes={
        "digits_vote": Mistake(
            "Pixels of the digit vote as well: a large digit then wins against the photo.",
            lambda classes: int(np.bincount(classes.ravel()).argmax()),
        ),
        "mean": Mistake(
            "You average class numbers: halfway between an airplane and a truck lies no class. Count instead.",
            lambda classes: classes[classes >= 10].mean(),
        ),
        "rounded_mean": Mistake(
            "You average class numbers and round: what comes out may be a class that no pixel has named. Count "
            "instead.",
            lambda classes: round(float(classes[classes >= 10].mean())),
        ),
        "median": Mistake(
            "A median needs an order, and classes have none: count the votes.",
            lambda classes: np.median(classes[classes >= 10]),
        ),
        "not_shifted": Mistake(
            "You return the photo's own number, 0 to 9; asked for is its class, 10 to 19.",
            lambda classes: vote(classes) - 10,
        ),
        "count": Mistake(
            "You return how many pixels agree; asked for is the class they name.",
            lambda classes: int(np.bincount(classes[classes >= 10]).max()),
        ),
        "largest": Mistake(
            "You return the largest class number that occurs; asked for is the one that occurs most often.",
            lambda classes: int(classes.max()),
        ),
    },
)

ink = Question(
    "coloured_ink",
    "Change and explain: ink of any colour",
    'With `ink = "colour"` a digit may have the colour of the photo beneath it. Write down which score '
    "will fall more: `photo_accuracy`, or `source_accuracy`, which judges the mask. Then change the parameter and "
    "run the notebook again.\n\n"
    "Say what happened to each score and to the mask, and explain it by what an edge is to the network.",
    least=120,
)

gain = Question(
    "three_points",
    "Do two decoders pay?",
    "The report finds two decoders 3 to 4 points better than one, and does not say how many trainings that rests on. "
    "The network with two decoders also has about one and a half times as many parameters.\n\n"
    "What would you have to run to say that it is the *second decoder* that pays? Name the runs, and how many of them.",
)

EXERCISES = (photo, joint_probability, classes_of_pixels, photo_vote, ink, gain)
