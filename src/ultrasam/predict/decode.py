"""From prompts of many objects to one mask each: batches for the decoder, and which of its masks to take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import BoolArray, FloatArray, Frame, upsample_logits
from ultrasam.core.masks import box_of
from ultrasam.core.prompts import Box, IntArray, Prompts, stack_prompts
from ultrasam.engines.base import Engine

# Objects in one decoder call: bounds the memory of its intermediate maps.
OBJECTS_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says about one object: `logits` (4h, 4w) float32 and `score`, its predicted IoU."""

    logits: FloatArray
    score: float


@dataclass(frozen=True, eq=False)
class Result:
    """One object of one frame. All coordinates are pixels of the original frame.

    `mask` bool (H, W); `score` the predicted IoU in [0, 1], 0 without prompts, nan for a prior mask that no
    prompt has refined; `logits` float32 (4h, 4w) on the model's square grid
    (`ultrasam.core.geometry.upsample_logits` brings them to the frame); `prompts` what was asked. The arrays
    are read-only.
    """

    mask: BoolArray
    score: float
    logits: FloatArray
    prompts: Prompts

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
    mask = upsample_logits(answer.logits, frame) > 0
    mask.flags.writeable = False
    return Result(mask, answer.score, answer.logits, prompts)


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
