"""Objects that an instance head finds, outlined by a promptable model from their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import ByteArray
from ultrasam.core.prompts import Box, Prompts
from ultrasam.predict.automatic import Automatic, packed, suppress
from ultrasam.predict.decode import Result, inside, result_of
from ultrasam.predict.refine import EncodedFrame


@dataclass(frozen=True)
class Proposal:
    """An object: its box (x0, y0, x1, y1) in pixels, the number of its class, a score in [0, 1]."""

    box: Box
    label: int
    score: float


class InstanceHead(Protocol):
    """What finds the objects of its classes, such as a run of `ultrasam instances train`."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def propose(self, image: ByteArray, least: float) -> Sequence[Proposal]:
        """The objects of an image (H, W, 3) uint8 with a score of `least` or more, the best first."""


@dataclass(frozen=True)
class HeadSettings:
    """Which head it is, by a SHA-256 of weights and settings, its `classes`, and the least `score`."""

    sha256: str
    classes: tuple[str, ...]
    score: float = 0.5

    def checked(self) -> HeadSettings:
        """The same settings; raises UltrasamError for a score out of its range."""
        if not 0 <= self.score <= 1:
            raise UltrasamError(f"head score {self.score:g}: use a number from 0 to 1")
        return self


def outline_proposals(
    encoded: EncodedFrame,
    proposals: Sequence[Proposal],
    classes: Sequence[str],
    settings: Automatic,
) -> list[Result]:
    """Each proposal as a box prompt, the best first; its class and score stand in the result.

    Empty masks are dropped, and so are masks that show again what a better proposal shows, by `overlap`,
    `contained` and `most` of `settings`.
    """
    width, height = encoded.frame.width, encoded.frame.height
    prompts = [Prompts(box=one.box).checked(width, height) for one in proposals]
    answers = encoded.ask_rounds(prompts) if prompts else []
    rows = [row for row, answer in enumerate(answers) if (inside(answer.logits, encoded.frame) > 0).any()]
    if not rows:
        return []
    bits = packed(np.stack([inside(answers[row].logits, encoded.frame) > 0 for row in rows]))
    kept = suppress(bits, np.array([proposals[row].score for row in rows], np.float32), settings)
    return [
        replace(
            result_of(answers[row], prompts[row], encoded.frame),
            label=classes[proposals[row].label],
            confidence=proposals[row].score,
        )
        for row in (rows[place] for place in kept)
    ]
