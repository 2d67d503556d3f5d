"""What tables and figures of many runs say, in sentences made from their numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from labkit.results.words import many, name_of, percent, race, score, signed
from labkit.training.metrics import student_t

FEW = 3  # seeds below which nothing is said about seeds


def points(share: float, digits: int = 1) -> str:
    """0.0123 -> "+1.2": a difference of scores in points, with a true minus sign."""
    return signed(100 * share, digits)


def span(effect: Mapping[str, Any]) -> str:
    """The interval of ``compare.effect``, in points, and what it was taken over."""
    if np.isnan(effect["low"]):
        return f"over {effect['over']}, too few for an interval"
    return f"95 % interval {points(effect['low'], 2)} to {points(effect['high'], 2)}, over {effect['over']}"


def lab_in(panel: str) -> str:
    """The lab of a question in words: ``Lab 02: Dice on …`` -> Lab 02."""
    return panel.split(":")[0]


def some(names: list[str], most: int = 4) -> str:
    """``a, b, c, d and 3 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def inventory(runs: pd.DataFrame, left_out: pd.DataFrame) -> str:
    """How many runs there are, on which data, and what was left out."""
    on_sample = (runs["kind"] == "sample").sum()
    complete = (runs["obstacle"] == "").sum()
    text = (
        f"**{many(len(runs), 'trained network')}** from {many(runs['notebook'].nunique(), 'lab')}: {on_sample} on "
        f"samples, {complete} on complete published data, {len(runs) - on_sample - complete} on a part of them or on "
        f"other files."
    )
    if len(left_out):
        text += f" {many(len(left_out), 'folder')} without a finished run: left out, with the reason."
    return text


def cost(table: pd.DataFrame) -> str:
    """The table of costs: columns network, parameters, minutes."""

    def where(row: pd.Series) -> str:
        return f"{row['network']}, lab {row['lab']}"

    slow, counted = table.loc[table["minutes"].idxmax()], table.dropna(subset="parameters").sort_values("parameters")
    time = (
        f"The longest training took {slow['minutes']:.1f} minutes ({where(slow)}), all together "
        f"{table['minutes'].sum():.1f}."
    )
    if not len(counted):  # runs of another version
        return time
    small, big = counted.iloc[0], counted.iloc[-1]
    if len(counted) == 1 < len(table):
        return f"{where(small)} has {small['parameters']:,.0f} parameters; those of the others are not known. {time}"
    if small["parameters"] == big["parameters"] and len(counted) == len(table):
        return f"Every network here has {small['parameters']:,.0f} parameters. {time}"
    return (
        f"The networks have {small['parameters']:,.0f} ({where(small)}) to {big['parameters']:,.0f} parameters "
        f"({where(big)}). {time}"
    )


def learning_curves(table: pd.DataFrame) -> str:
    """The table of ``plot_learning_curves``: where each curve begins and ends, and where it is highest."""
    parts = []
    for (panel, label), run in table.groupby(["panel", "label"], sort=False):
        metric, best = run["metric"].iloc[0], run.loc[run["score"].idxmax()]
        begin, end = (score(metric, run["score"].iloc[i]) for i in (0, -1))
        parts.append(
            f"{panel}, {label}: {name_of(metric)} from {begin} to {end}, highest ({score(metric, best['score'])}) at "
            f"epoch {best['epoch']:.0f}"
        )
    return f"Validation scores by epoch. {'; '.join(parts)}."


def climbing(table: pd.DataFrame) -> str:
    """The table of ``plot_learning_curves``: which trainings were best at their very end."""
    groups = table.groupby(["panel", "label"], sort=False)
    curves = [(lab_in(panel), label, run) for (panel, label), run in groups]
    late = [f"{lab} {label}" for lab, label, run in curves if run["score"].argmax() == len(run) - 1]
    why = "At a constant rate more epochs might be better; after one cycle, which ends near 0, that is as it should be."
    said = f"Best in the last epoch: {some(late)}. {why}" if late else ""
    return f"Best before the last epoch: {len(curves) - len(late)} of {trainings(len(curves))}. {said}".strip()


def convergence(table: pd.DataFrame) -> str:
    """Pairs of networks trained side by side: which one reaches the lower of the two best scores first."""
    parts = []
    for (panel, _), pair in table.groupby(["panel", "run"], sort=False):
        if pair["label"].nunique() < 2:
            continue
        parts.append(f"{panel}: a {race(pair['metric'].iloc[0], dict(list(pair.groupby('label', sort=False))))}.")
    if not parts:
        return "No two networks were trained side by side yet: `labkit run 03` does that."
    return " ".join(parts)


def trainings(count: int) -> str:
    """Of which there are so many: "the one training", "6 trainings"."""
    return "the one training" if count == 1 else f"{count} trainings"


def gaps(table: pd.DataFrame) -> str:
    """The table of ``plot_gaps``: how much better training images are read than validation and test images."""
    widest = table.loc[table["gap"].idxmax()]
    ahead = (table["gap"] > 0).sum()
    return (
        f"In {ahead} of {trainings(len(table))} the training images are read better than the validation images; "
        f"the largest gap, training minus validation, is {points(widest['gap'])} points ({widest['label']}). A "
        f"negative gap is no miracle: training scores are those of an epoch under way and, where a recipe has them, on "
        f"augmented images and with dropout."
    )


def seeds(groups: pd.DataFrame) -> str:
    """The table of ``compare.over_seeds``: what may be said about seeds."""
    repeated = groups[groups["n"] >= FEW]
    if not len(repeated):
        return (
            f"No recipe was run with {FEW} seeds or more, so every interval here is over test images and says nothing "
            f"of another seed."
        )
    widest = repeated.loc[repeated["sd"].idxmax()]
    which = f"{widest['label']} of {lab_in(widest['panel']).lower()}"
    student = student_t(widest["n"])
    apart = student * 2**0.5 * widest["sd"]
    return (
        f"Recipes with {FEW} seeds or more: {len(repeated)}. Seeds move {which} most: a standard deviation "
        f"of {100 * widest['sd']:.2f} points over {widest['n']} seeds. Two single runs of it may differ by "
        f"{100 * apart:.2f} points by chance alone (this standard deviation times √2, times {student:.2f}, the 97.5 % "
        f"point of Student's t for {widest['n']} seeds): a smaller difference is no finding."
    )


def effects(table: pd.DataFrame) -> str:
    """The table of ``compare.effects``."""
    if not len(table):
        return "No two recipes were scored on the same test images yet, so there is no effect to measure."
    clear = table[(table["low"] > 0) | (table["high"] < 0)]
    best = table.loc[table["difference"].abs().idxmax()]
    known = table[table["low"].notna()]
    images = known["over"].str.contains("test image").sum()
    clearly = f"{len(clear)} moved the test score clearly, with an interval that leaves out 0"
    if not len(clear):
        clearly = "none moved the test score clearly: no interval leaves out 0"
    text = (
        f"Of {many(len(table), 'change')}, {clearly}. The largest difference, in lab {best['notebook'][:2]}, is "
        f"{best['change']} against {best['against']}: {points(best['difference'], 2)} points ({span(best)})."
    )
    if not images:
        return text
    which = f"Of the intervals, {images} {'is' if images == 1 else 'are'}"
    if images == len(known):
        which = "The interval is" if images == 1 else "The intervals are"
    return f"{text} {which} over test images, for want of {FEW} seeds in common: another seed may move as much."


def imbalance(table: pd.DataFrame) -> str:
    """The table of ``run_tables.imbalance``: what a network gets that finds nothing."""
    row = table.loc[table["foreground"].idxmin()]
    gain = row["pixel accuracy"] - row["nothing found"]
    apart = f"{abs(100 * gain):.1f} points {'above' if gain > 0 else 'below'}" if round(100 * gain, 1) else "level with"
    verdict = (
        f"So pixel accuracy puts the trained one {apart} one that finds nothing; only Dice, which leaves the "
        f"background out, shows how much was found."
    )
    return (
        f"In lab {row['lab']} {percent(row['foreground'])} of the test pixels are foreground. A network that finds "
        f"nothing at all has {percent(row['nothing found'])} pixel accuracy, and a Dice of 0 wherever there is "
        f"something to find; the trained one "
        f"({row['network']}) has {percent(row['pixel accuracy'])} and {row['Dice']:.3f}. {verdict}"
    )


def pull(table: pd.DataFrame) -> str:
    """The table of ``run_tables.pull_of_foreground`` at its smallest share."""
    small = table[table["foreground"] == table["foreground"].min()]
    parts = [f"{percent(row['pull'])} with {row['loss']}" for _, row in small.iterrows()]
    return (
        f"Where {percent(small['foreground'].iloc[0])} of the pixels are foreground, an undecided network is pulled by "
        f"them with this share of the whole gradient: {', '.join(parts)}."
    )


def speed(table: pd.DataFrame) -> str:
    """The table of ``run_tables.speed_and_memory``."""
    first, last = table["batch_size"].min(), table["batch_size"].max()
    parts = []
    for name, part in table.groupby("precision", sort=False):
        rates = part.set_index("batch_size")["images/s"]
        parts.append(f"in {name} from {rates[first]:.1f} to {rates[last]:.1f} images/s")
    memory = table.groupby("batch_size")["memory (MiB)"].first()
    return (
        f"From batches of {first} to batches of {last} the speed goes {' and '.join(parts)}; the memory that a step "
        f"keeps grows from {memory[first]:.1f} to {memory[last]:.1f} MiB."
    )


def claims(table: pd.DataFrame) -> str:
    """How many of the reported numbers were tried, and what came out."""
    tried = table[table["verdict"] != "not run"]
    if not len(tried):
        return (
            f"**None of the {len(table)} reported numbers was tried by these runs**: that takes a report's own recipe "
            f"on complete published data (`labkit data list` says how to get them)."
        )
    counts = tried["verdict"].value_counts()
    found = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"**Tried: {len(tried)} of the {len(table)} reported numbers**: {found}."
