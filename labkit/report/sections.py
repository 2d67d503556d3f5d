"""The sections of one lab, each from its run folder: from the background to the exercises."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from labkit.files import write_atomic
from labkit.labs import lab_of
from labkit.report import markdown as md
from labkit.report.answers import exercises_part
from labkit.results import compare, run_words, tables, words
from labkit.results.facts import HOW, WHERE
from labkit.results.figures import FORMATS
from labkit.results.finished import FinishedRun, rival_of

TEXTS = Path(__file__).parent / "texts"
WHOLE_WIDTH = 9.0  # inches of a figure that takes the whole width of a page; its letters shrink to about two thirds
PIXELS_AN_INCH = 200  # of a figure that does not say
SENTENCES = 400  # characters of a description that is short enough to stand in the text as well
FULL, BRIEF, SHORTEST = 2, 1, 0  # how much is said
NOT_SHOWN = ("experiment", "seed", *WHERE, *HOW)


@dataclass(frozen=True)
class LabText:
    """What is written about a lab in advance: title, background, and which figures go where."""

    title: str
    background: str
    figures: dict[str, dict[str, str]] = field(default_factory=dict)
    references: list[str] = field(default_factory=list)


def lab_text(notebook: str) -> LabText:
    """``texts/<notebook>.md``: a YAML head and the background."""
    head, background = (TEXTS / f"{notebook}.md").read_text("utf-8").removeprefix("---\n").split("\n---\n", 1)
    return LabText(background=background.strip(), **yaml.safe_load(head))


def lab_section(run: FinishedRun, texts: dict[str, str], out: Path, detail: int) -> str:
    """All that the report says of a lab; figures are copied to ``out/figures``, ``texts`` are the student's."""
    text, number = lab_text(run.manifest.notebook), run.manifest.notebook[:2]
    parts = [f"# Lab {int(number)}: {text.title} {{#lab-{number}}}\n", caveat(run)]
    if detail == SHORTEST:
        return "\n".join([*parts, texts["background"], results_sentence(run), texts["results"], texts["analysis"]])
    for name, body in (
        ("Background", text.background + "\n\n" + texts["background"]),
        ("Data", data_part(run, text, out, detail)),
        ("Parameters", parameters_part(run) if detail == FULL else parameters_sentence(run)),
        ("Training", training_part(run, text, out, detail)),
        ("Results", results_part(run) + "\n" + texts["results"]),
        ("Analysis", analysis_part(run, text, out, detail) + "\n" + texts["analysis"]),
        ("Exercises", exercises_part(run.manifest.notebook, run.folder)),
    ):
        if body.strip():
            parts += [f"## {name}\n", body, ""]
    return "\n".join(parts)


def caveat(run: FinishedRun) -> str:
    """What a reader must know before any score; nothing to say where the data are complete and published."""
    obstacle = run.manifest.data.obstacle
    if not obstacle:
        return ""
    return f"> **No result on the published data:** {md.plain(obstacle)}. No course report is judged by this run.\n"


def data_part(run: FinishedRun, text: LabText, out: Path, detail: int) -> str:
    """Which data, how many images in each part, and a look at some."""
    data, number = run.manifest.data, run.manifest.notebook[:2]
    sentence = f"The run stands on {md.plain(data.name)}: {counts_words(data.counts)}. "
    if not run.has_table("tables/parts") or detail < FULL:
        return sentence + "\n\n" + figures(run, text, "data", out)
    parts = run.table("tables/parts")
    shares = dict.fromkeys([name for name in ("foreground", "least", "most") if name in parts], "percent")
    shown = md.table(parts, "Images in each part.", f"{number}-parts", **shares)
    return f"{sentence}[](#tbl-{number}-parts) lists the parts.\n\n{shown}\n{figures(run, text, 'data', out)}"


def counts_words(counts: dict[str, int]) -> str:
    """``48 images for training, 12 for validation, 20 for the test``."""
    named = {"train": "for training", "validation": "for validation", "test": "for the test"}
    parts = [f"{count:,} {named.get(part) or md.plain(part)}" for part, count in counts.items()]
    return ", ".join(parts).replace(" for", " images for", 1)


def parameters_part(run: FinishedRun) -> str:
    """Each parameter with the reason for it."""
    number, why = run.manifest.notebook[:2], reasons()
    fields = lab_of(run.manifest.notebook).Parameters.model_fields
    rows = [
        {"parameter": name, "value": value, "why": why.get(name) or _meaning(fields, name)}
        for name, value in run.manifest.parameters.items()
        if name not in NOT_SHOWN
    ]
    shown = pd.DataFrame(rows).astype(str).replace({"value": {"": "–"}})
    table = md.table(shown, "Parameters and what they are for.", f"{number}-parameters", parameter="code", value="code")
    return f"{parameters_sentence(run)} [](#tbl-{number}-parameters) has them all.\n\n{table}"


def reasons() -> dict[str, str]:
    """Why a parameter is there, by name (``texts/reasons.yaml``)."""
    return yaml.safe_load((TEXTS / "reasons.yaml").read_text("utf-8"))


def _meaning(fields: dict[str, Any], name: str) -> str:
    return str(fields[name].description) if name in fields else ""


def parameters_sentence(run: FinishedRun) -> str:
    """The parameters that one would ask for first."""
    p = run.manifest.parameters
    return (
        f"Experiment {md.code(run.manifest.experiment)}, seed {run.manifest.seed}: "
        f"{md.code(p.get('optimiser'))} with a learning rate of {p.get('learning_rate', 0):g} "
        f"({md.code(p.get('schedule'))}), weight decay {p.get('weight_decay', 0):g}, batches of "
        f"{p.get('batch_size')}, at most {words.many(p.get('epochs'), 'epoch')}, images of {p.get('image_size')} × "
        f"{p.get('image_size')} pixels, {md.plain(run.manifest.precision)} on {md.plain(run.manifest.device)}."
    )


def training_part(run: FinishedRun, text: LabText, out: Path, detail: int) -> str:
    """How the training went: in words, as curves, and the epochs that the reports print."""
    number, chosen = run.manifest.notebook[:2], int(run.chosen["epoch"])
    held_out = "test" if run.chosen_on_test else "validation"
    said = words.history(run.history, run.metric, chosen, held_out)
    took = words.duration(run.history["seconds"].sum())
    parts = [f"{md.sentence(said)} The training took {took}.\n", figures(run, text, "training", out)]
    if detail == FULL:
        progress = tables.progress_table(run.history, run.metric, held_out)
        formats = tables.progress_formats(run.metric)
        parts.append(md.table(progress, "Training progress.", f"{number}-progress", **formats))
    return "\n".join(parts)


def results_sentence(run: FinishedRun) -> str:
    """The test score with its interval, on which images, and whether these had chosen the epoch."""
    said = words.test_score(run.metric, run.score.model_dump())
    flattered = " These images have chosen the epoch, too: that flatters the network." if run.chosen_on_test else ""
    return md.sentence(f"{said[0].upper()}{said[1:]} on {run.manifest.data.name}.{flattered}") + "\n"


def results_part(run: FinishedRun) -> str:
    """Every test metric with its interval; beside the reports' numbers where that is fair."""
    number = run.manifest.notebook[:2]
    rows = [
        {"quantity": words.name_of(name), "value": r.value, "from": r.low, "to": r.high, "n": r.n, "what": r.over}
        for name, r in run.results.items()
        if r.value is not None
    ]
    shown = pd.DataFrame(rows)
    formats = dict.fromkeys(("value", "from", "to"), "loss") | {"n": "count"}
    caption = "Test scores with 95 % intervals over test images."
    parts = [results_sentence(run), md.table(shown, caption, f"{number}-results", **formats)]
    if other := rival_of(run):
        parts.append(rival_sentence(run, other) + "\n")
    if run.has_table("tables/reported"):
        parts.append(reported_part(run, run.table("tables/reported")))
    return "\n".join(parts)


def rival_sentence(run: FinishedRun, other: FinishedRun) -> str:
    """What the second network of a run scores, and how far it is ahead or behind on the same images."""
    effect = compare.effect([other], [run])
    gap, said = run_words.points(effect["difference"], 2), words.test_score(other.metric, other.score.model_dump())
    return md.sentence(
        f"The second network, {other.model}, was trained in the same way: {said}. That is {gap} points from the first "
        f"({run_words.span(effect)}, the same for both; one training each)."
    )


def reported_part(run: FinishedRun, reported: pd.DataFrame) -> str:
    """The run beside the published numbers, or why it is not."""
    if not {"report", "quantity", "reported", "ours", "verdict"} <= set(reported):
        return ""
    reported = reported.assign(quantity=reported["quantity"].astype(str).str.replace(" ", "_").map(words.name_of))
    told = reported[pd.to_numeric(reported["ours"], errors="coerce").notna()]
    if not len(told):
        return "No number of this run is put beside a published one.\n"
    columns = ["report", "quantity", "reported", "ours", "verdict"]
    columns += [name for name in ("recipe", "remark") if name in told]
    formats = {"reported": "loss", "ours": "loss"}
    caption = "Reported against reproduced, in this run."
    return md.table(told[columns], caption, f"{run.manifest.notebook[:2]}-reported", **formats)


def analysis_part(run: FinishedRun, text: LabText, out: Path, detail: int) -> str:
    """Per class or per image, with the figures of the inspection."""
    if detail < FULL:
        return ""
    number, parts = run.manifest.notebook[:2], [figures(run, text, "analysis", out)]
    if run.has_table("per_class"):
        frame = run.table("per_class")
        formats = dict.fromkeys(("accuracy", "low", "high", "precision", "f1"), "percent")
        formats |= {"n": "count", "pixels": "count", "IoU": "loss"}
        parts.append(md.table(frame, "Scores of each class.", f"{number}-classes", **formats))
    elif run.metric == "dice":
        parts.append(worst_and_best(run, number))
    return "\n".join(parts)


def worst_and_best(run: FinishedRun, number: str, most: int = 4) -> str:
    """The test images with the lowest and the highest scores."""
    frame = run.images.sort_values("dice")
    ends = pd.concat([frame.head(most), frame.tail(most)]).drop_duplicates("image")
    columns = [name for name in ("image", "dice", "iou", "precision", "recall", "true_share") if name in ends]
    formats = dict.fromkeys(columns[1:], "loss") | {"true_share": "percent"}
    shown = ends[columns].rename(columns={"true_share": "true share"})
    formats["true share"] = formats.pop("true_share")
    return md.table(shown, "The test images with the lowest and the highest Dice.", f"{number}-images", **formats)


def figures(run: FinishedRun, text: LabText, place: str, out: Path) -> str:
    """The figures of a place that the run has, copied to the report, with caption and description."""
    number, parts = run.manifest.notebook[:2], []
    for name, caption in text.figures.get(place, {}).items():
        if alt := run.description(name):
            copy_figure(run.folder / "figures", name, out / "figures", f"{number}-{name}")
            figure = f"[](#fig-{number}-{name})"
            said = f"{figure}: {md.sentence(alt)}" if place == "analysis" and len(alt) < SENTENCES else f"See {figure}."
            parts.append(f"{said}\n" if place != "data" else "")
            parts.append(md.figure(f"{number}-{name}.png", caption, alt, f"{number}-{name}", _width(run, name)))
    return "\n".join(parts)


def _width(run: FinishedRun, name: str) -> int:
    """Width on the page in percent, the same for all of one size, so that letters are of one size throughout."""
    from PIL import Image

    with Image.open(run.folder / "figures" / f"{name}.png") as picture:
        inches = picture.width / max(1, picture.info.get("dpi", (PIXELS_AN_INCH, 0))[0])
    return max(10, min(100, round(100 * inches / WHOLE_WIDTH)))


def copy_figure(source: Path, name: str, target: Path, new_name: str) -> None:
    """Copy the three files of a figure."""
    for form in FORMATS:
        write_atomic(target / f"{new_name}.{form}", (source / f"{name}.{form}").read_bytes())
