"""What a figure says, in words made from its numbers: alternative text for those who cannot see it, and captions."""

import numpy as np
import pandas as pd


def percent(share: float) -> str:
    """0.98765 -> "98.77 %"."""
    return f"{100 * share:.2f} %"


def class_counts(counts: pd.DataFrame) -> str:
    """The table of ``tables.class_counts``."""
    ranges = [
        f"{part} from {counts[part].min():,} to {counts[part].max():,}" for part in counts.columns if part != "class"
    ]
    return f"Images per class, over {len(counts)} classes: {'; '.join(ranges)}."


def learning_rate(rates: pd.DataFrame) -> str:
    """The table of ``tables.planned_rates``."""
    top = rates.loc[rates["learning_rate"].idxmax()]
    first, last = rates["learning_rate"].iloc[0], rates["learning_rate"].iloc[-1]
    return (
        f"The learning rate starts at {first:.2g}, is highest with {top['learning_rate']:.2g} at "
        f"{top['epoch']:.1f} epochs, "
        f"and ends at {last:.2g} after {rates['epoch'].iloc[-1]:.0f}."
    )


def history(table: pd.DataFrame, metric: str, chosen: int) -> str:
    """Training as a sentence: where the validation scores began, where they ended, which epoch was chosen."""
    scores, losses = table[f"val_{metric}"], table["val_loss"]
    best = table.loc[table["epoch"] == chosen].iloc[0]
    if len(table) == 1:
        return (
            f"After one epoch the validation {metric} is {percent(scores.iloc[0])} at a loss of {losses.iloc[0]:.3f}."
        )
    direction = "rises" if scores.iloc[-1] > scores.iloc[0] else "goes"
    return (
        f"Over {len(table)} epochs the validation {metric} {direction} from {percent(scores.iloc[0])} to "
        f"{percent(scores.iloc[-1])} "
        f"and the validation loss goes from {losses.iloc[0]:.3f} to {losses.iloc[-1]:.3f}; epoch "
        f"{chosen} is chosen, with "
        f"{percent(best[f'val_{metric}'])}. In the last epoch the training {metric} is "
        f"{percent(table[f'train_{metric}'].iloc[-1])}."
    )


def per_class(scores: pd.DataFrame) -> str:
    """The table of ``tables.class_scores``."""
    known = scores.dropna(subset="accuracy").sort_values("accuracy")
    worst, best = known.iloc[0], known.iloc[-1]
    return (
        f"Test accuracy per class lies between {percent(worst['accuracy'])} ({worst['class']}; interval "
        f"{percent(worst['low'])} to "
        f"{percent(worst['high'])}) and {percent(best['accuracy'])} ({best['class']})."
    )


def confusion(matrix: pd.DataFrame) -> str:
    """The mistakes of a confusion matrix, the most frequent named."""
    counts = matrix.to_numpy().copy()
    total = counts.sum()
    np.fill_diagonal(counts, 0)
    if not counts.sum():
        return f"All {total:,} images are on the diagonal: there is no mistake."
    row, column = np.unravel_index(counts.argmax(), counts.shape)
    pairs = int((counts == counts.max()).sum())
    also = f" ({pairs} pairs of classes share this count)" if pairs > 1 else ""
    return (
        f"{counts.sum():,} of {total:,} images are off the diagonal. The most frequent mistake, made {counts.max()} "
        f"time{'s' if counts.max() > 1 else ''}, is "
        f"reading {matrix.index[row]} as {matrix.columns[column]}{also}."
    )


def lesions(table: pd.DataFrame, uncut: float) -> str:
    """The lesion study: how much each kind of cut costs, and which blocks suffer most."""
    branch, way = table["branch cut"], table["way round cut"]
    weakest = table.loc[branch.idxmin()]
    return (
        f"Uncut, the network reads {percent(uncut)} of these images. With one branch cut it still reads "
        f"{percent(branch.median())} (median over "
        f"{len(table)} blocks; worst {percent(branch.min())}, block {weakest['block']}); with one way "
        f"round cut, {percent(way.median())} "
        f"(median; best {percent(way.max())}). Once trained, it misses "
        f"{'a branch more than a way round' if branch.median() < way.median() else 'a way round more than a branch'}."
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
    return f"The {len(wrong)} most confident mistakes on the test images: {'; '.join(named)}."


def protocol(select_on: str, images: int) -> str:
    """What chose the epoch, and what that means for the score."""
    if select_on == "test":
        return "**The test set has chosen the epoch**, as in the reports: the scores below flatter the network."
    return f"The epoch was chosen on validation images; these {images:,} test images had no part in it."


def selection(gap: float, low: float, high: float, epochs: int, images: int) -> str:
    """The result of ``metrics.selection_optimism`` (shares)."""
    if np.isnan(gap):
        return "With one epoch, or one image, there is nothing to choose: the effect cannot be measured."
    found = (
        f"Over {epochs} epochs and {images:,} images, the half that chose the epoch scores **{100 * gap:+.2f} points** "
        f"against the other half (95 % of the draws: {100 * low:+.2f} to {100 * high:+.2f})."
    )
    return f"{found} Both halves always like the same epoch, so the choice flatters nothing." if gap == 0 else found


def loss_against_accuracy(points: pd.DataFrame, reported: tuple[float, float]) -> str:
    """How the reported (accuracy, loss) pair compares with the epoch of ours that is nearest in accuracy."""
    accuracy, loss = reported
    ours = points[points["what"] != "reported"]
    near = ours.loc[(ours["accuracy"] - accuracy).abs().idxmin()]
    each = loss / (1 - accuracy)
    hidden = (ours["accuracy"] == 1).any()
    return (
        f"Nearest to the reported accuracy of {percent(accuracy)} in this run are "
        f"{percent(near['accuracy'])} ({near['what']}), "
        f"with a mean loss of {near['loss']:.3f}; the report gives {loss:.4f}, {loss / near['loss']:.1f} "
        f"times as much. If the "
        f"{percent(1 - accuracy)} of wrong images carried all of it, each would have a loss of "
        f"{each:.0f} nats: the network "
        f"would have given its true class a probability of e^−{each:.0f}."
        + (" (A score without any mistake has no place on a logarithmic axis.)" if hidden else "")
    )
