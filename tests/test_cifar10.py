"""CIFAR-10 in both layouts, the sample of textures, and every way to find the files damaged or hostile."""

import hashlib
import os
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import params_of
from PIL import Image
from segments import assert_refused
from torchvision.datasets import CIFAR10

from labkit.data import cifar10, samples
from labkit.data.contents import contents
from labkit.data.sources import registry
from labkit.data.tree import Tree
from labkit.errors import DataError, RequestError
from labkit.labs import block_cnn as lab
from labkit.paths import data_root


def write_batches(root: Path, train: int = 6, test: int = 4, classes: int = 3, protocol: int = 2) -> Path:
    """Official files (smaller) in torchvision's layout; returns the root."""
    folder, rng = root / cifar10.BATCHES, np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in (*cifar10.TRAINING, *cifar10.TEST):
        n = train if name in cifar10.TRAINING else test
        content = {
            "data": rng.integers(0, 256, (n, 3072), dtype=np.uint8),
            "labels": [i % classes for i in range(n)],
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))
    names = {"label_names": [f"class {i}" for i in range(classes)]}
    (folder / cifar10.META).write_bytes(pickle.dumps(names, protocol=2))
    return root


def as_tree(root: Path, target: Path) -> Path:
    """The same images as PNG files in a tree."""
    source = cifar10.find(root, "official")
    for part, split in zip(("train", "test"), cifar10.load(source, 32), strict=True):
        for i, (image, label) in enumerate(zip(split.images, split.targets, strict=True)):
            folder = target / cifar10.TREE.folder / part / f"class {int(label)}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:04}.png")
    return target


def test_both_layouts_hold_the_same_images(tmp_path: Path) -> None:
    batches = write_batches(tmp_path / "a")
    tree = as_tree(batches, tmp_path / "b")
    sources = [cifar10.find(root, "official") for root in (batches, tree)]
    assert [cifar10.class_names(s) for s in sources] == [["class 0", "class 1", "class 2"]] * 2
    for one, other in zip(*(cifar10.load(s, 32) for s in sources), strict=True):
        order = np.argsort(one.targets.numpy(), kind="stable")  # a tree is sorted by class
        assert torch.equal(one.images[order], other.images[:])
        assert torch.equal(one.targets[order], other.targets)
    assert (sources[0].kind, sources[0].verified, sources[0].complete) == ("official", False, False)


def test_the_files_are_those_that_torchvision_knows() -> None:
    known = [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]
    assert [list(item) for item in cifar10.MD5.items()] == known
    assert CIFAR10.base_folder == cifar10.BATCHES
    assert ([name for name, _ in CIFAR10.train_list], ["test_batch"]) == (cifar10.TRAINING, cifar10.TEST)


@pytest.mark.parametrize("protocol", [0, 4, 5])
def test_a_pickle_of_any_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    one, other = (write_batches(tmp_path / str(p), protocol=p) for p in (2, protocol))
    for split, again in zip(*(cifar10.load(cifar10.find(root, "official"), 32) for root in (one, other)), strict=True):
        assert torch.equal(split.images, again.images)


def test_torchvision_reads_the_same_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_batches(tmp_path)
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: None)
    theirs, (ours, _) = CIFAR10(root, train=True), cifar10.load(cifar10.find(root, "official"), 32)
    assert np.array_equal(theirs.data, ours.images.permute(0, 2, 3, 1).numpy())
    assert theirs.targets == ours.targets.tolist()


def test_the_published_files_are_known_by_their_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_batches(tmp_path)
    monkeypatch.setattr(cifar10, "MD5", {name: md5(root / cifar10.BATCHES / name) for name in cifar10.MD5})
    assert (cifar10.find(root).name, cifar10.find(root).verified) == ("CIFAR-10", True)
    (root / cifar10.BATCHES / cifar10.META).write_bytes(pickle.dumps({"label_names": ["a", "b", "c"]}))
    assert not cifar10.find(root).verified


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("layout", ["batches", "tree"])
def test_images_are_resized_if_asked_for(tmp_path: Path, layout: str) -> None:
    root = write_batches(tmp_path / "a", test=30)  # as many as for training
    root = as_tree(root, tmp_path / "b") if layout == "tree" else root
    pool, test = cifar10.load(cifar10.find(root), 20)
    assert pool.images[:].shape == test.images[:].shape == (30, 3, 20, 20)
    again = cifar10.load(cifar10.find(root), 20)[0]  # from the arrays that the first call has left
    assert torch.equal(pool.images[:], again.images[:])
    assert not torch.equal(pool.images[:], test.images[:])


class Program:
    """What a stranger might put into a pickle."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_program_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    root = write_batches(tmp_path)
    payload = {"data": Program(tmp_path / "was here"), "labels": [0]}
    (root / cifar10.BATCHES / "data_batch_3").write_bytes(pickle.dumps(payload))
    assert_refused(lambda: cifar10.load(cifar10.find(root), 32), "data_batch_3", "is not a file of CIFAR-10 (it asks")
    assert not (tmp_path / "was here").exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    good = write_batches(tmp_path / "good")
    pixels, labels = np.zeros((4, 3072), np.uint8), [0, 1, 2, 0]
    damage: dict[str, tuple[str, bytes | None, str]] = {
        "gone": ("test_batch", None, "unpack the whole archive"),
        "empty": ("data_batch_1", b"", "is not a file of CIFAR-10"),
        "cut": ("data_batch_2", (good / cifar10.BATCHES / "data_batch_2").read_bytes()[:900], "is not a file"),
        "text": ("batches.meta", b"airplane, automobile", "is not a file of CIFAR-10"),
        "shape": ("test_batch", pickle.dumps({"data": pixels[:, :99], "labels": labels}), "4 images of 3×32×32"),
        "label": ("test_batch", pickle.dumps({"data": pixels, "labels": [0, 1, 2, 9]}), "labels outside 0 to 2"),
        "none": ("test_batch", pickle.dumps({"data": pixels[:0], "labels": []}), "or none"),
        "twice": ("batches.meta", pickle.dumps({"label_names": ["a", "b", "a"]}), "two classes called 'a'"),
        "key": ("test_batch", pickle.dumps({"pixels": pixels}), "is not a file of CIFAR-10"),
    }
    for name, (file, content, sentence) in damage.items():
        root = shutil.copytree(good, tmp_path / name)
        if content is None:
            (root / cifar10.BATCHES / file).unlink()
        else:
            (root / cifar10.BATCHES / file).write_bytes(content)
        assert_refused(lambda root=root: cifar10.load(cifar10.find(root, "official"), 32), file, sentence)


def test_damaged_trees_are_named(tmp_path: Path) -> None:
    good = as_tree(write_batches(tmp_path / "a"), tmp_path / "good")
    photo = Path("train") / "class 1" / "0001.png"
    damage = {
        "no test": (lambda tree: shutil.rmtree(tree / "test"), "test", "a tree has cifar10/train and cifar10/test"),
        "class": (lambda tree: shutil.rmtree(tree / "test" / "class 2"), "class 2", "in one of train and test only"),
        "empty": (
            lambda tree: [p.unlink() for p in (tree / "test" / "class 0").iterdir()],
            "class 0",
            "holds no image",
        ),
        "no class": (lambda tree: [shutil.rmtree(path) for path in tree.glob("*/*")], "cifar10", "holds no class"),
        "link": (lambda tree: (tree / photo.with_name("9.png")).symlink_to("gone"), "9.png", "a link to none"),
        "folder": (lambda tree: (tree / photo.with_name("9.png")).mkdir(), "9.png", "it is no file"),
        "pipe": (lambda tree: os.mkfifo(tree / photo.with_name("9.png")), "9.png", "it is no file"),
        "text": (lambda tree: (tree / photo).write_text("no photo"), "0001.png", "cannot be read as an image"),
    }
    for name, (harm, file, sentence) in damage.items():
        root = shutil.copytree(good, tmp_path / name)
        harm(root / cifar10.TREE.folder)
        assert_refused(lambda root=root: cifar10.load(cifar10.find(root, "official"), 32), file, sentence)


def test_hidden_files_are_none_and_files_may_be_links(tmp_path: Path) -> None:
    batches = write_batches(tmp_path / "batches")
    tree = as_tree(batches, tmp_path / "tree")
    before = cifar10.find(tree, "official")
    (tree / cifar10.TREE.folder / "train" / ".ipynb_checkpoints").mkdir()
    (tree / cifar10.TREE.folder / "train" / "class 1" / "._0001.png").write_text("left behind")
    assert cifar10.find(tree, "official") == before
    assert contents("cifar10", tree).faults == []
    assert len(contents("cifar10", tree).pictures) == len(before.files)
    kept = (batches / cifar10.BATCHES / "data_batch_1").rename(tmp_path / "elsewhere")
    (batches / cifar10.BATCHES / "data_batch_1").symlink_to(kept)
    assert len(cifar10.load(cifar10.find(batches, "official"), 32)[0]) == 30


def test_a_tree_may_be_read_in_grey(tmp_path: Path) -> None:
    root = as_tree(write_batches(tmp_path / "a"), tmp_path / "tree")
    source = cifar10.find(root, "official")
    colour, grey = cifar10.TREE.load(source, 20)[1], Tree(cifar10.TREE.folder, "L").load(source, 20)[1]
    assert grey.images.shape == (len(colour), 1, 20, 20)
    assert torch.equal(grey.targets, colour.targets)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # of red, green and blue in brightness
    assert ((colour.images[:] * weights).sum(dim=1) - grey.images[:][:, 0]).abs().max() < 3  # rounded once more


def test_photos_of_a_tree_stand_upright_and_have_many_formats(tmp_path: Path) -> None:
    tree = as_tree(write_batches(tmp_path / "a"), tmp_path / "tree")
    folder = tree / cifar10.TREE.folder / "test" / "class 1"
    (path,) = folder.iterdir()
    photo = Image.open(path).convert("RGB")
    turned = photo.rotate(90)  # as a camera that was held upright stores it, with a note
    exif = turned.getexif()
    exif[0x0112] = 6  # orientation: a quarter turn clockwise
    for suffix in (".webp", ".tif"):
        turned.save(folder / f"phone{suffix}", exif=exif, lossless=True)
    test = cifar10.load(cifar10.find(tree, "official"), 32)[1]
    assert test.targets.tolist() == [0, 0, 1, 1, 1, 2]
    upright = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
    assert all(torch.equal(image, upright) for image in test.images[2:5])


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No folder cifar-10-batches-py or cifar10 under"):
        cifar10.find(tmp_path, "official")
    with pytest.raises(DataError, match="does not exist"):
        cifar10.find(tmp_path / "nowhere", "auto", asked_for=True)
    with pytest.raises(DataError, match="does not exist"):
        cifar10.find(tmp_path / ("a" * 300), "auto", asked_for=True)
    with pytest.raises(RequestError, match="'~nobody at all/x' is not the path of a folder"):
        data_root("~nobody at all/x")


def test_a_download_is_unpacked_whole_and_a_wrong_one_leaves_nothing(
    tmp_path: Path, mirror: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address, handler = mirror
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as archive:
        archive.add(write_batches(tmp_path / "truth") / cifar10.BATCHES, cifar10.BATCHES)
    known = registry()["cifar10"] | {"mirrors": [address]}
    facts = known["archives"][cifar10.BATCHES]
    facts |= {"remote": "cifar.tar.gz", "remote_size": (folder / "cifar.tar.gz").stat().st_size}
    monkeypatch.setattr(cifar10, "registry", lambda: {"cifar10": known})
    with pytest.raises(DataError, match=r"Could not download cifar.tar.gz .* other bytes than the published"):
        cifar10.find(tmp_path / "new", "download")
    assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file() and path.suffix != ".lock"]
    facts["remote_checksum"] = f"md5:{md5(folder / 'cifar.tar.gz')}"
    with pytest.raises(DataError, match="data_batch_1 is not the published file"):
        cifar10.find(tmp_path / "new", "download")  # it is checked file by file as well
    truth = tmp_path / "truth" / cifar10.BATCHES
    monkeypatch.setattr(cifar10, "MD5", {name: md5(truth / name) for name in cifar10.MD5})
    found = cifar10.find(tmp_path / "new", "download")
    assert found.verified
    assert len(cifar10.load(found, 32)[0]) == 30
    asked = len(handler.asked)
    assert cifar10.find(tmp_path / "new", "download") == found
    assert len(handler.asked) == asked  # nothing is fetched twice


@pytest.fixture(scope="module")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the sample of textures."""
    root = tmp_path_factory.mktemp("data")
    samples.textures(root)
    return root


def test_the_sample_is_the_same_every_time(textures: Path, tmp_path: Path) -> None:
    one, other = (cifar10.find(root, "sample") for root in (textures, tmp_path))
    assert (one.kind, one.name, one.fingerprint) == ("sample", samples.TEXTURES, other.fingerprint)
    train, test = cifar10.load(one, 32)
    assert np.bincount(train.targets).tolist() == [120] * 10
    assert np.bincount(test.targets).tolist() == [40] * 10
    pixels = torch.cat([train.images[:], test.images[:]]).flatten(1)
    assert len(torch.unique(pixels, dim=0)) == len(pixels)  # no picture twice


def test_textures_cannot_be_told_by_their_mean_colour(textures: Path) -> None:
    params = params_of("04", data_root=str(textures), limit=0)
    data = lab.load_data(params, lab.find_data(params))
    assert lab.mean_colour_accuracy(data) < 0.17  # 400 images, 10 % expected, 95 % of the time below 13 %
