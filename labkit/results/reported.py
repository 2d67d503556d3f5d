"""What the course reports claim (``reported.json``; nobody verified it), and one run beside it."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from labkit.paths import PACKAGE
from labkit.results.compare import PAIRS
from labkit.results.finished import NOT_LEARNED

BLOCKS = ("blocks", "width", "growth", "tail", "early_pool", "image_size")  # what makes a block CNN another network


def claims() -> list[dict[str, Any]]:
    """What the reports claim, one entry a number."""
    return json.loads((PACKAGE / "results" / "reported.json").read_text("utf-8"))


def claims_of(notebook: str) -> pd.DataFrame:
    """The claims of one notebook as a table."""
    rows = pd.DataFrame(claims())
    return rows[rows["notebook"] == notebook].drop(columns="notebook").reset_index(drop=True)


def scores(notebook: str, experiment: str, split: str) -> pd.Series:
    """The claimed values of one experiment and split, by metric; per-class accuracies are called by their class."""
    found = claims_of(notebook).query("experiment == @experiment and split == @split")
    return found.set_index("metric")["value"]


def against_ours(
    notebook: str,
    params: Mapping[str, Any],
    recipes: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, Mapping[str, Any]],
    history: pd.DataFrame,
    obstacle: str = "",
) -> pd.DataFrame:
    """Each reported number beside this run's, with a verdict and with what differs from the report's recipe.

    ``recipes`` are the parameters of the experiments by name. ``obstacle`` names what forbids a comparison (sample
    data, a part of the test set); then no number of ours is put beside a reported one. Nor is one put beside a claimed
    gain, which one run cannot show. A training score is that of the last epoch, as in the reports.
    """
    rows = []
    for claim in claims_of(notebook).query("split in ['test', 'train', 'gain']").to_dict("records"):
        result, quantity = results[claim["metric"]], f"{claim['split']} {claim['metric']}"
        other = other_question(params, recipes[claim["experiment"]], claim["metric"])
        if claim["split"] == "train":
            result = {"value": float(history[f"train_{claim['metric']}"].iloc[-1])}
        elif claim["split"] == "gain":
            quantity = f"{claim['metric']}, gain over {claim['against']}"
            other = "a gain takes both networks, over several seeds (lab 6)"
        other = obstacle or other
        ours = {"ours": np.nan, "verdict": f"not comparable: {other}"}
        if not other:
            ours = {"ours": result["value"], "verdict": verdict(claim, result)}
        row = {
            "report": f"{claim['report']}, {claim['experiment']}",
            "quantity": quantity,
            "reported": claim["value"],
        }
        recipe = recipe_words(params, claim["experiment"], recipes[claim["experiment"]])
        rows.append({**row, **ours, "recipe": recipe, "remark": claim["remark"]})
    return pd.DataFrame(rows)


def other_question(params: Mapping[str, Any], recipe: Mapping[str, Any], metric: str) -> str:
    """What makes this run the answer to another question than a report's: network, target, images, loss; or nothing."""
    for name in ("target", "dataset", *(PAIRS if "digit_size" in recipe else ())):
        if name in recipe and params[name] != recipe[name]:
            return f"another {name.replace('_', ' ').replace('dataset', 'data set')}"
    if metric == "loss" and recipe.get("loss", params.get("loss")) != params.get("loss"):
        return "another loss"
    if "model" in recipe and not recipe["model"].startswith(params["model"].removesuffix("_imagenet")):
        return "another network"
    shape = BLOCKS if "blocks" in recipe else ("width",) if "digit_size" in recipe else ()
    if any(params[name] != recipe[name] for name in shape):
        return "another network"
    return ""


def recipe_words(params: Mapping[str, Any], experiment: str, recipe: Mapping[str, Any]) -> str:
    """``the report's``, or what is changed in it, or the name of another recipe."""
    aside = ("experiment", *NOT_LEARNED)
    changed = [f"{key} = {params[key]}" for key, value in recipe.items() if key not in aside and params[key] != value]
    if not changed:
        return "the report's"
    if params["experiment"].startswith(experiment):
        return f"the report's, but {', '.join(changed)}"
    return f"another ({params['experiment']})"


def verdict(claim: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """``reproduced`` where the reported value lies in our 95 % interval, else better or worse; a loss is better low."""
    if "low" not in ours:
        if ours["value"] == claim["value"]:
            return "reproduced (no interval)"
        better = (ours["value"] > claim["value"]) == (claim["metric"] != "loss")
        return ("better" if better else "worse") + " (no interval)"
    if ours["low"] <= claim["value"] <= ours["high"]:
        return "reproduced"
    return "better" if (ours["low"] > claim["value"]) == (claim["metric"] != "loss") else "worse"
