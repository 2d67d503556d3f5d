"""Losses, one number per image. All take logits, never probabilities: sigmoid and softmax are inside.

A segmentation loss maps logits (N, K, H, W) and a mask (N, H, W) of 0 and 1 to (N,). With K = 1 the logit is that of
the foreground; with K = 2 they are those of background and foreground. Both say the same thing: the softmax of two
logits is the sigmoid of their difference (``margin``).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH = 1.0  # pixels added to both sides of a Dice ratio, so that it is defined, and smooth, on an empty mask


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each image, (N,), in nats; ``log K`` for a blind guess.

    Logits (N, K) with class numbers (N,), or (N, K, H, W) with class numbers of pixels (N, H, W), of which the mean is
    taken. ``label_smoothing`` e asks for probability ``1 - e + e/K`` for the true class instead of 1
    (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).
    """
    values = F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
    return values.reshape(len(targets), -1).mean(dim=1)


def margin(logits: Tensor) -> Tensor:
    """The logit of the foreground against the background: (N, 1 or 2, H, W) -> (N, H, W); above 0 means foreground."""
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


def pixel_cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels of each image, (N,), in nats; ln 2 = 0.693 for a blind guess.

    For K = 1 this is known as binary cross-entropy, for K = 2 as cross-entropy; they are one function.
    """
    pixels = F.binary_cross_entropy_with_logits(margin(logits), mask.to(logits.dtype), reduction="none")
    return pixels.mean(dim=(1, 2))


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """``1 - Dice`` of the probabilities with the mask, image by image, (N,) in [0, 1].

    Dice = 2 |A ∩ B| / (|A| + |B|) with sums of probabilities in place of counts (Milletari et al. 2016,
    https://arxiv.org/abs/1606.04797, who square the terms of the denominator; here they are as they are). Background
    that is rightly left alone does not enter, so a small organ weighs as much as a large one.
    """
    p, truth = torch.sigmoid(margin(logits)), mask.to(logits.dtype)
    overlap, sizes = (p * truth).sum(dim=(1, 2)), (p + truth).sum(dim=(1, 2))
    return 1 - (2 * overlap + SMOOTH) / (sizes + SMOOTH)


def tversky_loss(logits: Tensor, mask: Tensor, false_positive: float = 0.3, false_negative: float = 0.7) -> Tensor:
    """Like ``dice_loss``, but a missed pixel costs more than a false one (Salehi et al. 2017,
    https://arxiv.org/abs/1706.05721); with 0.5 and 0.5 it is ``dice_loss``."""
    p, truth = torch.sigmoid(margin(logits)), mask.to(logits.dtype)
    hit, false, missed = ((a * b).sum(dim=(1, 2)) for a, b in ((p, truth), (p, 1 - truth), (1 - p, truth)))
    half = SMOOTH / 2
    return 1 - (hit + half) / (hit + false_positive * false + false_negative * missed + half)


def focal_loss(logits: Tensor, mask: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross-entropy times ``(1 - p)^gamma``, p the probability of the true class: easy pixels hardly count.

    Lin et al. 2017, https://arxiv.org/abs/1708.02002; ``gamma = 0`` is ``pixel_cross_entropy``.
    """
    truth = mask.to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(margin(logits), truth, reduction="none")
    return (loss * (1 - torch.exp(-loss)).pow(gamma)).mean(dim=(1, 2))


def double_sigmoid_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """``bce_dice`` as one report had it, with a sigmoid in the network *and* one in the cross-entropy.

    Kept to measure what it does: the cross-entropy sees numbers between 0 and 1, so even a perfect answer costs
    ln(1 + 1/e) = 0.313 on the foreground and ln 2 on the background.
    """
    return pixel_cross_entropy(torch.sigmoid(margin(logits))[:, None], mask) + dice_loss(logits, mask)


def bce_dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy plus Dice loss (the TAICA report)."""
    return pixel_cross_entropy(logits, mask) + dice_loss(logits, mask)


def half_ce_half_dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Half cross-entropy, half Dice loss (the AIoT report)."""
    return bce_dice(logits, mask) / 2


SEGMENTATION = {
    "bce": pixel_cross_entropy,
    "dice": dice_loss,
    "bce_dice": bce_dice,
    "half_ce_half_dice": half_ce_half_dice,
    "focal": focal_loss,
    "tversky": tversky_loss,
    "double_sigmoid": double_sigmoid_loss,
}
