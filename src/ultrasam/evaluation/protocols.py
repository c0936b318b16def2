"""How a model is prompted from the ground truth, and what it answers.

| protocol | prompt |
|---|---|
| point | the centroid of the ground truth; the second pass has the box of the first pass's mask instead |
| point-plain | the centroid in both passes |
| box | the exact box of the ground truth in both passes |
| box-jitter | that box, each side moved by up to 10 % of the width or height |
| ellipse | no model: the ellipse in the exact box, with a score of 1 |
| click-0 ... click-5 | interactive: the deepest pixel of the ground truth, then so many corrective clicks |
| moved-point-5 ... | point, moved at random by a normal distribution of so many 1024ths of the longest side |
| moved-box-5 ... | box, each side moved by up to so many percent of the width or height |

The first four are the two passes of the UltraSam paper (`ultrasam.predict.paper`), asked at the model's own
convention or, with `postprocess="original"`, at that of the original implementation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ultrasam.core.clicks import center_click, centroid, next_click
from ultrasam.core.geometry import BoolArray, FloatArray, Frame, mask_of
from ultrasam.core.masks import box_of
from ultrasam.core.metrics import ellipse_in_box
from ultrasam.core.prompts import Box, Prompts
from ultrasam.engines.base import Engine
from ultrasam.predict.decode import Answer, decode
from ultrasam.predict.paper import refined, single_masks
from ultrasam.predict.session import Session

POINT = "point"
POINT_PLAIN = "point-plain"
BOX = "box"
BOX_JITTER = "box-jitter"
ELLIPSE = "ellipse"
CLICK = "click-"

MOVED_POINT = "moved-point-"
MOVED_BOX = "moved-box-"
# Standard deviations in pixels of an image whose longest side is 1024, and percent.
POINT_MOVES = (0, 5, 10, 20, 50)
BOX_MOVES = (0, 5, 10, 20)

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

    def first(self, objects: Sequence[Prompts]) -> list[FloatArray]:
        """Pass 1 of `ultrasam.predict.paper` for N objects: logits (4h, 4w)."""
        return single_masks(self.engine, self.embedding, self.frame, objects)

    def second(
        self, objects: Sequence[Prompts], first: Sequence[FloatArray], in_place: bool = True
    ) -> list[Answer]:
        """Pass 2; `in_place` says whether the box that pass 1 found takes the place of a point."""
        asked = list(objects)
        if in_place:
            asked = [refined(*pair, self.frame) for pair in zip(objects, first, strict=True)]
        return decode(self.engine, self.embedding, self.frame, asked, first)

    def predictions(
        self, protocol: str, keys: Iterable[int], answers: Iterable[Answer]
    ) -> Iterator[Prediction]:
        """The answers on the grid of the original image."""
        for key, answer in zip(keys, answers, strict=True):
            yield Prediction(protocol, key, mask_of(answer.logits, self.frame), answer.score)


def two_passes(encoded: Encoded, truths: Mapping[int, BoolArray]) -> Iterator[Prediction]:
    """point, point-plain, box and box-jitter for the objects of one image, by annotation id."""
    exact = {key: box_of(truth) for key, truth in truths.items()}
    jittered = {key: jittered_box(box, key, encoded.frame) for key, box in exact.items()}
    points = [Prompts((centroid(truth),), (True,)) for truth in truths.values()]
    first = encoded.first(points)
    yield from encoded.predictions(POINT, truths, encoded.second(points, first))
    yield from encoded.predictions(POINT_PLAIN, truths, encoded.second(points, first, in_place=False))
    for protocol, boxes in ((BOX, exact), (BOX_JITTER, jittered)):
        prompts = [Prompts(box=box) for box in boxes.values()]
        answers = encoded.second(prompts, encoded.first(prompts))
        yield from encoded.predictions(protocol, truths, answers)


def paper_prompts(encoded: Encoded, truths: Mapping[int, BoolArray]) -> Iterator[Prediction]:
    """point and box alone, which is what the paper reports."""
    points = [Prompts((centroid(truth),), (True,)) for truth in truths.values()]
    yield from encoded.predictions(POINT, truths, encoded.second(points, encoded.first(points)))
    boxes = [Prompts(box=box_of(truth)) for truth in truths.values()]
    yield from encoded.predictions(BOX, truths, encoded.second(boxes, encoded.first(boxes)))


def moved_prompts(encoded: Encoded, truths: Mapping[int, BoolArray]) -> Iterator[Prediction]:
    """The curves of `POINT_MOVES` and `BOX_MOVES`: how much worse the answer is to a prompt that is off.

    An object is moved in the same direction at each step, only farther.
    """
    frame = encoded.frame
    for step in POINT_MOVES:
        places = [moved_point(centroid(truth), key, frame, step) for key, truth in truths.items()]
        points = [Prompts((place,), (True,)) for place in places]
        answers = encoded.second(points, encoded.first(points))
        yield from encoded.predictions(f"{MOVED_POINT}{step}", truths, answers)
    for step in BOX_MOVES:
        boxes = [
            Prompts(box=jittered_box(box_of(truth), key, frame, step / 100)) for key, truth in truths.items()
        ]
        answers = encoded.second(boxes, encoded.first(boxes))
        yield from encoded.predictions(f"{MOVED_BOX}{step}", truths, answers)


def moved_point(point: tuple[float, float], key: int, frame: Frame, step: float) -> tuple[float, float]:
    """The point (x, y) moved by a normal distribution of `step` 1024ths of the longest side, in the image.

    `key` decides the draw, as for `jittered_box`.
    """
    moves = np.random.default_rng([abs(key), key < 0, 1]).normal(size=2)
    unit = step * max(frame.width, frame.height) / 1024
    x, y = (position + unit * float(move) for position, move in zip(point, moves, strict=True))
    return min(max(x, 0.0), float(frame.width)), min(max(y, 0.0), float(frame.height))


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


def jittered_box(box: Box, key: int, frame: Frame, amount: float = JITTER) -> Box:
    """The box (x0, y0, x1, y1) with each side moved by U(-amount, amount) of its width or height, cut at the
    image.

    `key` (any whole number, such as an annotation's id) decides the draw.
    """
    x0, y0, x1, y1 = box
    moves = np.random.default_rng([abs(key), key < 0]).uniform(-1, 1, 4) * amount
    across, down = x1 - x0, y1 - y0
    return (
        max(0.0, x0 + float(moves[0]) * across),
        max(0.0, y0 + float(moves[1]) * down),
        min(float(frame.width), x1 + float(moves[2]) * across),
        min(float(frame.height), y1 + float(moves[3]) * down),
    )
