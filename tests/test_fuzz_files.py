"""Nothing gets in by data sets, checkpoints and the student's files: each reader works, or refuses in one sentence."""

import io
import json
import os
import pickle
import pickletools
from pathlib import Path

import damage
import numpy as np
import pytest
import torch
from conftest import write_idx
from fuzzing import inputs, survives
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labkit.data import cache, cifar10, liver, mnist, pets
from labkit.data.pickles import bytes_of, read_pickle
from labkit.errors import DataError, RequestError
from labkit.files import write_atomic
from labkit.report.check import nodes
from labkit.report.render import parsed
from labkit.report.settings import paragraphs, read_settings
from labkit.results.run import History
from labkit.running.predict import read_photo
from labkit.training.checkpoint import load_checkpoint, save_checkpoint


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
    good = pickle.dumps(content, protocol=data.draw(st.integers(0, 5)))
    path = work / "data_batch_1"
    path.write_bytes(data.draw(damage.content(good) | CODED.map(b"".join)))
    survives("pickles of CIFAR-10", lambda: cifar10.read_batch(path, 2))


@inputs()
@given(data=st.data(), text=st.text(alphabet="0123456789-, ²٣", max_size=30))
def test_lists(work: Path, data: st.DataObject, text: str) -> None:
    path = work / pets.FOLDER / "annotations" / "test.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.draw(damage.content(b"# a list\nAbyssinian_1 1 1 1\ncat_2 2 1 1\n")) + text.encode())
    survives("lists of pets", lambda: pets.names_in(work, "test"))
    survives("lists of volumes", lambda: liver.parse_volumes(text, data.draw(st.integers(0, 9))))


@inputs(2)
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


class Payload:
    """What a stranger might put into a pickle: a command that leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.mark}'",)


def test_no_payload_is_ever_run(work: Path) -> None:
    mark, run = work / "mark", work / "run"
    attack = pickle.dumps({"data": Payload(mark), "labels": [0], "label_names": Payload(mark)})
    pickle.loads(attack)  # it works
    mark.unlink()
    array = io.BytesIO()
    np.save(array, np.array([Payload(mark)], object), allow_pickle=True)
    model = torch.nn.Linear(1, 1)
    for name in ("best", "last"):
        path = run / "checkpoints" / f"{name}.safetensors"
        write_atomic(path, attack)
        with pytest.raises(RequestError):
            load_checkpoint(path, model)
    write_atomic(work / "data_batch_1", attack)
    with pytest.raises(DataError, match=r"asks for posix\.system"):
        cifar10.read_batch(work / "data_batch_1", 2)
    write_atomic(run / "validation" / "epoch-0001.npy", array.getvalue())
    with pytest.raises(RequestError, match="allow_pickle"):
        History(run).val_scores(1)
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
        b"]" * 300_000 + b".",
        pickle.dumps(np.zeros(3, np.uint8), protocol=2).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),
    ],
)
def test_bombs_in_pickles_are_refused(bomb: bytes) -> None:
    def opened() -> None:
        with pytest.raises(ValueError, match=r"\w"):
            bytes_of(read_pickle(bomb), (3,))

    survives("bombs in pickles", opened)
