"""What ``00_start_here`` shows: this machine, a picture of each lab, where data come from. It trains nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from labkit.data.finders import is_there, official
from labkit.data.sources import check_root, registry
from labkit.errors import LabError
from labkit.labs import lab_of, pair_scoring, run_tables, scoring
from labkit.labs.common import find_data, notebook_defaults
from labkit.labs.parameters import Checked, text, whole
from labkit.paths import data_root, data_root_is_named, runs_root
from labkit.results import figures, mask_words, masks, notebook, pairs, picture_tables, plots, run_plots, run_words
from labkit.results.words import many
from labkit.running import hardware, machine
from labkit.running.doctor import Steps
from labkit.running.findings import Finding
from labkit.running.request import find_notebook

Figure = tuple[figures.Plot, pd.DataFrame, str, dict[str, Any]]  # plot function, table, description, options


class Parameters(Checked):
    """The parameters of the notebook."""

    data_root: text("folder of the data sets; empty: LABKIT_DATA, else data/")
    examples: whole(1, 8, "pictures of each lab")
    seed: whole(0, 2**31 - 1, "which pictures")


def this_machine(steps: Steps) -> pd.DataFrame:
    """What a run would use here, from what the doctor's probe has found: columns ``what`` and ``here``."""
    use = steps.get("use", {}).get("facts")
    rows = []
    if use:
        rows = [("device", use["device"]), ("precision", f"{use['precision']} ({use['reason']})")]
        rows += [("threads", f"{use['threads']} on {machine.usable_cores()} cores")]
    total, free, _ = hardware.memory()
    rows += [("memory", f"{free / hardware.GIB:.1f} of {total / hardware.GIB:.1f} GiB are free")]
    runs = runs_root()
    rows += [("disk", f"{machine.free_bytes(runs) / hardware.GIB:.1f} GiB are free where runs are kept")]
    return pd.DataFrame(rows, columns=["what", "here"])


def remedies(findings: list[Finding]) -> str:
    """What the doctor finds amiss, as a list in Markdown; or that nothing is."""
    amiss = sorted((f for f in findings if f.grade != "good"), key=lambda finding: finding.grade != "wrong")
    if not amiss:
        return f"**Nothing is wrong**: {many(len(findings), 'check')}, all good."
    said = [f"- **{f.grade}**: {f.what}{f'. To mend it: {f.remedy}' if f.remedy else ''}." for f in amiss]
    return "\n".join([f"{len(findings) - len(amiss)} checks are good. What else was found:", "", *said])


def data_sets(root: str) -> pd.DataFrame:
    """A row per data set: which labs use it, what is here, what stands in for it, its licence, how to fetch it."""
    rows = []
    for name, facts in registry().items():
        rows.append(
            {
                "data set": facts["name"].split(",")[0],
                "labs": facts["labs"],
                "here": _here(name, root),
                "sample": facts["sample"],
                "licence": facts["licence"],
                "to fetch it": f"labkit data get {name}",
                "MB": facts["megabytes"],
            }
        )
    return pd.DataFrame(rows)


def _here(name: str, root: str) -> str:
    """What of a data set lies under the data root."""
    try:
        check_root(data_root(root), data_root_is_named(root))
        return official(name, root).name if is_there(name, data_root(root)) else "no: the sample is taken"
    except LabError as error:
        return f"cannot be used: {error}"


def show_lab(number: str, params: Parameters) -> None:
    """Draw a few images of a lab, on the data that the lab would use now; or say why they cannot be read."""
    try:
        plot, table, alt, options, mark = _drawn(number, params)
    except LabError as error:
        notebook.say(f"> {error}")
    else:
        notebook.passing_figure(plot, table, alt, mark, **options)


def _drawn(number: str, params: Parameters) -> tuple[figures.Plot, pd.DataFrame, str, dict[str, Any], str]:
    path = find_notebook(number)
    lab = lab_of(path.stem)
    values = notebook_defaults(path) | {"data_root": params.data_root}
    lab_params = lab.Parameters.checked(values)
    source = find_data(lab, lab_params)
    data = lab.load_data(lab_params, source)
    return *DRAW[number](data, params, lab_params), figures.mark_of({"data": source.facts()})


def chosen(count: int, params: Parameters) -> np.ndarray:
    """Which of ``count`` images are drawn: (examples,), sorted; they follow from the seed."""
    return np.sort(np.random.default_rng(params.seed).permutation(count)[: params.examples])


def labelled(data: Any, params: Parameters, _: Any) -> Figure:
    """Training images with the names of their classes (labs 1 and 4)."""
    some = data.train.subset(chosen(len(data.train), params))
    titles = [data.class_names[label] for label in some.targets]
    table = pd.DataFrame({"title": titles, "image": picture_tables.pictures(some.images[:])})
    alt = f"{len(some)} training images with the labels {', '.join(titles)}."
    return plots.plot_images, table, alt, {"title": "Training images and their labels"}


def outlined(data: Any, params: Parameters, _: Any) -> Figure:
    """Training images with the outline that the network is to find (labs 2 and 3)."""
    some = data.train.subset(chosen(len(data.train), params))
    table = scoring.outlined(data, some, len(some))
    alt = mask_words.outlines(table, f"{len(table)} training images")
    return masks.plot_outlines, table, alt, {"title": "Training images and the outline to find"}


def paired(data: Any, params: Parameters, lab_params: Any) -> Figure:
    """Digits on photos with the mask of the digit and the map of classes (lab 5)."""
    some = data.test.subset(chosen(len(data.test), params))
    table = pair_scoring.pair_table(some, data.class_names, lab_params.num_classes)
    return pairs.plot_pairs, table, f"Image, mask of the digit and class map: {pairs.pairs_words(table)}", {}


DRAW: dict[str, Callable[..., Figure]] = {"01": labelled, "02": outlined, "03": outlined, "04": labelled, "05": paired}


def show_analysis() -> None:
    """A figure of lab 6 that needs no run: which pixels the gradient of a loss comes from."""
    pull = run_tables.pull_of_foreground()
    notebook.passing_figure(run_plots.plot_pull, pull, run_words.pull(pull), "")
