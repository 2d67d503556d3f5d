"""Ways of training the same network on the same images with the same loss.

All take Adam with the report's learning rate and weight decay; with its defaults, fastai takes its own Adam. Each is a
function from a case to a measurement; a measurement trains one epoch and returns images a second. The time of setting
up (trainers, loaders) is left out on all sides.
"""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec

import torch
from cases import Case
from pipeline import OneByOne
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

from labkit.training.loop import train_epoch
from labkit.training.memory import freed_memory_kept
from labkit.training.resume import State

Measure = Callable[[], float]
LIGHTNING = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


def one_by_one(case: Case) -> OneByOne:
    """The images as the reports load them."""
    chain = [transforms.ToTensor(), transforms.Normalize(*case.statistics)]
    return OneByOne(case.pixels.squeeze(-1) if case.pixels.shape[-1] == 1 else case.pixels, case.targets.long(), chain)


def in_memory(case: Case) -> TensorDataset:
    """All images as one normalised tensor: the fastest data set that PyTorch has."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in case.statistics)
    images = torch.from_numpy(case.pixels).permute(0, 3, 1, 2).float() / 255
    return TensorDataset((images - mean) / std, case.targets.long())


def adam(case: Case, parameters: Iterable, **options: bool) -> torch.optim.Adam:
    """The reports' optimiser."""
    return torch.optim.Adam(parameters, case.params.learning_rate, weight_decay=case.params.weight_decay, **options)


def reports(case: Case) -> Measure:
    """The reports' own loop: float32, channel by channel, an image at a time, the loss read back at every step."""
    model = case.build()
    recipe = case.recipe(model)
    optimiser = adam(case, model.parameters())
    loader = DataLoader(one_by_one(case), case.batch, shuffle=True)

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


def labkit(case: Case, memory: Callable[[], AbstractContextManager] = freed_memory_kept) -> Measure:
    """labkit's loop and batches, without progress and checkpoints; ``memory`` says what becomes of freed memory."""
    model, batches = case.build(), case.batches()
    recipe = case.recipe(model)
    model.to(recipe.precision.device, memory_format=torch.channels_last)
    scaler = recipe.precision.scaler()

    def measure() -> float:
        with memory():
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

    network = case.build()
    recipe = case.recipe(network)

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = network.to(memory_format=torch.channels_last) if best else network

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            images, targets = batch
            if best:
                images = images.to(memory_format=torch.channels_last)
            loss = recipe.loss(self.model(images).float(), targets).mean()
            if not best:
                self.log("train_loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return adam(case, self.parameters(), fused=best)

        def on_train_epoch_start(self) -> None:
            self.began = time.perf_counter()

        def on_train_epoch_end(self) -> None:
            self.seconds = time.perf_counter() - self.began

    module = Module()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options = {"precision": LIGHTNING[recipe.precision.name], **dict.fromkeys(off, False)} if best else {}
    loader = DataLoader(in_memory(case) if best else one_by_one(case), case.batch, shuffle=True)

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

    if best:
        loader = DataLoader(in_memory(case), case.batch, shuffle=True)
        options = {"opt_func": partial(OptimWrapper, opt=torch.optim.Adam, fused=True)}
    else:
        loader, options = FastaiLoader(one_by_one(case), bs=case.batch, shuffle=True), {}
    nothing = FastaiLoader([], bs=1)
    clock = Clock()
    learner = Learner(
        DataLoaders(loader, nothing),
        InPrecision() if best else model,
        loss_func=loss,
        lr=case.params.learning_rate,
        wd=case.params.weight_decay,
        cbs=[clock, *([ChannelsLast()] if best else [])],
        **options,
    )

    def measure() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with learner.no_bar() if best else nullcontext(), learner.no_logging() if best else nullcontext():
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


def here(names: Iterable[str]) -> list[str]:
    """Those of ``names``, which begin like the names of sides, whose library is there; says what is not."""
    missing = [library for library in ("lightning", "fastai") if not find_spec(library)]
    for library in missing:
        print(f"{library} is not installed: pip install -r benchmarks/requirements.txt")
    return [name for name in names if name.split(",")[0].lower() not in missing]
