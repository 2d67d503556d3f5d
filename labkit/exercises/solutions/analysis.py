"""Lab 6: predict, write the error of a paired difference and an interval over seeds, plan runs, judge a claim."""

import math

import numpy as np
from scipy import stats

from labkit.exercises.exercise import Mistake, Prediction, Question, Written

pulled = Prediction(
    "pull_of_dice",
    "Predict: who pulls in a Dice loss?",
    "Do this before you run the notebook. A network is undecided everywhere, and 2 % of the pixels are foreground. In "
    "a mean cross-entropy these make 2 % of the gradient. Which share of the gradient of a Dice loss comes from them, "
    "in percent?\n\n"
    "Dice counts overlap relative to the size of the organ.",
    measured='100 * pull.query("loss == \'Dice loss\' and 0.015 < foreground < 0.025")["pull"].item()',
    close=5,
    most=100,
    unit="%",
    asked="in percent",
)


def paired(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean difference a − b of the scores (N,) of two networks on the same images, and its standard error."""
    gap = a - b
    return float(gap.mean()), float(gap.std(ddof=1) / math.sqrt(len(gap)))


def with_error(a: np.ndarray, b: np.ndarray, error: float) -> tuple[float, float]:
    """The mean difference with another error."""
    return float((a - b).mean()), float(error)


A, B = np.array([0.91, 0.52, 0.88, 0.97, 0.75]), np.array([0.90, 0.48, 0.89, 0.93, 0.72])

paired_difference = Written(
    "paired_difference",
    "Write the error of a paired difference",
    "Two networks were scored on the same images, which are hard or easy for both. Return the mean of a − b and its "
    "standard error: the sample standard deviation of the differences (dividing by n − 1), over the root of n.\n\n"
    "What would be lost if the two columns were treated as if they came from different images?",
    solution=paired,
    cases=lambda: {
        "five images": (A.copy(), B.copy()),
        "three images": (np.array([0.2, 0.9, 0.4]), np.array([0.3, 0.95, 0.7])),
        "always the same gap": (np.array([0.5, 0.7, 0.9]), np.array([0.4, 0.6, 0.8])),
    },
    mistakes={
        "unpaired": Mistake(
            "You add the variances of the two columns, as if they came from different images: how hard an image is "
            "then counts as chance, and the error is far too large. Take differences first.",
            lambda a, b: with_error(a, b, math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))),
        ),
        "no_root": Mistake(
            "This is the standard deviation of the differences: how far single images scatter. The error of their mean "
            "is smaller.",
            lambda a, b: with_error(a, b, (a - b).std(ddof=1)),
        ),
        "divided_by_n": Mistake(
            "The standard deviation is that of a whole population: numpy divides by n unless it is told to divide by n "
            "− 1.",
            lambda a, b: with_error(a, b, (a - b).std() / math.sqrt(len(a))),
        ),
        "other_way": Mistake(
            "The sign is the other way round: asked for is a − b.",
            lambda a, b: paired(b, a),
        ),
        "variance": Mistake(
            "You divide the variance by n and forget the root: that is the square of the error.",
            lambda a, b: with_error(a, b, (a - b).var(ddof=1) / len(a)),
        ),
        "divided_twice": Mistake(
            "You divide by n where its root belongs: errors do not shrink that fast.",
            lambda a, b: with_error(a, b, (a - b).std(ddof=1) / len(a)),
        ),
        "absolute": Mistake(
            "You take absolute differences: then gains and losses no longer cancel, and everything looks like an "
            "effect.",
            lambda a, b: paired(abs(a - b), 0 * a),
        ),
    },
)


def seed_interval(scores: np.ndarray) -> tuple[float, float]:
    """Low and high end of Student's 95 % interval of the mean of scores (N,), one a seed."""
    return spread(scores, stats.t.ppf(0.975, len(scores) - 1))


def spread(scores: np.ndarray, quantile: float, ddof: int = 1, root: float = 0.5) -> tuple[float, float]:
    """Mean ± quantile · s / n^root."""
    half = quantile * scores.std(ddof=ddof) / len(scores) ** root
    return float(scores.mean() - half), float(scores.mean() + half)


interval_over_seeds = Written(
    "interval_over_seeds",
    "Write the interval over seeds",
    "With n seeds, the mean has the interval mean ± t · s / √n. s is the sample standard deviation (dividing by n − "
    "1), t the 97.5 % point of Student's distribution with n − 1 degrees of freedom, `scipy.stats.t.ppf`.\n\n"
    "For three seeds t is more than twice the 1.96 that one knows by heart.",
    solution=seed_interval,
    cases=lambda: {
        "three seeds": (np.array([0.91, 0.93, 0.89]),),
        "five seeds": (np.array([0.80, 0.82, 0.79, 0.85, 0.81]),),
    },
    mistakes={
        "normal": Mistake(
            "With 1.96 your interval is far too narrow for a handful of seeds: s itself is hardly known. That is what "
            "Student's t is for.",
            lambda scores: spread(scores, stats.norm.ppf(0.975)),
        ),
        "divided_by_n": Mistake(
            "The standard deviation is that of a whole population: numpy divides by n unless it is told to divide by n "
            "− 1.",
            lambda scores: spread(scores, stats.t.ppf(0.975, len(scores) - 1), ddof=0),
        ),
        "next_run": Mistake(
            "Without the root of n this says where single runs may lie; asked for is the interval of their mean.",
            lambda scores: spread(scores, stats.t.ppf(0.975, len(scores) - 1), root=0),
        ),
        "one_sided": Mistake(
            "With the 95 % point, 5 % are left out on each side: the interval covers 90 %.",
            lambda scores: spread(scores, stats.t.ppf(0.95, len(scores) - 1)),
        ),
        "degrees": Mistake(
            "One degree of freedom too many: the mean was computed from the same scores.",
            lambda scores: spread(scores, stats.t.ppf(0.975, len(scores))),
        ),
        "divided_twice": Mistake(
            "You divide by n where its root belongs: intervals do not shrink that fast.",
            lambda scores: spread(scores, stats.t.ppf(0.975, len(scores) - 1), root=1),
        ),
        "half_width": Mistake(
            "You return the mean and half of the width; asked for are the two ends.",
            lambda scores: (scores.mean(), seed_interval(scores)[1] - scores.mean()),
        ),
    },
)

effect = Question(
    "an_effect_of_your_own",
    "Change and explain: an effect of your own",
    "Change one parameter of lab 1 and run it beside its default (`labkit run 01`, `labkit run 01 -p NAME VALUE`); "
    "then run this notebook again and read the effect with its interval.\n\n"
    "Say what you changed, what it did, and whether an effect of a tenth of that size would have been found.",
    least=120,
)

convinced = Question(
    "what_would_convince_you",
    "What would convince you?",
    "One report claims that a ResNet34-UNet beats a UNet. How many seeds and how many test images would you want to "
    "see, and which difference would you call none?\n\n"
    "Give numbers, and say what they rest on.",
)

EXERCISES = (pulled, paired_difference, interval_over_seeds, effect, convinced)
