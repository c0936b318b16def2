"""How a model is prompted from the ground truth, and what it answers.

| protocol | prompt |
|---|---|
| point | the centroid of the ground truth; the second pass has the box of the first pass's mask instead |
| point-plain | the centroid in both passes |
| box | the exact box of the ground truth in both passes |
| box-jitter | that box, each side moved by up to 10 % of the width or height |
| ellipse | no model: the ellipse in the exact box, with a score of 1 |
| click-0 ... click-5 | interactive: the deepest pixel of the ground truth, then so many corrective clicks |

The first four are the evaluation of the UltraSam paper (Meyer et al. 2025): pass 1 takes the single-mask
token without a mask prompt, pass 2 gets its logits as mask prompt and the best of the other three by
predicted IoU is the answer, that prediction the score. Coordinates follow this package's one convention
(pixel centres at +0.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ultrasam.core.clicks import center_click, centroid, next_click
from ultrasam.core.geometry import BoolArray, FloatArray, Frame, upsample_logits
from ultrasam.core.masks import box_of
from ultrasam.core.metrics import ellipse_in_box
from ultrasam.core.prompts import Box, Prompts, stack_prompts
from ultrasam.engines.base import Engine
from ultrasam.predict.decode import OBJECTS_AT_ONCE, Answer, choose_masks, decode
from ultrasam.predict.session import Session

POINT = "point"
POINT_PLAIN = "point-plain"
BOX = "box"
BOX_JITTER = "box-jitter"
ELLIPSE = "ellipse"
CLICK = "click-"

# Each side of a jittered box moves by up to this share of the box's width or height.
JITTER = 0.1


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer of a protocol for the object `key`: `mask` bool (H, W), `score` in [0, 1]."""

    protocol: str
    key: int
    mask: BoolArray
    score: float


@dataclass(frozen=True, eq=False)
class Encoded:
    """A model's embedding (1, C, h, w) of an image that lies in the model's input as `frame` says."""

    engine: Engine
    embedding: FloatArray
    frame: Frame

    def single_masks(self, objects: Sequence[Prompts]) -> list[FloatArray]:
        """Pass 1: the single-mask token's logits (4h, 4w) of N objects with equally many tokens."""
        side = 4 * self.embedding.shape[-1]
        logits: list[FloatArray] = []
        for start in range(0, len(objects), OBJECTS_AT_ONCE):
            points, labels = stack_prompts(objects[start : start + OBJECTS_AT_ONCE], self.frame)
            no_mask, has_mask = (
                np.zeros((len(points), 1, side, side), np.float32),
                np.zeros(len(points), np.float32),
            )
            masks, iou = self.engine.decode(self.embedding, points, labels, no_mask, has_mask)
            # Two prompts or more mean the single-mask token; here it is wanted for one.
            logits += [answer.logits for answer in choose_masks(masks, iou, np.full(len(points), 2))]
        return logits

    def best_masks(self, objects: Sequence[Prompts], feedback: Sequence[FloatArray]) -> list[Answer]:
        """Pass 2: one prompt each and the logits of pass 1, the best of three by predicted IoU."""
        return decode(self.engine, self.embedding, self.frame, objects, feedback)

    def predictions(
        self, protocol: str, keys: Iterable[int], answers: Iterable[Answer]
    ) -> Iterator[Prediction]:
        """The answers on the grid of the original image."""
        for key, answer in zip(keys, answers, strict=True):
            yield Prediction(protocol, key, upsample_logits(answer.logits, self.frame) > 0, answer.score)


def two_passes(encoded: Encoded, truths: Mapping[int, BoolArray]) -> Iterator[Prediction]:
    """point, point-plain, box and box-jitter for the objects of one image, by annotation id."""
    frame = encoded.frame
    points = [Prompts((centroid(truth),), (True,)) for truth in truths.values()]
    first = encoded.single_masks(points)
    boxes = [found_box(logits, frame) for logits in first]
    refined = [asked if box is None else Prompts(box=box) for asked, box in zip(points, boxes, strict=True)]
    yield from encoded.predictions(POINT, truths, encoded.best_masks(refined, first))
    yield from encoded.predictions(POINT_PLAIN, truths, encoded.best_masks(points, first))

    exact = {key: box_of(truth) for key, truth in truths.items()}
    jittered = {key: jittered_box(box, key, frame) for key, box in exact.items()}
    for protocol, asked_boxes in ((BOX, exact), (BOX_JITTER, jittered)):
        prompts = [Prompts(box=box) for box in asked_boxes.values()]
        answers = encoded.best_masks(prompts, encoded.single_masks(prompts))
        yield from encoded.predictions(protocol, truths, answers)


def ellipses(truths: Mapping[int, BoolArray]) -> Iterator[Prediction]:
    """The baseline that needs no model: the ellipse in the exact box."""
    for key, truth in truths.items():
        yield Prediction(ELLIPSE, key, ellipse_in_box(box_of(truth), *truth.shape), 1.0)


def interactive(session: Session, truths: Mapping[int, BoolArray], clicks: int) -> Iterator[Prediction]:
    """A first click and `clicks` corrective ones for each object, as a user's session would answer them.

    Where no error is left the answer stands for the remaining clicks.
    """
    for key, truth in truths.items():
        session.object(f"annotation {key}")
        result = session.click(*center_click(truth))
        for count in range(clicks + 1):
            correction = next_click(result.mask, truth) if count else None
            if correction is not None:
                result = session.click(*correction)
            yield Prediction(f"{CLICK}{count}", key, result.mask, result.score)
        session.reset()


def jittered_box(box: Box, key: int, frame: Frame) -> Box:
    """The box (x0, y0, x1, y1) with each side moved by U(-10 %, 10 %) of its width or height, cut at the
    image.

    `key` (any whole number, such as an annotation's id) decides the draw.
    """
    x0, y0, x1, y1 = box
    moves = np.random.default_rng([abs(key), key < 0]).uniform(-JITTER, JITTER, 4)
    across, down = x1 - x0, y1 - y0
    return (
        max(0.0, x0 + float(moves[0]) * across),
        max(0.0, y0 + float(moves[1]) * down),
        min(float(frame.width), x1 + float(moves[2]) * across),
        min(float(frame.height), y1 + float(moves[3]) * down),
    )


def found_box(logits: FloatArray, frame: Frame) -> Box | None:
    """The tight box, found on the model's input grid, of logits (4h, 4w) > 0, in pixels of the original
    image.
    """
    size = frame.size
    width, height = frame.resized
    mask = upsample_logits(logits, Frame(size, size, size))[:height, :width] > 0
    if not mask.any():
        return None
    x0, y0, x1, y1 = (side / frame.scale for side in box_of(mask))
    # The resized image was rounded to whole pixels and may reach over the original by a part of one.
    return x0, y0, min(x1, float(frame.width)), min(y1, float(frame.height))
