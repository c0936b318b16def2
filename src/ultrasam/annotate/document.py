"""What is annotated in a scan, as plain values: for the store, the page, and what reads and writes files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ultrasam.core.masks import BoolArray, decode_segmentation
from ultrasam.core.prompts import Prompts

Origin = Literal["prompt", "brush", "tracked", "imported", "auto"]
"""Where a mask is from: prompts of a person, a brush, another frame, a file, or a model without prompts."""

BY_HAND: frozenset[str] = frozenset({"prompt", "brush", "imported"})
"""What a person made, corrected or brought along; nothing automatic takes its place."""


@dataclass(frozen=True)
class AnnotatedObject:
    """One object of a scan, the same through all its frames. `label` is the name of its class."""

    id: int
    label: str
    name: str = ""
    colour: str | None = None


@dataclass(frozen=True, eq=False)
class Annotation:
    """One object on one frame.

    `rle` is COCO's compressed RLE of its mask on the frame; `score` the predicted IoU, None where a person
    drew it or it was imported; `doubt` says why a person should look at it, "" where nothing does;
    `checked` that a person has looked and called it right;
    `prompts` and `calliper` (its four ends, as drawn) what a person asked, in pixels of the frame.
    """

    object: int
    frame: int
    rle: Mapping[str, Any]
    score: float | None
    origin: Origin
    doubt: str = ""
    prompts: Prompts = Prompts()
    calliper: tuple[tuple[float, float], ...] = ()
    checked: bool = False

    @property
    def mask(self) -> BoolArray:
        """The mask (H, W) bool, decoded at each access."""
        height, width = self.rle["size"]
        return decode_segmentation(self.rle, height, width)


@dataclass(frozen=True)
class AnnotatedScan:
    """A scan and all that is annotated in it. `place` is its path below the project's folder, with `/`.

    `axis` is the one that a volume is cut along, "" of everything else. `annotations` are in order of frame,
    then of object. `done` says that a person called it finished.
    """

    id: int
    place: str
    path: Path
    axis: str = ""
    objects: tuple[AnnotatedObject, ...] = ()
    annotations: tuple[Annotation, ...] = field(default=(), repr=False)
    done: bool = False
