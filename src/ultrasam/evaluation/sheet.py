"""A contact sheet of the worst and the middling cases: ground truth green, prediction red, both yellow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ultrasam.core.geometry import BoolArray, ByteArray, as_rgb
from ultrasam.core.masks import box_of, decode_segmentation
from ultrasam.core.metrics import contour
from ultrasam.evaluation.metrics import Outcome
from ultrasam.evaluation.protocols import BOX, POINT
from ultrasam.evaluation.samples import Sample
from ultrasam.io.images import png_bytes

WORST = 4
MEDIAN = 2
TILE = 256
CAPTION = 50
# The view is a square around the object and the prediction, so much larger than both.
MARGIN = 1.5
SMALLEST_VIEW = 64

_GREEN, _RED, _YELLOW = (0, 220, 70), (255, 50, 50), (255, 230, 0)


def contact_sheet(
    outcomes: Sequence[Outcome], samples: Sequence[Sample], protocols: Sequence[str] = (POINT, BOX)
) -> bytes:
    """A PNG with one row per data set and protocol: the `WORST` lowest IoUs, then `MEDIAN` around the
    median.
    """
    by_image = {sample.image.id: sample for sample in samples}
    rows = []
    for dataset in dict.fromkeys(outcome.dataset for outcome in outcomes):
        for protocol in protocols:
            members = [o for o in outcomes if o.dataset == dataset and o.protocol == protocol]
            if members:
                rows.append(chosen_outcomes(members))
    sheet = Image.new("RGB", ((WORST + MEDIAN) * TILE, max(1, len(rows)) * (TILE + CAPTION)))
    for y, row in enumerate(rows):
        for x, (kind, outcome) in enumerate(row):
            sheet.paste(_tile(kind, outcome, by_image), (x * TILE, y * (TILE + CAPTION)))
    return png_bytes(sheet)


def chosen_outcomes(outcomes: Sequence[Outcome]) -> list[tuple[str, Outcome]]:
    """("worst", the lowest IoUs) and ("median", those around the median), none twice."""
    ranked = sorted(outcomes, key=lambda outcome: (outcome.iou, outcome.annotation_id))
    worst, others = ranked[:WORST], ranked[WORST:]
    start = min(max(0, len(ranked) // 2 - WORST - MEDIAN // 2), max(0, len(others) - MEDIAN))
    median = others[start : start + MEDIAN]
    return [("worst", outcome) for outcome in worst] + [("median", outcome) for outcome in median]


def _tile(kind: str, outcome: Outcome, samples: Mapping[int, Sample]) -> Image.Image:
    sample = samples[outcome.image_id]
    image = as_rgb(sample.pixels())
    truth = decode_segmentation(outcome.truth, *image.shape[:2])
    predicted = decode_segmentation(outcome.predicted, *image.shape[:2])
    tile = Image.new("RGB", (TILE, TILE + CAPTION))
    tile.paste(Image.fromarray(_view(image, truth, predicted)), (0, CAPTION))
    caption = (
        f"{outcome.dataset}, {outcome.protocol}, {kind}\n"
        f"IoU {outcome.iou:.2f}, predicted {outcome.score:.2f}\n"
        f"{sample.image.file_name[-24:]} #{outcome.annotation_id}"
    )
    ImageDraw.Draw(tile).text(
        (3, 2), caption, fill=(255, 255, 255), font=ImageFont.load_default(12), spacing=2
    )
    return tile


def _view(image: ByteArray, truth: BoolArray, predicted: BoolArray) -> ByteArray:
    """(TILE, TILE, 3): the part of the image around both masks, with their contours one screen pixel wide."""
    x0, y0, x1, y1 = box_of(truth | predicted)
    height, width = truth.shape
    side = min(max(SMALLEST_VIEW, MARGIN * max(x1 - x0, y1 - y0)), max(width, height))
    left, top = _start((x0 + x1) / 2, side, width), _start((y0 + y1) / 2, side, height)
    transform = (side / TILE, 0, left, 0, side / TILE, top)
    size, affine = (TILE, TILE), Image.Transform.AFFINE
    view = np.array(Image.fromarray(image).transform(size, affine, transform, Image.Resampling.BILINEAR))
    contours = []
    for mask in (truth, predicted):
        grey = Image.fromarray(mask.astype(np.uint8) * 255)
        zoomed = np.asarray(grey.transform(size, affine, transform, Image.Resampling.NEAREST)) > 0
        contours.append(contour(zoomed))
    view[contours[0]] = _GREEN
    view[contours[1]] = _RED
    view[contours[0] & contours[1]] = _YELLOW
    return view


def _start(centre: float, side: float, length: int) -> float:
    """Where a view of `side` pixels begins along an image side of `length`: inside where it fits, else
    centred.
    """
    if side > length:
        return (length - side) / 2
    return min(max(centre - side / 2, 0.0), length - side)
