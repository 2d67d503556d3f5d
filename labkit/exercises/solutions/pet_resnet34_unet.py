"""Lab 3: predict, write a trimap's mask, an enlarged mask and a loss, change a target, judge a comparison."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.data.pets import foreground
from labkit.exercises.exercise import Mistake, Prediction, Question, Written
from labkit.exercises.trial import Cases

border = Prediction(
    "border_dice",
    "Predict: the same masks, another truth",
    "Do this before you run the notebook. A network is trained on pet and border together. Its masks are then scored "
    "as if only the border, a band of some pixels round the animal, were the right answer. What is the mean Dice?\n\n"
    "Think of how large the border is beside the whole pet, and what Dice does with all the rest.",
    measured='targets_table.set_index("target").loc["border_only", "dice"]',
    close=0.05,
    most=1,
    asked="between 0 and 1",
)


def pet_mask(trimap: np.ndarray) -> np.ndarray:
    """1 where a trimap (H, W) of 1 = pet, 2 = background, 3 = border shows pet or border, else 0."""
    return foreground(trimap, "pet_and_border")


def a_trimap() -> np.ndarray:
    """A pet of six pixels with a border, on some background."""
    return np.array([[2, 2, 2, 2, 2], [2, 3, 3, 3, 2], [2, 3, 1, 1, 3], [2, 3, 1, 1, 3], [2, 3, 1, 1, 3]], np.uint8)


trimap_mask = Written(
    "trimap_mask",
    "Write the mask of a trimap",
    "Every photo has a trimap: 1 = pet, 2 = background, 3 = border, the band where nobody was sure. Make of it the "
    "mask that this lab trains on, pet and border together: 1 for foreground, 0 for the rest.\n\n"
    "One comparison is enough: which of the three values is not foreground?",
    solution=pet_mask,
    cases=lambda: {
        "a pet with a border": (a_trimap(),),
        "background alone": (np.full((2, 3), 2, np.uint8),),
        "a pet that fills the photo": (np.ones((3, 2), np.uint8),),
    },
    mistakes={
        "pet_only": Mistake(
            "The border counts as background with you. That is a target too, but not the one of this lab: a Dice says "
            "nothing unless it comes with its target.",
            lambda trimap: foreground(trimap, "pet_only"),
        ),
        "border_only": Mistake(
            "Only the border is foreground with you: the outline of a pet without the pet.",
            lambda trimap: foreground(trimap, "border_only"),
        ),
        "background": Mistake(
            "Your mask is the wrong way round: it is 1 where the background is.",
            lambda trimap: (trimap == 2).astype(np.uint8),
        ),
        "not_pet": Mistake(
            "Background and border are foreground with you, the pet is not: values above 1 are not all foreground.",
            lambda trimap: (trimap > 1).astype(np.uint8),
        ),
        "labels_kept": Mistake(
            "The labels of the trimap are still in your mask: it must hold only 0 and 1.",
            lambda trimap: np.where(trimap == 2, 0, trimap),
        ),
        "shifted": Mistake(
            "You subtract 1, as one does for class numbers: then the pet is 0 and the border 2, and no mask comes out.",
            lambda trimap: trimap.astype(int) - 1,
        ),
        "nothing_left": Mistake(
            "Everything is foreground with you: 1, 2 and 3 are all different from 0.",
            lambda trimap: (trimap > 0).astype(np.uint8),
        ),
    },
)


def enlarge(mask: np.ndarray, factor: int) -> np.ndarray:
    """A map of labels (H, W) made larger by a whole factor: (factor · H, factor · W)."""
    return mask.repeat(factor, axis=0).repeat(factor, axis=1)


def smoothed(mask: np.ndarray, factor: int) -> np.ndarray:
    """As photos are enlarged: neighbours averaged."""
    pixels = torch.from_numpy(mask.astype(np.float64))[None, None]
    return F.interpolate(pixels, scale_factor=factor, mode="bilinear", align_corners=False)[0, 0].numpy()


def has_fractions(inputs: tuple[Any, ...], answer: Any) -> bool:
    """Whether something between two labels came out."""
    return bool((np.asarray(answer) % 1 != 0).any())


def has_new_labels(inputs: tuple[Any, ...], answer: Any) -> bool:
    """Whether a label came out that did not go in."""
    return not set(np.unique(np.asarray(answer))) <= set(np.unique(inputs[0]))


resize_mask = Written(
    "resize_mask",
    "Write how a mask is enlarged",
    "A network answers at 128 pixels, a photo has 500: one of the two has to be resized. Photos are enlarged by "
    "averaging neighbours. Enlarge a map of labels, a NumPy array (H, W), by a whole factor, so that it stays a map of "
    "labels.\n\n"
    "What would the average of *pet* (1) and *border* (3) be?",
    solution=enlarge,
    cases=lambda: {
        "pet and border side by side": (np.array([[1, 3], [3, 3]]), 2),
        "a trimap": (a_trimap().astype(int), 3),
        "a factor of 1": (np.array([[2, 1, 3]]), 1),
    },
    mistakes={
        "averaged": Mistake(
            "Between two labels your enlarged mask has fractions: neighbours were averaged. Half pet, half border is "
            "no label; pick one pixel instead.",
            smoothed,
            has_fractions,
        ),
        "rounded": Mistake(
            "Your enlarged mask has labels that the small one had not: an average of pet (1) and border (3), rounded, "
            "is background (2). Rounding hides the mistake; do not average.",
            lambda mask, factor: smoothed(mask, factor).round(),
            has_new_labels,
        ),
        "tiled": Mistake(
            "The whole map is repeated side by side, like tiles. It is the single pixels that become larger.",
            lambda mask, factor: np.tile(mask, (factor, factor)),
        ),
        "one_axis": Mistake(
            "The map grew in one direction only: an image has two.",
            lambda mask, factor: mask.repeat(factor, axis=0),
        ),
        "other_axis": Mistake(
            "The map grew to the right only, not downwards: an image has two directions.",
            lambda mask, factor: mask.repeat(factor, axis=1),
        ),
        "flattened": Mistake(
            "Your result is one long row: without an axis, repeat takes the map apart.",
            lambda mask, factor: mask.repeat(factor),
        ),
    },
)


def pixel_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean binary cross-entropy over all pixels, from logits (N, H, W) and masks (N, H, W) of 0 and 1."""
    return F.binary_cross_entropy_with_logits(logits, mask)


def by_hand(logits: Tensor, mask: Tensor) -> Tensor:
    """The formula as it stands."""
    p = torch.sigmoid(logits)
    return -(mask * p.log() + (1 - mask) * (1 - p).log()).mean()


def pixel_cases() -> Cases:
    """Two masks, and a network that is very sure and wrong."""
    random = torch.Generator().manual_seed(4)
    logits = 2 * torch.randn(2, 3, 4, generator=random)
    mask = (torch.rand(2, 3, 4, generator=random) < 0.4).float()
    sure = torch.tensor([[[-200.0, 200.0], [3.0, -3.0]]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    return {"two masks": (logits, mask), "a network that is sure and wrong": sure}


one_sigmoid = Written(
    "one_sigmoid",
    "Write the loss with one sigmoid",
    "The network ends in logits. The loss of a pixel is −log p where the mask is 1 and −log(1 − p) where it is 0, with "
    "p the sigmoid of its logit. Write the mean over all pixels.\n\n"
    "PyTorch's own functions are allowed. There are two that look alike: one has the sigmoid inside.",
    solution=pixel_loss,
    cases=pixel_cases,
    mistakes={
        "two_sigmoids": Mistake(
            "Two sigmoids: the function with logits in its name applies one itself. This is the report's mistake; even "
            "a perfect mask now has a loss of at least 0.31 a foreground pixel.",
            lambda logits, mask: F.binary_cross_entropy_with_logits(torch.sigmoid(logits), mask),
        ),
        "no_sigmoid": Mistake(
            "This function wants probabilities, and gets logits, which may be below 0 or above 1. Of the two that look "
            "alike, which has the sigmoid inside?",
            F.binary_cross_entropy,
        ),
        "softmax": Mistake(
            "A softmax over the pixels lets them compete for one foreground. Each pixel is a question of its own: a "
            "sigmoid.",
            lambda logits, mask: F.binary_cross_entropy(logits.flatten(1).softmax(1).view_as(logits), mask),
        ),
        "sum": Mistake(
            "Your loss grows with the number of pixels: a sum where a mean is asked for.",
            lambda logits, mask: F.binary_cross_entropy_with_logits(logits, mask, reduction="sum"),
        ),
        "each_pixel": Mistake(
            "You give one number for each pixel; asked for is their mean.",
            lambda logits, mask: F.binary_cross_entropy_with_logits(logits, mask, reduction="none"),
        ),
        "foreground_alone": Mistake(
            "Only the foreground costs anything: then calling everything foreground is perfect. The background has a "
            "term, too.",
            lambda logits, mask: -(mask * F.logsigmoid(logits)).mean(),
        ),
        "overflow": Mistake(
            "Right in principle, but for a network that is very sure p rounds to 0 or 1, and the logarithm of 0 is "
            "infinite. The function with logits in its name avoids that.",
            by_hand,
        ),
        "cut_off": Mistake(
            "Right where the network is unsure; where it is very sure, PyTorch cuts the logarithm off at −100, since "
            "it gets probabilities that have rounded to 0. Hand over logits.",
            lambda logits, mask: F.binary_cross_entropy(torch.sigmoid(logits), mask),
        ),
    },
)

edge = Question(
    "only_the_edge",
    "Change and explain: train for the border alone",
    'Set `target = "border_only"` in the parameters cell and run the notebook again. Dice is much lower. What does the '
    "network mark in the overlays?\n\n"
    "Explain the Dice by what you see, and by what an error of one pixel costs a thin band and what it costs a whole "
    "pet: how much of it would be left if every outline were right but for a pixel or two? Say which of the two scores "
    "you would compare between two networks.",
    least=120,
)

faster_better = Question(
    "three_claims",
    "What has the report shown?",
    "The report says that ResNet34-UNet *trains faster, converges faster and scores higher* than UNet. It has trained "
    "each network once.\n\n"
    "Which of these three claims can be settled by one training each, and what would you do to settle the others?",
)

EXERCISES = (border, trimap_mask, resize_mask, one_sigmoid, edge, faster_better)
