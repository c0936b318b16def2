"""Masks as they are trained on: nothing beyond the ultrasound sector, no pinholes, no specks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.core.masks import box_of, decode_segmentation, encode_rle, label_components
from ultrasam.datasets.lists.options import ListOptions
from ultrasam.datasets.readers.masks import parts, read_pixels

Json = dict[str, Any]

# Specks outside the sector, as compression leaves them, are narrower than this.
_SPECK = 5


@dataclass(frozen=True)
class Chunk:
    """Images of one set with their annotations, to be cleaned by one process.

    `folder` holds the images if they have to be looked at for the sector, else it is None. `small`: small
    objects are left out.
    """

    images: tuple[Json, ...]
    annotations: tuple[tuple[Json, ...], ...]
    folder: Path | None
    small: tuple[bool, ...]
    options: ListOptions


def clean(chunk: Chunk) -> tuple[list[list[Json]], Counter[str]]:
    """The annotations of each image of a chunk as they go into lists, and what was done how often.

    Counted: "holes closed", "cut at the sector", "pieces after the cut", "outside the sector" (left out) and
    "small" (left out). Raises UltrasamError if an image cannot be read.
    """
    counts: Counter[str] = Counter()
    cleaned = []
    for image, drawn, small in zip(chunk.images, chunk.annotations, chunk.small, strict=True):
        field = None
        if chunk.folder is not None and drawn:
            field = _sector_of(chunk.folder / image["file_name"], (image["height"], image["width"]))
        own: list[Json] = []
        for annotation in drawn:
            own += _cleaned(annotation, image, field, chunk.options, counts)
        if small:
            kept = [one for one in own if not is_small(one["area"], image, chunk.options)]
            counts["small"] += len(own) - len(kept)
            own = kept
        cleaned.append(own)
    return cleaned, +counts


def _cleaned(
    annotation: Json, image: Json, field: BoolArray | None, options: ListOptions, counts: Counter[str]
) -> Iterable[Json]:
    height, width = image["height"], image["width"]
    before = decode_segmentation(annotation["segmentation"], height, width)
    pieces = [before]
    if field is not None:
        cut = before & field
        left, area = np.count_nonzero(cut), np.count_nonzero(before)
        if left == 0 or left < (1 - options.most_cut) * area:
            counts["outside the sector"] += 1
            return
        if left < area:
            counts["cut at the sector"] += 1
            # One object that the cut has parted becomes several; one of several parts stays one.
            pieces = parts(cut) if label_components(before)[1] == 1 else [cut]
            counts["pieces after the cut"] += len(pieces) - 1
    closed = [close_holes(piece, options.hole) for piece in pieces]
    counts["holes closed"] += sum(not np.array_equal(*pair) for pair in zip(closed, pieces, strict=True))
    for number, piece in enumerate(closed):
        if len(closed) == 1 and np.array_equal(piece, before):
            yield annotation
            return
        x0, y0, x1, y1 = box_of(piece)
        yield annotation | {
            "id": annotation["id"] if number == 0 else piece_id(annotation["id"], number),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": float(np.count_nonzero(piece)),
            "segmentation": encode_rle(piece),
        }


def piece_id(annotation: int, number: int) -> int:
    """63 bits for a further piece of an annotation, the same in every run."""
    return int.from_bytes(sha256(f"{annotation}/{number}".encode()).digest()[:8], "big") >> 1


def is_small(area: float, image: Json, options: ListOptions) -> bool:
    """Whether an object has fewer pixels than `min_area` or `min_share` of its image."""
    pixels: int = image["height"] * image["width"]
    return area < max(options.min_area, options.min_share * pixels)


def close_holes(mask: BoolArray, most: int) -> BoolArray:
    """The mask with its holes of up to `most` pixels; a hole is a 4-connected part of the background that
    does not reach the border of the image.
    """
    import cv2

    if most == 0 or not mask.any():
        return mask
    x0, y0, x1, y1 = map(int, box_of(mask))
    # What lies around the object is one part of the background: the first pixel's.
    inside = np.pad(mask[y0:y1, x0:x1], 1)
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~inside).view(np.uint8), connectivity=4)
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] <= most)
    holes = small[(small != 0) & (small != labels[0, 0])]
    if len(holes) == 0:
        return mask
    filled: BoolArray = mask.copy()
    filled[y0:y1, x0:x1] |= np.isin(labels, holes)[1:-1, 1:-1]
    return filled


def _sector_of(path: Path, size: tuple[int, int]) -> BoolArray:
    pixels = read_pixels(path)
    if pixels.shape[:2] != size:
        raise UltrasamError(
            f"{shown(path)} is {pixels.shape[1]} x {pixels.shape[0]} pixels, its set says {size[1]} x "
            f"{size[0]}: build it again"
        )
    return sector(pixels)


def sector(image: ByteArray) -> BoolArray:
    """The filled ultrasound sector of an image (H, W) or (H, W, 3) uint8, as (H, W) bool.

    The convex hull of the largest connected part that is not black, after specks are gone: black pixels
    within, such as vessels, belong to it. An image whose surroundings are not black is all sector.
    """
    import cv2

    grey = image if image.ndim == 2 else image.max(axis=2)
    square = np.ones((_SPECK, _SPECK), np.uint8)
    lit = cv2.morphologyEx((grey > 0).astype(np.uint8), cv2.MORPH_CLOSE, square)
    without_specks = cv2.morphologyEx(lit, cv2.MORPH_OPEN, square)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(without_specks, connectivity=8)
    if count < 2:
        return np.ones(grey.shape, np.bool_)
    largest = (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    # Its corners went with the specks.
    points = cv2.findNonZero(cv2.bitwise_and(cv2.dilate(largest, square, iterations=2), lit))
    field = np.zeros(grey.shape, np.uint8)
    cv2.fillConvexPoly(field, cv2.convexHull(points), 1)
    return np.asarray(field, np.bool_)


def largest_only(annotations: Sequence[Json], share: float = 0.95) -> list[Json]:
    """The annotations of one image whose area is at least `share` of the largest one's: the filter behind
    the paper's numbers on MMOTU-2D.
    """
    most = max((one["area"] for one in annotations), default=0.0)
    return [one for one in annotations if one["area"] >= share * most]
