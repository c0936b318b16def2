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


def surface_dice(
    a: BoolArray, b: BoolArray, tolerance: float, spacing: tuple[float, float] = (1.0, 1.0)
) -> float:
    """Normalised surface Dice (NSD) of two masks (H, W) bool: the share of both contours that lies within
    `tolerance` of the other one; 1.0 if both are empty, 0.0 if one is.

    Nikolov et al. 2021, doi:10.2196/26151, with a contour as the pixels of a mask that have a side on the
    background or on the border of the image, and distances between the middles of pixels. `spacing` is the
    size of a pixel in (x, y), in the unit of `tolerance`. Raises ValueError if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"the masks have shapes {a.shape} and {b.shape}: they must be equal")
    contours = contour(a), contour(b)
    counts = [int(np.count_nonzero(one)) for one in contours]
    if not any(counts):
        return 1.0
    if not all(counts):
        return 0.0
    rows, columns = np.nonzero(contours[0] | contours[1])
    # Beyond the pixels of both nothing is compared.
    view = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    first, second = (one[view] for one in contours)
    near = np.count_nonzero(first & _within(second, tolerance, spacing))
    near += np.count_nonzero(second & _within(first, tolerance, spacing))
    return float(near / sum(counts))


def contour(mask: BoolArray) -> BoolArray:
    """The pixels of a mask (H, W) that have a side on the background or on the border of the image."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    pixels: BoolArray = mask & ~inner
    return pixels


def _within(mask: BoolArray, distance: float, spacing: tuple[float, float]) -> BoolArray:
    """The pixels whose middle is at most `distance` from that of a pixel of `mask`."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    # How many pixels of the mask stand left of each place of a row.
    before = np.zeros((height, width + 1), np.int64)
    np.cumsum(mask, axis=1, out=before[:, 1:])
    columns = np.arange(width)
    reach = min(height - 1, int(distance / spacing[1] + 1e-9))
    for down in range(-reach, reach + 1):
        left = distance**2 - (down * spacing[1]) ** 2
        across = int(np.sqrt(max(left, 0.0)) / spacing[0] + 1e-9)
        low, high = np.maximum(columns - across, 0), np.minimum(columns + across + 1, width)
        hit = before[:, high] > before[:, low]
        source = slice(max(0, -down), height - max(0, down))
        target = slice(max(0, down), height - max(0, -down))
        found[target] |= hit[source]
    return found


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
