"""labkit predict: a run folder, an image, a mask of the image's own size; and every way to ask for it wrongly."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run, run_alone
from conftest import DEFAULTS, TINY
from PIL import Image, ImageDraw, ImageOps
from segments import liver_params, pets_params, write_liver, write_pets
from torch import nn

from labkit.data.loading import Preprocessing
from labkit.data.samples import handwritten_digits
from labkit.labs import common, liver_unet, mnist_resnet18, pet_resnet34_unet, scoring
from labkit.results.manifest import read_manifest
from labkit.results.run import Run
from labkit.running.predict import read_photo
from labkit.running.predictor import Predictor, load_predictor
from labkit.training.precision import choose_device, choose_precision


def trained(lab: object, params: object, folder: Path) -> Path:
    """Train ``lab`` as its notebook does, without the notebook."""
    source = lab.find_data(params)
    data, model = lab.load_data(params, source), lab.build_model(params)
    if lab is mnist_resnet18:
        batches = lab.batches(params, data.train, train=True), lab.batches(params, data.val)
    else:
        preparation = lab.preprocessing(params, data)
        batches = lab.batches(params, data.train, preparation, train=True), lab.batches(params, data.val, preparation)
    open_run = Run(folder, common.request_facts(lab, params, source))
    open_run.record(data=data.facts(source))
    common.train(open_run, params, model, *batches, lab.build_recipe(params, model))
    open_run.release()
    return folder


@pytest.fixture(scope="module")
def liver_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A liver run that has learnt the bright disc."""
    params = liver_params(write_liver(tmp_path_factory.mktemp("liver")), width=4, epochs=20, augmentation="none")
    return trained(liver_unet, params, tmp_path_factory.mktemp("runs") / "a liver run")


@pytest.fixture(scope="module")
def pets_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    params = pets_params(write_pets(tmp_path_factory.mktemp("pets")))
    return trained(pet_resnet34_unet, params, tmp_path_factory.mktemp("runs") / "pets")


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = handwritten_digits(tmp_path_factory.mktemp("digits"))
    params = mnist_resnet18.Parameters.checked(DEFAULTS | TINY | {"data_root": str(root)})
    return trained(mnist_resnet18, params, tmp_path_factory.mktemp("runs") / "digits")


def slice_with_liver(side: int) -> tuple[Image.Image, np.ndarray]:
    y, x = np.mgrid[:side, :side] / side
    disc = (y - 0.5) ** 2 + (x - 0.4) ** 2 < (1 / 6) ** 2
    return Image.fromarray((20 + 50 * disc).astype(np.uint8)), disc


def test_a_slice_of_512_pixels_gets_a_mask_of_512_pixels_that_finds_the_disc(liver_run: Path, tmp_path: Path) -> None:
    image, disc = slice_with_liver(512)
    image.save(tmp_path / "ct.png")
    words = ["--overlay", tmp_path / "o.png", "--probability", tmp_path / "p.png"]
    asked = ["--run", liver_run, "--image", tmp_path / "ct.png", "--output", tmp_path / "liver_mask.png", *words]
    done = run_alone("predict", *asked)
    assert done.returncode == 0, done.stderr
    assert "512 × 512" in done.stdout
    mask = np.asarray(Image.open(tmp_path / "liver_mask.png"))
    assert mask.shape == (512, 512)
    assert set(np.unique(mask)) == {0, 255}
    said = mask > 0
    assert 2 * (said & disc).sum() / (said.sum() + disc.sum()) > 0.6
    assert np.asarray(Image.open(tmp_path / "o.png")).shape == (512, 512, 3)
    probability = np.asarray(Image.open(tmp_path / "p.png"))
    assert np.array_equal(probability > 127.5, said)


@pytest.mark.parametrize("size", [(333, 500), (1, 1), (7, 900)])
def test_a_photo_of_any_size_gets_a_mask_of_that_size(pets_run: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / "pet.jpg")
    done = run("predict", "--run", pets_run, "--image", tmp_path / "pet.jpg", "--output", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    assert np.asarray(Image.open(tmp_path / "mask.png")).shape == size


def test_a_folder_of_images_becomes_a_folder_of_masks(pets_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, mode in (("a.png", "RGBA"), ("b.jpg", "L"), ("c.gif", "P"), ("notes.txt", ""), ("._a.png", "")):
        if mode:
            Image.new(mode, (20, 10)).save(tmp_path / "in" / name)
        else:
            (tmp_path / "in" / name).write_text("no image")
    done = run("predict", "--run", pets_run, "--image", tmp_path / "in", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


def test_a_classifier_prints_class_and_probability(digits_run: Path, tmp_path: Path) -> None:
    Image.new("L", (28, 28), 200).save(tmp_path / "digit.png")
    done = run("predict", "--run", digits_run, "--image", tmp_path / "digit.png")
    assert done.returncode == 0, done.stderr
    rest = done.stdout.partition("digit.png")[2]
    assert rest.split()[0] in "0123456789"
    assert 0 <= float(rest.split()[1]) <= 1


def test_a_photo_on_which_no_pixel_is_a_digits_shows_none() -> None:
    precision = choose_precision("float32", choose_device("cpu"))
    look = Predictor(nn.Identity(), precision, Preprocessing(32, (0.5,), (0.5,)), 3, ["0", "1", "frog", "ship"], True)
    logits = torch.zeros(4, 2, 2)
    logits[3] = 1
    assert look.seen(logits) == "none on ship, "
    logits[1, 0, 0] = 2
    assert look.seen(logits) == "1 on ship, "


def test_ink_on_paper_is_read_like_chalk_on_a_board(digits_run: Path, tmp_path: Path) -> None:
    board = Image.new("L", (28, 28))
    ImageDraw.Draw(board).line([(8, 6), (19, 6), (12, 22)], fill=255, width=3)
    board.save(tmp_path / "board.png")
    ImageOps.invert(board).convert("RGB").save(tmp_path / "paper.png")
    words = ["predict", "--run", digits_run, "--image"]
    said = [run(*words, tmp_path / f"{name}.png").stdout for name in ("board", "paper")]
    board_says, paper_says = (text.partition(".png")[2].strip() for text in said)
    assert paper_says == f"{board_says}  dark on light, so inverted"


def test_a_test_slice_gets_the_mask_that_was_scored(liver_run: Path, tmp_path: Path) -> None:
    params = liver_unet.Parameters.checked(read_manifest(liver_run)["parameters"])
    source = liver_unet.find_data(params)
    data, predictor = liver_unet.load_data(params, source), load_predictor(liver_run)
    batches = liver_unet.batches(params, data.test, predictor.preprocessing)
    scored = scoring.segment(predictor.model, batches, predictor.precision)
    path = source.root / "liver" / f"{data.names[data.test.samples[1]]}.png"
    assert torch.allclose(predictor.foreground(predictor.logits(read_photo(path))), scored[1].float(), atol=0.05)


def test_a_photo_is_turned_as_its_camera_says(pets_run: Path, tmp_path: Path) -> None:
    turned = Image.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[0x0112] = 6  # orientation: a quarter turn
    turned.save(tmp_path / "phone.jpg", exif=exif)
    done = run("predict", "--run", pets_run, "--image", tmp_path / "phone.jpg", "--output", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "mask.png").size == (20, 40)


def test_the_run_folder_is_enough(liver_run: Path, tmp_path: Path) -> None:
    """Moved to another place, data gone: model and preprocessing come from the folder alone."""
    moved = shutil.copytree(liver_run, tmp_path / "moved 中文")
    manifest = json.loads((moved / "manifest.json").read_text("utf-8"))
    manifest["parameters"] |= {"data_root": "/nowhere", "of_an_earlier_year": 1}
    (moved / "manifest.json").write_text(json.dumps(manifest))
    slice_with_liver(64)[0].save(tmp_path / "ct.png")
    results = []
    for folder, out in ((liver_run, "a.png"), (moved, "b.png")):
        done = run("predict", "--run", folder, "--image", tmp_path / "ct.png", "--output", tmp_path / out)
        assert done.returncode == 0, done.stderr
        results.append((tmp_path / out).read_bytes())
    assert results[0] == results[1]


def test_wrong_requests_are_one_sentence_and_leave_nothing(liver_run: Path, pets_run: Path, tmp_path: Path) -> None:
    image = tmp_path / "ct.png"
    slice_with_liver(64)[0].save(image)
    text = tmp_path / "text.png"
    text.write_text("not an image")
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 999, np.uint16)).save(deep)
    empty, mixed = tmp_path / "empty", tmp_path / "mixed"
    empty.mkdir()
    mixed.mkdir()
    shutil.copy(image, mixed / "a.png")
    shutil.copy(text, mixed / "b.png")
    (tmp_path / "good").mkdir()
    shutil.copy(image, tmp_path / "good" / "a.png")
    cut = shutil.copytree(liver_run, tmp_path / "cut")
    best = cut / "checkpoints" / "best.safetensors"
    best.write_bytes(best.read_bytes()[:1000])
    swapped = shutil.copytree(liver_run, tmp_path / "swapped")
    shutil.copy(pets_run / "checkpoints" / "best.safetensors", swapped / "checkpoints" / "best.safetensors")
    bare = shutil.copytree(liver_run, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    torn = shutil.copytree(liver_run, tmp_path / "torn")
    (torn / "manifest.json").write_text('{"notebook": "02_li')
    out = tmp_path / "out.png"
    cases = [
        (["--run", tmp_path / "nothing", "--image", image, "--output", out], "is no run folder"),
        (["--run", torn, "--image", image, "--output", out], "is no run folder"),
        (["--run", bare, "--image", image, "--output", out], "has no trained model"),
        (["--run", cut, "--image", image, "--output", out], "best.safetensors is too small for it"),
        (["--run", swapped, "--image", image, "--output", out], "belongs to another model"),
        (["--run", liver_run, "--image", text, "--output", out], "text.png cannot be read as an image"),
        (["--run", liver_run, "--image", deep, "--output", out], "deep.png has the pixel format 'I;16'"),
        (["--run", liver_run, "--image", tmp_path / "gone.png", "--output", out], "There is no file"),
        (["--run", liver_run, "--image", empty, "--output", out], "holds no image"),
        (["--run", liver_run, "--image", mixed, "--output", tmp_path / "masks"], "b.png cannot be read"),
        (["--run", liver_run, "--image", text, "--output", tmp_path / "mask.jpg"], "mask.jpg is no name of a PNG file"),
        (["--run", liver_run, "--image", mixed, "--output", image], "must be one too"),
        (["--run", liver_run, "--image", image, "--output", image], "would be written over an image"),
        (["--run", liver_run, "--image", image, "--output", out, "--overlay", out], "or another output"),
        (["--run", liver_run, "--image", tmp_path / "good", "--output", tmp_path / "good"], "would be written over"),
        (["--run", liver_run, "--image", image], "say where the mask goes"),
        (["--run", liver_run, "--image", image, "--output", "/proc/x/mask.png"], "cannot be written"),
        (["--run", liver_run, "--image", image, "--output", out, "--device", "abacus"], "is not available"),
    ]
    for words, sentence in cases:
        done = run("predict", *words)
        assert done.returncode == 2, (words, done.stdout)
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert not out.exists()
        assert not (tmp_path / "masks").exists()
    assert Image.open(image).size == (64, 64)
