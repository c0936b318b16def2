"""What of a frame the model looks at: all of it or its ultrasound, then a small object once more, enlarged.

A model sees a frame at its own input size. Of an object that fills a tenth of the frame it sees little; cut
out with some context, the same object fills half of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import (
    PAD,
    BoolArray,
    ByteArray,
    FloatArray,
    Frame,
    mask_of,
    to_grid,
    upsample_logits,
)
from ultrasam.core.masks import box_of
from ultrasam.core.prompts import PRIOR_LOGIT, Box, Prompts
from ultrasam.engines.base import Engine
from ultrasam.predict.decode import Answer, Detail, View, decode, decode_rounds
from ultrasam.predict.paper import two_passes

Encode = Callable[[ByteArray], tuple[FloatArray, Frame]]

REFINE = ("none", "zoom", "auto")
DEFAULT_REFINE = "none"
# The side of the view in sides of what it must hold.
_CONTEXT = 1.8
# A view is enlarged at least so much, or it would show nothing new, and at most so much: beyond it there are
# only interpolated pixels.
_GAIN_MIN = 1.2
_GAIN_MAX = 4.0
# "auto" looks again where the enlargement is at least this.
_GAIN_AUTO = 2.0


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """A frame of which the whole, or the part that is ultrasound, is encoded, and what encodes parts of it.

    `image` (H, W, 3) uint8; `encode` gives the embedding (1, C, h, w) of such an image and how it lies in the
    model's input; `size`, `fit` (see `Frame`) and `side` are those of the model's input and masks; `refine`
    is one of `REFINE`; `crop` is the part that is looked at first, None for the whole. Prompts beside it ask
    the whole frame.
    """

    engine: Engine
    image: ByteArray
    encode: Encode
    size: int
    side: int
    fit: str = PAD
    refine: str = DEFAULT_REFINE
    crop: View | None = None

    @cached_property
    def frame(self) -> Frame:
        """How the whole image lies in the model's input."""
        return Frame(self.image.shape[1], self.image.shape[0], self.size, self.fit)

    def prepare(self) -> None:
        """Encode what is looked at first."""
        _ = self._whole if self.crop is None else self._cropped

    def ask_rounds(self, objects: Sequence[Prompts]) -> list[Answer]:
        """Every object's prompts fed one after the other, as if given one by one to a `Session`."""
        if self.refine == "none" and self.crop is None:
            return decode_rounds(self.engine, self._whole, self.frame, objects)
        answers: list[Answer] = []
        for prompts in objects:
            answer: Answer | None = None
            for step in prompts.prefixes():
                answer = self.ask(step, answer)
            assert answer is not None  # every object has at least one prompt
            answers.append(answer)
        return answers

    def two_passes(self, objects: Sequence[Prompts]) -> list[Answer]:
        """The protocol "paper" for objects with one prompt each."""
        return two_passes(self.engine, self._whole, self.frame, objects)

    def ask(self, prompts: Prompts, before: Answer | None) -> Answer:
        """One round for one object: all its prompts and the answer to the round before.

        While every prompt lies in the enlarged view of the round before, only that view is asked; else the
        frame, and then the view of what was found.
        """
        if before is not None and before.detail is not None:
            view = before.detail.view
            if view != self.crop and view.holds(prompts):
                return self._look(prompts, view, before)
        if self.crop is not None and self.crop.holds(prompts):
            answer = self._look(prompts, self.crop, before)
        else:
            previous = None if before is None else before.logits
            (answer,) = decode(self.engine, self._whole, self.frame, [prompts], [previous])
        view_of_it = self._view_of(prompts, answer)
        return answer if view_of_it is None else self._look(prompts, view_of_it, answer)

    def seen(self) -> tuple[FloatArray, View]:
        """The embedding (1, C, h, w) of what is looked at first, and which part of the frame it is."""
        if self.crop is not None:
            return self._cropped, self.crop
        return self._whole, View((0, 0, self.frame.width, self.frame.height), self.frame)

    def answer_of(self, view: View, logits: FloatArray, score: float) -> Answer:
        """The answer of a view, logits (side, side), with its logits brought to the grid of the frame as
        well.
        """
        if view.frame == self.frame:
            return Answer(logits, score)
        full = np.full(self.image.shape[:2], -PRIOR_LOGIT, np.float32)
        view.of(full)[:] = upsample_logits(logits, view.frame)
        on_frame = to_grid(full, self.side, -PRIOR_LOGIT, self.fit)
        on_frame.flags.writeable = False
        return Answer(on_frame, score, Detail(view, logits))

    @cached_property
    def _whole(self) -> FloatArray:
        return self.encode(self.image)[0]

    @cached_property
    def _cropped(self) -> FloatArray:
        assert self.crop is not None
        return self.encode(np.ascontiguousarray(self.crop.of(self.image)))[0]

    def _look(self, prompts: Prompts, view: View, before: Answer | None) -> Answer:
        """The answer of the view."""
        if view == self.crop:
            embedding = self._cropped
        else:
            embedding, _ = self.encode(np.ascontiguousarray(view.of(self.image)))
        prior = None if before is None else self._prior(view, before)
        (detail,) = decode(self.engine, embedding, view.frame, [view.prompts(prompts)], [prior])
        return self.answer_of(view, detail.logits, detail.score)

    def _prior(self, view: View, before: Answer) -> FloatArray:
        """What was answered before, as logits (side, side) on the grid of the view."""
        if before.detail is not None and before.detail.view == view:
            return before.detail.logits
        full = upsample_logits(before.logits, self.frame)
        return to_grid(view.of(full), self.side, -PRIOR_LOGIT, self.fit)

    def _view_of(self, prompts: Prompts, answer: Answer) -> View | None:
        """Where to look again; None where it is not wanted, nothing was found or nothing would be gained."""
        if self.refine == "none":
            return None
        mask = mask_of(answer.logits, self.frame)
        if not mask.any():
            return None
        view = view_around(region_of(mask, prompts), self.frame)
        seen = self.frame if answer.detail is None else answer.detail.view.frame
        gain = max(seen.width, seen.height) / max(view.frame.width, view.frame.height)
        return view if gain >= (_GAIN_AUTO if self.refine == "auto" else _GAIN_MIN) else None


def checked_refine(refine: str) -> str:
    """`refine` if it is one of `REFINE`, else UltrasamError."""
    if refine not in REFINE:
        raise UltrasamError(f"there is no refinement {refine!r:.40}: use one of {', '.join(REFINE)}")
    return refine


def view_of_box(box: tuple[int, int, int, int], size: int, fit: str = PAD) -> View:
    """The part `box` (x0, y0, x1, y1) of a frame in an input of `size` pixels."""
    x0, y0, x1, y1 = box
    return View(box, Frame(x1 - x0, y1 - y0, size, fit))


def region_of(mask: BoolArray, prompts: Prompts) -> Box:
    """The box (x0, y0, x1, y1) of a mask (H, W) with a pixel, of the prompted box and the positive clicks."""
    boxes = [box_of(mask)]
    if prompts.box is not None:
        boxes.append(prompts.box)
    clicks = zip(prompts.points, prompts.positive, strict=True)
    boxes += [(x, y, x, y) for (x, y), positive in clicks if positive]
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def view_around(region: Box, frame: Frame) -> View:
    """A square of whole pixels around `region` with context, moved and, where it is too large, cut to lie
    in the frame.
    """
    x0, y0, x1, y1 = region
    side = max(_CONTEXT * max(x1 - x0, y1 - y0), max(frame.width, frame.height) / _GAIN_MAX)
    left, right = _span((x0 + x1) / 2, side, frame.width)
    top, bottom = _span((y0 + y1) / 2, side, frame.height)
    return view_of_box((left, top, right, bottom), frame.size, frame.fit)


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    length = min(max(1, round(side)), limit)
    start = min(max(0, round(centre - length / 2)), limit - length)
    return start, start + length
