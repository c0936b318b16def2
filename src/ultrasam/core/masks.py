"""Binary masks: connected components, Euclidean distance, boxes and COCO encodings.

A mask is a boolean array (H, W). Pixel (column i, row j) covers [i, i+1) x [j, j+1); whatever lies outside
the image counts as background.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from ultrasam.core.errors import UltrasamError

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]
IndexArray = NDArray[np.intp]

Box = tuple[float, float, float, float]

ROWS_AT_ONCE = 16
"""Rows in one block of the row pass: small enough for the processor's cache."""
PAIRS_AT_ONCE = 1 << 16
"""Candidates times columns from which on the farthest pixel is looked for by brute force."""
FARTHEST_VERTEX = 1e6
"""Polygon coordinates in pixels beyond this are taken for an error in the file."""


def label_components(mask: BoolArray) -> tuple[IntArray, int]:
    """Number the 8-connected components of `mask` (H, W) bool.

    Returns labels (H, W) int32, 0 for the background, and the number of components. Components are numbered
    from 1 in raster order of their first pixel.
    """
    mask = _as_mask(mask)
    labels = np.zeros(mask.shape, np.int32)
    # One background column before each row: no run crosses a row, and flat positions order the runs.
    stride = mask.shape[1] + 1
    flat = np.zeros(mask.shape[0] * stride + 1, np.bool_)
    flat[:-1].reshape(mask.shape[0], stride)[:, 1:] = mask
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, ends = changes[0::2], changes[1::2]
    root = _connect_runs(starts, ends, stride)
    is_root = root == np.arange(len(root))
    number = np.cumsum(is_root)[root]
    labels[mask] = np.repeat(number, ends - starts)
    return labels, int(is_root.sum())


def _connect_runs(starts: IndexArray, ends: IndexArray, stride: int) -> IndexArray:
    """The first run of each run's component, for half-open runs in raster order at flat positions."""
    # Runs touch, diagonally too, if the upper one ends at or after this start and starts by this end.
    first = np.searchsorted(ends, starts - stride, side="left")
    count = np.searchsorted(starts, ends - stride, side="right") - first
    below = np.repeat(np.arange(len(starts)), count)
    above = np.arange(len(below)) - np.repeat(np.cumsum(count) - count - first, count)
    root = np.arange(len(starts))
    while len(below):
        low, high = np.minimum(above, below), np.maximum(above, below)
        np.minimum.at(root, high, low)
        while not np.array_equal(root, grand := root[root]):
            root = grand
        above, below = root[low], root[high]
        apart = above != below
        above, below = above[apart], below[apart]
    return root


def distance_to_border(mask: BoolArray) -> FloatArray:
    """Exact Euclidean distance in pixels from each foreground pixel's centre to the nearest background's.

    `mask` (H, W) bool -> (H, W) float32, 0 in the background. Outside the image counts as background: a
    foreground pixel at the image's edge has a distance of 1. Two passes, columns then rows (Felzenszwalb and
    Huttenlocher, "Distance transforms of sampled functions", 2012), with a bounded search along the row.
    """
    mask = _as_mask(mask)
    distance = np.zeros(mask.shape, np.float32)
    if not mask.any():
        return distance
    rows, columns = _extent(mask)
    inside = np.pad(mask[rows, columns], 1)
    vertical, nearest = _squared_line_distances(inside)
    for top in range(1, len(inside) - 1, ROWS_AT_ONCE):
        block = slice(top, min(top + ROWS_AT_ONCE, len(inside) - 1))
        source, target = vertical[block], nearest[block]
        # A pixel's own line distance bounds how far along the row a nearer background pixel can be.
        for step in range(1, isqrt(int(target.max()))):
            np.minimum(target[:, step:], source[:, :-step] + step * step, out=target[:, step:])
            np.minimum(target[:, :-step], source[:, step:] + step * step, out=target[:, :-step])
    distance[rows, columns] = np.sqrt(nearest[1:-1, 1:-1])
    return distance


def farthest_pixel(mask: BoolArray) -> tuple[int, int]:
    """(column, row) of the foreground pixel with the largest `distance_to_border`, the first in raster order.

    Exact, but without the whole distance transform: a pixel is dropped once a background pixel is found that
    is nearer to it than the distance already reached elsewhere. Raises ValueError for an empty mask.
    """
    mask = _as_mask(mask)
    if not mask.any():
        raise ValueError("the mask is empty: it has no farthest pixel")
    rows, columns = _extent(mask)
    inside = np.pad(mask[rows, columns], 1)
    width = inside.shape[1]
    vertical, nearest = _squared_line_distances(inside)
    flat, bound = vertical.ravel(), nearest.ravel()
    candidates = np.flatnonzero(bound)
    bound = bound[candidates]
    # Coarse to fine (..., 32, 96, 16, 48, ...): distant steps together drop most pixels early.
    for step in sorted(range(1, isqrt(int(bound.max()))), key=lambda step: step & -step, reverse=True):
        reached = _squared_distances(vertical, candidates[[np.argmax(bound)]])[0]
        kept = bound >= reached
        candidates, bound = candidates[kept], bound[kept]
        if len(candidates) * width <= PAIRS_AT_ONCE:
            bound = _squared_distances(vertical, candidates)
            break
        # A step past the row's end reads another row, harmlessly: the bound is at most step^2 already.
        for shifted in (candidates - step, candidates + step):
            np.minimum(bound, flat.take(shifted, mode="clip") + step * step, out=bound)
    row, column = divmod(int(candidates[np.argmax(bound)]), width)
    return column - 1 + columns.start, row - 1 + rows.start


def _squared_line_distances(inside: BoolArray) -> tuple[IntArray, IntArray]:
    """Squared distances to the nearest background pixel in the column, and in the column or the row.

    `inside` has background on all four sides. Both (H, W) int32.
    """
    vertical = _steps_to_background(inside.T).T
    horizontal = _steps_to_background(inside)
    nearest = np.minimum(vertical, horizontal)
    return np.ascontiguousarray(vertical * vertical), np.ascontiguousarray(nearest * nearest)


def _steps_to_background(inside: BoolArray) -> IntArray:
    """Pixels along the row to the nearest background, (H, W) int32; rows begin and end with background."""
    flat = inside.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]).astype(np.int32) + np.int32(1)
    starts, ends = changes[0::2], changes[1::2]
    position = np.flatnonzero(flat).astype(np.int32)
    lengths = ends - starts
    steps = np.zeros(flat.shape, np.int32)
    before, after = np.repeat(starts - 1, lengths), np.repeat(ends, lengths)
    steps[position] = np.minimum(position - before, after - position)
    return steps.reshape(inside.shape)


def _squared_distances(vertical: IntArray, positions: IndexArray) -> IntArray:
    """Squared distances to the background at flat `positions` (n,), from the squared column pass (H, W)."""
    row, column = np.divmod(positions, vertical.shape[1])
    across = np.arange(vertical.shape[1], dtype=np.int32) - column[:, None].astype(np.int32)
    result: IntArray = (vertical[row] + across * across).min(axis=1)
    return result


def box_of(mask: BoolArray) -> Box:
    """The tight half-open box (x0, y0, x1, y1) in pixels of `mask` (H, W) bool.

    Raises ValueError if the mask is empty.
    """
    mask = _as_mask(mask)
    if not mask.any():
        raise ValueError("the mask is empty: it has no box")
    rows, columns = _extent(mask)
    return float(columns.start), float(rows.start), float(columns.stop), float(rows.stop)


def encode_rle(mask: BoolArray) -> dict[str, Any]:
    """`mask` (H, W) bool -> COCO's compressed RLE {"size": [H, W], "counts": str}, ready for JSON."""
    mask = _as_mask(mask)
    rle = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def run_lengths(mask: BoolArray) -> dict[str, Any]:
    """`mask` (H, W) bool -> COCO's uncompressed RLE {"size": [H, W], "counts": [n, ...]}.

    The counts are lengths of runs, column by column, of background first, which may be 0.
    """
    columns = _as_mask(mask).T.ravel()
    changes = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    counts = np.diff(np.concatenate(([0], changes, [columns.size]))).tolist()
    return {
        "size": [int(side) for side in mask.shape],
        "counts": [0, *counts] if columns[:1].any() else counts,
    }


def decode_segmentation(segmentation: object, height: int, width: int) -> BoolArray:
    """A COCO `segmentation` -> mask (height, width) bool.

    Takes compressed RLE (counts str or bytes), uncompressed RLE (counts a list of run lengths, background
    first, column by column) and polygons (a list of flat lists x, y, x, y, ... in pixels, rasterised by
    pycocotools; the union of several, an empty mask for none). Raises UltrasamError for anything else.
    """
    if isinstance(segmentation, dict):
        return _decode_rle(segmentation, height, width)
    if isinstance(segmentation, list | tuple):
        return _decode_polygons(segmentation, height, width)
    raise UltrasamError("the segmentation is neither RLE nor a list of polygons: check the COCO file")


def _decode_rle(rle: dict[str, Any], height: int, width: int) -> BoolArray:
    size, counts = rle.get("size"), rle.get("counts")
    shape = f"{height} x {width} pixels"
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise UltrasamError(f"the RLE has size {size} for an image of {shape} (H x W): check the COCO file")
    try:
        runs = _parse_counts(counts) if isinstance(counts, str | bytes) else np.asarray(counts, np.int64)
    except (TypeError, ValueError, OverflowError):
        runs = np.full(1, -1)
    # A run longer than the mask is caught on its own: the sum of such runs could overflow.
    if runs.ndim != 1 or ((runs < 0) | (runs > height * width)).any() or runs.sum() != height * width:
        raise UltrasamError(f"the RLE's counts do not add up to {shape}: check the COCO file")
    column_major = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(column_major.reshape(width, height).T)


def _parse_counts(counts: str | bytes) -> NDArray[np.int64]:
    """The run lengths in COCO's compressed counts. ValueError if the text is not of that form.

    Each number is little-endian, in two's complement: characters "0" + six bits, five of the number and one
    that says whether it goes on. From the fourth on it is the difference to the number two before. Parsed
    here because pycocotools returns uninitialised memory for a text that is cut short.
    """
    encoded = counts.encode("ascii") if isinstance(counts, str) else counts
    bits = np.frombuffer(encoded, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(bits < 32)
    if len(bits) == 0 or bits.min() < 0 or bits.max() > 63 or bits[-1] >= 32:
        raise ValueError("not compressed counts")
    first = np.append(0, last[:-1] + 1)
    place = np.arange(len(bits)) - np.repeat(first, last - first + 1)
    if place.max() > 6:
        raise ValueError("a number of more than 35 bits")
    runs = np.add.reduceat((bits & 31) << 5 * place, first)
    runs -= np.where(bits[last] & 16, np.int64(32) << 5 * place[last], 0)
    for parity in (1, 2):
        runs[parity::2] = np.cumsum(runs[parity::2])
    return runs


def _decode_polygons(polygons: Sequence[Any], height: int, width: int) -> BoolArray:
    if not polygons:
        return np.zeros((height, width), np.bool_)
    outlines = []
    for polygon in polygons:
        try:
            outline = np.asarray(polygon, np.float64)
        except (TypeError, ValueError):
            outline = np.empty(0)
        # pycocotools reads four numbers as a box, and crashes on NaN and on very large numbers.
        near = (np.abs(outline) < FARTHEST_VERTEX).all()
        if outline.ndim != 1 or len(outline) < 6 or len(outline) % 2 or not near:
            raise UltrasamError("a polygon is not a list of three or more x, y pairs: check the COCO file")
        outlines.append(outline.tolist())
    merged = coco.merge(coco.frPyObjects(outlines, height, width))
    return np.ascontiguousarray(coco.decode(merged), np.bool_)


def _as_mask(mask: NDArray[Any]) -> BoolArray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"a mask is a boolean array (H, W), not {mask.dtype} of shape {mask.shape}")
    return mask


def _extent(mask: BoolArray) -> tuple[slice, slice]:
    """The row and column slices that hold all foreground of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
