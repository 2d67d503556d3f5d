"""Five ways of training the same network on the same images with the same loss and optimiser.

Each is a function from a case to a measurement; a measurement trains one epoch and returns images a second. The time
of setting up (trainers, loaders) is left out on all sides.
"""

import tempfile
import time
import warnings
from collections.abc import Callable

import torch
from cases import Case
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms

from labkit.training.loop import train_epoch
from labkit.training.resume import State

Measure = Callable[[], float]
LIGHTNING = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


class OneByOne(Dataset):
    """What torchvision's data sets do: an image at a time, through PIL and a chain of transforms."""

    def __init__(self, case: Case):
        self.images = [Image.fromarray(pixels.squeeze()) for pixels in case.pixels]
        self.targets = case.targets.long()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*case.statistics)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[i]), self.targets[i]


def in_memory(case: Case) -> TensorDataset:
    """All images as one normalised tensor: the fastest data set that PyTorch has."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in case.statistics)
    images = torch.from_numpy(case.pixels).permute(0, 3, 1, 2).float() / 255
    return TensorDataset((images - mean) / std, case.targets.long())


def reports(case: Case) -> Measure:
    """The reports' own loop: float32, channel by channel, an image at a time, the loss read back at every step."""
    model = case.build()
    recipe = case.recipe(model)
    optimiser = torch.optim.Adam(model.parameters(), recipe.learning_rate)
    loader = DataLoader(OneByOne(case), case.batch, shuffle=True)

    def measure() -> float:
        began, total = time.perf_counter(), 0.0
        model.train()
        for images, targets in loader:
            optimiser.zero_grad()
            loss = recipe.loss(model(images), targets).mean()
            loss.backward()
            optimiser.step()
            total += loss.item()
        return len(case.pixels) / (time.perf_counter() - began)

    return measure


def labkit(case: Case) -> Measure:
    """labkit's loop and input pipeline, as its notebooks use them."""
    model, batches = case.build(), case.batches()
    recipe = case.recipe(model)
    model.to(recipe.precision.device, memory_format=torch.channels_last)
    scaler = recipe.precision.scaler()

    def measure() -> float:
        began = time.perf_counter()
        train_epoch(model, batches, recipe, State(), scaler)
        return len(case.pixels) / (time.perf_counter() - began)

    return measure


def lightning(case: Case, best: bool) -> Measure:
    """PyTorch Lightning: a Trainer as its first page shows it, or with all that its documentation has for speed.

    At its best: in-memory tensors, mixed precision where the processor has it, channels last, a fused optimiser, and
    neither logger, checkpoints, summary nor progress bar.
    """
    import lightning as L

    build = case.build()
    recipe = case.recipe(build)

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = build.to(memory_format=torch.channels_last) if best else build

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            images, targets = batch
            if best:
                images = images.to(memory_format=torch.channels_last)
            loss = recipe.loss(self.model(images).float(), targets).mean()
            if not best:
                self.log("train_loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), recipe.learning_rate, fused=best)

        def on_train_epoch_start(self) -> None:
            self.began = time.perf_counter()

        def on_train_epoch_end(self) -> None:
            self.seconds = time.perf_counter() - self.began

    module = Module()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options = {"precision": LIGHTNING[recipe.precision.name], **dict.fromkeys(off, False)} if best else {}
    loader = DataLoader(in_memory(case) if best else OneByOne(case), case.batch, shuffle=True)

    def measure() -> float:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            device = recipe.precision.device.type
            L.Trainer(max_epochs=1, accelerator=device, default_root_dir=folder, **options).fit(module, loader)
        return len(case.pixels) / module.seconds

    return measure


def fastai(case: Case, best: bool) -> Measure:
    """fastai: a Learner over its own DataLoaders with all defaults, or with all that its documentation has for speed.

    At its best: in-memory tensors without workers, channels last, mixed precision where the processor has it, PyTorch's
    fused Adam, and no progress bar. fastai's half precision is for CUDA; on a processor the model's forward pass is
    put into autocast.
    """
    from fastai.callback.channelslast import ChannelsLast
    from fastai.callback.core import Callback
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader as FastaiLoader
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    model = case.build()
    recipe = case.recipe(model)

    class Clock(Callback):
        order = -100

        def before_train(self) -> None:
            self.began = time.perf_counter()

        def after_train(self) -> None:
            self.seconds = time.perf_counter() - self.began

    class InPrecision(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            with recipe.precision.autocast():
                return self.model(images).float()

    def loss(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        return recipe.loss(logits, targets).mean()

    options = {}
    if best:
        loader = DataLoader(in_memory(case), case.batch, shuffle=True)
        options = {"opt_func": lambda parts, lr, **_: OptimWrapper(parts, torch.optim.Adam, lr=lr, fused=True)}
    else:
        loader = FastaiLoader(OneByOne(case), bs=case.batch, shuffle=True)
    nothing = FastaiLoader([], bs=1)
    clock = Clock()
    learner = Learner(
        DataLoaders(loader, nothing),
        InPrecision() if best else model,
        loss_func=loss,
        lr=recipe.learning_rate,
        cbs=[clock, *([ChannelsLast()] if best else [])],
        **options,
    )

    def measure() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if best:
                with learner.no_bar(), learner.no_logging():
                    learner.fit(1)
            else:
                learner.fit(1)
        return len(case.pixels) / clock.seconds

    return measure


SIDES: dict[str, Callable[[Case], Measure]] = {
    "the reports' way": reports,
    "Lightning, defaults": lambda case: lightning(case, best=False),
    "Lightning, at its best": lambda case: lightning(case, best=True),
    "fastai, defaults": lambda case: fastai(case, best=False),
    "fastai, at its best": lambda case: fastai(case, best=True),
    "labkit": labkit,
}
