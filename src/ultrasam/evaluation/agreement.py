"""Whether two models, or two forms of one, draw the same masks."""

from __future__ import annotations

from ultrasam.core.metrics import iou
from ultrasam.io.scan import Scan
from ultrasam.predict.model import Model

# Clicks in a grid of so many a side.
_SIDE = 4


def mask_agreement(one: Model, other: Model, scan: Scan) -> list[float]:
    """IoU of both models' masks of the first frame of `scan`, for 16 clicks in a grid and 4 boxes, one in
    each quarter; 1.0 where both are empty.
    """
    height, width = scan.frames[0].shape[:2]
    steps = [(number + 0.5) / _SIDE for number in range(_SIDE)]
    points = [(x * width, y * height) for y in steps for x in steps]
    boxes = [
        ((x - 0.2) * width, (y - 0.2) * height, (x + 0.2) * width, (y + 0.2) * height)
        for y in (0.25, 0.75)
        for x in (0.25, 0.75)
    ]
    masks = []
    for model in (one, other):
        (clicked,) = model.predict([scan], points=[points])
        (boxed,) = model.predict([scan], boxes=[boxes])
        masks.append([result.mask for result in (*clicked, *boxed)])
    return [iou(a, b) for a, b in zip(*masks, strict=True)]
