"""Which part of a frame is ultrasound: borders and text only take pixels from the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import ByteArray
from ultrasam.core.masks import box_of, label_components
from ultrasam.core.prompts import Box
from ultrasam.io.scan import Region

WholeBox = tuple[int, int, int, int]

CROP = ("none", "auto", "region")
DEFAULT_CROP = "none"
# "auto" crops where that enlarges what is left at least so much. With less it costs accuracy on the sets that
# the lite model was trained on (benchmarks/looks.py).
_GAIN_AUTO = 2.0

# Content is looked for in blocks, of which the longest side of the frame has so many.
_BLOCKS = 64
# A pixel above this grey value is not background, and a block with this share of them is content.
_DARK = 12
_SHARE = 0.2
# A piece of content below this share of the frame is text or a logo, not a scan.
_LEAST = 0.05


def checked_crop(crop: str) -> str:
    """`crop` if it is one of `CROP`, else UltrasamError."""
    if crop not in CROP:
        raise UltrasamError(f"there is no crop {crop!r:.40}: use one of {', '.join(CROP)}")
    return crop


def crop_of(image: ByteArray, regions: Sequence[Region], crop: str) -> WholeBox | None:
    """The part (x0, y0, x1, y1), whole pixels, of an image (H, W, 3) to be encoded; None for all of it.

    "region": the 2-D regions of the DICOM header, or without one the part found by `content_box`; "auto": the
    same where it enlarges the scan at least twofold; "none": None.
    """
    if checked_crop(crop) == "none":
        return None
    height, width = image.shape[:2]
    box = _box_of_regions(regions, width, height) or content_box(image)
    if box is None or box == (0, 0, width, height):
        return None
    gain = max(width, height) / max(box[2] - box[0], box[3] - box[1])
    return None if crop == "auto" and gain < _GAIN_AUTO else box


def content_box(image: ByteArray) -> WholeBox | None:
    """The box of the largest connected piece of an image (H, W, 3) that is not nearly black, with a margin.

    None where no piece is large enough to be a scan.
    """
    height, width = image.shape[:2]
    side = max(1, round(max(height, width) / _BLOCKS))
    bright = (image.max(axis=2) > _DARK).astype(np.float64)
    tops, lefts = np.arange(0, height, side), np.arange(0, width, side)
    sums = np.add.reduceat(np.add.reduceat(bright, tops, axis=0), lefts, axis=1)
    sizes = np.outer(np.diff([*tops, height]), np.diff([*lefts, width]))
    labels, count = label_components(sums >= _SHARE * sizes)
    if not count:
        return None
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    if largest.mean() < _LEAST:
        return None
    x0, y0, x1, y1 = (int(edge) for edge in box_of(largest))
    return (
        max(0, (x0 - 1) * side),
        max(0, (y0 - 1) * side),
        min(width, (x1 + 1) * side),
        min(height, (y1 + 1) * side),
    )


def _box_of_regions(regions: Sequence[Region], width: int, height: int) -> WholeBox | None:
    """Around all 2-D regions inside the frame; None if there is none."""
    boxes: list[Box] = []
    for region in regions:
        x0, y0, x1, y1 = region.box
        if region.kind == "2D" and min(x0, y0) >= 0 and x1 <= width and y1 <= height:
            boxes.append(region.box)
    if not boxes:
        return None
    x0s, y0s, x1s, y1s = zip(*boxes, strict=True)
    return int(min(x0s)), int(min(y0s)), int(max(x1s)), int(max(y1s))
