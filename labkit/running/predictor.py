"""The trained network of a finished run, rebuilt from the run folder alone and ready for new images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, Field, FiniteFloat, PositiveFloat, ValidationError
from torch import Tensor, nn

from labkit.data.cache import fitted
from labkit.data.composite import digit_margin, two_classes
from labkit.data.loading import Preprocessing
from labkit.errors import RequestError
from labkit.labs import LABS, lab_of
from labkit.labs.common import understood, weights
from labkit.results.facts import Word
from labkit.results.finished import READERS, manifest_of, unreadable
from labkit.training.checkpoint import load_checkpoint
from labkit.training.loop import forward
from labkit.training.losses import margin
from labkit.training.precision import Precision, choose_device, choose_precision
from labkit.untrusted import file_in, why

TRAINING = [name for name in LABS if name not in READERS]  # the notebooks whose runs leave a model
LARGEST = 2**32  # bytes of a checkpoint


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
