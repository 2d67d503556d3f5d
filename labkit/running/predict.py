"""Use a finished run on new images: model and preprocessing are rebuilt from the run folder alone."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.colors import to_rgb
from PIL import Image, ImageOps
from pydantic import BaseModel, Field, FiniteFloat, PositiveFloat, ValidationError
from torch import Tensor, nn

from labkit.data.cache import PHOTO, SUFFIXES, fitted, open_image
from labkit.data.composite import digit_margin, two_classes
from labkit.data.loading import Preprocessing
from labkit.data.tree import images_in
from labkit.errors import RequestError, one_line
from labkit.files import write_asked
from labkit.labs import LABS, lab_of
from labkit.labs.common import understood, weights
from labkit.labs.scoring import at_size
from labkit.results.facts import Word
from labkit.results.finished import READERS, manifest_of, unreadable
from labkit.results.masks import PREDICTED
from labkit.training.checkpoint import load_checkpoint
from labkit.training.loop import forward
from labkit.training.losses import margin
from labkit.training.precision import Precision, choose_device, choose_precision
from labkit.untrusted import file_in, why

TRAINING = [name for name in LABS if name not in READERS]  # the notebooks whose runs leave a model
LARGEST = 2**32  # bytes of a checkpoint
ADVICE = "save it with 8 bits a channel (a CT slice needs a window: choose which densities become black and white)."


def predict(run: Path, image: Path, outputs: Mapping[str, Path | None], device: str = "auto") -> Iterator[str]:
    """Say what the model of a run sees in an image, or in every image of a folder: one line each.

    For a segmentation ``outputs`` says where to write the ``mask``, and also the ``overlay`` and the ``probability``
    if they are wanted. All images are read once before the first output is written.
    """
    images = [path for path, _ in pairs(image, None)]
    places = {kind: dict(pairs(image, place)) for kind, place in outputs.items() if place}
    check_places(images, places)
    for path in images:
        read_photo(path)
    predictor = load_predictor(run, device)
    if not predictor.per_pixel:
        if places:
            raise RequestError("The run is a classification, which draws no mask: leave out --output.")
        for path in images:
            photo, turned = read_photo(path), ""
            if predictor.channels == 1 and is_on_paper(photo):
                photo, turned = ImageOps.invert(photo.convert("L")), "  dark on light, so inverted"
            yield classes_line(path, predictor.classes(photo)) + turned
        return
    if "mask" not in places:
        raise RequestError("The run is a segmentation, so say where the mask goes: --output FILE.")
    for path in images:
        photo = read_photo(path)
        logits = predictor.logits(photo)
        p = at_size(predictor.foreground(logits), (photo.height, photo.width))
        for kind, place in places.items():
            save_png(place[path], DRAW[kind](photo, p))
        share, size = 100 * (p > 0.5).mean(), f"{photo.width} × {photo.height}"
        yield one_line(f"{path}  {predictor.seen(logits)}foreground {share:.1f} % of {size}  {places['mask'][path]}")


def check_places(images: Sequence[Path], places: Mapping[str, Mapping[Path, Path]]) -> None:
    """RequestError if an output would be written over an image, or over another output."""
    taken = {path.resolve() for path in images}
    for targets in places.values():
        for target in targets.values():
            if target.resolve() in taken:
                raise RequestError(f"{target} would be written over an image or another output: give another place.")
            taken.add(target.resolve())


def is_on_paper(image: Image.Image) -> bool:
    """Whether the edge of an image is light, as paper is: the digits of MNIST are light on dark."""
    grey = np.asarray(image.convert("L"))
    return bool(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]).mean() > 127)


def classes_line(path: Path, classes: Sequence[tuple[str, float]]) -> str:
    """The most probable class, and the two after it."""
    (first, p), *rest = classes
    return one_line(f"{path}  {first} {p:.3f}  (then {', '.join(f'{name} {q:.3f}' for name, q in rest[:2])})")


@dataclass(frozen=True)
class Predictor:
    """A trained model with all that it needs to look at an image."""

    model: nn.Module
    precision: Precision
    preprocessing: Preprocessing
    channels: int
    class_names: Sequence[str]  # of the logits; empty where there is only foreground
    per_pixel: bool

    def logits(self, image: Image.Image) -> Tensor:
        """What the model says of one image: (K,), or (K, h, w) of its pixels; RequestError if the two do not fit."""
        image = image.convert("RGB" if self.channels == 3 else "L")
        if self.per_pixel:  # resized as the images were that it was trained on
            image = Image.fromarray(fitted(image, self.preprocessing.size))
        pixels = torch.from_numpy(np.array(image)).float() / 255
        pixels = pixels.view(*pixels.shape[:2], self.channels).permute(2, 0, 1)[None]  # (1, C, H, W)
        try:
            logits = forward(self.model, self.preprocessing(pixels), self.precision)[0].cpu()
        except (RuntimeError, ValueError) as error:
            raise RequestError(
                f"The run's preprocessing does not fit its model ({why(error)}): run it again."
            ) from None
        if len(self.class_names) != len(logits) and (self.class_names or not self.per_pixel):
            names = len(self.class_names)
            raise RequestError(f"The run names {names} classes, but its model knows {len(logits)}: run it again.")
        return logits

    def foreground(self, logits: Tensor) -> Tensor:
        """The logit of the foreground, (h, w), from logits (K, h, w); where pixels have classes, of the digit."""
        return digit_margin(logits) if self.class_names else margin(logits[None])[0]

    def seen(self, logits: Tensor) -> str:
        """The two classes of a digit on a photo, by vote of their pixels: "7 on ship, "; empty for other models."""
        if not self.class_names:
            return ""
        votes = torch.bincount(logits.argmax(dim=0).flatten(), minlength=len(self.class_names))
        digit, photo = (self.class_names[i] if votes[i] else "none" for i in two_classes(votes))
        return f"{digit} on {photo}, "

    def classes(self, image: Image.Image) -> list[tuple[str, float]]:
        """Every class with its probability, the most probable first."""
        p = self.logits(image).softmax(dim=0)
        return [(self.class_names[i], float(p[i])) for i in p.argsort(descending=True)]


class Seen(BaseModel):
    """How the images were made ready that a model was trained on."""

    channels: Literal[1, 3]
    size: int = Field(ge=1, le=4096)
    mean: list[FiniteFloat] = Field(min_length=1, max_length=3)
    std: list[PositiveFloat] = Field(min_length=1, max_length=3)


class Classes(BaseModel):
    """The data of a run: the names of its classes, none where there is only foreground."""

    class_names: list[Word] = []


class Trained(BaseModel):
    """The part of a manifest that a model is rebuilt from; read, never trusted."""

    notebook: str
    parameters: dict[str, Any]
    preprocessing: Seen
    data: Classes


def load_predictor(run: Path, device: str = "auto") -> Predictor:
    """Rebuild the model of a run folder, as its best epoch so far left it; RequestError where that cannot be done."""
    manifest = manifest_of(run)
    checkpoint = run / "checkpoints" / "best.safetensors"
    if not checkpoint.exists() or "preprocessing" not in manifest or manifest.get("notebook") not in TRAINING:
        raise RequestError(f"The run in {run} has no trained model to predict with: finish the run first.")
    try:
        trained = Trained.model_validate(manifest)
    except ValidationError as error:
        raise unreadable(run / "manifest.json", error) from None
    lab, seen = lab_of(trained.notebook), trained.preprocessing
    params = understood(lab, trained.parameters)
    file = file_in(run, "checkpoints/best.safetensors", LARGEST)
    try:
        if 4 * weights(lab, params) > file.stat().st_size:  # bytes; known before memory is taken for them
            raise ValueError(f"{file} is too small for it")
        model = lab.build_model(params, fetch=False)
    except (ValueError, RuntimeError) as error:
        raise RequestError(f"The model of {run} cannot be built ({why(error)}): run it again.") from None
    load_checkpoint(file, model)
    precision = choose_precision(params.precision, choose_device(device))
    model.to(precision.device, memory_format=torch.channels_last)
    preprocessing = Preprocessing(seen.size, tuple(seen.mean), tuple(seen.std))
    return Predictor(model, precision, preprocessing, seen.channels, trained.data.class_names, lab.METRIC != "accuracy")


def pairs(image: Path, output: Path | None) -> list[tuple[Path, Path | None]]:
    """Which image goes to which output: one file to one file, or a folder of images to a folder of PNG files."""
    if image.is_dir():
        found = [image / name for name in images_in(image)]
        if not found:
            raise RequestError(f"The folder {image} holds no image ({', '.join(SUFFIXES)}): give one that does.")
        if output is not None and output.exists() and not output.is_dir():
            raise RequestError(f"{image} is a folder, so --output must be one too, but {output} is a file.")
        stems = [path.stem for path in found]
        if output is not None and len(set(stems)) < len(stems):
            twice = next(stem for stem in stems if stems.count(stem) > 1)
            raise RequestError(f"Two images in {image} are called {twice!r} and would have one mask: rename one.")
        return [(path, output / f"{path.stem}.png" if output else None) for path in found]
    if not image.exists():
        raise RequestError(f"There is no file {image}: give an image, or a folder of images.")
    if output is not None and output.is_dir():
        output = output / f"{image.stem}.png"
    return [(image, output)]


def read_photo(path: Path) -> Image.Image:
    """An image of 8 bits a channel, turned as its camera says; DataError for anything else."""
    return open_image(path, PHOTO, ADVICE, ImageOps.exif_transpose)


def mask_of(image: Image.Image, probability: np.ndarray) -> Image.Image:
    """255 where the foreground is more probable than not, else 0; as large as the image."""
    return Image.fromarray(np.where(probability > 0.5, 255, 0).astype(np.uint8))


def grey_of(image: Image.Image, probability: np.ndarray) -> Image.Image:
    """The probability as grey values, 0 to 255."""
    return Image.fromarray(np.rint(255 * probability).astype(np.uint8))


def overlay_of(image: Image.Image, probability: np.ndarray) -> Image.Image:
    """The image in grey with the predicted foreground tinted."""
    grey = np.asarray(image.convert("L"), dtype=float)[..., None].repeat(3, axis=-1)
    tint = 255 * np.array(to_rgb(PREDICTED))
    return Image.fromarray(np.where((probability > 0.5)[..., None], 0.5 * grey + 0.5 * tint, grey).astype(np.uint8))


DRAW = {"mask": mask_of, "overlay": overlay_of, "probability": grey_of}


def save_png(path: Path, image: Image.Image) -> None:
    """Write a PNG file whole or not at all; RequestError if it cannot be."""
    content = io.BytesIO()
    image.save(content, "PNG")
    write_asked(path, content.getvalue(), "--output")
