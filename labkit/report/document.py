"""One Markdown source for the whole report: what was asked, each lab, the comparison, problems, how to repeat it."""

import functools
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.files import write_atomic
from labkit.labs import run_tables
from labkit.labs.common import published
from labkit.report import markdown as md
from labkit.report.answers import analysis_exercises, attempted
from labkit.report.sections import FULL, SHORTEST, lab_section, lab_text, results_sentence
from labkit.report.settings import LAB_PLACES, PLACES, Settings, paragraphs
from labkit.results import compare, run_plots, run_words
from labkit.results.claims import claims_table
from labkit.results.facts import WHERE
from labkit.results.figures import FORMATS, Drawing, Plot, mark_of_runs
from labkit.results.finished import FinishedRun, hardware
from labkit.results.words import many
from labkit.running.request import find_notebook

Runs = Sequence[FinishedRun]


def main_runs(runs: Runs) -> list[FinishedRun]:
    """One run a lab, which gets a section of its own.

    Complete published data come before others, then a run whose exercises were done, then what was trained on most
    images, then the recipe that was run with most seeds, then the first seed.
    """
    own = [run for run in runs if not run.is_rival]
    recipes = (same for _, group in compare.by_question(own) for same in compare.by_recipe(group))
    seeds = {run.name: len(compare.one_a_seed(same)) for same in recipes for run in same}

    def rank(run: FinishedRun) -> tuple[Any, ...]:
        data, done = run.manifest.data, bool(attempted(run.manifest.notebook, run.folder))
        images = data.counts.get("train", 0)
        return not data.obstacle, data.kind == "official", done, images, seeds[run.name], -run.manifest.seed

    labs = sorted({run.manifest.notebook for run in own})
    return [max((run for run in own if run.manifest.notebook == lab), key=rank) for lab in labs]


def document(runs: Runs, left_out: pd.DataFrame, settings: Settings, folder: Path, out: Path, detail: int) -> str:
    """The Markdown of the report on ``runs``; the student's paragraphs come from ``folder``, figures go to ``out``."""
    shown = main_runs(runs)
    own = functools.partial(paragraphs, folder, figures=out / "figures")
    say = {name: own(name, level=2) for name in PLACES}
    parts = [front(settings, runs, detail), objective(runs, say["objective"], detail)]
    for run in shown:
        notebook = run.manifest.notebook
        texts = {place: own(f"{notebook}-{place}", level=2 if detail == SHORTEST else 3) for place in LAB_PLACES}
        parts.append(lab_section(run, texts, out, detail))
    parts += [
        comparison(runs, say["comparison"], out, detail),
        f"# Problems met\n\n{say['problems']}\n{problems(runs, left_out)}",
        f"# Conclusions\n\n{say['conclusions']}\n{conclusions(runs, shown)}",
        reproduction(runs, detail),
        references(shown) if detail > SHORTEST else "",
    ]
    return "\n\n".join(part for part in parts if part)


def front(settings: Settings, runs: Runs, detail: int) -> str:
    """The title block; the date is the student's, else the day of the newest run, so that a rebuild changes nothing."""
    newest = max(run.manifest.started for run in runs)
    given = settings.model_dump(exclude={"language"})
    return md.metadata(
        given | {"date": settings.date or day(newest), "lang": settings.language, "short": detail < FULL}
    )


def day(moment: str) -> str:
    """``2026-11-24T21:44:27+00:00`` -> 24 November 2026; what is no time stays as it is."""
    try:
        when = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{when.day} {when:%B %Y}"


def objective(runs: Runs, text: str, detail: int) -> str:
    """What is asked, on which machines."""
    table = compare.runs_table(runs)
    names = sorted({f"lab {int(name[:2])}" for name in table["notebook"]})
    samples = (table["kind"] == "sample").sum()
    on = "is" if samples == 1 else "are"
    warning = f" **{samples} of them {on} on sample data: no reproduction of anything.**" if samples else ""
    several = sum(not run.is_rival for run in runs) > len(names)
    which = (
        " Of several runs of a lab its section shows one: on published data before others, then one whose exercises "
        "were done, then one that was trained on most images."
    )
    parts = [
        "# Objective and environment\n",
        text,
        f"This report covers {', '.join(names)}: {many(len(runs), 'trained network')}.{warning} Each score "
        f"comes with a 95 % interval, from test images that chose nothing, unless it is said otherwise."
        f"{which if several else ''}\n",
    ]
    return "\n".join(parts) if detail == SHORTEST else "\n".join([*parts, machines(runs)])


def machines(runs: Runs) -> str:
    """The hardware and software that the runs have had."""
    rows = [
        {
            "hardware": hardware(run),
            "precision": run.manifest.precision,
            "Python": run.manifest.environment.get("python"),
            "PyTorch": run.manifest.environment.get("torch"),
            "system": str(run.manifest.environment.get("platform")).split("-with-")[0],
        }
        for run in runs
    ]
    frame = pd.DataFrame(rows).value_counts(sort=False).rename("runs").reset_index()
    return md.table(frame, "Machines and software.", "machines", runs="count")


def comparison(runs: Runs, text: str, out: Path, detail: int) -> str:
    """All runs side by side: cost, scores over seeds, effects of changes, and the reports' numbers."""
    costs = run_tables.costs(runs)
    columns = ["lab", "network", "data", "parameters", "input", "minutes", "test score"]
    formats = {"parameters": "count", "minutes": "minutes"}
    parts = ["# Comparison\n", text, "Cost and score of each network; scores of different labs are different things.\n"]
    parts.append(md.table(costs[columns], "What each network costs and scores.", "costs", **formats))
    if detail > SHORTEST:
        parts += [scores_part(runs, out, detail), effects_part(runs, out)]
    parts.append(claims_part(runs))
    if detail > SHORTEST and (exercises := analysis_exercises(root_of(runs))):
        parts.append(f"## Exercises\n\n{exercises}")
    return "\n".join(parts)


def root_of(runs: Runs) -> Path:
    """The folder that the runs lie in, lab by lab."""
    return next(run for run in runs if not run.is_rival).folder.parent.parent


def scores_part(runs: Runs, out: Path, detail: int) -> str:
    """Scores by question, seeds put together."""
    groups = compare.over_seeds(runs)
    parts = ["## Scores and seeds\n", md.sentence(run_words.seeds(groups))]
    if detail == FULL:
        draw(run_plots.plot_scores, groups, out, "scores", mark_of_runs(runs))
        caption = "Test scores with 95 % intervals; one panel a question, since only those may be compared."
        alt = "; ".join(
            f"{run_words.lab_in(g['panel'])}, {g['label']}: {g['mean']:.3f} (n = {g['n']})"
            for _, g in groups.iterrows()
        )
        parts.append("\n" + md.figure("scores.png", caption, f"Test scores. {alt}.", "scores"))
    return "\n".join(parts) + "\n"


def effects_part(runs: Runs, out: Path) -> str:
    """What each change did, on the same test images."""
    effects = compare.effects(runs)
    said = run_words.effects(effects)
    parts = ["## What each change did\n", md.sentence(said), ""]
    if len(effects):
        asked = set(effects["question"])
        compared = [run for question, group in compare.by_question(runs) if question in asked for run in group]
        draw(run_plots.plot_effects, effects, out, "effects", mark_of_runs(compared))
        caption = "Change of the test score against the recipe closest to its experiment, with 95 % interval."
        parts.append(md.figure("effects.png", caption, said, "effects"))
        shown = effects[["change", "against", "difference", "low", "high", "over", "seeds"]]
        shown = shown.assign(lab=effects["notebook"].str[:2])[["lab", *shown.columns]]
        shown = shown.rename(columns={"difference": "points", "low": "from", "high": "to"})
        formats = dict.fromkeys(("points", "from", "to"), "points")
        caption = "Effects in points of the test score, with Student's interval over seeds or a bootstrap over images."
        parts.append(md.table(shown, caption, "effects", **formats))
    return "\n".join(parts)


def claims_part(runs: Runs) -> str:
    """The reports' numbers of these labs: those that were tried, and how many were not."""
    claims = claims_table(runs)
    claims = claims[claims["notebook"].isin({run.manifest.notebook for run in runs})]
    parts = ["## Reported against reproduced\n", run_words.claims(claims), ""]
    tried = claims[claims["verdict"] != "not run"]
    if len(tried):
        columns = ["report", "quantity", "reported", "ours", "sd", "n", "hardware", "verdict", "remark"]
        formats = dict.fromkeys(("reported", "ours", "sd"), "number")
        parts.append(md.table(tried[columns], "Numbers of the reports, and ours.", "claims", **formats))
    return "\n".join(parts)


def problems(runs: Runs, left_out: pd.DataFrame) -> str:
    """What the manifests tell of interruptions, early stops and unfinished runs, and what was done about it."""
    found = []
    for run in runs:
        name, manifest = md.code(run.name), run.manifest
        asked = manifest.parameters.get("epochs")
        if isinstance(asked, int) and len(run.history) < asked:
            found.append(f"{name} was stopped early, after {len(run.history)} of {asked} epochs, by its own rule.")
        if run.is_rival:  # which shares the rest with the network that it was trained beside
            continue
        if again := sum(bool(session.get("went_on", True)) for session in manifest.sessions[1:]):
            found.append(f"{name} was taken up again before it was complete, {many(again, 'time')}.")
        found += [f"{name}: {md.plain(warning)}" for warning in manifest.warnings]
    found += [f"{md.code(row.folder)} is left out: {md.plain(row.reason)}" for row in left_out.itertuples()]
    return md.bullets(found) if found else "No run was interrupted, stopped early or left out.\n"


def conclusions(runs: Runs, shown: Runs) -> str:
    """What the numbers say, lab by lab, with the run that each section shows."""
    found = [f"Lab {int(run.manifest.notebook[:2])}: {results_sentence(run).strip()}" for run in shown]
    groups = compare.over_seeds(runs)
    if (groups["n"] >= run_words.FEW).any():
        found.append(md.sentence(run_words.seeds(groups)))
    return md.bullets(found)


def reproduction(runs: Runs, detail: int) -> str:
    """Command, code and data of every number."""
    rows = [
        {
            "command": command_of(run),
            "code": str(run.manifest.code.get("sha256"))[:8],
            "commit": str(run.manifest.code.get("commit") or "")[:8] + ("*" if run.manifest.code.get("dirty") else ""),
            "data": run.manifest.data.fingerprint[:8],
        }
        for run in runs
        if not run.is_rival
    ]
    parts = [
        "# How to reproduce every number\n",
        "Each row is a run. The same command with the same code and data gives the same numbers: to the last bit on "
        "the same kind of processor, with as many threads and the same precision. *Code* is a fingerprint of package "
        "and notebook, *data* one of all files; a star marks a commit "
        "with further changes; `DIR` is the folder of the data sets.\n",
        md.table(pd.DataFrame(rows), "Runs of this report.", "runs", command="code"),
    ]
    return "\n".join(parts if detail > SHORTEST else [parts[0], parts[2]])


def command_of(run: FinishedRun) -> str:
    """The command that repeats a run: its experiment, and each parameter that differs from it."""
    manifest, words = run.manifest, [f"labkit run {run.manifest.notebook[:2]}"]
    notebook = find_notebook(manifest.notebook)
    expected = published(notebook, manifest.experiment) | {"seed": None}
    words += [f"-e {manifest.experiment}"] if expected["experiment"] == manifest.experiment else []
    words += [
        f"-p {name} {shlex.quote(str(value))}"
        for name, value in manifest.parameters.items()
        if name in expected and value != expected[name] and name not in WHERE
    ]
    return " ".join([*words, "--data DIR" if manifest.data.kind == "official" else "-p source sample"])


def references(runs: Runs) -> str:
    """The papers that the labs rest on, each once."""
    found = dict.fromkeys(entry for run in runs for entry in lab_text(run.manifest.notebook).references)
    return "# References\n\n" + "\n".join(f"{i}. {entry}" for i, entry in enumerate(sorted(found), start=1)) + "\n"


def draw(plot: Plot, table: pd.DataFrame, out: Path, name: str, mark: str) -> None:
    """Draw a figure of the report's own in the formats that the documents take; ``mark`` is written in its corner."""
    for form, content in Drawing(plot, table, {}, mark).rendered(FORMATS).items():
        write_atomic(out / "figures" / f"{name}.{form}", content)
