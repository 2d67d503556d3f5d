"""Use a finished run on new images."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageOps

from labkit.data.cache import PHOTO, SUFFIXES, open_image
from labkit.data.tree import images_in
from labkit.errors import DataError, RequestError, one_line
from labkit.files import write_asked
from labkit.labs.scoring import at_size
from labkit.results.masks import PREDICTED
from labkit.running.predictor import load_predictor

ADVICE = "save it with 8 bits a channel (a CT slice needs a window: choose which densities become black and white)."


def predict(run: Path, image: Path, outputs: Mapping[str, Path | None], device: str = "auto") -> Iterator[str]:
    """Say what the model of a run sees in an image, or in every image of a folder: one line each.

    For a segmentation ``outputs`` says where to write the ``mask``, and also the ``overlay`` and the ``probability``
    if they are wanted. All images are read once before the first output is written.
    """
    images = [path for path, _ in pairs(image, None)]
    places = {kind: dict(pairs(image, place)) for kind, place in outputs.items() if place}
    check_places(images, places)
    check_photos(images)
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


def check_photos(images: Sequence[Path]) -> None:
    """DataError with the first image that cannot be read, and how many more there are."""
    faults = []
    for path in images:
        try:
            read_photo(path)
        except DataError as error:
            faults.append(str(error))
    if faults:
        more = f" (And {len(faults) - 1} more of these {len(images)} images cannot be read.)" if faults[1:] else ""
        raise DataError(f"{faults[0]}{more}")


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
    elif output is not None and output.suffix.lower() != ".png":
        raise RequestError(f"{output} is no name of a PNG file: give one that ends in .png.")
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
