"""Many runs side by side: what may be compared, over seeds, by ablation, and what differs.

Two runs answer the same *question* if they were scored on the same test images for the same target. Scores of
different questions never stand in one column.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from labkit.errors import RequestError
from labkit.results.finished import FinishedRun, hardware
from labkit.results.run_words import some
from labkit.results.words import name_of
from labkit.training.metrics import bootstrap_of_enough, student_t

TARGETS = ("dataset", "target", "num_classes")  # parameters that change what a test score is about
PAIRS = ("digit_size", "place", "ink", "image_size")  # and those that make other test images of the same photos


def question(run: FinishedRun) -> str:
    """What a test score answers, as one word: the same for runs that may be compared."""
    parameters, data = run.manifest.parameters, run.manifest.data
    images = zlib.crc32(np.sort(run.images["sample"].to_numpy(np.int64)).tobytes())
    key = [
        run.metric,
        run.manifest.notebook,
        data.fingerprint,
        data.splits.get("test"),
        images,
        parameters.get("select_on"),
        scored_by(run),
    ]
    return json.dumps(key, sort_keys=True)


def scored_by(run: FinishedRun) -> dict[str, Any]:
    """The parameters that change what a test score is about."""
    parameters = run.manifest.parameters
    names = [*TARGETS, *(PAIRS if "digit_size" in parameters else ())]
    return {name: parameters[name] for name in names if name in parameters}


def question_words(run: FinishedRun) -> str:
    """The question of a run for a reader: ``Lab 02: Dice on 20 test images of liver CT slices``.

    Two questions may read alike: ``by_question`` tells them apart.
    """
    data, parameters = run.manifest.data, run.manifest.parameters
    target = f", target {parameters['target']}" if "target" in parameters else ""
    chosen = ", epoch chosen on these images" if run.chosen_on_test else ""
    lab = f"Lab {run.manifest.notebook[:2]}"
    return f"{lab}: {name_of(run.metric)} on {data.counts.get('test', 0):,} test images of {data.name}{target}{chosen}"


def by_question(runs: Sequence[FinishedRun]) -> Iterator[tuple[str, list[FinishedRun]]]:
    """The runs that may be compared, together, in the order of the notebooks; each with its question in words."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(question(run), []).append(run)
    alike: dict[str, list[FinishedRun]] = {}
    for first, *_ in groups.values():
        alike.setdefault(question_words(first), []).append(first)
    for group in groups.values():
        words = question_words(group[0])
        yield words + told_apart(group[0], alike[words]), group


def told_apart(run: FinishedRun, others: Sequence[FinishedRun]) -> str:
    """What sets the question of a run apart from those of ``others``, itself among them, that read like it."""
    asked, theirs = scored_by(run), [scored_by(other) for other in others]
    differ = [f"{name} = {value}" for name, value in asked.items() if any(other.get(name) != value for other in theirs)]
    same = [other.name for other, values in zip(others, theirs, strict=True) if values == asked]
    number = f" (other files or images: {same.index(run.name) + 1})" if len(same) > 1 else ""
    return "".join(f", {words}" for words in differ) + number


def runs_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row a run: what it was, what it scored, what it cost, on what machine."""
    return pd.DataFrame([run_row(run) for run in runs])


def run_row(run: FinishedRun) -> dict[str, Any]:
    """The row of ``runs_table``; ``gap`` is training minus validation score at the chosen epoch."""
    manifest, chosen, metric = run.manifest, run.chosen, run.metric
    return {
        "notebook": manifest.notebook,
        "experiment": manifest.experiment,
        "model": run.model,
        "seed": manifest.seed,
        "data": manifest.data.name,
        "kind": manifest.data.kind,
        "images": manifest.data.counts.get("train", 0),
        "image_size": manifest.parameters.get("image_size"),
        "metric": metric,
        "score": run.score.value,
        "low": run.score.low,
        "high": run.score.high,
        "n": run.score.n,
        "train": chosen[f"train_{metric}"],
        "validation": chosen[f"val_{metric}"],
        "gap": chosen[f"train_{metric}"] - chosen[f"val_{metric}"],
        "epochs": len(run.history),
        "chosen": int(chosen["epoch"]),
        "minutes": run.history["seconds"].sum() / 60,
        "hardware": hardware(run),
        "precision": manifest.precision,
        "obstacle": manifest.data.obstacle,
        "run": run.name,
    }


def over_seeds(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Runs that differ in nothing but the seed, put together: one row a recipe, with n, mean, sd and a 95 % interval.

    With three seeds or more the interval is Student's, of the mean over seeds; with two there is none; of a single run
    it is that of its test images. ``over`` says which; ``panel`` is the question in words.
    """
    rows, names = [], labels(runs)
    for asked, group in by_question(runs):
        for same in map(one_a_seed, by_recipe(group)):
            scores = np.array([run.score.value for run in same])
            low, high, over = same[0].score.low, same[0].score.high, "test images"
            if len(scores) > 1:
                low, high, over = *np.clip(student(scores), 0, 1), "seeds"  # scores are shares
            row = {"panel": asked, "label": names[same[0].name], "metric": same[0].metric, "n": len(scores)}
            row |= {"mean": scores.mean(), "sd": scores.std(ddof=1) if len(scores) > 1 else np.nan}
            rows.append(row | {"low": low, "high": high, "over": over})
    return pd.DataFrame(rows)


def by_recipe(runs: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    """Runs of one question that differ in nothing but the seed, together.

    What departs least from its experiment comes first; of equals, what was run most often, then what has most in
    common with the others.
    """
    recipes: dict[str, list[FinishedRun]] = {}
    for run in runs:
        recipes.setdefault(json.dumps(run.recipe(), sort_keys=True), []).append(run)

    shared = Counter((name, repr(value)) for same in recipes.values() for name, value in same[0].recipe().items())

    def place(same: list[FinishedRun]) -> tuple[int, int, int]:
        in_common = sum(shared[name, repr(value)] for name, value in same[0].recipe().items())
        return len(same[0].manifest.changed), -len(one_a_seed(same)), -in_common

    return sorted(recipes.values(), key=place)


def one_a_seed(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The first run of each seed: the same training once more, with other workers say, is no further evidence."""
    found: dict[int, FinishedRun] = {}
    for run in runs:
        found.setdefault(run.manifest.seed, run)
    return list(found.values())


def student(values: np.ndarray) -> tuple[float, float]:
    """Student's 95 % interval of a mean; missing for fewer than three values, of which two say next to nothing."""
    if len(values) < 3:
        return np.nan, np.nan
    half = student_t(len(values)) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def per_image_scores(runs: Sequence[FinishedRun]) -> pd.Series:
    """The test score of each image, by its number, averaged over runs (seeds) of one question."""
    columns = [run.images.set_index("sample")[run.score_column].astype(float) for run in runs]
    return pd.concat(columns, axis=1, join="inner").mean(axis=1)


def effect(runs: Sequence[FinishedRun], others: Sequence[FinishedRun]) -> dict[str, Any]:
    """How much better ``runs`` score than ``others`` on the same test images: difference and its 95 % interval.

    With three seeds or more in common the interval is Student's, of the mean of the seeds' differences. With fewer it
    is a paired bootstrap over test images, each averaged over the seeds: what other images would have changed, and
    nothing of other seeds; none for fewer than FEW_IMAGES. ``over`` says which. RequestError if the test images are
    not the same.
    """
    if len({question(run) for run in [*runs, *others]}) != 1:
        names = f"{runs[0].name} and {others[0].name}"
        raise RequestError(f"{names} were scored on different test images or targets: they cannot be compared.")
    a, b = per_image_scores(runs).align(per_image_scores(others), join="inner")
    gap = (a - b).to_numpy()
    ours, theirs = ({run.manifest.seed: run.score.value for run in group} for group in (runs, others))
    gains = np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])
    difference, over = float(gap.mean()), f"{len(gap):,} test image{'' if len(gap) == 1 else 's'}"
    low, high = bootstrap_of_enough(gap)
    if len(gains) >= 3:
        difference, (low, high), over = float(gains.mean()), student(gains), f"{len(gains)} seeds"
    return {"difference": difference, "low": low, "high": high, "over": over, "images": len(gap)}


def effects(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Every other recipe of a question against the first of ``by_recipe``: one row a recipe."""
    rows, names = [], labels(runs)
    for asked, group in by_question(runs):
        base, *others = map(one_a_seed, by_recipe(group))
        for other in others:
            row = {"notebook": base[0].manifest.notebook, "question": asked, "metric": base[0].metric}
            row |= {"change": changed_words(base[0], other[0]), "against": names[base[0].name]}
            rows.append(row | effect(other, base) | {"seeds": f"{len(other)} / {len(base)}"})
    columns = ["notebook", "question", "metric", "change", "against", "difference", "low", "high", "over"]
    columns += ["images", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def labels(runs: Sequence[FinishedRun]) -> dict[str, str]:
    """What to call each run, by its name: experiment and network, and what it has changed if another is called so."""
    found, alike = {}, {}
    for run in runs:
        alike.setdefault((run.manifest.notebook, label(run)), []).append(run)
    for (_, name), group in alike.items():
        base, *others = by_recipe(group)
        found |= {run.name: name for run in base}
        for most in (3, None):  # all that has changed, if the first three are not enough to tell them apart
            changes = [changed_words(base[0], other[0], most) for other in others]
            if len({*changes}) == len(changes):
                break
        for other, change in zip(others, changes, strict=True):
            found |= {run.name: f"{name}: {change}" for run in other}
    return found


def label(run: FinishedRun) -> str:
    """Experiment and network of a run, as a figure or table names it."""
    return f"{run.manifest.experiment} ({run.model})" if run.model else run.manifest.experiment


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The entries in which two mappings differ, with the value in each; None where one has none."""
    names = dict.fromkeys([*a, *b])
    return {name: (a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)}


def changed_words(base: FinishedRun, other: FinishedRun, most: int | None = 3) -> str:
    """What ``other`` has changed in the recipe of ``base``: ``model = unet, epochs = 5 and 2 more`` (None: all)."""
    changed = differing(base.recipe(), other.recipe())
    shown = [f"{name} = {new}" for name, (_, new) in changed.items() if name != "experiment"] or [label(other)]
    more = f" and {len(shown) - most} more" if most and len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def differences(a: FinishedRun, b: FinishedRun) -> pd.DataFrame:
    """What differs between two runs: parameters, code, data, environment, device. Columns kind, what, first, second."""
    rows = [
        {"kind": kind, "what": name, "first": first, "second": second}
        for (kind, left), right in zip(_facts(a).items(), _facts(b).values(), strict=True)
        for name, (first, second) in differing(left, right).items()
    ]
    return pd.DataFrame(rows, columns=["kind", "what", "first", "second"])


def _facts(run: FinishedRun) -> dict[str, dict[str, Any]]:
    manifest = run.manifest
    counts = {f"{part} images": count for part, count in manifest.data.counts.items()}
    which = {f"which {part} images": value[:8] for part, value in manifest.data.splits.items()}
    return {
        "parameters": manifest.parameters,
        "code": {"labkit and notebook": str(manifest.code.get("sha256"))[:8]},
        "data": {"name": manifest.data.name, "files": manifest.data.fingerprint[:8], **counts, **which},
        "environment": manifest.environment,
        "device": {"device": manifest.device, "precision": manifest.precision},
    }


def differences_words(a: FinishedRun, b: FinishedRun) -> str:
    """The table of ``differences`` in a sentence or two, and whether the two scores may be compared."""
    if a.folder == b.folder:
        return "There is one run only: nothing to put beside it."
    table, same = differences(a, b), question(a) == question(b)
    kinds = [f"{kind} ({some(list(part['what']))})" for kind, part in table.groupby("kind", sort=False)]
    both = f"{a.name} and {b.name}" if a.name != b.name else f"The two runs {a.name}"  # on two machines, say
    what = f"{both} differ in {', '.join(kinds)}." if kinds else f"{both} are alike."
    verdict = "were scored on the same test images" if same else "were not asked the same question: do not compare them"
    return f"{what} They {verdict}."
