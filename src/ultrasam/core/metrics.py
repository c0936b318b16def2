"""Overlap of masks and boxes, and the trivial baseline that a model has to beat."""

from __future__ import annotations

import numpy as np

from ultrasam.core.masks import BoolArray, Box


def iou(a: BoolArray, b: BoolArray) -> float:
    """Intersection over union of two masks (H, W) bool; 1.0 if both are empty.

    Raises ValueError if the shapes differ.
    """
    intersection, total = _overlap(a, b)
    union = total - intersection
    return intersection / union if union else 1.0


def dice(a: BoolArray, b: BoolArray) -> float:
    """Dice coefficient, 2 |a and b| / (|a| + |b|), of two masks (H, W) bool; 1.0 if both are empty.

    Raises ValueError if the shapes differ.
    """
    intersection, total = _overlap(a, b)
    return 2 * intersection / total if total else 1.0


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two half-open boxes (x0, y0, x1, y1); 0.0 if neither has an area."""
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    intersection = across * down
    union = _area(a) + _area(b) - intersection
    return intersection / union if union > 0 else 0.0


def ellipse_in_box(box: Box, height: int, width: int) -> BoolArray:
    """The ellipse touching the four sides of a half-open box (x0, y0, x1, y1), as (height, width) bool.

    A pixel belongs to it if its centre does; a box without area holds none. The trivial baseline for a box.
    """
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return np.zeros((height, width), np.bool_)
    across = (2 * (np.arange(width) + 0.5) - x0 - x1) / (x1 - x0)
    down = (2 * (np.arange(height) + 0.5) - y0 - y1) / (y1 - y0)
    inside: BoolArray = across**2 + down[:, None] ** 2 <= 1
    return inside


def _overlap(a: BoolArray, b: BoolArray) -> tuple[int, int]:
    """(pixels in both, pixels of a plus pixels of b)."""
    if a.shape != b.shape:
        raise ValueError(f"the masks have shapes {a.shape} and {b.shape}: they must be equal")
    return int(np.count_nonzero(a & b)), int(np.count_nonzero(a)) + int(np.count_nonzero(b))


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
