"""Finding, checking, making and fetching data: what is whole is read, what is not is named."""

import errno
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import gzipped, params_of, write_idx
from torchvision.datasets import MNIST

from labkit.data import finders, mnist
from labkit.data.loading import split_off_validation
from labkit.data.samples import handwritten_digits
from labkit.data.sources import fingerprint_of, registry
from labkit.errors import DataError
from labkit.files import checksum, sha256
from labkit.labs import common
from labkit.labs import mnist_resnet18 as lab

RAW = Path("MNIST/raw")


def test_the_sample_is_the_same_to_the_byte_and_torchvision_reads_it(tmp_path: Path, sample_root: Path) -> None:
    again = handwritten_digits(tmp_path)
    for path in mnist.LAYOUT:
        assert sha256(again / path) == sha256(sample_root / path)
    train, test = MNIST(again, train=True), MNIST(again, train=False)
    for part, theirs in (("train", train), ("test", test)):
        ours = mnist.read(again, part)
        assert torch.equal(ours.images[:, 0], theirs.data)
        assert torch.equal(ours.targets, theirs.targets)
    assert (len(train), len(test)) == (1437, 360)
    assert train.data.shape[1:] == (28, 28)
    assert np.bincount(test.targets).min() > 30
    assert not train.data[:, :4].any()  # the digit sits in the middle, as in MNIST
    assert train.data.max() > 250


def test_auto_takes_what_lies_under_the_root_and_else_the_sample(tmp_path: Path) -> None:
    found = mnist.find(tmp_path, "auto")
    assert (found.kind, found.verified) == ("sample", False)
    write_idx(tmp_path)
    found = mnist.find(tmp_path, "auto")
    assert (found.kind, found.verified, found.name) == ("official", False, "data in the MNIST layout")
    assert mnist.find(tmp_path, "sample").kind == "sample"


def test_the_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    one = mnist.find(write_idx(tmp_path / "a"), "official").fingerprint
    assert mnist.find(write_idx(tmp_path / "b"), "official").fingerprint == one
    assert mnist.find(write_idx(tmp_path / "c", seed=1), "official").fingerprint != one


def test_official_without_files_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No MNIST files under .*labkit data get mnist.*sample"):
        mnist.find(tmp_path, "official")


def test_a_named_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        mnist.find(tmp_path / "nowhere", "auto", asked_for=True)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scramble(path: Path) -> None:
    path.write_bytes(b"\x89PNG" + path.read_bytes()[4:])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def announce_too_much(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4] + b"\xff\xff\xff\xff" + path.read_bytes()[8:])


def announce_nothing(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4] + bytes(len(path.read_bytes()[4:16])))


@pytest.mark.parametrize("harm", [cut, empty, scramble, lengthen, announce_too_much, announce_nothing, Path.unlink])
@pytest.mark.parametrize("name", [Path(path).name for path in mnist.LAYOUT])
@pytest.mark.parametrize("source", ["auto", "official"])
def test_a_damaged_file_is_named_and_never_replaced_by_the_sample(
    tmp_path: Path, harm: Any, name: str, source: str
) -> None:
    root = write_idx(tmp_path)
    harm(root / RAW / name)
    with pytest.raises(DataError) as caught:
        mnist.find(root, source)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_and_labels_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    root = write_idx(tmp_path / "a", train=40)
    shutil.copy(write_idx(tmp_path / "b", train=30) / RAW / "train-labels-idx1-ubyte", root / RAW)
    with pytest.raises(DataError, match=r"40 images but .* 30 labels"):
        mnist.find(root, "official")


def test_a_label_without_a_name_is_refused(tmp_path: Path) -> None:
    source = mnist.find(write_idx(tmp_path, classes=10), "official")
    with pytest.raises(DataError, match=r"Label 9 at place 9 .* from 0 to 8"):
        mnist.load(source, num_classes=9)


def test_training_and_test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    root = write_idx(tmp_path / "a", side=28)
    other = write_idx(tmp_path / "b", side=20)
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        shutil.copy(other / RAW / name, root / RAW)
    with pytest.raises(DataError, match="both must be of one data set"):
        mnist.load(mnist.find(root, "official"), 10)


def test_validation_is_split_off_class_by_class(tmp_path: Path) -> None:
    pool, _ = mnist.load(mnist.find(write_idx(tmp_path, train=200), "official"), 10)
    train, val = split_off_validation(pool, 0.2, seed=3)
    assert set(train.samples).isdisjoint(val.samples)
    assert set(train.samples) | set(val.samples) == set(range(200))
    assert np.bincount(val.targets).tolist() == [4] * 10
    assert not np.array_equal(val.samples, split_off_validation(pool, 0.2, seed=4)[1].samples)


def test_the_registry_and_the_data_page_agree() -> None:
    page = (Path(__file__).parents[1] / "data" / "README.md").read_text("utf-8")
    for facts in registry().values():
        assert facts["licence"] in page
        assert facts["homepage"] in page
        assert facts.get("fingerprint", "") in page
        files = facts.get("files", {})
        assert not files or fingerprint_of({path: f["sha256"] for path, f in files.items()}) == facts["fingerprint"]
        for path, file in files.items():
            assert path in page
            assert file["sha256"] in page
        for packed in [*files.values(), *facts.get("archives", {}).values(), facts.get("archive")]:
            if packed:
                assert facts["mirrors"][0] + packed["remote"] in page
                assert packed.get("remote_checksum", "").split(":")[-1] in page
                assert "remote_size" not in packed or f"{packed['remote_size']:,}" in page


def published(root: Path, packed: Path, *mirrors: str) -> dict[str, Any]:
    """A registry entry for the files of ``root``, offered gzipped in ``packed``."""
    gzipped(root, packed)
    files = {
        path: {
            "sha256": sha256(root / path),
            "size": (root / path).stat().st_size,
            "remote": f"{Path(path).name}.gz",
            "remote_size": (packed / f"{Path(path).name}.gz").stat().st_size,
            "remote_checksum": f"md5:{checksum(packed / f'{Path(path).name}.gz', 'md5')}",
        }
        for path in mnist.LAYOUT
    }
    fingerprint = fingerprint_of({path: facts["sha256"] for path, facts in files.items()})
    return {"name": "MNIST", "mirrors": mirrors, "files": files, "fingerprint": fingerprint}


def test_download_passes_over_a_dead_mirror_and_checks_what_arrives(tmp_path: Path, mirror: Any) -> None:
    folder, address, handler = mirror
    known = published(write_idx(tmp_path / "truth"), folder, address + "gone/", address)
    found = mnist.find(tmp_path / "new", "download", published=known)
    assert (found.kind, found.verified, found.name) == ("official", True, "MNIST")
    assert len(handler.asked) == 8  # each file once from the dead mirror, once from the good one
    assert mnist.find(tmp_path / "new", "download", published=known) == found
    assert len(handler.asked) == 8  # nothing is fetched twice


@pytest.mark.parametrize("wrong", ["packed", "unpacked"])
def test_wrong_bytes_are_refused_and_leave_nothing_behind(tmp_path: Path, mirror: Any, wrong: str) -> None:
    folder, address, _ = mirror
    known = published(write_idx(tmp_path / "truth"), folder, address)
    for facts in known["files"].values():
        facts["remote_checksum" if wrong == "packed" else "sha256"] = "md5:" + "0" * 32
    said = {"packed": r"Could not download train-images.*other bytes than the published", "unpacked": "not hold the"}
    with pytest.raises(DataError, match=said[wrong]):
        mnist.find(tmp_path / "new", "download", published=known)
    assert not [path for path in (tmp_path / "new").rglob("*ubyte*") if path.suffix != ".lock"]


def test_other_files_in_place_are_neither_overwritten_nor_called_the_published_ones(
    tmp_path: Path, mirror: Any
) -> None:
    folder, address, handler = mirror
    known = published(write_idx(tmp_path / "truth"), folder, address)
    root = write_idx(tmp_path / "mine", seed=1)
    with pytest.raises(DataError, match="train-images-idx3-ubyte is not the published file, and a download does"):
        mnist.find(root, "download", published=known)
    assert handler.asked == []


def test_a_download_into_an_impossible_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot download into"):
        mnist.find(tmp_path / "file" / "data", "download")


def test_an_old_torchvision_cache_is_not_read_in_place_of_the_files(tmp_path: Path) -> None:
    root = write_idx(tmp_path)
    cache = root / "MNIST" / "processed"
    cache.mkdir()
    (cache / "training.pt").write_bytes(b"not these")
    (cache / "test.pt").write_bytes(b"not these")
    assert len(mnist.load(mnist.find(root, "official"), 10)[0]) == 40


def test_a_limited_test_set_is_the_same_for_every_seed(tmp_path: Path) -> None:
    root = write_idx(tmp_path, train=60, test=60)
    parts = []
    for seed in (0, 1):
        params = params_of("01", data_root=str(root), limit=20, seed=seed)
        parts.append(lab.load_data(params, lab.find_data(params)))
    assert parts[0].test.samples.tolist() == parts[1].test.samples.tolist()
    assert parts[0].train.samples.tolist() != parts[1].train.samples.tolist()


def test_a_folder_that_nobody_may_look_into_is_named_and_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    sentence = re.escape(f"{tmp_path} cannot be used (Permission denied): see to it that it can be read")
    with pytest.raises(DataError, match=sentence):
        common.find_data(SimpleNamespace(find_data=refuse), None)
    monkeypatch.setitem(finders.FIND, "mnist", refuse)
    with pytest.raises(DataError, match=sentence):
        finders.official("mnist", str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(finders.os, "stat", refuse)
        with pytest.raises(DataError, match=sentence):
            finders.is_there("mnist", tmp_path)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(bytes(path.stat().st_size))])
def test_a_sample_that_was_damaged_is_made_anew(tmp_path: Path, harm: Callable[[Path], Any]) -> None:
    before = mnist.find(tmp_path, "sample")
    harm(before.root / next(iter(mnist.LAYOUT)))
    assert mnist.find(tmp_path, "sample").fingerprint == before.fingerprint
