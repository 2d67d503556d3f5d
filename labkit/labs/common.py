"""What the labs share: from parameters to a recipe, and to an open run folder."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from labkit.data.finders import refusals_as_sentences
from labkit.data.loading import Batches
from labkit.data.sources import Source
from labkit.errors import RequestError
from labkit.labs.parameters import Parameters, TrainingParameters, assigned
from labkit.paths import project_root, runs_root
from labkit.results.notebook import banner, watch_cells
from labkit.results.run import Run, folder_name
from labkit.training.loop import PerImage, Recipe, fit
from labkit.training.optim import Schedule, make_optimiser, make_schedule
from labkit.training.precision import Precision, choose_device, choose_precision
from labkit.training.progress import Progress, TensorBoard
from labkit.training.resume import Observer
from labkit.training.stopping import Stop, either, never, patience
from labkit.untrusted import LARGEST_YAML, file_in, read_json, read_yaml


def build_precision(params: TrainingParameters) -> Precision:
    """Device and number format; RequestError if the device is not there."""
    return choose_precision(params.precision, choose_device(params.device))


def build_schedule(params: TrainingParameters) -> Schedule:
    """The learning-rate schedule as a function of time in epochs."""
    return make_schedule(
        params.schedule,
        params.epochs,
        step_size=params.step_size,
        patience=params.step_size,
        warmup_epochs=params.warmup_epochs,
    )


def build_recipe(
    params: TrainingParameters,
    model: nn.Module,
    *,
    objective: PerImage,
    loss: PerImage,
    metric: PerImage,
    metric_name: str,
    stop_early: Stop = never,
) -> Recipe:
    """Everything ``fit`` needs beside the model and the data; ``stop_early`` is a rule beside that of patience."""
    precision = build_precision(params)
    scaled = precision.scaler().is_enabled()
    return Recipe(
        optimiser=make_optimiser(params.optimiser, model, params.learning_rate, params.weight_decay, scaled=scaled),
        learning_rate=params.learning_rate,
        schedule=build_schedule(params),
        epochs=params.epochs,
        objective=objective,
        loss=loss,
        metric=metric,
        metric_name=metric_name,
        precision=precision,
        seed=params.seed,
        stop_early=either(stop_early, patience(params.patience, metric_name)),
        held_out=getattr(params, "select_on", "validation"),
    )


def understood(lab: ModuleType, values: Mapping[str, Any]) -> TrainingParameters:
    """The parameters of a run, less those that its lab no longer has; RequestError if one is missing or not allowed."""
    return lab.Parameters.checked({name: v for name, v in values.items() if name in lab.Parameters.model_fields})


def weights(lab: ModuleType, params: TrainingParameters) -> int:
    """How many trainable parameters the network of these parameters has; counted without memory for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in lab.build_model(params, fetch=False).parameters())


def notebook_of(lab: ModuleType) -> Path:
    """The workbook's own notebook of a lab."""
    return project_root() / "notebooks" / f"{lab.NOTEBOOK}.ipynb"


def notebook_defaults(notebook: Path) -> dict[str, Any]:
    """Names and values of the cell tagged ``parameters``; they are read, not run."""
    try:
        cells = read_json(notebook)["cells"]
        source = next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))
        return {name: ast.literal_eval(value) for name, value in assigned(source).items()}
    except StopIteration:
        raise RequestError(f"{notebook} has no cell tagged 'parameters': restore it from the workbook.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise RequestError(f"The parameters cell of {notebook} cannot be read ({error}): restore it.") from error


def experiments(lab: ModuleType) -> dict[str, dict[str, Any]]:
    """The experiments of a lab by name, each with all parameters."""
    notebook = notebook_of(lab)
    return {path.stem: published(notebook, path.stem) for path in experiment_files(notebook)}


def experiment_files(notebook: Path) -> list[Path]:
    """``experiments/<notebook>/*.yaml`` beside a notebook; for a copy that lies elsewhere, the workbook's own."""
    folders = [root / "experiments" / notebook.stem for root in (notebook.parent, project_root() / "notebooks")]
    return sorted(next((folder for folder in folders if folder.is_dir()), folders[0]).glob("*.yaml"))


def read_experiment(notebook: Path, experiment: str) -> dict[str, Any]:
    """The parameters of ``experiments/<notebook>/<experiment>.yaml`` beside the notebook."""
    files = {path.stem: path for path in experiment_files(notebook)}
    if experiment not in files:
        known = ", ".join(files)
        raise RequestError(f"There is no experiment {experiment!r} of {notebook.stem}: it has {known}.")
    path = files[experiment]
    values = read_yaml(file_in(path.parent, path.name, LARGEST_YAML), yaml.SafeLoader) or {}
    simple = str | int | float | bool | None
    if not isinstance(values, dict) or not all(isinstance(value, simple) for pair in values.items() for value in pair):
        raise RequestError(f"{path} must hold lines of the form 'name: value', one per parameter.")
    return values


def published(notebook: Path, experiment: str) -> dict[str, Any]:
    """All parameters of an experiment as the workbook has it; the notebook's own where there is none of this name."""
    known = experiment in {path.stem for path in experiment_files(notebook)}
    return notebook_defaults(notebook) | (read_experiment(notebook, experiment) if known else {})


def changed(lab: ModuleType, params: Parameters) -> list[str]:
    """The parameters in which a request departs from its experiment as the workbook has it, the seed aside."""
    expected = published(notebook_of(lab), params.experiment)
    return [name for name, value in params.identity().items() if name != "seed" and value != expected.get(name)]


def run_folder(lab: ModuleType, params: Parameters, source: Source, out: str = "") -> Path:
    """Where a run of these parameters on these data lies, under ``out`` (or LABKIT_RUNS, or ``runs/``)."""
    return runs_root(out) / lab.NOTEBOOK / folder_name(lab.NOTEBOOK, params.identity(), source.fingerprint)


def request_facts(lab: ModuleType, params: Parameters, source: Source) -> dict[str, Any]:
    """What the manifest says of a request before anything has run; RequestError if this machine cannot do it."""
    machine = {"device": "cpu", "precision": "float32", "precision_reason": "nothing is trained"}
    if isinstance(params, TrainingParameters):
        machine = training_machine(params)
    request = {"notebook": lab.NOTEBOOK, "experiment": params.experiment, "parameters": params.model_dump()}
    request |= {"seed": params.seed, "changed": changed(lab, params)}
    return request | {**machine, "data": source.facts()}


def training_machine(params: TrainingParameters) -> dict[str, str]:
    """What a training will run on; RequestError if that is not there, or TensorBoard is asked for and is not."""
    precision = build_precision(params)
    if params.tensorboard and not find_spec("tensorboard"):
        raise RequestError(
            "Parameter 'tensorboard' is true, but TensorBoard is not installed: run pip install tensorboard, or set it "
            "to false."
        )
    return {
        "device": str(precision.device),
        "precision": precision.name,
        "precision_reason": precision.reason,
    }


def find_data(lab: ModuleType, params: Parameters) -> Source:
    """The data of a lab, found and checked; DataError says what is wrong with them, or that nobody may read them."""
    with refusals_as_sentences():
        return lab.find_data(params)


def open_run(lab: ModuleType, params: Parameters) -> tuple[Run, Source]:
    """Find the data, claim the run folder, and tell the reader of the notebook what it stands on."""
    source = find_data(lab, params)
    run = Run(
        run_folder(lab, params, source),
        request_facts(lab, params, source),
        params.fresh,
        getattr(params, "anyway", False),
    )
    run.begin_session()
    watch_cells(run)
    banner(run, source)
    return run, source


def train(
    run: Run,
    params: TrainingParameters,
    model: nn.Module,
    train: Batches,
    val: Batches,
    recipe: Recipe,
    *,
    beside: str = "",
    picture: Callable[[], np.ndarray] | None = None,
    watch: Sequence[Observer] = (),
) -> pd.DataFrame:
    """``fit`` with a progress bar, the run folder and TensorBoard (if asked for) looking on; the history as a table.

    ``watch`` looks on as well. ``beside`` names a second training of the same run, which gets a folder of its own in
    the run's. ``picture`` draws what TensorBoard shows after each epoch, (H, W, 3) uint8.
    """
    run.go_on()
    place = run.beside(beside) if beside else run
    if not beside:
        run.record(preprocessing={"channels": train.split.images.shape[1], **asdict(train.preprocessing)})
    recipe = replace(recipe, identity=params.identity() | {"data": run.manifest["data"]["fingerprint"]})
    progress = Progress(params.epochs, recipe.metric_name, run.note_progress, recipe.held_out)
    boards = [TensorBoard(run.folder / "tensorboard" / beside, picture)] if params.tensorboard else []
    try:
        history = fit(model, train, val, recipe, place.checkpoints, [progress, place, *boards, *watch])
    finally:
        for board in boards:
            board.close()
    progress.close(history)
    return pd.DataFrame(history)
