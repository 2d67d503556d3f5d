"""What a figure says, in words made from its numbers: alternative text for those who cannot see it, and captions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from labkit.training.metrics import FEW_IMAGES, bootstrap

SWITCHED_OFF = " (switched off)"  # ends the name of a rule of early stopping that the parameters leave out


def percent(share: float) -> str:
    """0.98765 -> "98.77 %"."""
    return f"{100 * share:.2f} %"


def name_of(metric: str) -> str:
    """A metric as a reader writes it: ``dice`` -> Dice, ``pixel_accuracy`` -> pixel accuracy."""
    known = {"hausdorff95": "95 % Hausdorff distance", "iou": "IoU", "dice": "Dice"}
    return known.get(metric) or " ".join(known.get(word, word) for word in metric.split("_"))


def duration(seconds: float) -> str:
    """9 seconds, 1.5 minutes."""
    return f"{seconds:.0f} seconds" if seconds < 60 else f"{seconds / 60:.1f} minutes"


def many(count: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def heading_of(column: str) -> str:
    """A column as a reader writes it: ``val_dice`` -> validation Dice."""
    for short, part in (("train_", "training "), ("val_", "validation "), ("test_", "test ")):
        if column.startswith(short):
            return part + name_of(column.removeprefix(short))
    return name_of(column)


def signed(value: float, digits: int = 2) -> str:
    """A difference with its sign: +1.25, −0.10."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")  # + 0.0: no −0.00


def score(metric: str, value: float) -> str:
    """An accuracy in percent, any other score as a number: 98.77 %, 0.916."""
    return percent(value) if metric.endswith("accuracy") else f"{value:.3f}"


def test_score(metric: str, result: Mapping[str, Any]) -> str:
    """A test score in a line: ``accuracy`` in percent, overlap scores as they are, a count without an interval."""
    if not result["interval"]:
        return f"{result['value']:.0f} of {result['n']} {result['over']} tried"
    unit, scale, digits = (" %", 100, 2) if metric.endswith("accuracy") else ("", 1, 4)
    value, low, high = (f"{scale * result[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"test {name_of(metric)} {value}{unit} ({result['interval']} {low} to {high}, n = {result['n']:,})"


def class_counts(counts: pd.DataFrame) -> str:
    """The table of ``tables.class_counts``."""
    ranges = [
        f"{part} from {counts[part].min():,} to {counts[part].max():,}" for part in counts.columns if part != "class"
    ]
    return f"Images per class, over {len(counts)} classes: {'; '.join(ranges)}."


def learning_rate(rates: pd.DataFrame) -> str:
    """The table of ``tables.planned_rates``."""
    top, first, last = rates.loc[rates["learning_rate"].idxmax()], rates.iloc[0], rates.iloc[-1]
    epochs = int(last["epoch"]) + 1  # the last step begins within the last epoch
    if rates["learning_rate"].nunique() == 1:
        return f"The learning rate stays at {top['learning_rate']:.2g} for {many(epochs, 'epoch')}."
    if top["epoch"] == first["epoch"]:
        fall = f"starts at {first['learning_rate']:.2g}, where it is highest,"
    else:
        fall = f"starts at {first['learning_rate']:.2g}, is highest with {top['learning_rate']:.2g} "
        fall += f"at {top['epoch']:.1f} epochs,"
    return f"The learning rate {fall} and ends at {last['learning_rate']:.2g} after {many(epochs, 'epoch')}."


def history(table: pd.DataFrame, metric: str, chosen: int, held_out: str = "validation") -> str:
    """Training as a sentence: where the scores of the ``held_out`` images began and ended, which epoch was chosen."""
    first, last, best = (table[table["epoch"] == epoch].iloc[0] for epoch in (1, len(table), chosen))
    begin, end, kept = (score(metric, row[f"val_{metric}"]) for row in (first, last, best))
    if len(table) == 1:
        return f"After one epoch the {held_out} {name_of(metric)} is {begin} at a loss of {first['val_loss']:.3f}."
    scores = table[f"val_{metric}"]
    way = f"{'rises' if scores.is_monotonic_increasing else 'goes'} from {begin} to {end}"
    low = table.loc[scores.idxmin()]
    if score(metric, low[f"val_{metric}"]) not in (begin, end):
        way += f", by way of {score(metric, low[f'val_{metric}'])} after epoch {low['epoch']:.0f},"
    if scores.nunique() == 1:
        way = f"stays at {end}"
    return (
        f"Over {len(table)} epochs the {held_out} {name_of(metric)} {way} and the {held_out} loss goes from "
        f"{first['val_loss']:.3f} to {last['val_loss']:.3f}; epoch {chosen} is chosen, with {kept}. In the last epoch "
        f"the training {name_of(metric)} is {score(metric, last[f'train_{metric}'])}."
    )


def turn(table: pd.DataFrame, metric: str, held_out: str = "validation") -> str:
    """Whether the loss of the ``held_out`` images has turned, and what became of their score after that."""
    if len(table) == 1:
        return f"After one epoch nobody can say whether the {held_out} loss will turn."
    low, last = table.loc[table["val_loss"].idxmin()], table.iloc[-1]
    if low["epoch"] == last["epoch"]:
        return f"The {held_out} loss is lowest after the last epoch: it has not turned."
    then, now = (score(metric, row[f"val_{metric}"]) for row in (low, last))
    return (
        f"The {held_out} loss is lowest after epoch {low['epoch']:.0f} ({low['val_loss']:.3f}) and "
        f"{last['val_loss']:.3f} after the last; meanwhile the {held_out} {name_of(metric)} goes from {then} to {now}."
    )


def stops(epochs: Mapping[str, int | None], history: pd.DataFrame, held_out: str = "validation") -> str:
    """Where each rule of early stopping falls, and what the training looked like there."""
    parts, these = [], f"these {len(history)} epochs" if len(history) > 1 else "this one epoch"
    for name, epoch in epochs.items():
        off = name.endswith(SWITCHED_OFF)
        if epoch is None:
            never = "would not have stopped" if off else "does not stop"
            parts.append(f"the rule “{name}” {never} within {these}")
            continue
        verb = "would have stopped" if off else "stops"
        until = history[history["epoch"] <= epoch]  # later epochs may be better, but no rule can know that
        row, best = until.iloc[-1], history.loc[until["val_loss"].idxmin()]
        parts.append(
            f"the rule “{name}” {verb} after epoch {epoch}, where the {held_out} loss is {row['val_loss']:.3f} "
            f"(lowest: {best['val_loss']:.3f}, epoch {best['epoch']:.0f}) and the training loss {row['train_loss']:.3f}"
        )
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def feature_maps(maps: pd.DataFrame) -> str:
    """The table of ``picture_tables.feature_maps``."""
    listed = [f"{row.map} from {row.lowest:.2f} to {row.highest:.2f}" for row in maps.itertuples()]
    return f"Values of what one image becomes: {', '.join(listed)}."


def drawn(answers: pd.DataFrame) -> str:
    """The table of ``tables.answers`` with a column ``drawn``, how each image was made."""
    listed = [f"{row.drawn} it is read as {row.answer} ({percent(row.confidence)})" for row in answers.itertuples()]
    text = ", ".join(listed)
    return text[0].upper() + text[1:] + "."


def per_class(scores: pd.DataFrame) -> str:
    """The table of ``tables.class_scores``."""
    known = scores.dropna(subset="accuracy").sort_values("accuracy")
    worst, best = known.iloc[0], known.iloc[-1]
    alike = known.loc[known["accuracy"] == best["accuracy"], "class"].astype(str)
    if len(alike) == len(known):
        return f"Test accuracy is {percent(best['accuracy'])} in every class."
    return (
        f"Test accuracy per class lies between {percent(worst['accuracy'])} (class {worst['class']}; interval "
        f"{percent(worst['low'])} to {percent(worst['high'])}) and {percent(best['accuracy'])} (class "
        f"{', '.join(alike)})."
    )


def confusion(matrix: pd.DataFrame) -> str:
    """The mistakes of a confusion matrix, the most frequent named."""
    counts = matrix.to_numpy().copy()
    total = counts.sum()
    np.fill_diagonal(counts, 0)
    if not counts.sum():
        return f"All {total:,} images are on the diagonal: there is no mistake."
    row, column = np.unravel_index(counts.argmax(), counts.shape)
    often = "once" if counts.max() == 1 else f"{counts.max()} times"
    pairs = int((counts == counts.max()).sum())
    also = f" ({pairs} pairs of classes share this count)" if pairs > 1 else ""
    return (
        f"Off the diagonal: {counts.sum():,} of {total:,} images. The most frequent mistake, made {often}, is "
        f"reading {matrix.index[row]} as {matrix.columns[column]}{also}."
    )


def lesions(table: pd.DataFrame, uncut: float) -> str:
    """The lesion study: how much each kind of cut costs, and which block suffers most."""
    branch, way = table["branch cut"], table["way round cut"]
    weakest = table["block"][branch.idxmin()]
    branches, ways = int((branch < way).sum()), int((way < branch).sum())
    return (
        f"Uncut, the network reads {percent(uncut)} of these images. With one branch cut it still reads "
        f"{percent(branch.median())} (median of {len(table)} blocks; worst {percent(branch.min())}, block {weakest}), "
        f"with one way round cut, {percent(way.median())} (median; worst {percent(way.min())}). "
        f"Of the {len(table)} blocks {branches} miss their branch more than their way round, and {ways} the reverse."
    )


def mirrored(table: pd.DataFrame, plain: pd.DataFrame, flipped: pd.DataFrame, trained_with_flips: bool) -> str:
    """Accuracy as written and mirrored: per class in ``table``, per image in the other two."""
    drop = table.set_index(table.columns[0]).eval("`as written` - mirrored").sort_values(ascending=False)
    lost, kept = drop[drop > 0.5].index, drop[drop <= 0.5].index
    how = "with" if trained_with_flips else "without"
    return (
        f"Trained {how} flips, the network reads {percent(plain['correct'].mean())} of the test images as written and "
        f"{percent(flipped['correct'].mean())} of them mirrored. Classes that lose more than half of their images: "
        f"{', '.join(map(str, lost)) or 'none'}; that lose less, or nothing: {', '.join(map(str, kept)) or 'none'}."
    )


def mistakes(wrong: pd.DataFrame) -> str:
    """The rows of ``tables.predictions`` that are shown as mistakes."""
    named = [f"{row.true} read as {row.predicted} with confidence {row.confidence:.2f}" for row in wrong.itertuples()]
    shown = "only mistake" if len(wrong) == 1 else f"{len(wrong)} most confident mistakes"
    return f"The {shown} on the test images: {'; '.join(named)}."


def race(metric: str, curves: Mapping[str, pd.DataFrame]) -> str:
    """When each curve first reaches the lowest of their best validation scores: columns epoch, seconds so far, score.

    ``validation Dice of 0.712 is reached by UNet in epoch 5 (31 s; best 0.712) and by …``.
    """
    goal, parts = min(curve["score"].max() for curve in curves.values()), []
    for name, curve in curves.items():
        first, best = curve[curve["score"] >= goal].iloc[0], score(metric, curve["score"].max())
        parts.append(f"{name} in epoch {first['epoch']:.0f} ({first['seconds']:.0f} s; best {best})")
    return f"validation {name_of(metric)} of {score(metric, goal)} is reached by {' and by '.join(parts)}"


def rivals(names: tuple[str, str], tables: tuple[pd.DataFrame, pd.DataFrame], metric: str) -> str:
    """Two networks on the same test images (columns ``sample`` and ``metric``): their difference with its interval."""

    def mean(values: pd.Series) -> str:
        return percent(values.mean()) if metric.endswith("accuracy") else f"{values.mean():.4f}"

    def apart(gap: float) -> str:
        return f"{signed(100 * gap)} points" if metric.endswith("accuracy") else signed(gap, 4)

    ours, theirs = (table.set_index("sample")[metric].astype(float) for table in tables)
    gap = (ours - theirs).to_numpy()
    low, high = bootstrap(gap)
    told = f"the choice of test images alone {'could explain it' if low <= 0 <= high else 'does not explain it'}"
    if len(gap) < FEW_IMAGES:
        told = "these are too few images to tell"
    return (
        f"{names[0]} has a mean test {name_of(metric)} of {mean(ours)}, {names[1]} of {mean(theirs)}: a difference of "
        f"**{apart(gap.mean())}** (95 % bootstrap interval over {len(gap):,} paired images: {apart(low)} to "
        f"{apart(high)}); {told}. This is one training of each: another seed moves both."
    )


def protocol(select_on: str, images: int) -> str:
    """What chose the epoch, and what that means for the score."""
    if select_on == "test":
        return "**The test set has chosen the epoch**: the scores below flatter the network."
    return f"The epoch was chosen on validation images; these {images:,} test images had no part in it."


def selection(gap: float, low: float, high: float, epochs: int, images: int) -> str:
    """The result of ``metrics.selection_optimism`` (shares)."""
    if np.isnan(gap):
        return "With one epoch, or one image, there is nothing to choose: the effect cannot be measured."
    found = (
        f"Over {epochs} epochs and {images:,} images, the half that chose the epoch scores "
        f"**{signed(100 * gap)} points** against the other half (95 % of the draws: "
        f"{signed(100 * low)} to {signed(100 * high)})."
    )
    return f"{found} Both halves always like the same epoch, so the choice flatters nothing." if gap == 0 else found


def loss_against_accuracy(points: pd.DataFrame, reported: tuple[float, float]) -> str:
    """How the reported (accuracy, loss) pair compares with the epoch of ours that is nearest in accuracy."""
    accuracy, loss = reported
    ours = points[points["what"] != "reported"]
    near = ours.loc[(ours["accuracy"] - accuracy).abs().idxmin()]
    wrong = 1 - accuracy
    hidden = (ours["accuracy"] == 1).any()
    return (
        f"Nearest to the reported accuracy of {percent(accuracy)} in this run are {percent(near['accuracy'])} "
        f"({near['what']}), with a mean loss of {near['loss']:.3f}; the report gives {loss:.4f}, "
        f"{loss / near['loss']:.1f} times as much. If the right images cost nothing and the {percent(wrong)} of wrong "
        f"images carried all of it, each would have a loss of {loss / wrong:.0f}: the network would have given its "
        f"true class a probability of e^−{loss / wrong:.0f}."
        + (" (A score without any mistake has no place on a logarithmic axis.)" if hidden else "")
    )
