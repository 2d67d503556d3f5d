"""Lab 4: predict, write a rule that stops, the widths of a tail and a count, change the rule, judge a score."""

from collections.abc import Sequence
from itertools import pairwise

from labkit.exercises.exercise import Mistake, Prediction, Question, Written
from labkit.exercises.trial import Cases
from labkit.models.block_cnn import conv_norm_relu, halved
from labkit.training.stopping import loss_rise

turn = Prediction(
    "lowest_loss",
    "Predict: when does the validation loss turn?",
    "Do this before you run the notebook. Training loss goes on falling; validation loss falls, turns, and rises "
    "again. In which epoch is the validation loss lowest?\n\n"
    "The parameters cell says how many epochs there are at most and how many images there are to learn by heart.",
    measured='history.loc[history["val_loss"].idxmin(), "epoch"]',
    close=1,
    most=1000,
    asked="an epoch, counted from 1",
)


def should_stop(losses: Sequence[float], factor: float, epochs: int) -> bool:
    """Whether to stop after these validation losses, one an epoch: the rule of the report."""
    return loss_rise(factor, epochs)([{"val_loss": loss} for loss in losses])


def in_a_row(above: Sequence[bool], epochs: int) -> bool:
    """Whether the last ``epochs`` entries hold."""
    return len(above) >= epochs and all(above[-epochs:])


def against_previous(losses: Sequence[float], factor: float, epochs: int) -> bool:
    """Each loss against the one before it."""
    return in_a_row([b > factor * a for a, b in pairwise(losses)], epochs)


def above_minimum(losses: Sequence[float], factor: float) -> list[bool]:
    """Which losses are above so many times the minimum."""
    return [loss > factor * min(losses) for loss in losses]


def rule_cases() -> Cases:
    """Curves that a rule must tell apart."""
    return {
        "a loss that turns and stays high": ([2.0, 1.0, 1.2, 1.3, 1.2, 1.2, 1.2], 1.1, 5),
        "a slow rise": ([1.0, 1.05, 1.11, 1.17, 1.22, 1.28, 1.34], 1.1, 3),
        "a loss that keeps falling": ([2.0, 1.8, 1.6, 1.4, 1.2, 1.0], 1.1, 3),
        "one good epoch among bad ones": ([1.0, 1.2, 1.2, 1.05, 1.2, 1.2], 1.1, 3),
        "a rise that stays below the factor": ([1.0, 1.05, 1.06, 1.07, 1.08], 1.1, 3),
        "one bad epoch": ([1.0, 0.9, 1.3], 1.1, 3),
        "one epoch too few": ([1.0, 1.2, 1.2], 1.1, 3),
        "a training that only began": ([1.0], 1.1, 5),
        "a first epoch that was the best": ([1.0, 1.2, 1.3, 1.4], 1.1, 3),
        "a loss just at the factor": ([1.0, 2.0, 2.0, 2.0], 2.0, 3),
        "a bad start": ([2.0, 2.1, 2.2, 1.0], 1.1, 3),
    }


early_stopping = Written(
    "early_stopping",
    "Write the rule that stops a training",
    "The report stops *when the validation loss has been above 1.1 times its minimum for five epochs in a row*. Write "
    "that rule: `losses` are the validation losses so far, `factor` is the 1.1 and `epochs` the five. Return True or "
    "False.\n\n"
    "Three words make the difference: *minimum*, *times*, and *in a row*.",
    solution=should_stop,
    cases=rule_cases,
    mistakes={
        "previous_epoch": Mistake(
            "You compare each loss with the one before it. A slow rise then never stops the training, however high it "
            "gets: the rule compares with the minimum.",
            against_previous,
        ),
        "in_total": Mistake(
            "You count all epochs above the limit. One good epoch in between starts the count anew: the rule says in "
            "a row.",
            lambda losses, factor, epochs: sum(above_minimum(losses, factor)) >= epochs,
        ),
        "at_once": Mistake(
            "A single bad epoch stops your training: losses jump, so the rule waits for several in a row.",
            lambda losses, factor, epochs: above_minimum(losses, factor)[-1],
        ),
        "no_factor": Mistake(
            "Every epoch that is not the best counts with you; the rule forgives a loss that is only a little above "
            "the minimum.",
            lambda losses, factor, epochs: in_a_row(above_minimum(losses, 1.0), epochs),
        ),
        "one_too_few": Mistake(
            "Your rule stops one epoch too early: count the epochs in a row once more.",
            lambda losses, factor, epochs: in_a_row(above_minimum(losses, factor), epochs - 1),
        ),
        "one_too_many": Mistake(
            "Your rule stops one epoch too late: count the epochs in a row once more.",
            lambda losses, factor, epochs: in_a_row(above_minimum(losses, factor), epochs + 1),
        ),
        "first_loss": Mistake(
            "You compare with the first loss instead of the lowest: then the loss must climb above where it began "
            "before anything stops.",
            lambda losses, factor, epochs: in_a_row([loss > factor * losses[0] for loss in losses], epochs),
        ),
        "last_window": Mistake(
            "The minimum is taken over the last epochs alone, so it forgets how good the network has been.",
            lambda losses, factor, epochs: len(losses) > epochs and losses[-1] > factor * min(losses[-epochs:]),
        ),
    },
)


def tail_widths(width: int, num_classes: int) -> list[int]:
    """Widths of the fully connected layers: width, then half of it and so on, while above num_classes."""
    return halved(width, num_classes)


def halved_to(width: int, least: int) -> list[int]:
    """Halves as long as the last width is above ``least``, so that the last one may lie below."""
    widths = [width]
    while widths[-1] > least:
        widths.append(widths[-1] // 2)
    return widths


widths = Written(
    "tail_widths",
    "Write the widths of the tail",
    "Behind the blocks, fully connected layers halve the width for as long as it stays above the number of classes; "
    "the classifier follows. Return the list of widths, beginning with the one that comes out of the blocks.\n\n"
    "Odd widths are rounded down. The output above shows it for 588 and 972 numbers and ten classes.",
    solution=tail_widths,
    cases=lambda: {
        "588 numbers, ten classes": (588, 10),
        "40 numbers, ten classes": (40, 10),
        "12 numbers, ten classes": (12, 10),
        "99 numbers, two classes": (99, 2),
    },
    mistakes={
        "classes_too": Mistake(
            "The number of classes is in your list: that is the classifier, which follows the list.",
            lambda width, num_classes: [*halved(width, num_classes), num_classes],
        ),
        "one_too_far": Mistake(
            "Your last width is not above the number of classes: look ahead before you halve.",
            halved_to,
        ),
        "equal_too": Mistake(
            "Your list goes on to a width equal to the number of classes; it must stay above it.",
            lambda width, num_classes: halved(width, num_classes - 1),
        ),
        "without_first": Mistake(
            "The width that comes out of the blocks is missing: the list begins with it.",
            lambda width, num_classes: halved(width, num_classes)[1:],
        ),
        "rounded_up": Mistake(
            "Odd widths are rounded down, not up: there is no half feature.",
            lambda width, num_classes: [-(-width // 2**i) for i in range(len(halved(width, num_classes)))],
        ),
        "not_rounded": Mistake(
            "There are fractions in your list: a layer has a whole number of features.",
            lambda width, num_classes: [width / 2**i for i in range(len(halved(width, num_classes)))],
            lambda inputs, answer: any(width % 1 for width in answer),
        ),
        "once": Mistake(
            "You halve once; the rule halves again and again.",
            lambda width, num_classes: [width, width // 2],
        ),
    },
)


def conv_parameters(c_in: int, c_out: int) -> int:
    """Trainable parameters of a 3×3 convolution without bias and the batch normalisation behind it."""
    return sum(p.numel() for p in conv_norm_relu(c_in, c_out).parameters())


parameter_count = Written(
    "conv_parameters",
    "Count the parameters by hand",
    "A convolution has a small window of weights for each pair of an input and an output channel. Batch normalisation "
    "has a factor and an offset for each channel. Write down how many numbers are trained in both together.\n\n"
    "Does the size of the image enter? Check your function against the table of layers above.",
    solution=conv_parameters,
    cases=lambda: {"3 to 16 channels": (3, 16), "16 to 16 channels": (16, 16), "1 to 5 channels": (1, 5)},
    mistakes={
        "bias": Mistake(
            "You count a bias of the convolution. There is none: batch normalisation has an offset of its own.",
            lambda c_in, c_out: 9 * c_in * c_out + 3 * c_out,
        ),
        "no_norm": Mistake(
            "The convolution is right; batch normalisation has trainable numbers, too.",
            lambda c_in, c_out: 9 * c_in * c_out,
        ),
        "half_norm": Mistake(
            "Almost: batch normalisation has a factor and an offset for each channel, and you count one of them.",
            lambda c_in, c_out: 9 * c_in * c_out + c_out,
        ),
        "running": Mistake(
            "The running mean and variance are kept but not trained: they do not count.",
            lambda c_in, c_out: 9 * c_in * c_out + 4 * c_out,
        ),
        "three": Mistake(
            "A 3×3 window has more than three weights.",
            lambda c_in, c_out: 3 * c_in * c_out + 2 * c_out,
        ),
        "one_window": Mistake(
            "You count one window for each output channel. It looks at every input channel with weights of its own.",
            lambda c_in, c_out: 9 * c_out + 2 * c_out,
        ),
        "norm_of_input": Mistake(
            "Batch normalisation comes behind the convolution: count the channels it is given.",
            lambda c_in, c_out: 9 * c_in * c_out + 2 * c_in,
        ),
    },
)

no_rule = Question(
    "without_the_rule",
    "Change and explain: train on without the rule",
    "Set `rise_factor = 0` and `epochs = 60` in the parameters cell, write down whether validation accuracy will get "
    "better than where the rule stopped, and run the notebook again.\n\n"
    "Say what became of the loss and of the accuracy, and how the one can rise while the other does not fall.",
    least=120,
)

colour = Question(
    "colour_alone",
    "What has the network learnt by form?",
    "Logistic regression on the mean colour reads a share of the test images; the network reads more. Is the "
    "difference what the network has learnt about form? Think of an experiment that would tell.\n\n"
    "An idea to begin with: what could be taken away from the images, and what would have to stay?",
)

EXERCISES = (turn, early_stopping, widths, parameter_count, no_rule, colour)
