"""Prompts of one object in public coordinates, and the arrays a decoder takes.

A label names the kind of a point, the same for every model of this package:
-1 padding, 0 negative click, 1 positive click, 2 and 3 the top left and bottom right corner of a box.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import PAD, BoolArray, FloatArray, Frame, to_grid

PADDING = -1
NEGATIVE = 0
POSITIVE = 1
BOX_TOP_LEFT = 2
BOX_BOTTOM_RIGHT = 3

Point = tuple[float, float]
Box = tuple[float, float, float, float]
IntArray = NDArray[np.int64]

# A prior mask as logits: the squashing of every decoder is saturated there.
PRIOR_LOGIT = 10.0


@dataclass(frozen=True)
class Prompts:
    """The clicks and the box of one object.

    `points` (x, y) and `box` (x0, y0, x1, y1), half-open, are continuous pixels of the original frame;
    `positive` says for each point whether it lies on the object (True) or on what must be left out (False).
    """

    points: tuple[Point, ...] = ()
    positive: tuple[bool, ...] = ()
    box: Box | None = None

    def __post_init__(self) -> None:
        if len(self.points) != len(self.positive):
            raise UltrasamError(
                f"{len(self.points)} points but {len(self.positive)} labels: give one label per point"
            )

    @property
    def count(self) -> int:
        """Number of prompts: each click is one, the box is one."""
        return len(self.points) + (self.box is not None)

    @property
    def num_tokens(self) -> int:
        """Length P of the point arrays: the clicks, then two corners, or one padding point without a box.

        The padding point is SAM's rule (Kirillov et al. 2023): its decoders were trained with it.
        """
        return len(self.points) + (2 if self.box is not None else 1)

    def with_click(self, x: float, y: float, positive: bool = True) -> Prompts:
        """These prompts and one more click."""
        return replace(self, points=(*self.points, (x, y)), positive=(*self.positive, positive))

    def with_box(self, box: Box) -> Prompts:
        """These prompts with `box` in place of an earlier one."""
        return replace(self, box=box)

    def prefixes(self) -> list[Prompts]:
        """What a model sees round by round: the box, or else the first click, then click by click."""
        first = 0 if self.box is not None else 1
        return [
            replace(self, points=self.points[:end], positive=self.positive[:end])
            for end in range(first, len(self.points) + 1)
        ]

    def checked(self, width: int, height: int) -> Prompts:
        """The same prompts if they fit a frame of `width` x `height` pixels.

        Raises UltrasamError for a point or box that is not finite or not inside the frame, and for a box
        whose corners are not ordered or that has no area.
        """
        points = tuple(check_point(x, y, width, height) for x, y in self.points)
        box = None if self.box is None else check_box(self.box, width, height)
        return replace(self, points=points, box=box)


def check_point(x: float, y: float, width: int, height: int) -> Point:
    """(x, y) if it is finite and 0 <= x < width, 0 <= y < height; else UltrasamError."""
    x, y = _floats((x, y), 2, "a point is two numbers x, y")
    if not (math.isfinite(x) and math.isfinite(y)):
        raise UltrasamError(f"the point {_numbers(x, y)} is not finite: give x,y in pixels of the image")
    if not (0 <= x < width and 0 <= y < height):
        raise UltrasamError(
            f"the point {_numbers(x, y)} is outside the image of {width} x {height} pixels: "
            f"give 0 <= x < {width} and 0 <= y < {height}"
        )
    return x, y


def check_box(box: Box, width: int, height: int) -> Box:
    """`box` (x0, y0, x1, y1) if it is finite, has an area and lies inside the frame; else UltrasamError."""
    x0, y0, x1, y1 = _floats(box, 4, "a box is four numbers x0, y0, x1, y1")
    text = _numbers(x0, y0, x1, y1)
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise UltrasamError(f"the box {text} is not finite: give x0,y0,x1,y1 in pixels of the image")
    if not (x0 < x1 and y0 < y1):
        raise UltrasamError(
            f"the box {text} has no area: give its top left and bottom right corner, x0 < x1 and y0 < y1"
        )
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise UltrasamError(f"the box {text} is not inside the image of {width} x {height} pixels")
    return x0, y0, x1, y1


def calliper(p0: Point, p1: Point, p2: Point, p3: Point) -> tuple[Box, Point]:
    """Two diameters of an ellipse -> its bounding box (x0, y0, x1, y1) and its centre (x, y).

    `p0`-`p1` and `p2`-`p3` are the end points of the two axes, (x, y) in pixels, in any order. The centre is
    the mean of the four. The half axes u and v span the ellipse c + u cos t + v sin t, whose extent along x
    is sqrt(ux^2 + vx^2), along y the same (exact also where the axes are drawn not quite perpendicular).
    Raises UltrasamError for a coordinate that is not finite and for an axis without length.
    """
    rule = "a calliper is four points x, y: the two ends of the long and of the short axis"
    ends = np.array([_floats(end, 2, rule) for end in (p0, p1, p2, p3)])
    if not np.isfinite(ends).all():
        raise UltrasamError("the calliper has an end that is not finite: give x,y in pixels of the image")
    half_axes = np.stack([(ends[1] - ends[0]) / 2, (ends[3] - ends[2]) / 2])
    if not (np.hypot(*half_axes.T) > 0).all():
        raise UltrasamError(
            "the calliper has an axis of length 0: give two different end points for each axis"
        )
    centre = ends.mean(axis=0)
    extent = np.hypot(*half_axes)
    x0, y0, x1, y1 = map(float, (*(centre - extent), *(centre + extent)))
    return (x0, y0, x1, y1), (float(centre[0]), float(centre[1]))


def calliper_prompts(ends: Sequence[Point], width: int, height: int) -> Prompts:
    """Four (x, y) ends of a calliper -> the box of its ellipse, cut at the frame, and a click at its centre.

    Raises UltrasamError for an end that is not finite or not inside the frame and for an axis without length.
    """
    if len(ends) != 4:
        raise UltrasamError(f"a calliper is four points, got {len(ends)}")
    box, centre = calliper(*ends)
    if not all(0 <= x <= width and 0 <= y <= height for x, y in ends):
        raise UltrasamError(f"the calliper is not inside the image of {width} x {height} pixels")
    x0, y0, x1, y1 = box
    # The ellipse of four ends that lie inside may still reach over the border of the frame.
    inside = check_box(
        (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))), width, height
    )
    return Prompts((centre,), (True,), inside)


def prompts_of(box: ArrayLike | None, points: ArrayLike | None, labels: ArrayLike | None) -> Prompts:
    """One object's prompts from arrays: `box` (4,), `points` (K, 2) or (2,), `labels` (K,) of 0 and 1
    (default: 1).

    Raises UltrasamError for any other shape or label and where neither box nor point is given.
    """
    xy = np.zeros((0, 2)) if points is None else np.atleast_2d(_array(points))
    kinds = np.ones(len(xy)) if labels is None else np.atleast_1d(_array(labels))
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise UltrasamError(f"the points of an object have the shape (K, 2), got {xy.shape}")
    if kinds.ndim != 1 or not np.isin(kinds, (NEGATIVE, POSITIVE)).all():
        raise UltrasamError("the labels of an object's points are 1 (positive click) or 0 (negative click)")
    corners: Box | None = None
    if box is not None:
        x0, y0, x1, y1 = _floats(_array(box), 4, "a box is four numbers x0, y0, x1, y1")
        corners = (x0, y0, x1, y1)
    if corners is None and not len(xy):
        raise UltrasamError("an object needs a box or at least one point")
    return Prompts(
        tuple((float(x), float(y)) for x, y in xy), tuple(bool(k == POSITIVE) for k in kinds), corners
    )


def stack_prompts(objects: Sequence[Prompts], frame: Frame) -> tuple[FloatArray, IntArray]:
    """N objects -> points (N, P, 2) float32 in model coordinates (x, y) and labels (N, P) int64.

    P is the largest `num_tokens`; shorter rows are filled with label -1 at (0, 0). Decoders may attend to
    padding: for the same answer as one by one stack only objects with equal `num_tokens`.
    """
    length = max((prompts.num_tokens for prompts in objects), default=1)
    points = np.zeros((len(objects), length, 2), np.float32)
    labels = np.full((len(objects), length), PADDING, np.int64)
    for row, prompts in enumerate(objects):
        places = [*prompts.points]
        kinds = [POSITIVE if positive else NEGATIVE for positive in prompts.positive]
        if prompts.box is not None:
            x0, y0, x1, y1 = prompts.box
            places += [(x0, y0), (x1, y1)]
            kinds += [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT]
        if places:
            corners = np.isin(kinds, (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT))
            points[row, : len(places)] = frame.to_model(np.asarray(places, np.float64), corners)
            labels[row, : len(kinds)] = kinds
    return points, labels


def mask_to_logits(mask: BoolArray, side: int, fit: str = PAD) -> FloatArray:
    """A prior mask, bool (H, W) of the original frame -> logits (side, side) of the square input, within
    +-10.

    The mask is brought into the input as `ultrasam.core.geometry.Frame` says and averaged down; half covered
    is 0.
    """
    coverage = to_grid(mask.astype(np.float32), side, 0.0, fit)
    logits: FloatArray = (2 * coverage - 1) * np.float32(PRIOR_LOGIT)
    return logits


def _array(values: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UltrasamError(f"prompts are numbers, got {values!r:.80}") from None


def _floats(values: Iterable[float], count: int, rule: str) -> list[float]:
    try:
        floats = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        raise UltrasamError(f"{rule}, got {values!r:.80}") from None
    if len(floats) != count:
        raise UltrasamError(f"{rule}, got {len(floats)} values")
    return floats


def _numbers(*values: float) -> str:
    return "(" + ", ".join(f"{value:.12g}" for value in values) + ")"
