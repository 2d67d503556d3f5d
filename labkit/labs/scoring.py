"""Masks of a trained network: made at network size, scored and drawn at the size of the original image."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.data.loading import Batches, Split
from labkit.labs.segmentation import Data
from labkit.results.picture_tables import in_grey, outlines, pictures, smaller
from labkit.training.loop import forward
from labkit.training.losses import margin
from labkit.training.metrics import COUNTS, OVERLAPS, dice, hausdorff95, pixel_counts, threshold_counts
from labkit.training.precision import Precision

THRESHOLDS = 100  # steps between 0 and 1 in the threshold curve
TRADE = ("dice", "precision", "recall")  # what a threshold trades


def segment(model: nn.Module, batches: Batches, precision: Precision) -> Tensor:
    """Foreground logits of all images at network size, in the order of ``batches``: (N, h, w) float16 on the CPU."""
    logits = (forward(model, images, precision) for images, _ in batches.from_step(epoch=0))
    return torch.cat([margin(batch).half().cpu() for batch in logits])


def snapshot(model: nn.Module, batches: Batches, precision: Precision) -> Callable[[], np.ndarray]:
    """A function that draws image, true and predicted mask of four images as they are now: (4 h, 3 w, 3) uint8."""
    few = np.linspace(0, len(batches.split) - 1, 4).astype(int)

    def draw() -> np.ndarray:
        images, masks = batches.batch(few)
        shown = batches.split.images[few].float().mean(dim=1)  # (4, h, w), grey
        predicted = 255.0 * (margin(forward(model, images, precision)).cpu() > 0)
        rows = torch.cat([shown, 255.0 * masks, predicted], dim=2).flatten(0, 1)  # (4 h, 3 w)
        return rows.byte()[..., None].repeat(1, 1, 3).numpy()

    return draw


def augmented(batches: Batches, epochs: int) -> pd.DataFrame:
    """The image with the largest mask as each epoch shows the two, a row an epoch: a table of ``outlines``."""
    images, masks, where = [], [], batches.split.targets.sum(dim=(1, 2)).argmax()[None].numpy()
    for epoch in range(epochs):
        image, mask = batches.split.images[where].float() / 255, batches.split.targets[where]
        if batches.augmentation:
            image, mask = batches.augmentation(image, mask, batches.seed, epoch, batches.split.samples[where])
        images += pictures(image)
        masks.append(mask[0].numpy() > 0)
    return outlines([f"epoch {epoch + 1}" for epoch in range(epochs)], images, masks)


def outlined(data: Data, part: Split, count: int) -> pd.DataFrame:
    """``count`` images of a part, evenly spaced, with their true masks: a table of ``outlines``."""
    samples = [part.samples[i] for i in np.linspace(0, len(part) - 1, count).astype(int)]
    names, images = [data.names[i] for i in samples], [data.picture(i) for i in samples]
    return outlines(names, images, [data.truth(i) for i in samples]).assign(sample=samples)


def overlays(cases: pd.DataFrame, maps: Tensor, data: Data) -> pd.DataFrame:
    """The rows of ``chosen_cases`` with what ``plot_overlays`` draws: title, image, true and predicted mask."""
    rows, place = [], {sample: i for i, sample in enumerate(data.test.samples)}
    for case in cases.itertuples():
        truth = data.truth(case.sample)
        predicted = at_size(maps[place[case.sample]], truth.shape) > 0.5
        note = "" if truth.any() else ", nothing to find"
        cells = {"image": in_grey(data.picture(case.sample)), "truth": truth, "predicted": predicted}
        title = f"{case.case}: {case.image}\nDice {case.dice:.3f}{note}"
        rows.append({"title": title, **{name: smaller(cell) for name, cell in cells.items()}})
    return cases.rename(columns={"image": "name"}).reset_index(drop=True).join(pd.DataFrame(rows))


def at_size(logits: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Foreground probabilities (H, W) at the size of the original image, from logits (h, w): bilinear, then sigmoid."""
    if logits.shape != shape:
        logits = F.interpolate(logits.float()[None, None], shape, mode="bilinear", align_corners=False)[0, 0]
    return torch.sigmoid(logits.float()).numpy()


def score(maps: Tensor, split: Split, data: Data, outlines: bool = False) -> pd.DataFrame:
    """One row per image: pixel counts, overlap scores and true area, all at the original size, for p > 0.5.

    ``maps`` (N, h, w) are foreground logits of the images of ``split``; ``outlines`` adds the 95 % Hausdorff distance.
    """
    rows = []
    for sample, logits in zip(split.samples, maps, strict=True):
        truth = data.truth(sample)
        predicted = at_size(logits, truth.shape) > 0.5
        counts = pixel_counts(*(torch.from_numpy(mask)[None] for mask in (predicted, truth)))[0]
        row = {"sample": sample, "image": data.names[sample], "group": data.groups[sample]}
        row |= dict(zip(COUNTS, map(int, counts), strict=True))
        if outlines:
            row["hausdorff95"] = hausdorff95(predicted, truth)
        rows.append(row)
    table = pd.DataFrame(rows)
    counts = torch.tensor(table[list(COUNTS)].to_numpy(), dtype=torch.float64)
    for name, overlap in OVERLAPS.items():
        table[name] = overlap(counts).numpy()
    return table.assign(true_share=(table["tp"] + table["fn"]) / counts.sum(dim=1).numpy())


def threshold_curve(maps: Tensor, split: Split, data: Data) -> pd.DataFrame:
    """Mean Dice, precision and recall over the images of ``split`` at every threshold on the probability."""
    curves = []
    for sample, logits in zip(split.samples, maps, strict=True):
        truth = data.truth(sample)
        counts = torch.from_numpy(threshold_counts(at_size(logits, truth.shape), truth, THRESHOLDS)).double()
        curves.append(np.stack([OVERLAPS[name](counts).numpy() for name in TRADE]))
    stacked = np.stack(curves)[:, :, :-1]  # no probability is above 1: nothing is predicted there
    with np.errstate(invalid="ignore"):
        mean = np.nansum(stacked, axis=0) / np.isfinite(stacked).sum(axis=0)  # NaN where no image has a precision
    return pd.DataFrame({"threshold": np.arange(THRESHOLDS) / THRESHOLDS} | dict(zip(TRADE, mean, strict=True)))


def trivial_scores(data: Data) -> pd.DataFrame:
    """Test scores of three predictors that do not look at the image: what a score has to beat.

    All background, all foreground, and the pixels that are foreground in at least half of the training masks.
    """
    often = data.train.targets.sum(dim=0) / len(data.train)
    usual = torch.where(often >= 0.5, 1.0, -1.0)
    guesses = {"all background": -torch.ones_like(usual), "all foreground": torch.ones_like(usual)}
    guesses["the usual place"] = usual
    rows = []
    for name, guess in guesses.items():
        table = score(guess.expand(len(data.test), -1, -1), data.test, data)
        rows.append({"predictor": name, **table[["dice", "iou", "pixel_accuracy"]].mean()})
    return pd.DataFrame(rows)


def copied_masks(train: Split, queries: Split, side: int = 32) -> np.ndarray:
    """Dice of each query (N,) if the mask of the training image most like it is copied: no learning at all.

    Images are compared as ``side`` × ``side`` thumbnails by squared difference. High where the split leaks.
    """

    def thumbnails(split: Split) -> Tensor:
        parts = np.array_split(np.arange(len(split)), -(-len(split) // 100))
        return torch.cat([F.adaptive_avg_pool2d(split.images[part].float(), side).flatten(1) for part in parts])

    nearest = torch.cdist(thumbnails(queries), thumbnails(train)).argmin(dim=1)  # (N,)
    guess = train.targets[nearest.numpy()].float()[:, None] * 2 - 1
    return dice(guess, queries.targets).numpy()


def chosen_cases(table: pd.DataFrame, metric: str = "dice") -> pd.DataFrame:
    """The worst, the median and the best images by ``metric``, at most four of a kind, with a column ``case``.

    No image is there twice: of two, one is the worst and one the best.
    """
    ordered = table.sort_values(metric, kind="stable")
    n = len(ordered)
    each = min(4, max(1, n // 3))
    middle, best = max(each, n // 2 - each // 2), max(each, n - each)
    kinds = {"worst": ordered[:each], "median": ordered[middle:best][:each], "best": ordered[best:]}
    return pd.concat([rows.assign(case=kind) for kind, rows in kinds.items()])
