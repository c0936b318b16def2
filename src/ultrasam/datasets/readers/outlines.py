"""Regions of which only the outline is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import BoolArray
from ultrasam.datasets.readers.masks import Labels, background_parts

# An ellipse has five parameters.
_FEWEST_PIXELS = 5
_MOST_PAINTED = 0.5


def fill_outline(outline: BoolArray, path: Path) -> BoolArray:
    """The region within a drawn outline, the outline included; (H, W) bool, empty if the outline is.

    What the outline encloses is inside. Where it leaves the image, what lies between it and the border is
    inside too if most of it lies in the ellipse fitted to the outline (Fitzgibbon, Pilu and Fisher 1999). If
    the outline has a gap, the fitted ellipse itself is filled. Raises UltrasamError, naming `path`, if more
    than half of the image is painted (no outline) or too little for an ellipse.
    """
    import cv2

    if not outline.any():
        return outline
    if np.count_nonzero(outline) > _MOST_PAINTED * outline.size:
        raise UltrasamError(f"{shown(path)} is painted all over: an outline was expected")
    labels, outside = background_parts(outline)
    filled = outline | ~np.isin(labels, [0, *outside])
    if np.count_nonzero(filled) >= 2 * np.count_nonzero(outline) and len(outside) == 1:
        return np.asarray(filled, np.bool_)
    rows, columns = np.nonzero(outline)
    if len(rows) < _FEWEST_PIXELS:
        raise UltrasamError(f"{shown(path)} has {len(rows)} pixels drawn: too few for an outline")
    fitted = cv2.fitEllipseDirect(np.stack([columns, rows], axis=1).astype(np.float32))
    ellipse = cv2.ellipse(np.zeros(outline.shape, np.uint8), fitted, 1, thickness=-1).astype(np.bool_)
    for label in outside:
        region = labels == label
        if 2 * np.count_nonzero(region & ellipse) > np.count_nonzero(region):
            filled |= region
    # A gap joins inside and outside: then most of the ellipse is still empty.
    if 2 * np.count_nonzero(filled & ellipse) < np.count_nonzero(ellipse):
        filled = outline | ellipse
    return np.asarray(filled, np.bool_)


def fill_outlines(labels: Labels, path: Path) -> Labels:
    """Regions of several labels of which only the outlines are drawn -> the regions; both (H, W) integers.

    What the lines enclose takes the label of more than half of the line around it, so that a neighbour whose
    outline lies over a part of it changes nothing and neither swallows the other; what belongs to none stays
    0. Lines keep their labels. Raises UltrasamError, naming `path`, for a label whose lines enclose no more
    than they cover: it is open, or no outline.
    """
    regions, outside = background_parts(labels != 0)
    regions[np.isin(regions, outside)] = 0
    values = int(labels.max()) + 1
    beside = np.zeros((int(regions.max()) + 1) * values, np.int64)
    for inner, line in (
        (regions[1:], labels[:-1]),
        (regions[:-1], labels[1:]),
        (regions[:, 1:], labels[:, :-1]),
        (regions[:, :-1], labels[:, 1:]),
    ):
        beside += np.bincount((inner * values + line).ravel(), minlength=len(beside))
    around = beside.reshape(-1, values)
    around[:, 0] = around[0] = 0
    owner = np.where(2 * around.max(axis=1) > around.sum(axis=1), around.argmax(axis=1), 0)
    filled = np.where(labels != 0, labels, owner[regions]).astype(labels.dtype)
    for value in np.unique(labels[labels != 0]):
        if np.count_nonzero(filled == value) < 2 * np.count_nonzero(labels == value):
            raise UltrasamError(f"{shown(path)} has lines of the label {value} that enclose nothing")
    return filled
