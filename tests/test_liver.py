"""The liver set: pairs, patients, splits; and one sentence for each kind of damage."""

import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from segments import assert_refused, liver_params, write_liver

from labkit.data import finders, liver, mnist
from labkit.data.sources import checksums, fingerprint_of, registry
from labkit.errors import DataError
from labkit.files import sha256
from labkit.labs import liver_unet as lab


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_liver(tmp_path / "data")


def test_patients_are_found_in_the_pictures(root: Path) -> None:
    source = liver.find(root)
    assert (source.kind, source.verified, source.name) == ("official", False, "CT slices in the liver layout")
    images, masks = liver.arrays(source, 32)
    assert images.shape == (18, 1, 32, 32)
    assert set(np.unique(masks)) == {0, 1}
    assert liver.find_volumes(liver.changes(images[:15])) == [range(6), range(6, 11), range(11, 15)]


def test_slices_of_one_patient_are_one_volume() -> None:
    assert liver.find_volumes(np.array([0.0, 1.0, 1.2, 0.9])) == [range(4)]
    assert liver.find_volumes(np.array([0.0])) == [range(1)]
    assert liver.find_volumes(np.zeros(5)) == [range(5)]
    assert liver.find_volumes(np.array([0.0, 0.0, 1.0, 0.0, 1.1, 0.0, 9.0, 0.0])) == [range(6), range(6, 8)]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_patient_is_in_one_part_only(root: Path, number: int) -> None:
    params = liver_params(root, validation_volume=number)
    source = lab.find_data(params)
    data = lab.load_data(params, source)
    groups = {name: {data.groups[i] for i in split.samples} for name, split in data.parts().items()}
    assert groups["validation"] == {f"patient {number}"}
    assert groups["training"] == {"patient 1", "patient 2", "patient 3"} - groups["validation"]
    assert groups["test"] == {"test patient"}
    assert data.facts(source)["counts"] == {
        "train": 15 - (6, 5, 4)[number - 1],
        "validation": (6, 5, 4)[number - 1],
        "test": 3,
    }
    assert data.facts(source)["groups"]["validation"] == [f"patient {number}"]


def test_a_leaky_split_is_one_parameter_away_and_still_disjoint(root: Path) -> None:
    params = liver_params(root, validation_volume=0)
    data = lab.load_data(params, lab.find_data(params))
    assert set(data.train.samples).isdisjoint(data.val.samples)
    assert {data.groups[i] for i in data.train.samples} & {data.groups[i] for i in data.val.samples}


def test_copied_masks_are_better_where_the_split_leaks(tmp_path: Path) -> None:
    params = liver_params(tmp_path, source="sample", validation_volume=2)
    by_patient, at_random = lab.copying_scores(params, lab.find_data(params))
    assert at_random.mean() > by_patient.mean() + 0.05


def test_one_patient_can_only_be_split_by_slices(tmp_path: Path) -> None:
    params = liver_params(write_liver(tmp_path, patients=(9,)), validation_volume=0)
    source = lab.find_data(params)
    assert lab.copying_scores(params, source) is None
    assert len(lab.load_data(params, source).val) == 1


def test_slices_are_ordered_by_number(tmp_path: Path) -> None:
    root = write_liver(tmp_path, patients=(12,), test=1)
    for path in (root / "liver" / "train").iterdir():
        path.rename(path.with_name(path.name.lstrip("0") if not path.name.startswith("000") else path.name[2:]))
    assert liver.slices(liver.find(root))[:12] == [f"train/{i}" for i in range(12)]


def test_limit_takes_evenly_spaced_slices(root: Path) -> None:
    params = liver_params(root, limit=3)
    data = lab.load_data(params, lab.find_data(params))
    assert [len(split) for split in data.parts().values()] == [3, 3, 3]
    assert data.train.samples[0] == 0
    assert data.train.samples[-1] == 14


GIVEN = [
    ("0-6, 6-14", "Slice 6 is in two volumes"),
    ("0-5, 7-14", "Slice 6 is in no volume"),
    ("0-5, 6-15", "slices go from 0 to 14"),
    ("0-5, 14-6", "is not there"),
    ("first, second", "expected first and last slices"),
    ("0-14", "choose one of at least two"),
]


@pytest.mark.parametrize(("volumes", "sentence"), GIVEN)
def test_volumes_given_by_hand_must_cover_each_slice_once(root: Path, volumes: str, sentence: str) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)):
        lab.find_data(liver_params(root, volumes=volumes))


@pytest.mark.parametrize("volumes", ["0-9, 10-14", "10-14,0-9"])
def test_volumes_given_by_hand_are_taken(root: Path, volumes: str) -> None:
    params = liver_params(root, volumes=volumes, validation_volume=2)
    assert lab.load_data(params, lab.find_data(params)).val.samples.tolist() == [10, 11, 12, 13, 14]


def test_images_of_any_size_come_out_alike_and_score_at_their_own(root: Path) -> None:
    folder = root / "liver" / "val"
    Image.fromarray(np.full((60, 90), 100, np.uint8)).save(folder / "000.png")
    Image.fromarray(np.zeros((60, 90), np.uint8)).save(folder / "000_mask.png")
    params = liver_params(root)
    data = lab.load_data(params, lab.find_data(params))
    assert data.test.images.shape == (3, 1, 32, 32)
    assert data.truth(data.test.samples[0]).shape == (60, 90)
    assert not data.truth(data.test.samples[0]).any()


def replace(root: Path, name: str, array: np.ndarray) -> None:
    Image.fromarray(array).save(root / "liver" / name)


def damaged_png(root: Path) -> None:
    path = root / "liver" / "train" / "002.png"
    path.write_bytes(path.read_bytes()[:60])


def odd_values(root: Path) -> None:
    mask = np.asarray(Image.open(root / "liver" / "train" / "001_mask.png")).copy()
    mask[0, :3] = (1, 7, 255)
    replace(root, "train/001_mask.png", mask)


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing mask": (lambda r: os.remove(r / "liver/train/003_mask.png"), "003.png", "has no mask 003_mask.png"),
    "capitals": (lambda r: os.rename(r / "liver/train/003.png", r / "liver/train/003.PNG"), "003.PNG", "passed over"),
    "orphan mask": (lambda r: os.remove(r / "liver/train/003.png"), "003_mask.png", "has no image 003.png"),
    "other size": (lambda r: replace(r, "train/004_mask.png", np.zeros((8, 9), np.uint8)), "004.png", "9 × 8"),
    "odd values": (odd_values, "001_mask.png", "has the values [0, 1, 7, 255], expected only 0"),
    "16 bits": (lambda r: replace(r, "train/000.png", np.full((48, 48), 999, np.uint16)), "000.png", "'I;16'"),
    "RGBA": (lambda r: replace(r, "val/001.png", np.zeros((48, 48, 4), np.uint8)), "001.png", "'RGBA'"),
    "colour": (
        lambda r: replace(r, "val/001.png", np.arange(48 * 48 * 3).reshape(48, 48, 3).astype(np.uint8)),
        "001.png",
        "is a colour image, expected grey",
    ),
    "cut short": (damaged_png, "002.png", "cannot be read as an image"),
    "no image at all": (lambda r: (r / "liver/train/002.png").write_text("hello"), "002.png", "cannot be read"),
    "a link to nothing": (lambda r: (r / "liver/val/2.png").symlink_to("gone"), "2.png", "has no image"),
    "a folder": (
        lambda r: [(r / "liver/val" / name).mkdir() for name in ("9.png", "9_mask.png")],
        "9.png",
        "it is no file",
    ),
    "empty folder": (lambda r: (shutil.rmtree(r / "liver/val"), (r / "liver/val").mkdir()), "val", "holds no images"),
    "no folder": (lambda r: shutil.rmtree(r / "liver/train"), "train", "holds no images"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_bad_data_are_one_sentence_that_names_the_file(root: Path, what: str) -> None:
    harm, name, sentence = DAMAGE[what]
    harm(root)
    assert_refused(lambda: lab.find_data(liver_params(root)), name, sentence)
    assert not list(root.rglob("*.npy"))  # no half-made array stays behind


def test_official_data_that_are_not_there_say_where_to_put_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No folder .*liver.*source='sample'"):
        liver.find(tmp_path, "official")


def test_the_checksums_of_all_slices_make_the_fingerprint() -> None:
    published = registry()["liver"]
    known = checksums(published)
    assert fingerprint_of(known) == published["fingerprint"]
    assert sum(path.endswith("_mask.png") for path in known) == len(known) / 2 == 420


@pytest.fixture
def offered(tmp_path: Path, mirror: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small liver set that a mirror offers as an archive, and that is taken for the published one; its root."""
    folder, address, _ = mirror
    truth = write_liver(tmp_path / "truth")
    files = {path: sha256(truth / path) for path in liver.pair_files(truth)}
    with zipfile.ZipFile(folder / "abc123", "w") as archive:
        archive.writestr("UNet-abc123/main.py", "import torch")
        archive.writestr("UNet-abc123/old/train/000.png", "an older picture")
        for path in files:
            archive.write(truth / path, f"UNet-abc123/data/{path.removeprefix('liver/')}")
    known = {key: facts for key, facts in registry()["liver"].items() if key != "checksums"} | {
        "files": {path: {"sha256": digest} for path, digest in files.items()},
        "mirrors": [address],
        "fingerprint": fingerprint_of(files),
    }
    known["archive"]["remote"] = "abc123"
    monkeypatch.setattr(liver, "registry", lambda: {"liver": known})
    return truth


def test_a_download_finds_the_slices_wherever_the_archive_has_them(tmp_path: Path, offered: Path, mirror: Any) -> None:
    found = liver.find(tmp_path / "new", "download", asked_for=True)
    assert (found.kind, found.verified, found.files) == ("official", True, liver.find(offered).files)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".liver.lock", "liver"]
    assert liver.find(tmp_path / "new", "download") == found
    assert mirror[2].asked == ["/abc123"]
    (tmp_path / "new" / "liver" / "train" / "004.png").unlink()  # what is missing is put in its place
    assert liver.find(tmp_path / "new", "download") == found


def test_a_damaged_slice_is_named_and_not_replaced(tmp_path: Path, offered: Path, mirror: Any) -> None:
    mine = offered / "liver" / "train" / "007.png"
    mine.write_bytes(mine.read_bytes() + b"!")
    assert_refused(lambda: liver.find(offered, "download"), "liver/train/007.png", "is not the published file")
    assert mine.read_bytes().endswith(b"!")
    assert "liver/train/007.png is not the published file; all the rest are" in liver.find(offered, "official").caveat()
    assert mirror[2].asked == []


def test_a_slice_too_many_is_named(offered: Path) -> None:
    for name in ("{}.png", "{}_mask.png"):
        shutil.copy(offered / "liver/train" / name.format("000"), offered / "liver/train" / name.format("900"))
    assert_refused(lambda: liver.find(offered, "download"), "liver/train/900.png", "is not the published file")


def test_an_archive_without_a_published_slice_is_refused_and_deleted(
    tmp_path: Path, offered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = liver.registry()
    known["liver"]["files"]["liver/val/001.png"]["sha256"] = "0" * 64
    monkeypatch.setattr(liver, "registry", lambda: known)
    assert_refused(lambda: liver.find(tmp_path / "new", "download"), "abc123", "hold the published liver/val/001.png")
    assert not list((tmp_path / "new").glob("liver"))
    assert not list((tmp_path / "new").rglob("abc123"))


def test_the_sample_is_the_same_every_time_and_has_what_makes_it_hard(tmp_path: Path) -> None:
    first, second = (liver.find(tmp_path / name, "sample") for name in ("a", "b"))
    assert first.fingerprint == second.fingerprint
    assert (first.kind, first.verified) == ("sample", False)
    images, masks = liver.arrays(first, 64)
    assert liver.find_volumes(liver.changes(images[:60])) == [range(0, 20), range(20, 40), range(40, 60)]
    assert 3 <= (masks[60:].sum(axis=(1, 2)) == 0).sum() <= 10  # slices without any liver
    grey, there = images[:, 0].astype(float), masks > 0
    for width in (0.5, 1, 2):  # whoever only looks at the grey value of a pixel does not find the liver
        said = np.abs(grey - grey[there].mean()) < width * grey[there].std()
        assert 2 * (said & there).sum() / (said.sum() + there.sum()) < 0.75


def test_a_read_only_data_folder_can_be_worked_on(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (root / "decoded").write_text("in the way")  # as good as read-only, for root as well
    params = liver_params(root)
    assert len(lab.load_data(params, lab.find_data(params)).train) == 10
    assert list((tmp_path / "cache").rglob("liver-*.npy"))


def test_slices_are_ordered_by_number_wherever_it_stands(tmp_path: Path) -> None:
    root = write_liver(tmp_path, patients=(12,), test=1)
    for path in (root / "liver" / "train").iterdir():
        path.rename(path.with_name(f"slice_{int(path.name[:3])}{path.name[3:]}"))
    assert liver.slices(liver.find(root))[:12] == [f"train/slice_{i}" for i in range(12)]


def test_a_link_that_leads_nowhere_is_not_taken_for_no_data(tmp_path: Path) -> None:
    (tmp_path / "liver").symlink_to(tmp_path / "not mounted")
    (tmp_path / "MNIST").symlink_to(tmp_path / "not mounted")
    for find in (liver.find, mnist.find):
        with pytest.raises(DataError, match=f"No .*{re.escape(str(tmp_path))}"):
            find(tmp_path)
    assert finders.is_there("mnist", tmp_path)
