"""Objects of a frame that nobody has pointed at: a grid of clicks, the masks worth keeping, each object once.

After the idea in Kirillov et al. 2023, "Segment Anything", appendix B: every point of a grid is asked as one
click, its three alternatives are candidates, and those that are doubtful by predicted IoU or stability, or
that show again what a better one shows, are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import BoolArray, FloatArray, Frame
from ultrasam.core.prompts import Prompts, stack_prompts
from ultrasam.engines.base import Engine
from ultrasam.predict.decode import (
    OBJECTS_AT_ONCE,
    Answer,
    Result,
    inside,
    result_of,
    stability_of,
)
from ultrasam.predict.refine import EncodedFrame

WholeBox = tuple[int, int, int, int]
BitArray = NDArray[np.uint16]

# More points than this along a side only find the same objects again, and take minutes.
MOST_GRID = 64
# Bits that are set in each number of 16 bits: the pixels of a packed mask are counted by looking them up.
_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(1, np.uint8)


@dataclass(frozen=True)
class Automatic:
    """What `Model.automatic` keeps.

    `grid` points along the longer side of the ultrasound, fewer along the shorter. A mask is kept from a
    predicted IoU of `score` and a stability of `stability` on, if it covers at least `least` and at most
    `largest` of the ultrasound's box. Of two masks with a mask IoU above `overlap`, or of which the worse
    lies in the better with more than `contained` of its area, only the better is kept, and of all only the
    `most` best. `second`: whether each of these is asked again with its own mask. The defaults of score and
    stability were chosen for ultrasam-lite (benchmarks/automatic.py): other models draw other edges.
    """

    grid: int = 12
    score: float = 0.7
    stability: float = 0.5
    least: float = 0.002
    largest: float = 0.8
    overlap: float = 0.5
    contained: float = 0.8
    most: int = 20
    second: bool = True

    def checked(self) -> Automatic:
        """The same settings; raises UltrasamError for the first that is out of its range."""
        if not 1 <= self.grid <= MOST_GRID:
            raise UltrasamError(f"a grid of {self.grid} points a side: use 1 to {MOST_GRID}")
        if self.most < 1:
            raise UltrasamError(f"at most {self.most} objects: use 1 or more")
        for name in ("score", "stability", "least", "largest", "overlap", "contained"):
            if not 0 <= getattr(self, name) <= 1:
                raise UltrasamError(f"{name} {getattr(self, name):g}: use a number from 0 to 1")
        if self.least >= self.largest:
            raise UltrasamError(
                f"no mask covers at least {self.least:g} and at most {self.largest:g}: lower `least`"
            )
        return self


@dataclass(frozen=True, eq=False)
class Candidates:
    """N masks that passed the filters: which of the points asked for each and which of the four masks it is,
    (N,) int; `scores` (N,) float32, predicted IoU; `stabilities` (N,), see `stability_of`; `bits` (N, B)
    uint16, see `packed`.
    """

    points: NDArray[np.intp]
    masks: NDArray[np.intp]
    scores: FloatArray
    stabilities: NDArray[np.float64]
    bits: BitArray


def find_objects(encoded: EncodedFrame, box: WholeBox, settings: Automatic) -> list[Result]:
    """The objects of a frame, the best predicted IoU first; maybe none.

    `box` (x0, y0, x1, y1), whole pixels of the frame, is where the points lie. The prompts of a result are
    the one click that found it. Raises UltrasamError for settings out of their range.
    """
    settings.checked()
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    embedding, view = encoded.seen()
    clicks = [Prompts(((x, y),), (True,)) for x, y in grid_points(box, settings.grid).tolist()]
    seen = [view.prompts(click) for click in clicks]
    found = candidates(encoded.engine, embedding, view.frame, seen, settings, area)
    rows = suppress(found.bits, found.scores, settings)
    asked = found.points[rows].tolist()
    prompts = [clicks[point] for point in asked]
    logits = _logits_again(
        encoded.engine, embedding, view.frame, [seen[point] for point in asked], found.masks[rows]
    )
    answers = [
        encoded.answer_of(view, one, score)
        for one, score in zip(logits, found.scores[rows].tolist(), strict=True)
    ]
    if settings.second or encoded.refine != "none":
        answers = [encoded.ask(click, answer) for click, answer in zip(prompts, answers, strict=True)]
        rows = _still_good(answers, encoded.frame, settings, area)
        answers, prompts = [answers[row] for row in rows], [prompts[row] for row in rows]
    return [result_of(answer, click, encoded.frame) for answer, click in zip(answers, prompts, strict=True)]


def grid_points(box: WholeBox, grid: int) -> NDArray[np.float64]:
    """The middles (N, 2), x and y, of equal cells that fill `box` (x0, y0, x1, y1), row by row.

    `grid` cells along the longer side, and along the shorter as many as make them nearly square.
    """
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    side = max(width, height) / grid
    across, down = max(1, round(width / side)), max(1, round(height / side))
    xs = x0 + (np.arange(across) + 0.5) * width / across
    ys = y0 + (np.arange(down) + 0.5) * height / down
    return np.stack([np.tile(xs, down), np.repeat(ys, across)], axis=1)


def candidates(
    engine: Engine,
    embedding: FloatArray,
    frame: Frame,
    clicks: Sequence[Prompts],
    settings: Automatic,
    area: float,
    at_once: int = OBJECTS_AT_ONCE,
) -> Candidates:
    """The three alternatives of each click that pass the filters of `settings`, in the order of the clicks.

    `embedding` (1, C, h, w); `clicks`, at least one, each a single point in pixels of `frame`; `area` the
    pixels of which `least` and `largest` are shares; `at_once` clicks go into one call of the decoder, which
    bounds the memory and changes nothing else.
    """
    found = []
    cell = _cell(frame, 4 * embedding.shape[-1])
    for start in range(0, len(clicks), at_once):
        masks, iou = _decode(engine, embedding, frame, clicks[start : start + at_once])
        logits, scores = inside(masks, frame)[:, 1:], iou[:, 1:]
        good = (scores >= settings.score) & _right_size(logits, cell, settings, area)
        rows, kinds = np.nonzero(good)
        # Of what is left only: it reads every logit twice.
        stability = stability_of(logits[rows, kinds])
        stable = stability >= settings.stability
        rows, kinds, stability = rows[stable], kinds[stable], stability[stable]
        bits = packed(logits[rows, kinds] > 0)
        found.append((rows + start, kinds + 1, np.clip(scores[rows, kinds], 0, 1), stability, bits))
    return Candidates(*(np.concatenate(column) for column in zip(*found, strict=True)))


def suppress(bits: BitArray, scores: FloatArray, settings: Automatic) -> list[int]:
    """Greedy non-maximum suppression on masks: the rows to keep, best score first, at most `most`.

    `bits` (N, B) uint16 of `packed` masks, `scores` (N,). A mask is dropped for a better one that is kept if
    their IoU is above `overlap`, or if it lies in that one with more than `contained` of its area. Of equal
    scores the first row is the better.
    """
    left = np.argsort(-scores, kind="stable")
    areas = _count(bits)
    kept: list[int] = []
    while len(left) and len(kept) < settings.most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        both = _count(bits[left] & bits[best])
        union = areas[left] + areas[best] - both
        again = (both > settings.overlap * union) | (both > settings.contained * areas[left])
        left = left[~again]
    return kept


def packed(masks: BoolArray) -> BitArray:
    """Masks (N, h, w) bool -> (N, B) uint16, one bit a pixel, filled up with 0."""
    flat = masks.reshape(len(masks), masks.shape[1] * masks.shape[2])
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 16)))
    return np.packbits(flat, axis=1).view(np.uint16)


def _count(bits: BitArray) -> NDArray[np.int64]:
    """The bits (N,) that are set in each row (N, B)."""
    counts: NDArray[np.int64] = _ONES[bits].sum(axis=1, dtype=np.int64)
    return counts


def _right_size(logits: FloatArray, cell: float, settings: Automatic, area: float) -> BoolArray:
    """Which of the masks (..., h, w) are neither too small nor too large for an `area` in pixels.

    `cell` is the pixels in one number of the logits.
    """
    shares = np.count_nonzero(logits > 0, axis=(-2, -1)) * (cell / area)
    right: BoolArray = (shares >= settings.least) & (shares <= settings.largest)
    return right


def _cell(frame: Frame, side: int) -> float:
    """Pixels of the frame in one number of logits (side, side)."""
    across, down = frame.scales
    return (frame.size / side) ** 2 / (across * down)


def _decode(
    engine: Engine, embedding: FloatArray, frame: Frame, clicks: Sequence[Prompts]
) -> tuple[FloatArray, FloatArray]:
    """All four masks (N, 4, 4h, 4w) and predicted IoU (N, 4) of single clicks without a mask before."""
    side = 4 * embedding.shape[-1]
    points, labels = stack_prompts(clicks, frame)
    none = np.zeros((len(clicks), 1, side, side), np.float32)
    masks, iou = engine.decode(embedding, points, labels, none, np.zeros(len(clicks), np.float32))
    if not (np.isfinite(masks).all() and np.isfinite(iou).all()):
        raise UltrasamError("the model answered with numbers that are not finite: its weights are unusable")
    return masks, iou


def _logits_again(
    engine: Engine,
    embedding: FloatArray,
    frame: Frame,
    clicks: Sequence[Prompts],
    numbers: NDArray[np.intp],
) -> list[FloatArray]:
    """For each click the logits (4h, 4w) of the mask of this number, read-only.

    Those of all candidates would fill the memory, so the few that are left are decoded once more.
    """
    logits: list[FloatArray] = []
    for start in range(0, len(clicks), OBJECTS_AT_ONCE):
        chunk = slice(start, start + OBJECTS_AT_ONCE)
        masks, _ = _decode(engine, embedding, frame, clicks[chunk])
        logits += [one[number].copy() for one, number in zip(masks, numbers[chunk], strict=True)]
    for one in logits:
        one.flags.writeable = False
    return logits


def _still_good(answers: Sequence[Answer], frame: Frame, settings: Automatic, area: float) -> list[int]:
    """Which of the answers to a second look to keep, best first, by the same filters as before."""
    if not answers:
        return []
    logits = np.stack([inside(answer.logits, frame) for answer in answers])
    scores = np.array([answer.score for answer in answers], np.float32)
    good = (scores >= settings.score) & (stability_of(logits) >= settings.stability)
    good &= _right_size(logits, _cell(frame, answers[0].logits.shape[-1]), settings, area)
    rows = np.flatnonzero(good)
    kept = suppress(packed(logits[rows] > 0), scores[rows], settings)
    return [int(rows[row]) for row in kept]
