"""Lab 1: predict, write a residual block, a cross-entropy and an interval, change a schedule, judge a claim."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.exercises.exercise import Mistake, Prediction, Question, Written
from labkit.exercises.trial import Cases, Function
from labkit.training.metrics import Z95, wilson

mirrored = Prediction(
    "mirrored_digits",
    "Predict: how many mirrored digits are still read?",
    "Do this before you run the notebook. The network is trained on digits as they are written, and then tested on the "
    "same test images flipped left-right. Which share of them does it read, in percent?\n\n"
    "Think of each digit in turn: which of the ten look the same in a mirror, and which turn into another one?",
    measured='100 * flipped["correct"].mean()',
    close=5,
    most=100,
    unit="%",
    asked="in percent",
)


def residual_block(x: Tensor, branch: Function) -> Tensor:
    """What a residual block makes of x (N, C, H, W); branch is F, a function that keeps the shape."""
    return torch.relu(x + branch(x))


def block_cases() -> Cases:
    """A branch that adds and takes away."""

    def branch(x: Tensor) -> Tensor:
        return torch.roll(x, 1, dims=-1) - 0.3

    random = torch.Generator().manual_seed(1)
    pair, one = torch.randn(2, 3, 4, 5, generator=random), torch.randn(1, 2, 3, 3, generator=random)
    return {"two images": (pair, branch), "an image": (one, branch), "an empty branch": (one.clone(), torch.zeros_like)}


block = Written(
    "residual_block",
    "Write a residual block",
    "Write the function that the block above computes, without its convolutions: `branch` is F, which you call like "
    "any function, and `x` is what the block is given.\n\n"
    "Everything depends on the order of three things: the branch, the addition and the ReLU (`torch.relu`).",
    solution=residual_block,
    cases=block_cases,
    mistakes={
        "relu_before_addition": Mistake(
            "The ReLU comes before the addition: then the branch can only add, never take away. Look at the last line "
            "of BasicBlock.forward.",
            lambda x, branch: x + torch.relu(branch(x)),
        ),
        "no_way_round": Mistake(
            "Your block passes on what the branch makes of x, but x itself gets lost on the way: where is the way "
            "round?",
            lambda x, branch: torch.relu(branch(x)),
        ),
        "no_relu": Mistake(
            "Negative numbers come out of your block; out of the block in the paper there come none.",
            lambda x, branch: x + branch(x),
        ),
        "side_by_side": Mistake(
            "Your block puts x and F(x) beside each other and so doubles the channels. That is what the skips of a "
            "UNet do; a residual block keeps the number of channels.",
            lambda x, branch: torch.relu(torch.cat([x, branch(x)], dim=1)),
        ),
        "relu_twice": Mistake(
            "Both parts go through a ReLU of their own, so nothing negative can be taken away from x any more. There "
            "is one ReLU at the end.",
            lambda x, branch: torch.relu(x) + torch.relu(branch(x)),
        ),
    },
)


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats of logits (N, K) with class numbers (N,)."""
    return F.cross_entropy(logits, labels)


def entropy_cases() -> Cases:
    """A batch, one image, and a network that is very sure."""
    random = torch.Generator().manual_seed(2)
    batch = 2 * torch.randn(4, 3, generator=random)
    return {
        "four images": (batch, torch.tensor([0, 2, 1, 1])),
        "one image": (torch.tensor([[0.0, 2.0]]), torch.tensor([0])),
        "a network that is very sure": (torch.tensor([[900.0, 0.0], [0.0, 5.0]]), torch.tensor([1, 1])),
    }


entropy = Written(
    "cross_entropy",
    "Write the loss that was trained",
    "A network gives logits, one number for each class. Softmax makes probabilities of them, and the loss of an image "
    "is minus the natural logarithm of the probability of its true class. Write the mean over a batch.\n\n"
    "PyTorch's own functions are allowed. Mind which of them contain the softmax already, and what becomes of a logit "
    "of 900.",
    solution=mean_cross_entropy,
    cases=entropy_cases,
    mistakes={
        "softmax_twice": Mistake(
            "The softmax is taken twice: F.cross_entropy wants logits and has a softmax inside. With two of them even "
            "a perfect answer keeps a large loss.",
            lambda logits, labels: F.cross_entropy(logits.softmax(1), labels),
        ),
        "no_softmax": Mistake(
            "No softmax is taken: logits are not yet logarithms of probabilities, for their exponentials do not add up "
            "to one.",
            lambda logits, labels: F.nll_loss(logits, labels),
        ),
        "softmax_over_batch": Mistake(
            "The softmax runs over the images instead of the classes: the probabilities of one image must add up to "
            "one. Look at the dimension.",
            lambda logits, labels: F.nll_loss(logits.log_softmax(0), labels),
        ),
        "sum": Mistake(
            "Your loss grows with the number of images: a sum where a mean is asked for.",
            lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"),
        ),
        "each_image": Mistake(
            "You give one number for each image; asked for is their mean.",
            lambda logits, labels: F.cross_entropy(logits, labels, reduction="none"),
        ),
        "base_two": Mistake(
            "Your logarithm has the base 2, so the loss comes in bits; nats are asked for.",
            lambda logits, labels: F.cross_entropy(logits, labels) / math.log(2),
        ),
        "overflow": Mistake(
            "Right in principle, but for a network that is very sure the exponential is more than a float can hold, or "
            "the probability rounds to 0, whose logarithm is infinite. There is a function that takes softmax and "
            "logarithm in one step.",
            lambda logits, labels: -logits.softmax(1).gather(1, labels[:, None])[:, 0].log().mean(),
            lambda inputs, loss: not math.isfinite(loss),
        ),
    },
)


def interval(right: int, n: int) -> tuple[float, float]:
    """Low and high end of the 95 % Wilson interval of an accuracy, from right answers and images."""
    return wilson(right, n)


def with_wilson(right: int, n: int, z: float = Z95, square: bool = True) -> tuple[float, float]:
    """Centre and half width of a Wilson interval; without ``square`` with z where z² belongs."""
    p, zz = right / n, z * z if square else z
    centre = (p + zz / (2 * n)) / (1 + zz / n)
    return centre, z * math.sqrt(p * (1 - p) / n + zz / (4 * n * n)) / (1 + zz / n)


def not_below(right: int, n: int) -> tuple[float, float]:
    """The interval with z² / 2 · n where z² / (2 n) belongs."""
    _, half = with_wilson(right, n)
    return around((right / n + Z95**2 / 2 * n) / (1 + Z95**2 / n), half)


def around(centre: float, half: float) -> tuple[float, float]:
    """An interval from its centre and half of its width."""
    return centre - half, centre + half


def wald(right: int, n: int) -> tuple[float, float]:
    """The interval of the normal approximation."""
    p = right / n
    return around(p, Z95 * math.sqrt(p * (1 - p) / n))


wilson_interval = Written(
    "wilson_interval",
    "Write the interval of an accuracy",
    "Of n test images, `right` were read correctly, so p = right / n. With z = 1.96, Wilson's interval has its centre "
    "at (p + z² / 2n) / (1 + z² / n) and reaches z · √(p (1 − p) / n + z² / 4n²) / (1 + z² / n) to both sides.\n\n"
    "Return both ends as shares between 0 and 1. Try it on 100 right answers out of 100: the interval that everybody "
    "knows from school has no width there.",
    solution=interval,
    cases=lambda: {
        "90 of 100": (90, 100),
        "all of 100": (100, 100),
        "3 of 7": (3, 7),
        "9,931 of 10,000": (9931, 10_000),
    },
    mistakes={
        "wald": Mistake(
            "This is p ± 1.96 · sqrt(p (1 − p) / n), the interval of the normal approximation: it has no width where "
            "all answers are right, and can leave the range from 0 to 1.",
            wald,
        ),
        "z_not_squared": Mistake(
            "Somewhere z stands where its square belongs.",
            lambda right, n: around(*with_wilson(right, n, square=False)),
        ),
        "not_below": Mistake(
            "Python reads z**2 / 2 * n as half of z² times n: what stands below the line needs brackets.",
            not_below,
        ),
        "percent": Mistake(
            "The ends are a hundred times too large: shares are asked for, not percent.",
            lambda right, n: tuple(100 * end for end in wilson(right, n)),
        ),
        "centre_and_half": Mistake(
            "You return the centre and half of the width; asked for are the two ends.",
            lambda right, n: with_wilson(right, n),
        ),
        "ninety_percent": Mistake(
            "Your interval is too narrow: with z = 1.645 it covers 90 %, not 95 %.",
            lambda right, n: around(*with_wilson(right, n, z=1.645)),
        ),
        "no_denominator": Mistake(
            "The last division is missing: for few images the whole has to be divided by 1 + z²/n.",
            lambda right, n: around(*(value * (1 + Z95**2 / n) for value in with_wilson(right, n))),
        ),
    },
)

schedule = Question(
    "ten_times_the_rate",
    "Change and explain: a learning rate ten times higher",
    "Write down what you expect of the first epoch if `learning_rate` is ten times higher. Then change it in the "
    "parameters cell and run the notebook again.\n\n"
    "Say what happened to the loss of the first epoch, whether you had expected it, and why a schedule that begins "
    "small helps.",
    least=120,
)

claim = Question(
    "better_by_a_tenth",
    "What would you believe?",
    "A classmate reports 99.3 % on the 10,000 test images of MNIST where you have 99.2 %, and concludes that the "
    "network is better. What would you ask before you believe it?\n\n"
    "Think of the intervals, of the seed, and of what chose the epoch.",
)

EXERCISES = (mirrored, block, entropy, wilson_interval, schedule, claim)
