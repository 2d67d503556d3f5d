"""Nothing gets in: whatever a file holds, its reader works or refuses it in one sentence.

LABKIT_FUZZ says how many inputs each reader gets; left out, few and always the same. With it, the numbers that were
tried are printed (pytest -s).
"""

import io
import json
import os
import pickle
import pickletools
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import damage
import numpy as np
import pytest
import torch
from conftest import params_of, write_idx
from finished_runs import write_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from labkit.data import cache, cifar10, liver, mnist, pets
from labkit.data.pickles import bytes_of, read_pickle
from labkit.errors import DataError, LabError, RequestError
from labkit.files import write_atomic
from labkit.labs import LABS, analysis, common, lab_of, run_tables
from labkit.labs.parameters import MARK, Parameters, assigned, is_annotated
from labkit.report import document, sections
from labkit.report.check import check, nodes
from labkit.report.render import parsed, read
from labkit.report.settings import paragraphs, read_settings
from labkit.results import claims, compare, figures, plots, run_words
from labkit.results.finished import find_runs
from labkit.results.run import History
from labkit.running import comparing
from labkit.running.figure import draw_again
from labkit.running.predict import load_predictor, read_photo
from labkit.running.request import find_notebook, notebook_defaults
from labkit.training.checkpoint import load_checkpoint, save_checkpoint

INPUTS = int(os.environ.get("LABKIT_FUZZ", "0"))
MOST_SECONDS, MOST_MEMORY = 60, 3 * 2**20  # of one input; KiB of the process
TRIED: Counter = Counter()


def inputs(share: float = 1) -> settings:
    """How many inputs a test gets; readers that are slow get a share of what the quick ones get."""
    count = max(4, int(share * (INPUTS or 60)))
    return settings(max_examples=count, deadline=None, derandomize=not INPUTS, suppress_health_check=list(HealthCheck))


def survives(reader: str, call: Callable[[], Any]) -> Any:
    """Let a reader work; it may refuse in one sentence, but not fail otherwise, nor take long or much memory."""
    TRIED[reader] += 1
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"{reader} hangs"))
    signal.alarm(MOST_SECONDS)
    try:
        return call()
    except LabError as error:
        assert str(error)
        assert len(str(error).splitlines()) == 1
        return None
    finally:
        signal.alarm(0)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the module."""
    yield tmp_path_factory.mktemp("fuzz")
    if INPUTS:
        print("\n" + "\n".join(f"{count:9,}  {reader}" for reader, count in sorted(TRIED.items())))


@pytest.fixture(scope="module")
def good(work: Path) -> Path:
    """A run of lab 2 with all that the report shows of one."""
    run = write_run(work / "good")
    (run / "tables").mkdir()
    (run / "tables" / "parts.csv").write_text("part,images,foreground,least,most\ntest,3,0.04,0.0,0.09\n")
    (run / "tables" / "reported.csv").write_text("report,quantity,reported,ours,verdict\na,test dice,0.9,0.8,worse\n")
    (run / "per_class.csv").write_text("class,n,accuracy,low,high,precision,f1\n7,3,1.0,0.9,1.0,1.0,1.0\n")
    figures.save(
        run / "figures", "curves", plots.plot_history, find_runs(work / "good")[0][0].history, "2.", "", metric="dice"
    )
    return run


@pytest.mark.parametrize("lab", list(LABS))
@inputs()
@given(data=st.data())
def test_parameters(lab: str, data: st.DataObject) -> None:
    values = data.draw(damage.facts(params_of(lab[:2]).model_dump()))
    params = survives("parameters", lambda: lab_of(lab).Parameters.checked(values))
    if params and lab not in ("06_analysis",):
        common.build_schedule(params)


@inputs()
@given(
    st.text() | st.from_regex(r"(# Parameters\n)?(%\w+ |!|\w+(: \w+)? = )*[\[({'\"\-\d]*", fullmatch=True), damage.JUNK
)
def test_cells(source: str, value: Any) -> None:
    survives("cells", lambda: (assigned(source), is_annotated(source)))
    survives("cells", lambda: Parameters.from_notebook({"In": [f"{MARK}\n{source}"], "seed": value}))


@inputs()
@given(data=st.data())
def test_notebooks_and_experiments(work: Path, data: st.DataObject) -> None:
    path, source = work / "02_liver_unet.ipynb", find_notebook("02")
    path.write_bytes(data.draw(damage.content(source.read_bytes())))
    survives("notebooks", lambda: notebook_defaults(path))
    experiment = work / "experiments" / path.stem / "own.yaml"
    experiment.parent.mkdir(parents=True, exist_ok=True)
    known = (source.parent / "experiments" / path.stem / "quick.yaml").read_bytes()
    words = st.text(alphabet="abc:-[]{}&*!?|>'\"%@`#, \n\t0123456789.", max_size=80).map(str.encode)
    experiment.write_bytes(data.draw(damage.content(known) | words))
    values = survives("experiments", lambda: common.read_experiment(path, "own"))
    survives("experiments", lambda: lab_of(path.stem).Parameters.checked(values or {}))


def report_lines(runs: list, left_out: Any, out: Path) -> str:
    """The Markdown of all parts of a report but its own two figures, which take long to draw."""
    texts = dict.fromkeys(("background", "results", "analysis"), "")
    parts = [sections.lab_section(run, texts, out, sections.FULL) for run in document.main_runs(runs)]
    parts += [document.objective(runs, "", 2), document.comparison(runs, "", out, sections.SHORTEST)]
    parts += [document.problems(runs, left_out), document.conclusions(runs, runs), document.reproduction(runs, 2)]
    return "\n\n".join(parts)


def tables_of(runs: list, left_out: Any) -> None:
    """What notebook 6 and the report make of runs."""
    table, costs, curves = compare.runs_table(runs), run_tables.costs(runs), run_tables.curves(runs)
    run_words.inventory(table, left_out), run_words.cost(costs), run_words.learning_curves(curves)
    run_words.climbing(curves), run_words.convergence(curves), run_words.gaps(run_tables.points(runs))
    run_words.seeds(compare.over_seeds(runs)), run_words.effects(compare.effects(runs))
    compare.differences_words(*run_tables.two_alike(runs))
    shares = run_tables.imbalance(runs)
    assert not len(shares) or run_words.imbalance(shares)
    run_words.claims(claims.claims_table(runs)), analysis.missing(runs)


@inputs(0.5)
@given(data=st.data())
def test_run_folders(work: Path, good: Path, data: st.DataObject) -> None:
    root = work / "runs" / "02_liver_unet"
    if not root.exists():
        write_run(work / "runs", seed=1, loss="dice")
    data.draw(damage.folder(good, root / good.name))
    runs, left_out = survives("run folders", lambda: find_runs(work / "runs"))
    assert len(runs) + len(left_out) == 2
    survives("run folders: compare", lambda: list(comparing.lines([work / "runs"])))
    survives("run folders: lab 6", lambda: tables_of(*analysis.known(runs, left_out)))
    survives("run folders: report", lambda: report_lines(*analysis.known(runs, left_out), work / "out"))


MARKUP = [words for words in damage.ATTACKS if words.isprintable() and len(words) < 100]


@inputs(0.05)
@given(data=st.data())
def test_words_of_a_run_folder_stay_words_in_a_whole_report(work: Path, good: Path, data: st.DataObject) -> None:
    manifest, word = json.loads((good / "manifest.json").read_text()), st.sampled_from(MARKUP)
    manifest |= {name: data.draw(word) for name in ("experiment", "device", "precision")}
    manifest["environment"] = {name: data.draw(word) for name in ("cpu", "threads", "python", "torch", "platform")}
    manifest["parameters"] |= {name: data.draw(word) for name in ("optimiser", "schedule", "model", data.draw(word))}
    manifest["data"] |= {"name": data.draw(word), "obstacle": data.draw(word), "counts": {data.draw(word): 3}}
    manifest["warnings"] = [data.draw(word)]
    run, out = work / "one" / "02_liver_unet" / "quick", work / "whole"
    shutil.copytree(good, run, dirs_exist_ok=True)
    (run / "manifest.json").write_text(json.dumps(manifest))
    TRIED["run folders: whole report"] += 1
    runs, left_out = find_runs(work / "one")
    assert len(runs) == 1
    text = document.document(runs, left_out, read_settings(work / "empty"), work / "empty", out, sections.FULL)
    (out / "report.md").write_text(text, "utf-8")
    report = read(out / "report.md")
    check(report, out)
    found = list(nodes(report))
    assert not [tag for tag, _ in found if tag.startswith("Raw")]
    assert not [target for tag, target in found if tag in ("Link", "Image") and "passwd" in str(target[2])]
    assert not [formula for tag, formula in found if tag == "Math" and "href" in formula[1]]


@inputs(0.3)
@given(data=st.data())
def test_figures(work: Path, good: Path, data: st.DataObject) -> None:
    run = data.draw(damage.folder(good, work / "drawn" / "02_liver_unet" / "run"))
    for name, kind, read, write in (("json", damage.facts, json.loads, json.dumps), ("csv", damage.table, str, str)):
        path = run / "figures" / f"curves.{name}"
        if path.is_file() and not path.is_symlink() and data.draw(st.booleans()):
            original = (good / "figures" / path.name).read_text()
            path.write_text(write(data.draw(kind(read(original)))), "utf-8", "surrogatepass")
    survives("figures", lambda: figures.redrawn(run, "curves", "svg"))


@inputs()
@given(
    st.sampled_from(["../x", "", "\0", "curves\0", "/etc/passwd", "curves/../curves"]) | st.text(), st.text(), st.text()
)
def test_figure_names_and_widths(work: Path, good: Path, name: str, width: str, form: str) -> None:
    survives("names of figures", lambda: draw_again(good, [name] if name != "curves" else [".."], "", "svg"))
    survives("widths of figures", lambda: draw_again(good, ["none"], width, form))
    assert not list(Path.cwd().glob("*.svg"))


@inputs()
@given(data=st.data())
def test_checkpoints(work: Path, data: st.DataObject) -> None:
    model, path = torch.nn.Linear(3, 2), work / "best.safetensors"
    save_checkpoint(path, model, {"epoch": 1}, torch.optim.Adam(model.parameters()))
    good = path.read_bytes()
    length = int.from_bytes(good[:8], "little")
    header, body = json.loads(good[8 : 8 + length]), good[8 + length :]
    changed = json.dumps(data.draw(damage.facts(header))).encode("utf-8", "surrogatepass")
    crafted = len(changed).to_bytes(8, "little") + changed + body
    path.write_bytes(data.draw(st.just(crafted) | damage.content(good)))
    survives("checkpoints", lambda: load_checkpoint(path, model, torch.optim.Adam(model.parameters())))


@inputs()
@given(data=st.data())
def test_idx_files(work: Path, data: st.DataObject) -> None:
    root = work / "idx"
    if not root.exists():
        write_idx(root, train=6, test=3, side=4)
    path = root / data.draw(st.sampled_from(list(mnist.LAYOUT)))
    good = path.read_bytes()
    path.write_bytes(data.draw(damage.content(good)))
    survives("idx files", lambda: mnist.load(mnist.find(root, "official"), 10))
    path.write_bytes(good)


CODES = [code.code.encode("latin1") for code in pickletools.opcodes]
CODED = st.lists(
    st.sampled_from(CODES) | st.binary(max_size=4) | st.sampled_from([b"os\nsystem\n", b"cnumpy\ndtype\n"])
)


@inputs()
@given(data=st.data())
def test_pickles_of_cifar10(work: Path, data: st.DataObject) -> None:
    content = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1], "label_names": ["a", "b"]}
    good = pickle.dumps(content, protocol=data.draw(st.integers(0, 4)))
    path = work / "data_batch_1"
    path.write_bytes(data.draw(damage.content(good) | CODED.map(b"".join)))
    survives("pickles of CIFAR-10", lambda: cifar10._read_batch(path, 2))


@inputs()
@given(data=st.data(), text=st.text(alphabet="0123456789-, ²٣", max_size=30))
def test_lists(work: Path, data: st.DataObject, text: str) -> None:
    path = work / pets.FOLDER / "annotations" / "test.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.draw(damage.content(b"# a list\nAbyssinian_1 1 1 1\ncat_2 2 1 1\n")) + text.encode())
    survives("lists of pets", lambda: pets.names_in(work, "test"))
    survives("lists of volumes", lambda: liver.parse_volumes(text, data.draw(st.integers(0, 9))))


@inputs(3)
@given(data=st.data())
def test_images(work: Path, data: st.DataObject) -> None:
    form, mode = data.draw(
        st.sampled_from([("PNG", "P"), ("PNG", "I;16"), ("JPEG", "CMYK"), ("GIF", "P"), ("TIFF", "RGB")])
    )
    content, path = io.BytesIO(), work / "image.png"
    Image.new(mode, (40, 30)).save(
        content, form, **({"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6"} if form == "JPEG" else {})
    )
    path.write_bytes(data.draw(damage.content(content.getvalue())))
    survives("images", lambda: read_photo(path).convert("RGB"))


@inputs()
@given(data=st.data())
def test_decoded_images(work: Path, data: st.DataObject) -> None:
    path, content = work / "decoded" / "a.npy", io.BytesIO()
    path.parent.mkdir(exist_ok=True)
    np.save(
        content,
        data.draw(st.sampled_from([np.zeros((2, 3), np.uint8), np.array([None, {}], object)])),
        allow_pickle=True,
    )
    path.write_bytes(data.draw(damage.content(content.getvalue())))
    found = survives(
        "decoded images", lambda: cache.decoded(work, path.name, (2, 3), lambda i: np.full(3, i, np.uint8))
    )
    assert found.shape == (2, 3)


@inputs()
@given(data=st.data())
def test_report_settings(work: Path, data: st.DataObject) -> None:
    folder = work / "settings"
    folder.mkdir(exist_ok=True)
    lines = [
        "title: !!python/object/apply:os.system [ls]",
        "a: &a [x]\nb: *a",
        "<<: {title: x}",
        "author: [a, [b]]",
        "- " * 2000,
    ]
    known = b"title: A\nauthor: [A, B]\nnumber: 007\n"
    (folder / "report.yaml").write_bytes(data.draw(damage.content(known) | st.sampled_from(lines).map(str.encode)))
    found = survives("report.yaml", lambda: read_settings(folder))
    assert found is None or read_settings(folder) == found
    assert found is None or found.title != "ls"


MARKDOWN = [
    "# a",
    "> " * 40,
    "* " * 300,
    "[" * 200,
    "`" * 7,
    "$x^$",
    "![a](../secret.png)",
    "![a](/etc/passwd)",
    "![a](link.png)",
    "![a](file:///etc/passwd)",
    "![a](http://localhost/x.png)",
    "![a](%2e%2e/secret.png)",
    "| a |\n|---|",
    "\\input{x}",
    "<script>",
    '```{=typst}\n#read("x")\n```',
    "::: x",
    "---\ntitle: x\n---",
    "[^1]: a",
    "<!--",
    "\0",
    "a\n: b",
    "1. ",
    "\u2028",
]


@inputs(0.1)
@given(st.lists(st.sampled_from(MARKDOWN) | st.text(max_size=8), max_size=12), st.sampled_from(["", " ", "\n", "\n\n"]))
def test_texts_of_the_report(work: Path, parts: list[str], between: str) -> None:
    folder = work / "written"
    (folder / "text").mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4)).save(folder / "secret.png")
    if not (folder / "text" / "link.png").is_symlink():
        (folder / "text" / "link.png").symlink_to(folder / "secret.png")
    (folder / "text" / "objective.md").write_text(between.join(parts), "utf-8", "surrogatepass")
    text = survives("texts of the report", lambda: paragraphs(folder, "objective", 2, work / "taken"))
    assert text is None or not [content for tag, content in nodes(parsed(text)) if tag.startswith("Raw")]
    assert not (work / "taken").exists()


@inputs(0.5)
@given(data=st.data())
def test_predictors(work: Path, data: st.DataObject) -> None:
    run = work / "run"
    params = params_of("04", blocks=2, width=2, image_size=8, seed=0)
    manifest = {"status": "completed", "notebook": "04_block_cnn", "parameters": params.model_dump()}
    manifest["preprocessing"] = {"channels": 3, "size": 8, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    manifest["data"] = {"class_names": [*"abcdefghij"]}
    if not run.exists():
        save_checkpoint(run / "checkpoints" / "best.safetensors", lab_of("04_block_cnn").build_model(params), {})
    (run / "manifest.json").write_text(json.dumps(data.draw(damage.facts(manifest))), "utf-8", "surrogatepass")
    image = Image.new("RGB", (9, 7))
    survives("runs to predict with", lambda: load_predictor(run, "cpu").classes(image))


class Payload:
    """What a stranger might put into a pickle: a command that leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.mark}'",)


def test_no_payload_is_ever_run(work: Path, good: Path) -> None:
    mark, refused = work / "mark", (LabError, ValueError)
    attack = pickle.dumps({"data": Payload(mark), "labels": [0], "label_names": Payload(mark)})
    pickle.loads(attack)  # it works
    mark.unlink()
    array = io.BytesIO()
    np.save(array, np.array([Payload(mark)], object), allow_pickle=True)
    model = torch.nn.Linear(1, 1)
    for name in ("best", "last"):
        path = good / "checkpoints" / f"{name}.safetensors"
        write_atomic(path, attack)
        with pytest.raises(RequestError):
            load_checkpoint(path, model)
    write_atomic(work / "data_batch_1", attack)
    with pytest.raises(DataError, match="asks for posix.system"):
        cifar10._read_batch(work / "data_batch_1", 2)
    write_atomic(good / "validation" / "epoch-0001.npy", array.getvalue())
    with pytest.raises(refused):
        History(good).val_scores(1)
    for content in (attack, array.getvalue()):
        write_atomic(work / "decoded" / "b.npy", content)
        assert cache.decoded(work, "b.npy", (1, 1), lambda _: np.zeros(1, np.uint8)).tolist() == [[0]]
    assert not mark.exists()


def test_a_published_pickle_is_read(tmp_path: Path) -> None:
    """As Python 2 wrote batches.meta: texts are strings of bytes, in lines."""
    lines = b"(dp1\nS'num_cases_per_batch'\np2\nI10000\nsS'label_names'\np3\n(lp4\nS'airplane'\np5\naS'cat'\np6\nas."
    assert read_pickle(lines) == {"num_cases_per_batch": 10000, "label_names": ["airplane", "cat"]}


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a place in the memo far away
        b"\x80\x02}" + b"(" + b"".join(b"h\0h\0\x86q\0" for _ in range(60)) + b"Nu.",  # a key of 2^60 parts
        b"]" * 2_000_000 + b".",
        pickle.dumps(np.zeros(3, np.uint8), protocol=2).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),
    ],
)
def test_bombs_in_pickles_are_refused(bomb: bytes) -> None:
    def opened() -> None:
        with pytest.raises(ValueError, match=r"\w"):
            bytes_of(read_pickle(bomb), (3,))

    survives("bombs in pickles", opened)
