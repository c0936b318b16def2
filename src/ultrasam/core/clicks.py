"""Where a careful person would click: simulated clicks for training and evaluation.

Clicks are (x, y) in public coordinates: continuous pixels, a pixel's centre at +0.5.
"""

from __future__ import annotations

import numpy as np

from ultrasam.core.masks import BoolArray, farthest_pixel, label_components


def next_click(predicted: BoolArray, truth: BoolArray) -> tuple[float, float, bool] | None:
    """The corrective click on the largest error: (x, y, positive), or None if there is no error.

    `predicted` and `truth` are (H, W) bool. Missed and surplus pixels are split into 8-connected components;
    the click is the centre of that pixel of the largest one which is farthest from its border, positive on
    missed foreground. Ties: missed before surplus, then raster order. The rule of RITM (Sofiiuk et al.,
    2021), with the largest component instead of the most distant pixel. ValueError if the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"the masks have shapes {predicted.shape} and {truth.shape}: they must be equal")
    missed_size, missed = _largest_component(truth & ~predicted)
    surplus_size, surplus = _largest_component(predicted & ~truth)
    if not missed_size and not surplus_size:
        return None
    positive = missed_size >= surplus_size
    return *center_click(missed if positive else surplus), positive


def center_click(mask: BoolArray) -> tuple[float, float]:
    """(x, y) of the pixel centre of `mask` (H, W) bool that is farthest from the mask's border.

    Always inside the mask; of equal ones the first in raster order. Raises ValueError if the mask is empty.
    """
    column, row = farthest_pixel(mask)
    return column + 0.5, row + 0.5


def centroid(mask: BoolArray) -> tuple[float, float]:
    """(x, y), the mean of the foreground pixels' coordinates plus 0.5, of `mask` (H, W) bool.

    The point prompt of the UltraSam paper's evaluation; it can lie outside a concave mask. Raises ValueError
    if the mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError("the mask is empty: it has no centroid")
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def _largest_component(mask: BoolArray) -> tuple[int, BoolArray]:
    """(pixels, mask) of the largest 8-connected component, the first of equal ones; (0, `mask`) if empty."""
    labels, count = label_components(mask)
    if count <= 1:
        return int(np.count_nonzero(mask)), mask
    sizes = np.bincount(labels[mask])
    largest = int(sizes.argmax())
    return int(sizes[largest]), labels == largest
