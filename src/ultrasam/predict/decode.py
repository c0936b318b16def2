"""From prompts of many objects to one mask each: batches for the decoder, and which of its masks to take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import BoolArray, FloatArray, Frame, mask_of
from ultrasam.core.masks import box_of
from ultrasam.core.prompts import Box, IntArray, Prompts, stack_prompts
from ultrasam.engines.base import Engine

T = TypeVar("T", bound=np.generic)

# Objects in one decoder call: bounds the memory of its intermediate maps.
OBJECTS_AT_ONCE = 32
# Logits this far from 0 count as sure in the stability score.
STABILITY_OFFSET = 1.0


@dataclass(frozen=True)
class View:
    """A part of the frame: `box` (x0, y0, x1, y1), half-open, whole pixels of the frame; `frame` says how the
    part lies in the model's input.
    """

    box: tuple[int, int, int, int]
    frame: Frame

    def of(self, values: NDArray[T]) -> NDArray[T]:
        """The part of an array (H, W, ...) of the frame; no copy."""
        x0, y0, x1, y1 = self.box
        return values[y0:y1, x0:x1]

    def holds(self, prompts: Prompts) -> bool:
        """Whether all prompts lie in the view."""
        x0, y0, x1, y1 = self.box
        inside = all(x0 <= x < x1 and y0 <= y < y1 for x, y in prompts.points)
        if prompts.box is None:
            return inside
        left, top, right, bottom = prompts.box
        return inside and x0 <= left and y0 <= top and right <= x1 and bottom <= y1

    def prompts(self, prompts: Prompts) -> Prompts:
        """The prompts in pixels of the view; clicks beside it say nothing about it and are left out."""
        x0, y0, x1, y1 = self.box
        kept = [
            ((x - x0, y - y0), positive)
            for (x, y), positive in zip(prompts.points, prompts.positive, strict=True)
            if x0 <= x < x1 and y0 <= y < y1
        ]
        box = prompts.box
        if box is not None:
            left, top, right, bottom = box
            box = left - x0, top - y0, right - x0, bottom - y0
        return Prompts(tuple(point for point, _ in kept), tuple(positive for _, positive in kept), box)


@dataclass(frozen=True, eq=False)
class Detail:
    """The answer to a look at a part of the frame: `logits` (4h, 4w) float32 on the square grid of `view`."""

    view: View
    logits: FloatArray


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says about one object: `logits` (4h, 4w) float32 and `score`, its predicted IoU.

    After a look at a part of the frame `detail` holds its own answer, and `logits` the same mask on the grid
    of the frame.
    """

    logits: FloatArray
    score: float
    detail: Detail | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """One object of one frame. All coordinates are pixels of the original frame.

    `mask` bool (H, W); `score` the predicted IoU in [0, 1], 0 without prompts, nan for a prior mask that no
    prompt has refined; `logits` float32 (4h, 4w) on the model's square grid
    (`ultrasam.core.geometry.upsample_logits` brings them to the frame); `prompts` what was asked; `view` the
    part of the frame that was looked at last if it was not all of it: `mask` is finer there than `logits`;
    `stability` in [0, 1], see `stability_of`; `label` and `confidence` the class and score of the instance
    head that found it, "" and nan without one. The arrays are read-only.
    """

    mask: BoolArray
    score: float
    logits: FloatArray
    prompts: Prompts
    view: tuple[int, int, int, int] | None = None
    stability: float = float("nan")
    label: str = ""
    confidence: float = float("nan")

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    @property
    def empty(self) -> bool:
        """Whether the mask has no pixel."""
        return self.box is None

    @cached_property
    def box(self) -> Box | None:
        """The bounding box x0, y0, x1, y1 (half-open) of the mask; None if it is empty."""
        return box_of(self.mask) if self.mask.any() else None


def result_of(answer: Answer, prompts: Prompts, frame: Frame) -> Result:
    """The answer on the grid of the original frame."""
    detail = answer.detail
    if detail is None:
        mask = mask_of(answer.logits, frame)
        seen = inside(answer.logits, frame)
    else:
        mask = np.zeros((frame.height, frame.width), np.bool_)
        detail.view.of(mask)[:] = mask_of(detail.logits, detail.view.frame)
        seen = inside(detail.logits, detail.view.frame)
    mask.flags.writeable = False
    view = None if detail is None else detail.view.box
    return Result(mask, answer.score, answer.logits, prompts, view, float(stability_of(seen)))


def inside(logits: FloatArray, frame: Frame) -> FloatArray:
    """The part of logits (..., 4h, 4w) that lies on the image and not on its padding; no copy."""
    width, height = frame.resized
    per_cell = frame.size / logits.shape[-1]
    return logits[..., : math.ceil(height / per_cell), : math.ceil(width / per_cell)]


def stability_of(logits: FloatArray, offset: float = STABILITY_OFFSET) -> NDArray[np.float64]:
    """The stability score (...,) of logits (..., h, w): how little the mask depends on where it is cut.

    IoU of the masks of logits above `offset` and above -`offset` (Kirillov et al. 2023, "Segment Anything",
    appendix B); the first lies in the second, so it is the ratio of their areas. 0 where both are empty.
    """
    sure = np.count_nonzero(logits > offset, axis=(-2, -1))
    perhaps = np.count_nonzero(logits > -offset, axis=(-2, -1))
    return np.asarray(sure / np.maximum(perhaps, 1), np.float64)


def choose_masks(masks: FloatArray, iou: FloatArray, counts: IntArray) -> list[Answer]:
    """One of the four masks for each object.

    `masks` (N, 4, m, m) logits, `iou` (N, 4), `counts` (N,) number of prompts. Several prompts: the first
    mask. A single prompt may mean a part or the whole: the best of the other three by predicted IoU.
    """
    best = 1 + np.argmax(iou[:, 1:], axis=1)
    chosen = np.where(counts >= 2, 0, best)
    rows = np.arange(len(chosen))
    logits = masks[rows, chosen]  # a copy: the other three masks can be freed
    scores = np.clip(iou[rows, chosen], 0, 1)
    if not (np.isfinite(logits).all() and np.isfinite(scores).all()):
        raise UltrasamError("the model answered with numbers that are not finite: its weights are unusable")
    logits.flags.writeable = False
    return [Answer(logits[row], float(scores[row])) for row in rows]


def decode(
    engine: Engine,
    embedding: FloatArray,
    frame: Frame,
    objects: Sequence[Prompts],
    previous: Sequence[FloatArray | None],
) -> list[Answer]:
    """One round for N objects of a frame, each as if it were alone.

    `embedding` (1, C, h, w); `previous` holds for each object the logits (4h, 4w) of its round before, or
    None. Objects with equally many tokens share a decoder call; others do not, since padding would change the
    answer.
    """
    side = 4 * embedding.shape[-1]
    answers: dict[int, Answer] = {}
    for rows in _batches(objects):
        chosen = [objects[row] for row in rows]
        points, labels = stack_prompts(chosen, frame)
        mask = np.zeros((len(rows), 1, side, side), np.float32)
        has_mask = np.zeros(len(rows), np.float32)
        for place, row in enumerate(rows):
            before = previous[row]
            if before is not None:
                mask[place, 0] = before
                has_mask[place] = 1
        masks, iou = engine.decode(embedding, points, labels, mask, has_mask)
        counts = np.array([prompts.count for prompts in chosen])
        answers.update(zip(rows, choose_masks(masks, iou, counts), strict=True))
    return [answers[row] for row in range(len(objects))]


def decode_rounds(
    engine: Engine, embedding: FloatArray, frame: Frame, objects: Sequence[Prompts]
) -> list[Answer]:
    """Every object's prompts fed one after the other, each round with the mask of the one before.

    The same as `decode` on a single prompt, and as the prompts given one by one to a `Session`.
    """
    rounds = [prompts.prefixes() for prompts in objects]
    latest: list[Answer | None] = [None] * len(objects)
    for number in range(max(map(len, rounds), default=0)):
        rows = [row for row, steps in enumerate(rounds) if number < len(steps)]
        before = [None if (last := latest[row]) is None else last.logits for row in rows]
        answers = decode(engine, embedding, frame, [rounds[row][number] for row in rows], before)
        for row, answer in zip(rows, answers, strict=True):
            latest[row] = answer
    assert all(answer is not None for answer in latest)  # every object has at least one prompt
    return [answer for answer in latest if answer is not None]


def _batches(objects: Sequence[Prompts]) -> Iterator[list[int]]:
    """Row numbers with equal `num_tokens`, at most `OBJECTS_AT_ONCE` together."""
    groups: dict[int, list[int]] = {}
    for row, prompts in enumerate(objects):
        groups.setdefault(prompts.num_tokens, []).append(row)
    for rows in groups.values():
        for start in range(0, len(rows), OBJECTS_AT_ONCE):
            yield rows[start : start + OBJECTS_AT_ONCE]
