"""Oxford-IIIT Pet: lists, trimaps, named targets; and one sentence for each kind of damage."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run
from PIL import Image
from segments import assert_refused, pets_params, write_pets

from labkit.data import pets
from labkit.data.sources import registry
from labkit.errors import DataError
from labkit.files import sha256
from labkit.labs import pet_resnet34_unet as lab


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_pets(tmp_path / "data")


def test_the_official_lists_make_the_parts(root: Path) -> None:
    params = pets_params(root, limit=0, validation_share=0.2)
    source = lab.find_data(params)
    assert (source.kind, source.verified, source.complete) == ("official", False, False)
    data = lab.load_data(params, source)
    assert data.facts(source)["counts"] == {"train": 11, "validation": 3, "test": 6}
    assert {data.names[i] for i in data.test.samples} == {name for name, _ in pets.names_in(root, "test")}
    assert data.facts(source)["groups"]["test"] == ["Big_Cat", "dog"]
    assert data.train.images.shape == (11, 3, 64, 64)
    assert data.obstacle(source) == "these files are not the published ones"


def test_validation_keeps_the_share_of_each_breed_and_follows_the_seed(root: Path) -> None:
    parts = []
    for seed in (0, 0, 1):
        params = pets_params(root, limit=0, validation_share=0.3, seed=seed)
        parts.append(lab.load_data(params, lab.find_data(params)).val)
    assert np.array_equal(parts[0].samples, parts[1].samples)
    assert not np.array_equal(parts[0].samples, parts[2].samples)


@pytest.mark.parametrize("target", pets.TARGETS)
def test_a_target_says_which_trimap_values_are_foreground(root: Path, target: str) -> None:
    params = pets_params(root, target=target)
    source = lab.find_data(params)
    data = lab.load_data(params, source)
    sample = data.test.samples[0]
    trimap = np.asarray(pets.read_trimap(source, data.names[sample]))
    expected = {"pet_and_border": trimap != 2, "pet_only": trimap == 1, "border_only": trimap == 3}[target]
    assert np.array_equal(data.truth(sample), expected)
    assert set(data.test.targets.unique().tolist()) == {0, 1}
    other = lab.with_target(data, source, "border_only")
    assert np.array_equal(other.truth(sample), trimap == 3)


def test_statistics_follow_normalise(root: Path) -> None:
    params = pets_params(root, limit=0)
    data = lab.load_data(params, lab.find_data(params))
    own = lab.preprocessing(params, data)
    x = torch.cat([x for x, _ in lab.batches(params, data.train, own).from_step(0)])
    assert torch.allclose(x.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-3)
    assert torch.allclose(x.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3)
    assert lab.preprocessing(params.model_copy(update={"normalise": "none"}), data).mean == (0, 0, 0)
    assert lab.preprocessing(params.model_copy(update={"normalise": "imagenet"}), data).std == lab.IMAGENET[1]


def a_trimap(root: Path) -> Path:
    return root / "oxford-iiit-pet" / "annotations" / "trimaps" / "dog_3.png"


def a_photo(root: Path) -> Path:
    return root / "oxford-iiit-pet" / "images" / "dog_3.jpg"


def the_list(root: Path) -> Path:
    return root / "oxford-iiit-pet" / "annotations" / "trainval.txt"


def add_line(root: Path, line: str) -> None:
    the_list(root).write_text(the_list(root).read_text() + line + "\n")


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no photo": (lambda r: os.remove(a_photo(r)), "dog_3.jpg", "names dog_3, but there is no"),
    "no trimap": (lambda r: os.remove(a_trimap(r)), "dog_3.png", "names dog_3, but there is no"),
    "unreadable JPEG": (lambda r: a_photo(r).write_bytes(a_photo(r).read_bytes()[:200]), "dog_3.jpg", "cannot be read"),
    "a text as JPEG": (lambda r: a_photo(r).write_text("a dog"), "dog_3.jpg", "cannot be read as an image"),
    "other size": (lambda r: Image.new("L", (9, 8), 2).save(a_trimap(r)), "dog_3.jpg", "but its trimap 9 × 8"),
    "odd values": (lambda r: Image.new("L", (67, 53), 7).save(a_trimap(r)), "dog_3.png", "has the values [7]"),
    "unknown name": (lambda r: add_line(r, "Unicorn_1 3 1 1"), "Unicorn_1", "trainval.txt names Unicorn_1"),
    "odd line": (lambda r: add_line(r, "Unicorn"), "trainval.txt", "has the line 'Unicorn'"),
    "way out": (lambda r: add_line(r, "../../secret 1 1 1"), "trainval.txt", "has the line '../../secret 1 1 1'"),
    "named twice": (lambda r: add_line(r, "dog_3 2 2 1"), "trainval.txt", "names dog_3 a second time"),
    "empty list": (lambda r: the_list(r).write_text("# nothing\n"), "trainval.txt", "names no image"),
    "no list": (lambda r: os.remove(the_list(r)), "trainval.txt", "cannot be read"),
    "empty folder": (lambda r: shutil.rmtree(r / "oxford-iiit-pet/images"), "images", "there is no"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_bad_data_are_one_sentence_that_names_the_file(root: Path, what: str) -> None:
    harm, name, sentence = DAMAGE[what]
    harm(root)
    assert_refused(lambda: lab.find_data(pets_params(root)), name, sentence)
    assert not list(root.rglob("*.npy"))


def test_official_files_that_are_png_or_gif_inside_are_read(root: Path) -> None:
    Image.new("RGBA", (67, 53), (10, 200, 30, 128)).save(a_photo(root), "PNG")
    assert lab.find_data(pets_params(root)).kind == "official"


@pytest.fixture
def offered(root: Path, mirror: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The small set as two archives on a mirror, taken for the published ones; what is known of it."""
    folder, address, _ = mirror
    (root / pets.FOLDER / "annotations" / "trimaps" / "._dog_3.png").write_bytes(b"what macOS puts there")
    known = registry()["pets"] | {"mirrors": [address]}
    for path, facts in known["archives"].items():
        with tarfile.open(folder / facts["remote"], "w:gz") as archive:
            archive.add(root / path, facts["inside"])
        facts |= {"remote_checksum": f"sha256:{sha256(folder / facts['remote'])}"}
        facts["remote_size"] = (folder / facts["remote"]).stat().st_size
    monkeypatch.setattr(pets, "registry", lambda: {"pets": known})
    monkeypatch.setattr(pets, "IMAGES", {"trainval": 14, "test": 6})
    return known


def test_a_download_makes_the_official_layout(tmp_path: Path, root: Path, offered: Any, mirror: Any) -> None:
    found = pets.find(tmp_path / "new", "download", asked_for=True)
    assert (found.kind, found.complete, found.name) == ("official", True, "Oxford-IIIT Pet")
    assert found.files == pets.find(root, "official").files
    assert not list((tmp_path / "new").rglob("._*"))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".pets.lock", pets.FOLDER]
    assert pets.find(tmp_path / "new", "download") == found
    assert len(mirror[2].asked) == 2
    shutil.rmtree(tmp_path / "new" / pets.FOLDER / "images")
    assert pets.find(tmp_path / "new", "download") == found
    assert mirror[2].asked[2:] == ["/images.tar.gz"]


def test_the_command_fetches_a_data_set_or_says_what_is_wrong(tmp_path: Path, offered: Any) -> None:
    words = ["data", "get", "pets", "--data", str(tmp_path / "new")]
    done = run(*words)
    assert (done.returncode, done.stdout) == (0, f"Oxford-IIIT Pet: complete and checked in {tmp_path / 'new'}\n")
    shutil.rmtree(tmp_path / "new" / pets.FOLDER)
    offered["archives"][f"{pets.FOLDER}/images"]["remote_checksum"] = "md5:0"
    failed = run(*words)
    assert failed.returncode == 2
    assert failed.stderr.startswith("labkit: Could not download images.tar.gz (http://127.0.0.1:")
    assert len(failed.stderr.splitlines()) == 1


def test_nothing_is_in_place_until_both_archives_have_arrived(tmp_path: Path, offered: Any, mirror: Any) -> None:
    folder, _, handler = mirror
    (folder / "images.tar.gz").rename(folder / "later")
    with pytest.raises(DataError, match=r"Could not download images\.tar\.gz .*404"):
        pets.find(tmp_path / "new", "download")
    assert not (tmp_path / "new" / pets.FOLDER).exists()
    (folder / "later").rename(folder / "images.tar.gz")
    assert pets.find(tmp_path / "new", "download").complete
    assert handler.asked == ["/annotations.tar.gz", "/images.tar.gz", "/images.tar.gz"]  # what had come was kept


def test_a_part_of_the_data_set_is_not_replaced_by_a_download(root: Path, offered: Any, mirror: Any) -> None:
    lines = the_list(root).read_text().splitlines()
    the_list(root).write_text("\n".join(lines[:-1]) + "\n")
    assert_refused(lambda: pets.find(root, "download"), pets.FOLDER, "does not hold the complete Oxford-IIIT Pet")
    assert mirror[2].asked == []


def test_the_sample_is_the_same_every_time_and_not_separable_by_colour(tmp_path: Path) -> None:
    first, second = (pets.find(tmp_path / name, "sample") for name in ("a", "b"))
    assert first.fingerprint == second.fingerprint
    both = pets.arrays(first, 48)
    inside = both[:, 3] != 2
    assert set(np.unique(both[:, 3])) == {1, 2, 3}
    photos = both[:, :3].transpose(0, 2, 3, 1).astype(float)
    foreground, background = photos[inside], photos[~inside]
    gap = np.abs(foreground.mean(axis=0) - background.mean(axis=0))
    assert (gap < 0.5 * background.std(axis=0)).all()


def test_the_decoded_array_is_made_once_and_made_anew_when_data_change_or_it_is_damaged(root: Path) -> None:
    params = pets_params(root)
    lab.find_data(params)
    (array,) = (root / "decoded").glob("*.npy")
    before = array.stat().st_mtime_ns
    lab.find_data(params)
    assert array.stat().st_mtime_ns == before
    array.write_bytes(array.read_bytes()[:500])  # a disk that was full, a copy that was cut short
    whole = lab.load_data(params, lab.find_data(params))
    assert array.stat().st_size > 500
    Image.new("RGB", (67, 53), (255, 255, 255)).save(a_photo(root))
    changed = lab.load_data(params, lab.find_data(params))
    assert len(list((root / "decoded").glob("*.npy"))) == 2
    both = [np.concatenate([s.images[np.arange(len(s))] for s in d.parts().values()]) for d in (whole, changed)]
    assert not np.array_equal(*both)


def test_two_processes_that_decode_at_once_get_the_same_array(root: Path) -> None:
    code = """if True:
        import sys
        import numpy as np
        from segments import pets_params, pet_resnet34_unet as lab
        params = pets_params(sys.argv[1])
        data = lab.load_data(params, lab.find_data(params))
        print(data.train.images[np.arange(3)].float().mean().item())"""
    command = [sys.executable, "-c", code, str(root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert len(list((root / "decoded").glob("*.npy"))) == 1
    assert not list((root / "decoded").glob(".pets*.npy.[0-9]*"))
