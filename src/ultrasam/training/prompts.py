"""Simulated prompts: what a user would have given for a ground-truth mask. Model coordinates throughout."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ultrasam.config import PromptConfig
from ultrasam.core.geometry import BoolArray
from ultrasam.core.masks import box_of, distance_to_border
from ultrasam.core.prompts import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    PADDING,
    POSITIVE,
    Box,
    calliper,
)

KINDS = ("point", "box", "calliper")
# Two box corners and, where there are callipers, the centre of one.
_CORNERS, _CENTRE = 2, 1

Points = NDArray[np.float32]
Labels = NDArray[np.int64]


def random_point(rng: np.random.Generator, mask: BoolArray, central: float = 0.0) -> tuple[float, float]:
    """The centre of a random foreground pixel of (H, W); with probability `central` one of the deeper half.

    A person aims at the middle of what they see, seldom at its edge.
    """
    if rng.random() < central:
        depth = distance_to_border(mask)
        mask = depth >= depth.max() / 2
    ys, xs = np.nonzero(mask)
    i = rng.integers(len(xs))
    return float(xs[i]) + 0.5, float(ys[i]) + 0.5


def jitter_box(rng: np.random.Generator, box: Box, amount: float, size: int, vary: bool = True) -> Box:
    """Move every corner coordinate by U(-a, a) of the width or height, with a itself U(0, amount) if it is to
    `vary`, else `amount`.

    The box stays inside the square input and at least one pixel wide and high.
    """
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    dx0, dy0, dx1, dy1 = rng.uniform(-1, 1, 4) * (rng.uniform(0, amount) if vary else amount)
    moved = x0 + dx0 * width, y0 + dy0 * height, x1 + dx1 * width, y1 + dy1 * height
    return _clip_box(moved, size)


def _clip_box(box: Box, size: int) -> Box:
    """Inside the square input and at least one pixel wide and high."""
    x0, y0, x1, y1 = box
    left, top = min(max(x0, 0.0), size - 1.0), min(max(y0, 0.0), size - 1.0)
    return left, top, min(max(x1, left + 1), float(size)), min(max(y1, top + 1), float(size))


def calliper_of(rng: np.random.Generator, mask: BoolArray, amount: float) -> NDArray[np.float64]:
    """Four calliper ends (4, 2): the long axis (two ends), then the short one, ends moved by up to `amount`
    of the axis.

    The long axis is the mask's principal axis between its outermost pixels, the short one is perpendicular to
    it and crosses it in the middle of the extent.
    """
    ys, xs = np.nonzero(mask)
    pixels = np.stack([xs + 0.5, ys + 0.5], axis=1)
    centre = pixels.mean(axis=0)
    offsets = pixels - centre
    _, vectors = np.linalg.eigh(offsets.T @ offsets)
    ends = []
    lengths = []
    middle = centre.copy()
    extents = []
    for axis in (vectors[:, 1], vectors[:, 0]):
        along = offsets @ axis
        low, high = float(along.min()) - 0.5, float(along.max()) + 0.5
        middle += axis * (low + high) / 2
        extents.append((axis, (high - low) / 2))
    for axis, half in extents:
        ends += [middle - axis * half, middle + axis * half]
        lengths += [2 * half, 2 * half]
    moves = rng.uniform(-amount, amount, (4, 2)) * np.asarray(lengths)[:, None]
    return np.asarray(ends) + moves


def first_prompt(
    rng: np.random.Generator, mask: BoolArray, config: PromptConfig
) -> tuple[Points, Labels, int]:
    """The first prompt of an object with at least one foreground pixel.

    Returns points (P, 2), labels (P,) padded with -1, and the index of its kind in `KINDS`; P is 3, or 2
    without callipers.
    """
    frequencies = np.array([config.point, config.box, config.calliper])
    kind = int(rng.choice(3, p=frequencies / frequencies.sum()))
    slots = _CORNERS + (_CENTRE if config.calliper else 0)
    points = np.zeros((slots, 2), np.float32)
    labels = np.full(slots, PADDING, np.int64)
    size = mask.shape[0]
    if KINDS[kind] == "point":
        points[0] = random_point(rng, mask, config.central)
        labels[0] = POSITIVE
        return points, labels, kind
    if KINDS[kind] == "box":
        box = jitter_box(rng, box_of(mask), config.jitter, size, config.vary_jitter)
    else:
        ends = calliper_of(rng, mask, config.jitter)
        box, centre = calliper(*(tuple(end) for end in ends))
        box = _clip_box(box, size)
        points[2] = np.clip(centre, 0, size)
        labels[2] = POSITIVE
    points[0], points[1] = box[:2], box[2:]
    labels[:2] = BOX_TOP_LEFT, BOX_BOTTOM_RIGHT
    return points, labels, kind
