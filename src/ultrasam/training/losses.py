"""Losses of one decoder pass, an object at a time. Weights and terms: `ultrasam.config.LossConfig`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ultrasam.config import LossConfig


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(..., H, W) logits and targets in [0, 1] -> (...), the mean over pixels."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((-2, -1))


def _focal_factors(logits: Tensor, target: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    # |target - p| is 1 - p_t for a hard target; for a soft one it vanishes where the target is met.
    return entropy, (target - torch.sigmoid(logits)).abs() ** gamma


def focal(logits: Tensor, target: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017, arXiv:1708.02002), mean over pixels: (..., H, W) -> (...)."""
    entropy, factor = _focal_factors(logits, target, gamma)
    balance = alpha * target + (1 - alpha) * (1 - target)
    return (balance * factor * entropy).mean((-2, -1))


def normalised_focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss whose weights sum to 1 for each object (Sofiiuk et al. 2019, arXiv:1909.07829): (..., H, W)
    -> (...).

    It does not fade as the mask improves and does not depend on the size of the object.
    """
    entropy, factor = _focal_factors(logits, target, gamma)
    weights = (factor / factor.sum((-2, -1), keepdim=True).clamp_min(1e-6)).detach()
    return (weights * entropy).sum((-2, -1))


def dice(logits: Tensor, target: Tensor, eps: float = 1.0) -> Tensor:
    """1 - 2 sum(pt) / (sum(p^2) + eps + sum(t^2) + eps): (..., H, W) -> (...).

    Milletari et al. 2016 (arXiv:1606.04797), with the eps of the UltraSam protocol.
    """
    p = torch.sigmoid(logits)
    overlap = (p * target).sum((-2, -1))
    squares = (p * p).sum((-2, -1)) + (target * target).sum((-2, -1))
    return 1 - 2 * overlap / (squares + 2 * eps)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of the masks at threshold 0 (logits) and 0.5 (target): (..., H, W) -> (...); two empty masks have
    IoU 1.
    """
    a, b = logits > 0, target > 0.5
    union = (a | b).sum((-2, -1))
    overlap = (a & b).sum((-2, -1))
    return torch.where(union > 0, overlap / union.clamp_min(1), torch.ones_like(union, dtype=torch.float32))


def mask_loss(logits: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    """The weighted mask terms of every mask: (..., H, W) -> (...)."""
    loss = config.dice * dice(logits, target)
    if config.focal:
        loss = loss + config.focal * focal(logits, target)
    if config.normalised_focal:
        loss = loss + config.normalised_focal * normalised_focal(logits, target)
    if config.bce:
        loss = loss + config.bce * binary_cross_entropy(logits, target)
    return loss


def pass_loss(masks: Tensor, predicted_iou: Tensor, target: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """Loss of one decoder pass over N objects.

    `masks` (N, 4, h, w) logits, `predicted_iou` (N, 4), `target` (N, h, w) in [0, 1] -> scalars `mask` (the
    single mask), `alternatives` (of the three alternatives the one with the highest true IoU, as the protocol
    says), `iou`, and their weighted sum `total`. All are means over the objects.
    """
    truth = target[:, None].expand_as(masks)
    true_iou = mask_iou(masks.detach(), truth)
    single = mask_loss(masks[:, 0], target, config)
    best = true_iou[:, 1:].argmax(1) + 1
    chosen = masks[torch.arange(len(masks), device=masks.device), best]
    alternative = mask_loss(chosen, target, config)
    error = predicted_iou - true_iou
    iou = (error.abs() if config.iou_error == "l1" else error**2).mean(1)
    total = single + config.alternatives * alternative + config.iou * iou
    return {
        "total": total.mean(),
        "mask": single.detach().mean(),
        "alternatives": alternative.detach().mean(),
        "iou": iou.detach().mean(),
        "true_iou": true_iou[:, 0].mean(),
    }


def paper_loss(masks: Tensor, predicted_iou: Tensor, target: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """Loss of one pass as the UltraSam paper trains it: only the best mask of each object is asked for.

    `masks` (N, k, h, w) logits and `predicted_iou` (N, k): the single mask in pass 1 (k = 1), the three
    alternatives in pass 2; `target` (N, h, w) of 0 and 1, see `low_resolution`. The best has the highest
    true IoU. Returns the weighted scalars `dice`, `focal` and `iou`, means over the objects, their sum
    `total`, and the `true_iou` of the best.
    """
    true_iou = mask_iou(masks.detach(), target[:, None].expand_as(masks))
    rows = torch.arange(len(masks), device=masks.device)
    best = true_iou.argmax(1)
    chosen = masks[rows, best]
    error = predicted_iou[rows, best] - true_iou[rows, best]
    terms = {
        "dice": config.dice * dice(chosen, target).mean(),
        "focal": config.focal * focal(chosen, target).mean(),
        "iou": config.iou * (error.abs() if config.iou_error == "l1" else error**2).mean(),
    }
    total = torch.stack(list(terms.values())).sum()
    return {**terms, "total": total, "true_iou": true_iou[rows, best].mean()}


def low_resolution(masks: Tensor, side: int) -> Tensor:
    """Targets of the paper: masks (N, S, S) of 0 and 1 on the square input -> (N, side, side) of 0 and 1,
    bilinear and rounded.
    """
    return F.interpolate(masks[:, None].float(), (side, side), mode="bilinear")[:, 0].round()
