"""Every number of the course reports beside the runs that repeat its recipe on the complete published data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from labkit.results.compare import one_a_seed
from labkit.results.finished import NOT_LEARNED, FinishedRun, hardware
from labkit.results.reported import claims, verdict
from labkit.results.words import name_of
from labkit.training.metrics import student_t

NOT_RUN = {"ours": np.nan, "sd": np.nan, "n": 0, "difference": np.nan, "verdict": "not run", "hardware": ""}


def claims_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row a claimed number: ours over seeds (mean, sd, n), difference, verdict, hardware, remark.

    Runs with a changed recipe, on samples, on other files or on a part of the test set do not count: their claim is
    ``not run``. A claim is ``reproduced`` where it lies in the 95 % interval of one further run of ours (three seeds or
    more) or of the test images (fewer).
    """
    rows = []
    for claim in claims():
        named = {key: claim[key] for key in ("notebook", "report", "experiment", "metric", "split")}
        row = named | {"quantity": quantity(claim), "reported": claim["value"]}
        rows.append(row | _ours(runs, claim) | {"remark": claim["remark"]})
    return pd.DataFrame(rows)


def tried(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``claims_table`` that some run has repeated, as they are shown."""
    ours = ["ours", "sd", "n", "hardware", "difference", "verdict"]
    return table.loc[table["verdict"] != "not run", ["report", "experiment", "quantity", "reported", *ours, "remark"]]


def untried(table: pd.DataFrame) -> pd.DataFrame:
    """The claimed scores that no run has repeated, without those of single classes and epochs."""
    single = (table["split"] == "class") | table["split"].str.endswith(" curve")
    kept = table[(table["verdict"] == "not run") & ~single]
    return kept.assign(lab=kept["notebook"].str[:2])[["lab", "report", "experiment", "quantity", "reported", "remark"]]


def quantity(claim: Mapping[str, Any]) -> str:
    """What a claim is about: ``test accuracy``, ``val loss, epoch 10``, ``test accuracy of class 7``."""
    split, metric = claim["split"], name_of(claim["metric"])
    part = {"train": "training", "val": "validation"}.get(split.removesuffix(" curve"), split)
    if split == "class":
        return f"test accuracy of class {metric}"
    if split.endswith(" curve"):
        return f"{part} {metric}, epoch {claim['epoch']}"
    if "against" in claim:
        return f"{metric}, {claim['experiment']} against {claim['against']}"
    return f"{metric} of training" if split == "cost" else f"{part} {metric}"


def repeats(run: FinishedRun, notebook: str, experiment: str) -> bool:
    """Whether a run is this experiment, unchanged, on the complete published data; a rival is not what was claimed."""
    same = (run.manifest.notebook, run.manifest.experiment) == (notebook, experiment)
    return same and is_unchanged_experiment(run)


def is_unchanged_experiment(run: FinishedRun) -> bool:
    """Whether a run is an experiment as it is published, on the complete published data; no rival is."""
    changed = set(run.manifest.changed) - set(NOT_LEARNED)
    return not (changed or run.manifest.data.obstacle or run.is_rival)


def gains_over(notebook: str) -> list[str]:
    """The experiments of a lab over which another is claimed to gain."""
    return [claim["against"] for claim in claims() if claim["split"] == "gain" and claim["notebook"] == notebook]


def _ours(runs: Sequence[FinishedRun], claim: Mapping[str, Any]) -> dict[str, Any]:
    same = one_a_seed([run for run in runs if repeats(run, claim["notebook"], claim["experiment"])])
    if claim["split"] == "gain":
        rivals = [run for run in runs if repeats(run, claim["notebook"], claim["against"])]
        found = _gains(same, rivals, claim)
    else:
        found = [score for run in same if (score := claimed_score(run, claim))]
    if not found:
        return dict(NOT_RUN)
    values = np.array([score["value"] for score in found])
    known = {"value": values.mean()} | interval(found)
    judged = "other hardware" if claim["split"] in ("cost", "ratio") else verdict(claim, known)
    return {
        "ours": values.mean(),
        "sd": values.std(ddof=1) if len(values) > 1 else np.nan,
        "n": len(values),
        "difference": values.mean() - claim["value"],
        "verdict": judged,
        "hardware": ", ".join(sorted({hardware(run) for run in same})),
    }


def _gains(runs: Sequence[FinishedRun], others: Sequence[FinishedRun], claim: Mapping[str, Any]) -> list[dict]:
    """The difference of two experiments in one metric, seed by seed."""
    by_seed = {run.manifest.seed: run for run in one_a_seed(others)}
    pairs = [(claimed_score(run, claim), by_seed.get(run.manifest.seed)) for run in runs]
    scores = [(a, claimed_score(other, claim)) for a, other in pairs if a and other]
    return [{"value": a["value"] - b["value"]} for a, b in scores if b]


def interval(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Where one further run would lie with 95 %: low and high, as far as ``scores`` can tell."""
    values = np.array([score["value"] for score in scores])
    n = len(values)
    if n >= 3:
        half = student_t(n) * values.std(ddof=1) * np.sqrt(1 + 1 / n)
        return {"low": values.mean() - half, "high": values.mean() + half}
    if all("low" in score for score in scores):
        return {"low": min(score["low"] for score in scores), "high": max(score["high"] for score in scores)}
    return {}


def claimed_score(run: FinishedRun, claim: Mapping[str, Any]) -> dict[str, float] | None:
    """Our number for a claimed one, with the interval of the test images where there is one; None if it is not there.

    Training scores are those of the last epoch, as in the reports.
    """
    split, metric = claim["split"], claim["metric"]
    if split == "class":
        return _class_score(run, metric)
    if split == "ratio":
        return _speed_ratio(run, claim["against"])
    if split == "cost":
        return {"value": float(run.history["seconds"].sum() / 60)}
    if split == "train" or split.endswith(" curve"):
        epoch = claim.get("epoch", len(run.history))
        column = f"{split.split()[0]}_{metric}"
        rows = run.history.loc[run.history["epoch"] == epoch]
        return {"value": float(rows[column].iloc[0])} if column in rows and len(rows) else None
    result = run.results.get(metric)
    if result is None or result.value is None:
        return None
    bounds = {"low": result.low, "high": result.high} if None not in (result.low, result.high) else {}
    return {"value": result.value, **bounds}


def _speed_ratio(run: FinishedRun, other: str) -> dict[str, float] | None:
    """How many times as many images a second a run's network reads at test as ``other``, its rival."""
    if not run.has_table("tables/costs"):
        return None
    table = run.table("tables/costs")
    if not {"model", "test images/s"} <= set(table) or not {run.model, other} <= set(table["model"]):
        return None
    speed = table.drop_duplicates("model").set_index("model")["test images/s"]
    return {"value": float(speed[run.model] / speed[other])} if min(speed[run.model], speed[other]) > 0 else None


def _class_score(run: FinishedRun, name: str) -> dict[str, float] | None:
    if not run.has_table("per_class"):
        return None
    table = run.table("per_class")
    rows = table[table["class"].astype(str) == name] if "class" in table else table[:0]
    if not len(rows) or not {"accuracy", "low", "high"} <= set(rows):
        return None
    return {"value": float(rows["accuracy"].iloc[0]), "low": rows["low"].iloc[0], "high": rows["high"].iloc[0]}
