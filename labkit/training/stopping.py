"""Early stopping: rules that look at the finished epochs and say whether to stop.

A rule is a plain function of the history, so that it can be asked afterwards, too, where it would have stopped
(``stopped_at``), and needs nothing in a checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Row = dict[str, int | float]  # one line of history.csv
Stop = Callable[[Sequence[Mapping[str, float]]], bool]


def never(history: Sequence[Mapping[str, float]]) -> bool:
    """Train for all epochs."""
    return False


def patience(epochs: int, metric: str) -> Stop:
    """Stop when the validation ``metric`` has not risen for ``epochs`` epochs in a row (0: never)."""

    def stop(history: Sequence[Mapping[str, float]]) -> bool:
        scores = [row[f"val_{metric}"] for row in history]
        return 0 < epochs <= len(scores) - 1 - int(np.argmax(scores)) if scores else False

    return stop


def loss_rise(factor: float, epochs: int) -> Stop:
    """Stop when the validation loss has been above ``factor`` times its minimum for ``epochs`` epochs in a row.

    The rule of the CMSC 25040 report, there with 1.1 and 5; a factor of 0 means never.
    """

    def stop(history: Sequence[Mapping[str, float]]) -> bool:
        losses = [row["val_loss"] for row in history]
        return factor > 0 and len(losses) > epochs and min(losses[-epochs:]) > factor * min(losses)

    return stop


def either(*rules: Stop) -> Stop:
    """Stop as soon as one of ``rules`` says so."""
    return lambda history: any(rule(history) for rule in rules)


def stopped_at(rule: Stop, history: Sequence[Mapping[str, float]]) -> int | None:
    """The epoch (from 1) after which ``rule`` stops, or would have stopped; None if it does not."""
    return next((n for n in range(1, len(history) + 1) if rule(history[:n])), None)
