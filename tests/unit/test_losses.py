"""Losses against formulas written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ultrasam.config import LossConfig  # noqa: E402
from ultrasam.training.losses import (  # noqa: E402
    binary_cross_entropy,
    dice,
    focal,
    low_resolution,
    mask_iou,
    mask_loss,
    normalised_focal,
    paper_loss,
    pass_loss,
)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (3, 6, 5))
    target = (rng.random((3, 6, 5)) > 0.6).astype(np.float64)
    return logits, target


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def entropy(logits, target):
    p = sigmoid(logits)
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def check(function, pair, expected):
    logits, target = pair
    found = function(torch.from_numpy(logits), torch.from_numpy(target)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_binary_cross_entropy(pair):
    check(binary_cross_entropy, pair, entropy(*pair).mean((1, 2)))


def test_focal_weights_hard_pixels_and_the_rare_class(pair):
    logits, target = pair
    p = sigmoid(logits)
    p_t = np.where(target == 1, p, 1 - p)
    alpha_t = np.where(target == 1, 0.25, 0.75)
    check(focal, pair, (-alpha_t * (1 - p_t) ** 2 * np.log(p_t)).mean((1, 2)))


def test_normalised_focal_weights_sum_to_one(pair):
    logits, target = pair
    weight = np.abs(target - sigmoid(logits)) ** 2
    check(normalised_focal, pair, (weight * entropy(*pair)).sum((1, 2)) / weight.sum((1, 2)))


def test_normalised_focal_does_not_depend_on_the_background(pair):
    logits, target = (torch.from_numpy(a) for a in pair)
    wide_logits = torch.nn.functional.pad(logits, (50, 50), value=-60.0)
    wide_target = torch.nn.functional.pad(target, (50, 50))
    torch.testing.assert_close(normalised_focal(wide_logits, wide_target), normalised_focal(logits, target))


def test_dice_with_squares(pair):
    logits, target = pair
    p = sigmoid(logits)
    expected = 1 - 2 * (p * target).sum((1, 2)) / ((p**2).sum((1, 2)) + (target**2).sum((1, 2)) + 2)
    check(dice, pair, expected)


def test_iou_of_thresholded_masks(pair):
    logits, target = pair
    a, b = logits > 0, target > 0.5
    expected = (a & b).sum((1, 2)) / (a | b).sum((1, 2))
    check(mask_iou, pair, expected)
    half = torch.tensor([[[0.4, 0.6]]])  # a soft target counts from one half on
    assert mask_iou(torch.tensor([[[-1.0, 1.0]]]), half).item() == 1.0
    empty = torch.full((1, 4, 4), -1.0)
    assert mask_iou(empty, torch.zeros(1, 4, 4)).item() == 1.0


def test_mask_loss_is_the_weighted_sum(pair):
    logits, target = (torch.from_numpy(a) for a in pair)
    config = LossConfig(focal=20, normalised_focal=3, bce=2, dice=5)
    expected = (
        20 * focal(logits, target)
        + 3 * normalised_focal(logits, target)
        + 2 * binary_cross_entropy(logits, target)
        + 5 * dice(logits, target)
    )
    torch.testing.assert_close(mask_loss(logits, target, config), expected)


def test_only_the_alternative_with_the_highest_iou_is_trained():
    target = torch.zeros(1, 8, 8)
    target[:, 2:6, 2:6] = 1
    good = torch.where(target > 0, 3.0, -3.0)
    masks = torch.stack([good, torch.full_like(good, -3.0), good.roll(1, -1), good.roll(3, -1)], dim=1)
    masks.requires_grad_()
    iou = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    pass_loss(masks, iou, target, LossConfig())["total"].backward()
    touched = masks.grad.abs().sum((0, 2, 3)) > 0
    assert touched.tolist() == [True, False, True, False]


def test_the_score_is_trained_towards_the_true_iou_of_every_mask():
    target = torch.zeros(1, 8, 8)
    target[:, 2:6, 2:6] = 1
    perfect = torch.where(target > 0, 3.0, -3.0)
    masks = torch.stack([perfect, -perfect, perfect, torch.full_like(perfect, -3.0)], dim=1)
    iou = torch.tensor([[0.9, 0.2, 1.0, 0.3]])
    terms = pass_loss(masks, iou, target, LossConfig())
    # true IoU: 1, 0, 1, 0
    assert terms["iou"].item() == pytest.approx((0.1 + 0.2 + 0.0 + 0.3) / 4)
    assert terms["true_iou"].item() == 1.0


def test_the_loss_is_a_mean_over_objects(pair):
    logits, target = (torch.from_numpy(a).float() for a in pair)
    masks = logits[:, None].repeat(1, 4, 1, 1)
    iou = torch.full((3, 4), 0.5)
    together = pass_loss(masks, iou, target, LossConfig())["total"]
    alone = [
        pass_loss(masks[i : i + 1], iou[i : i + 1], target[i : i + 1], LossConfig())["total"]
        for i in range(3)
    ]
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_the_paper_trains_the_best_mask_alone():
    target = torch.zeros(1, 8, 8)
    target[:, 2:6, 2:6] = 1
    good = torch.where(target > 0, 3.0, -3.0)
    masks = torch.stack([torch.full_like(good, -3.0), good.roll(1, -1), good], dim=1).requires_grad_()
    iou = torch.tensor([[0.9, 0.2, 0.7]], requires_grad=True)
    terms = paper_loss(masks, iou, target, LossConfig())
    assert terms["iou"].item() == pytest.approx(0.3)  # the best has a true IoU of 1
    assert terms["focal"].item() == pytest.approx(20 * focal(good, target).item())
    assert terms["total"].item() == pytest.approx(sum(terms[k].item() for k in ("dice", "focal", "iou")))
    terms["total"].backward()
    assert masks.grad is not None and iou.grad is not None
    assert (masks.grad.abs().sum((0, 2, 3)) > 0).tolist() == [False, False, True]
    assert (iou.grad[0] != 0).tolist() == [False, False, True]
    squared = paper_loss(masks, iou, target, LossConfig(iou_error="mse"))
    assert squared["iou"].item() == pytest.approx(0.09)


def test_targets_of_the_paper_are_rounded():
    masks = torch.zeros(1, 16, 16)
    masks[:, :, :7] = 1
    # Without antialiasing: cells of four pixels are read at their two middle ones.
    assert low_resolution(masks, 4).tolist() == [[[1.0, 1.0, 0.0, 0.0]] * 4]
    assert low_resolution(masks.roll(-3, -1), 4).tolist() == [[[1.0, 0.0, 0.0, 1.0]] * 4]
