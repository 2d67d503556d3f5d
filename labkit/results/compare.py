"""Many runs side by side: what may be compared, over seeds, by ablation, against the reports, and what differs.

Two runs answer the same *question* if they were scored on the same test images for the same target. Scores of
different questions never stand in one column.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from labkit.errors import RequestError
from labkit.paths import PACKAGE
from labkit.results.finished import FinishedRun
from labkit.results.tables import verdict
from labkit.training.metrics import bootstrap

TARGETS = ("dataset", "target", "num_classes")  # parameters that change what a test score is about
PAIRS = ("digit_size", "place", "ink", "image_size")  # and those that make other test images of the same photos
SCORES = ("accuracy", "dice", "iou", "pixel_accuracy", "loss")


def question(run: FinishedRun) -> str:
    """What a test score answers, as one word: the same for runs that may be compared."""
    parameters, data = run.manifest.parameters, run.manifest.data
    names = [*TARGETS, *(PAIRS if "digit_size" in parameters else ())]
    asked = {name: parameters.get(name) for name in names if name in parameters}
    key = [run.manifest.notebook, data.fingerprint, data.splits.get("test"), parameters.get("select_on"), asked]
    return json.dumps(key, sort_keys=True)


def runs_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row a run: what it was, what it scored, what it cost, on what machine."""
    rows = []
    for run in runs:
        manifest, chosen = run.manifest, run.chosen
        rows.append(
            {
                "notebook": manifest.notebook,
                "experiment": manifest.experiment,
                "model": manifest.parameters.get("model", ""),
                "seed": manifest.seed,
                "data": manifest.data.name,
                "kind": manifest.data.kind,
                "images": manifest.data.counts.get("train", 0),
                "image_size": manifest.parameters.get("image_size"),
                "metric": run.metric,
                "score": run.score.value,
                "low": run.score.low,
                "high": run.score.high,
                "n": run.score.n,
                "gap": chosen[f"train_{run.metric}"] - chosen[f"val_{run.metric}"],
                "epochs": len(run.history),
                "chosen": int(chosen["epoch"]),
                "train_seconds": run.history["seconds"].sum(),
                "hardware": hardware(run),
                "precision": manifest.precision,
                "obstacle": manifest.data.obstacle,
                "question": question(run),
                "recipe": json.dumps(run.recipe(), sort_keys=True),
                "run": run.name,
            }
        )
    columns = list(rows[0]) if rows else ["notebook", "experiment", "seed", "metric", "score", "question", "recipe"]
    return pd.DataFrame(rows, columns=columns)


def hardware(run: FinishedRun) -> str:
    """``2 × AMD EPYC``, or the name of the graphics card."""
    machine = run.manifest.environment
    if run.manifest.device != "cpu" and machine.get("gpu"):
        return str(machine["gpu"])
    return f"{machine.get('threads', '?')} × {machine.get('cpu', 'unknown processor')}"


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Runs that differ in nothing but the seed, put together: mean, standard deviation, n, 95 % interval of the mean.

    The interval is Student's over seeds where there are at least three; with fewer it is that of the test images of
    the one run, or missing. ``over`` says which.
    """
    rows = []
    for _, group in table.groupby(["question", "recipe"], sort=False):
        first, scores = group.iloc[0], group["score"].to_numpy(float)
        low, high, over = first["low"], first["high"], "test images"
        if len(scores) > 1:
            low, high, over = *student(scores), "seeds"
        rows.append(
            {
                **first[["notebook", "experiment", "model", "data", "kind", "metric"]],
                "n": len(scores),
                "mean": scores.mean(),
                "sd": scores.std(ddof=1) if len(scores) > 1 else np.nan,
                "low": low,
                "high": high,
                "over": over,
                "epochs": group["epochs"].mean(),
                "train_seconds": group["train_seconds"].mean(),
                "gap": group["gap"].mean(),
                **first[["image_size", "hardware", "precision", "obstacle", "question", "recipe"]],
            }
        )
    return pd.DataFrame(rows)


def student(values: np.ndarray) -> tuple[float, float]:
    """Student's 95 % interval of a mean; missing for fewer than three values, of which two say next to nothing."""
    if len(values) < 3:
        return np.nan, np.nan
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def per_image_scores(runs: Sequence[FinishedRun]) -> pd.Series:
    """The test score of each image, by its number, averaged over runs (seeds) of one question."""
    columns = []
    for run in runs:
        table = run.table("per_image")
        name = "correct" if run.metric == "accuracy" else run.metric
        if "sample" not in table or name not in table:
            raise RequestError(f"{run.folder / 'per_image.csv'} has no columns sample and {name}: run it again.")
        columns.append(table.set_index("sample")[name].astype(float))
    return pd.concat(columns, axis=1, join="inner").mean(axis=1)


def effect(runs: Sequence[FinishedRun], others: Sequence[FinishedRun]) -> dict[str, Any]:
    """How much better ``runs`` score than ``others`` on the same test images: difference and its 95 % interval.

    Paired bootstrap over test images, each averaged over the seeds. RequestError if the test images are not the same.
    """
    if len({question(run) for run in [*runs, *others]}) != 1:
        names = f"{runs[0].name} and {others[0].name}"
        raise RequestError(f"{names} were scored on different test images or targets: they cannot be compared.")
    a, b = per_image_scores(runs).align(per_image_scores(others), join="inner")
    gap = (a - b).to_numpy()
    low, high = bootstrap(gap)
    return {"difference": float(gap.mean()), "low": low, "high": high, "images": len(gap), "seeds": len(runs)}


def effects(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Every other recipe of a question against the one that was run most often, or first: one row a recipe."""
    rows = []
    table = runs_table(runs)
    for _, asked in table.groupby("question", sort=False):
        groups = [[runs[i] for i in part.index] for _, part in asked.groupby("recipe", sort=False)]
        groups.sort(key=len, reverse=True)
        for group in groups[1:]:
            changed = differing(groups[0][0].recipe(), group[0].recipe())
            row = {"notebook": group[0].manifest.notebook, "metric": group[0].metric}
            row |= {"change": short(changed), "against": label(groups[0][0]), **effect(group, groups[0])}
            rows.append(row | {"seeds": f"{len(group)} / {len(groups[0])}"})
    columns = ["notebook", "metric", "change", "against", "difference", "low", "high", "images", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def label(run: FinishedRun) -> str:
    """Experiment and network of a run, as a figure or table names it."""
    model = run.manifest.parameters.get("model")
    return f"{run.manifest.experiment} ({model})" if model else run.manifest.experiment


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The entries in which two mappings differ, with the value in each; None where one has none."""
    names = dict.fromkeys([*a, *b])
    return {name: (a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)}


def short(changed: Mapping[str, tuple[Any, Any]], most: int = 3) -> str:
    """``model = unet, epochs = 5 and 2 more``."""
    shown = [f"{name} = {new}" for name, (_, new) in changed.items() if name not in ("experiment", "rival")]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def differences(a: FinishedRun, b: FinishedRun) -> pd.DataFrame:
    """What differs between two runs: parameters, code, data, environment, device. Columns kind, what, first, second."""
    parts = {"parameter": (a.manifest.parameters, b.manifest.parameters)}
    parts["code"] = ({"sha256": a.manifest.code.get("sha256")}, {"sha256": b.manifest.code.get("sha256")})
    parts["data"] = tuple(
        {"name": r.manifest.data.name, **r.manifest.data.splits, **_counts(r.manifest.data.counts)} for r in (a, b)
    )
    parts["environment"] = (a.manifest.environment, b.manifest.environment)
    parts["device"] = tuple({"device": r.manifest.device, "precision": r.manifest.precision} for r in (a, b))
    rows = [
        {"kind": kind, "what": name, "first": first, "second": second}
        for kind, (left, right) in parts.items()
        for name, (first, second) in differing(left, right).items()
    ]
    return pd.DataFrame(rows, columns=["kind", "what", "first", "second"])


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {f"{name} images": count for name, count in counts.items()}


def reported_against_runs(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Every number of the reports beside the runs that repeat its recipe on the complete published data.

    One row a claim: ours is the mean over seeds, with sd, n and hardware; then difference, verdict and remark. A claim
    whose experiment was not run so, is ``not run``; runs on samples or on a part of the data do not count.
    """
    claims = json.loads((PACKAGE / "results" / "reported.json").read_text("utf-8"))
    rows = []
    for claim in claims:
        if claim["split"] == "class":
            continue
        same = [run for run in runs if repeats(run, claim)]
        found = [score for run in same if (score := claimed_score(run, claim))]
        row = {key: claim[key] for key in ("notebook", "report", "experiment", "metric")}
        row |= {"quantity": f"{claim['split']} {claim['metric']}", "reported": claim["value"], "n": len(found)}
        ours = {"ours": np.nan, "sd": np.nan, "difference": np.nan, "hardware": "", "verdict": "not run"}
        if found:
            values = np.array([score["value"] for score in found])
            known = all("low" in score for score in found)
            span = {"low": min(s["low"] for s in found), "high": max(s["high"] for s in found)} if known else {}
            ours = {
                "ours": values.mean(),
                "sd": values.std(ddof=1) if len(values) > 1 else np.nan,
                "difference": values.mean() - claim["value"],
                "hardware": ", ".join(sorted({hardware(run) for run in same})),
                "verdict": verdict(claim, {"value": values.mean(), **span}),
            }
        rows.append({**row, **ours, "remark": claim["remark"]})
    return pd.DataFrame(rows)


def repeats(run: FinishedRun, claim: Mapping[str, Any]) -> bool:
    """Whether a run is one of the claimed experiment, on the complete published data."""
    manifest = run.manifest
    same = (manifest.notebook, manifest.experiment) == (claim["notebook"], claim["experiment"])
    return same and not manifest.data.obstacle and run.name.count("/") == 1  # a rival is not what was claimed


def claimed_score(run: FinishedRun, claim: Mapping[str, Any]) -> dict[str, float] | None:
    """Our number for a claimed one: of the test images with its interval, or the training score of the last epoch."""
    if claim["split"] == "train":
        column = f"train_{claim['metric']}"
        return {"value": float(run.history[column].iloc[-1])} if column in run.history else None
    result = run.results.get(claim["metric"])
    if result is None or result.value is None:
        return None
    bounds = {"low": result.low, "high": result.high} if None not in (result.low, result.high) else {}
    return {"value": result.value, **bounds}
