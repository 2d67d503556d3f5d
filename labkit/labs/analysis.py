"""Lab 6: from finished runs to understanding. It trains nothing: its data are the run folders of the other labs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd
import torch
from pydantic import model_validator

from labkit.data.sources import Source, fingerprint_of
from labkit.errors import DataError, RequestError
from labkit.files import sha256
from labkit.labs import LABS, lab_of
from labkit.labs.parameters import Parameters as AnyParameters
from labkit.labs.parameters import text, whole
from labkit.models import UNet
from labkit.paths import runs_root
from labkit.results import compare
from labkit.results.finished import READERS, FinishedRun, find_runs
from labkit.results.tables import reported
from labkit.results.words import name_of, score
from labkit.training.cost import cost_table
from labkit.training.losses import dice_loss, pixel_cross_entropy
from labkit.training.precision import Precision, choose_device, choose_precision

NOTEBOOK = "06_analysis"
METRIC = "claims_tried"
READ = ("manifest.json", "results.json", "history.csv")  # what makes a run this run
BATCHES = (1, 2, 4, 8)
HALVED = 16  # a UNet of four levels halves four times


class Parameters(AnyParameters):
    """The parameters of notebook 06."""

    runs_root: text("folder of the runs; empty: LABKIT_RUNS, else runs/")
    labs: text("which labs, empty: all", r"^(\d\d(,\d\d)*)?$", "numbers such as 02,03")
    experiments: text("which experiments, empty: all", r"^([\w.-]+(,[\w.-]+)*)?$", "names separated by commas")
    measure_side: whole(0, 512, "measure speed and memory on images of this side, in pixels; 0: do not")

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        if 0 < self.measure_side < 2 * HALVED:
            raise ValueError(
                f"Parameter 'measure_side' is {self.measure_side}, but must be 0 or at least {2 * HALVED}: the UNet "
                f"that is measured halves its images to a {HALVED}th, and batch normalisation needs more than a pixel."
            )
        return self


@dataclass(frozen=True)
class Runs(Source):
    """The finished runs under a folder as a source of data."""

    def caveat(self) -> str:
        """What a reader must know of these runs before any score."""
        if self.kind == "official" and self.verified:
            return "All runs are on complete published data."
        part = {"sample": "All", "mixed": "Some", "official": "None"}[self.kind]
        rest = "" if self.kind != "official" else " But some are on a part of the data or on other files."
        return (
            f"**{part} of these runs are on sample data.**{rest} Tables and figures name the data of each run, and no "
            f"report is judged by a run on anything but the complete published data."
        )


@dataclass(frozen=True)
class Data:
    """The finished runs, and the folders that hold none, with the reason."""

    runs: list[FinishedRun]
    left_out: pd.DataFrame

    def facts(self, source: Source) -> dict[str, Any]:
        """For the manifest: where the runs lie, and which they are."""
        counts = {"runs": len(self.runs), "left_out": len(self.left_out)}
        return source.facts() | {"counts": counts, "runs": [run.name for run in self.runs]}


def known(runs: Sequence[FinishedRun], left_out: pd.DataFrame) -> tuple[list[FinishedRun], pd.DataFrame]:
    """The runs of labs that this workbook has; the others join what was left out."""
    foreign = [
        {"folder": run.name, "reason": f"it is of {run.manifest.notebook!r}, which is no lab of this workbook."}
        for run in runs
        if run.manifest.notebook not in LABS
    ]
    kept = [run for run in runs if run.manifest.notebook in LABS]
    return kept, pd.concat([left_out, pd.DataFrame(foreign, columns=left_out.columns)], ignore_index=True)


def wanted(params: Parameters) -> Data:
    """The runs that the parameters ask for."""
    root = runs_root(params.runs_root)
    runs, left_out = known(*find_runs(root))
    labs, experiments = (set(text.split(",")) - {""} for text in (params.labs, params.experiments))
    runs = [run for run in runs if not labs or run.manifest.notebook[:2] in labs]
    runs = [run for run in runs if not experiments or run.manifest.experiment in experiments]
    if not runs:
        such = " of these labs and experiments" if labs or experiments else ""
        raise DataError(f"There are no finished runs{such} under {root}: make some first, with labkit run --all.")
    return Data(runs, left_out)


def find_data(params: Parameters) -> Runs:
    """Find the finished runs; DataError if there are none."""
    runs = wanted(params).runs
    kinds = {run.manifest.data.kind for run in runs}
    paths = {f"{run.name}/{name}": run.folder / name for run in runs for name in READ}
    files = {name: sha256(path) for name, path in paths.items() if path.exists()}  # a rival shares its run's manifest
    labs = len({run.manifest.notebook for run in runs})
    return Runs(
        name=f"{len(runs)} trained networks of {labs} lab{'s' * (labs > 1)}",
        kind=kinds.pop() if len(kinds) == 1 else "mixed",
        verified=not any(run.manifest.data.obstacle for run in runs),
        root=runs_root(params.runs_root),
        fingerprint=fingerprint_of(files),
        files=files,
    )


def load_data(params: Parameters, source: Source) -> Data:
    """The runs once more, as ``find_data`` has found them."""
    return wanted(params)


def results(claims: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """``results.json``: how many of the reported numbers have been tried, and how many were reproduced or passed."""
    tried = claims[claims["verdict"] != "not run"]
    held = tried["verdict"].isin(["reproduced", "better"]).sum()
    whole = {"low": None, "high": None, "interval": ""}
    return {
        METRIC: {"value": float(len(tried)), "n": len(claims), **whole, "over": "reported numbers"},
        "claims_reproduced_or_passed": {"value": float(held), "n": len(tried), **whole, "over": "numbers tried"},
    }


def missing(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """What is not there yet, and the command that makes it: labs, then experiments of the reports."""
    done = {(run.manifest.notebook, run.manifest.experiment) for run in runs}
    rows = []
    for notebook in (name for name in LABS if name not in READERS):
        number = notebook[:2]
        if notebook not in {name for name, _ in done}:
            rows.append({"lab": number, "missing": "any run", "command": f"labkit run {number}"})
        for experiment in dict.fromkeys(reported(notebook)["experiment"]):
            if (notebook, experiment) not in done:
                command = f"labkit run {number} -e {experiment} --data DIR"
                rows.append({"lab": number, "missing": f"{experiment}, as reported", "command": command})
    return pd.DataFrame(rows, columns=["lab", "missing", "command"])


def parameters_of(run: FinishedRun) -> AnyParameters | None:
    """The parameters of a run as its lab understands them today; None if it was made by other code."""
    lab = lab_of(run.manifest.notebook)
    known = {name: value for name, value in run.manifest.parameters.items() if name in lab.Parameters.model_fields}
    try:
        return lab.Parameters.checked(known)
    except RequestError:
        return None


def parameter_count(run: FinishedRun) -> int | None:
    """Trainable parameters of a run's network, built anew from the parameters of the run; None if that cannot be."""
    params = parameters_of(run)
    if params is None:
        return None
    lab = lab_of(run.manifest.notebook)
    try:
        return sum(p.numel() for p in lab.build_model(params, fetch=False).parameters())
    except (ValueError, RuntimeError):  # a shape that the network of today does not take
        return None


def speed_and_memory(side: int) -> pd.DataFrame:
    """What a batch size and a precision cost: one row each for a small UNet on images of ``side`` × ``side`` pixels.

    Columns precision, batch_size, images/s in training, MiB that a step keeps for its backward pass in all.
    """
    device = choose_device("auto")
    chosen = choose_precision("auto", device)
    half = chosen if chosen.name != "float32" else Precision("bfloat16", device, "to see what it costs here")
    rows = []
    for precision in (choose_precision("float32", device), half):
        for size in BATCHES:
            torch.manual_seed(0)
            images, masks = torch.randn(size, 1, side, side), (torch.rand(size, side, side) < 0.2).long()
            network = UNet(1, 1, features=[16, 32, 64, 128], bottleneck=256)
            cost = cost_table({"UNet": network}, images, masks, pixel_cross_entropy, precision, rounds=2).iloc[0]
            row = {"precision": precision.name, "batch_size": size, "images/s": cost["training images/s"]}
            rows.append(row | {"memory (MiB)": size * cost["memory (MiB)"]})
    return pd.DataFrame(rows)


def costs(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """What each network is, costs and scores: one row a run, the score with the name of its metric."""
    rows, names = [], compare.labels(runs)
    for run in runs:
        data, parameters = run.manifest.data, run.manifest.parameters
        rows.append(
            {
                "lab": run.manifest.notebook[:2],
                "network": names[run.name],
                "data": data.name,
                "parameters": parameter_count(run),
                "input": f"{parameters.get('image_size')}²",
                "images": data.counts.get("train", 0),
                "minutes": run.history["seconds"].sum() / 60,
                "batch": parameters.get("batch_size"),
                "workers": parameters.get("num_workers"),
                "precision": run.manifest.precision,
                "images/s": run.history["images_per_second"].median(),
                "test score": f"{name_of(run.metric)} {score(run.metric, run.score.value)}",
            }
        )
    return pd.DataFrame(rows)


def curves(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Validation score of each run by epoch and by seconds of training; panel is the question, by lab."""
    parts, names = [], compare.labels(runs)
    for run in runs:
        part = run.history[["epoch"]].assign(
            panel=panel(run),
            label=f"{names[run.name]}, seed {run.manifest.seed}",
            metric=run.metric,
            score=run.history[f"val_{run.metric}"],
            seconds=run.history["seconds"].cumsum(),
        )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def points(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """``compare.runs_table`` with panel and label for figures; a panel holds what may be compared."""
    names = compare.labels(runs)
    table = compare.runs_table(runs)
    return table.assign(panel=[panel(run) for run in runs], label=[names[run.name] for run in runs])


def panel(run: FinishedRun) -> str:
    """What runs of one axes have in common: lab and data."""
    return f"Lab {run.manifest.notebook[:2]}: {run.manifest.data.name}"


def pairs(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The runs that trained two networks side by side: both of each."""
    names = {run.name.rsplit("/", 1)[0] for run in runs if run.is_rival}
    return [run for run in runs if run.name in names or run.is_rival]


def two_alike(runs: Sequence[FinishedRun]) -> tuple[FinishedRun, FinishedRun]:
    """The first two runs that answer the same question; without such, the first two (or the first twice)."""
    for _, group in compare.by_question(runs):
        if len(group) > 1:
            return group[0], group[1]
    return runs[0], runs[min(1, len(runs) - 1)]


def imbalance(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Foreground share of the test images of each segmentation, and what finding nothing would score."""
    rows, names = [], compare.labels(runs)
    for run in runs:
        if run.metric != "dice" or not run.has_table("tables/parts"):
            continue
        parts = run.table("tables/parts").set_index("part")
        share = float(parts.loc["test", "foreground"])
        row = {"lab": run.manifest.notebook[:2], "network": names[run.name], "data": run.manifest.data.name}
        row |= {"loss": run.manifest.parameters.get("loss"), "foreground": share, "nothing found": 1 - share}
        row |= {"pixel accuracy": run.results["pixel_accuracy"].value, "Dice": run.score.value}
        rows.append(row)
    return pd.DataFrame(rows)


def pull_of_foreground(side: int = 64) -> pd.DataFrame:
    """Which share of the gradient comes from foreground pixels when all logits are 0: columns loss, foreground, pull.

    The gradient of labkit's own losses by the logits (1, 1, side, side) of one image, absolute values added up.
    """
    rows = []
    for name, loss in {"cross-entropy": pixel_cross_entropy, "Dice loss": dice_loss}.items():
        for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5):
            mask = (torch.arange(side * side) < share * side * side).long().view(1, side, side)
            logits = torch.zeros(1, 1, side, side, requires_grad=True)
            loss(logits, mask).sum().backward()
            size = logits.grad.abs()[0, 0]
            foreground = float(mask.double().mean())
            rows.append({"loss": name, "foreground": foreground, "pull": float(size[mask[0] == 1].sum() / size.sum())})
    return pd.DataFrame(rows)
