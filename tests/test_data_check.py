"""The check of a data root: each fault is planted into small data and found, and what is well is said to be well."""

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import invoke
from conftest import write_idx
from PIL import Image
from segments import write_liver, write_pets
from test_cifar10 import as_tree, write_batches

from labkit.cli import machine
from labkit.data import cifar10
from labkit.data.finders import FIND
from labkit.data.samples import idx_bytes


def checked(root: Path, *words: str) -> tuple[int, str]:
    """Exit code and words of ``labkit data check``."""
    ran = invoke("data", "check", "--data", root, *words)
    return ran.exit_code, ran.output


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with all four data sets, small and well."""
    root = write_pets(write_liver(write_idx(tmp_path_factory.mktemp("good"))))
    return as_tree(write_batches(root / "batches"), root)


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    """A copy of the good data, to be damaged."""
    return shutil.copytree(good, tmp_path / "data")


def test_data_that_are_well_are_said_to_be_well(good: Path) -> None:
    code, said = checked(good)
    assert code == 0, said
    assert re.findall(r"^(\w+) in ", said, re.MULTILINE) == ["mnist", "liver", "cifar10", "pets"]
    assert said.count("is there twice or of one colour, and no label or mask is odd") == 4
    assert "wrong" not in said
    assert re.search(r"^pictures +40 +20$\n^published +60000 +10000$\n^size +28×28 +28×28$", said, re.MULTILINE)
    assert re.search(r"^class 1 +10 +1$", said, re.MULTILINE)
    assert "3 patients are told apart in train, slices 000 to 005, 006 to 010, 011 to 014" in said
    assert re.search(r"^size +14 sizes +6 sizes$", said, re.MULTILINE)


def raw(root: Path, name: str) -> Path:
    return root / "MNIST" / "raw" / name


def change_digit(root: Path, part: str, place: int, pixels: int | np.ndarray, label: int) -> None:
    """Set one picture of the MNIST layout and its label."""
    images, labels = raw(root, f"{part}-images-idx3-ubyte"), raw(root, f"{part}-labels-idx1-ubyte")
    pictures = np.frombuffer(images.read_bytes()[16:], np.uint8).reshape(-1, 28, 28).copy()
    numbers = np.frombuffer(labels.read_bytes()[8:], np.uint8).copy()
    pictures[place], numbers[place] = pixels, label
    images.write_bytes(idx_bytes(pictures))
    labels.write_bytes(idx_bytes(numbers))


def digit(root: Path, place: int) -> np.ndarray:
    """A training picture of the MNIST layout."""
    return np.frombuffer(raw(root, "train-images-idx3-ubyte").read_bytes()[16:], np.uint8).reshape(-1, 28, 28)[place]


def liver(root: Path, name: str) -> Path:
    return root / "liver" / f"{name}.png"


def pet(root: Path, name: str) -> Path:
    return root / "oxford-iiit-pet" / name


def photo(root: Path, name: str) -> Path:
    return root / "cifar10" / name


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


Plant = Callable[[Path], object]
FAULTS: dict[str, tuple[str, Plant, list[str]]] = {
    "truncated idx": (
        "mnist",
        lambda r: [cut(raw(r, "train-images-idx3-ubyte")), cut(raw(r, "t10k-labels-idx1-ubyte"))],
        [
            "Files that cannot be used: 2",
            "train-images-idx3-ubyte has 15,688 bytes",
            "t10k-labels-idx1-ubyte has 14 bytes",
        ],
    ),
    "parts of two data sets": (
        "mnist",
        lambda r: raw(r, "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.arange(20 * 9 * 9).reshape(20, 9, 9) % 99)),
        ["Sizes of pictures (take both parts from one data set): 2", "28×28: 40 pictures", "9×9: 20 pictures"],
    ),
    "label out of range": (
        "mnist",
        lambda r: [change_digit(r, "train", place, digit(r, place), 77) for place in (3, 9)],
        [
            "Labels that are none of the classes 0 to 9 (mend them",
            "class_names): 2",
            "train 3 (77)",
            "train 9 (77)",
        ],
    ),
    "empty class": (
        "mnist",
        lambda r: [change_digit(r, "t10k", place, 5 + np.eye(28) * place, 3) for place in (4, 14)],
        ["Classes without a picture in a part (fill them, or take the class out of every part): 1", "test 4"],
    ),
    "duplicate across parts": (
        "mnist",
        lambda r: change_digit(r, "t10k", 2, digit(r, 12), 2),
        ["Pictures that are in both train and test (take", "by heart): 1", "train 12 (2) = test 2 (2)"],
    ),
    "duplicate with another label": (
        "mnist",
        lambda r: change_digit(r, "train", 21, digit(r, 12), 1),
        [
            "Pictures that are there again with another label or mask (keep the one that is right): 1",
            "train 12 (2) = train 21 (1)",
        ],
    ),
    "blank picture": (
        "mnist",
        lambda r: change_digit(r, "train", 5, 0, 5),
        ["Pictures of one colour (replace or remove them): 1", "train 5 (5)"],
    ),
    "corrupt and missing slices": (
        "liver",
        lambda r: [cut(liver(r, "train/002")), liver(r, "train/004_mask").unlink(), liver(r, "val/001").unlink()],
        ["Files that cannot be used: 3", "004.png has no mask", "001_mask.png has no image", "002.png cannot be read"],
    ),
    "odd mask values and sizes": (
        "liver",
        lambda r: [
            Image.new("L", (48, 48), 7).save(liver(r, "train/003_mask")),
            Image.new("L", (9, 9)).save(liver(r, "train/007_mask")),
        ],
        ["Files that cannot be used: 2", "003_mask.png has the values [7]", "but its mask 9 × 9"],
    ),
    "full mask": (
        "liver",
        lambda r: Image.new("L", (48, 48), 255).save(liver(r, "train/005_mask")),
        ["Masks that cover the whole picture (draw them anew, or remove their pictures): 1", "train 005"],
    ),
    "slice of training in val": (
        "liver",
        lambda r: [shutil.copy(liver(r, f"train/008{end}"), liver(r, f"val/000{end}")) for end in ("", "_mask")],
        ["Pictures that are in both train and val (take", "train 008 = val 000"],
    ),
    "slice twice with unlike masks": (
        "liver",
        lambda r: shutil.copy(liver(r, "train/008"), liver(r, "train/009")),
        [
            "Pictures that are there again with another label or mask (keep the one that is right): 1",
            "train 008 = train 009",
        ],
    ),
    "corrupt photos": (
        "cifar10",
        lambda r: [cut(path) for path in sorted(photo(r, "train").glob("*/*"))[:25]],
        ["Files that cannot be used: 25", "class 0/0000.png cannot be read", "and 5 more"],
    ),
    "empty folder": (
        "cifar10",
        lambda r: [path.unlink() for path in photo(r, "test/class 1").iterdir()],
        ["class 1 holds no image", "test class 1"],
    ),
    "photo in both parts": (
        "cifar10",
        lambda r: shutil.copy(photo(r, "train/class 0/0000.png"), photo(r, "test/class 2/a.png")),
        [
            "Pictures that are in both train and test (take",
            "by heart): 1",
            "train class 0/0000.png (class 0) = test class 2/a.png (class 2)",
        ],
    ),
    "missing trimap and photo": (
        "pets",
        lambda r: [pet(r, "annotations/trimaps/dog_3.png").unlink(), pet(r, "images/dog_5.jpg").unlink()],
        ["Files that cannot be used: 2", "names dog_3, but there is no", "names dog_5, but there is no"],
    ),
    "breed out of range": (
        "pets",
        lambda r: pet(r, "annotations/test.txt").write_text("dog_15 38 2 1\nBig_Cat_14 1 1 1\n"),
        ["gives dog_15 the breed 38, expected 1 to 37"],
    ),
    "lists lost": (
        "pets",
        lambda r: [pet(r, f"annotations/{part}.txt").unlink() for part in ("trainval", "test")],
        ["Files that cannot be used: 2", "trainval.txt cannot be read", "test.txt cannot be read"],
    ),
    "empty mask": (
        "pets",
        lambda r: Image.new("L", (67, 53), 2).save(pet(r, "annotations/trimaps/dog_3.png")),
        ["Empty masks (draw them, or remove their pictures): 1", "trainval dog_3 (dog)"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_named(root: Path, fault: str) -> None:
    name, plant, sentences = FAULTS[fault]
    plant(root)
    code, said = checked(root, name)
    assert code == 1
    for sentence in sentences:
        assert sentence in said


def test_slices_without_liver_are_a_note(root: Path) -> None:
    Image.new("L", (48, 48), 0).save(liver(root, "train/000_mask"))
    code, said = checked(root, "liver")
    assert code == 0
    assert "note   Empty masks: 1." in said


def test_what_is_odd_in_published_files_is_a_note(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_digit(root, "t10k", 2, digit(root, 12), 2)
    assert checked(root, "mnist")[0] == 1
    from labkit.data import mnist

    facts = {"mnist": {"name": "MNIST", "fingerprint": mnist.find(root).fingerprint}}
    monkeypatch.setattr(mnist, "registry", lambda: facts)
    code, said = checked(root, "mnist")
    assert code == 0
    assert "note   Pictures that are in both train and test: 1." in said


def test_official_batches_are_looked_at_file_by_file(tmp_path: Path) -> None:
    folder = write_batches(tmp_path) / cifar10.BATCHES
    cut(folder / "data_batch_2")
    (folder / "test_batch").unlink()
    bad = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 9]}
    (folder / "data_batch_4").write_bytes(pickle.dumps(bad, protocol=2))
    code, said = checked(tmp_path)
    assert code == 1
    assert "Files that cannot be used: 3" in said
    for words in ("data_batch_2 is not a file of CIFAR-10", "test_batch", "data_batch_4 has labels outside 0 to 2"):
        assert words in said
    assert re.search(r"^pictures +18 +0$", said, re.MULTILINE)


@pytest.mark.parametrize("name", ["mnist", "liver"])
def test_what_is_odd_is_drawn(root: Path, name: str, tmp_path: Path) -> None:
    change_digit(root, "train", 5, 0, 5)
    Image.new("L", (48, 48), 0).save(liver(root, "train/000_mask"))
    sheet = tmp_path / "sheet.png"
    said = checked(root, name, "--pictures", str(sheet))[1]
    assert said.rstrip().endswith(str(sheet))
    assert min(Image.open(sheet).size) > 100


def test_the_sheet_lands_in_the_current_folder_and_only_if_asked_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_digit(root, "train", 5, 0, 5)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    checked(root, "mnist")
    assert not list(here.iterdir())
    checked(root, "mnist", "--pictures")
    assert [path.name for path in here.iterdir()] == ["data-check-mnist.png"]
    code, said = checked(root, "mnist", "--pictures", "/proc/no.png")
    assert code == 2
    assert "/proc/no.png cannot be written" in said
    code, said = checked(root, "mnist", "--pictures", ".")
    assert (code, said) == (2, "labkit: --pictures . is no name of a PNG file: give one that ends in .png.\n")


def test_a_data_set_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    assert checked(tmp_path)[0] == 2
    code, said = checked(tmp_path, "pets")
    assert code == 2
    assert said.startswith(f"labkit: There is no pets under {tmp_path}: give")


def test_the_command_knows_every_data_set() -> None:
    assert set(machine.DATA_SETS) == set(FIND)
