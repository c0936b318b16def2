"""A mask as COCO polygons that give back the same pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.masks import BoolArray

Loop = NDArray[np.int64]


def mask_to_polygons(mask: BoolArray) -> list[list[float]]:
    """`mask` (H, W) bool -> polygons [[x, y, x, y, ...], ...] along the edges of its pixels; none if empty.

    Coordinates are corners of pixels: the polygon of the first pixel is its box, 0, 0 to 1, 1. COCO polygons
    have no holes, so a mask with a hole is cut in two at a column through it, as often as needed. The
    polygons do not overlap, and rasterised by pycocotools their union is the mask.
    """
    polygons: list[list[float]] = []
    pieces = [(0, mask)]
    while pieces:
        left, piece = pieces.pop()
        loops = outlines(piece)
        hole = next((loop for loop in loops if signed_area(loop) < 0), None)
        if hole is None:
            polygons += [[float(value) for value in (loop + (left, 0)).ravel()] for loop in loops]
            continue
        # From either side a hole that is cut at one of its own columns is open to the border.
        column = int(hole[:, 0].min() + hole[:, 0].max()) // 2
        pieces += [(left + column, piece[:, column:]), (left, piece[:, :column])]
    return polygons


def outlines(mask: BoolArray) -> list[Loop]:
    """The closed outlines of a mask as corners (n, 2) x, y: clockwise on the screen, round a hole the other
    way.

    Pixels that touch only at a corner are apart: no outline touches itself from within.
    """
    grid = np.pad(mask, 1)
    nw, ne, sw, se = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    count = nw.astype(np.int8) + ne + sw + se
    falling, rising = nw & se & ~ne & ~sw, ne & sw & ~nw & ~se
    corner = (count == 1) | (count == 3)
    # A corner where two pixels touch diagonally is there twice, once for each pixel.
    y, x = np.nonzero(np.concatenate([corner | falling | rising, falling | rising]))
    y %= grid.shape[0] - 1
    copy = np.zeros(len(x), np.int64)
    copy[len(x) - int(np.count_nonzero(falling | rising)) :] = 1
    # Edges join the corners of a row, and of a column, two by two. Of a double corner the first copy ends an
    # edge from the left and the second begins one to the right; upwards and downwards it depends on which
    # two pixels touch.
    upper = np.where(rising[y, x], 1 - copy, copy)
    across, along = np.lexsort((copy, x, y)), np.lexsort((upper, y, x))
    beside, above = np.empty(len(x), np.int64), np.empty(len(x), np.int64)
    for partner, order in ((beside, across), (above, along)):
        partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    loops = []
    left = bytearray(b"\1" * len(x))  # plain Python is faster than arrays for single elements
    points = np.stack([x, y], axis=1).astype(np.int64)
    sideways, upwards = beside.tolist(), above.tolist()
    for start in across[0::2].tolist():  # at a left end
        if not left[start]:
            continue
        walk: list[int] = []
        place = start
        while left[place]:
            walk += [place, sideways[place]]
            left[place] = left[walk[-1]] = 0
            place = upwards[walk[-1]]
        loop = points[walk]
        # To the right along an upper edge is clockwise: inside lies below.
        (x0, y0), (x1, _) = loop[0], loop[1]
        inside_below = bool(grid[y0 + 1, min(x0, x1) + 1])
        loops.append(loop if inside_below else loop[::-1])
    return loops


def signed_area(loop: Loop) -> int:
    """Twice the area; positive clockwise on the screen, where y goes down."""
    x, y = loop.T
    return int(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
