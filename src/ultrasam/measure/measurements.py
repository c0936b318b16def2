"""What a sonographer measures, on a mask."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import BoolArray, Box, box_of, label_components
from ultrasam.core.prompts import Point
from ultrasam.measure.contour import length_of, long_axis, outer_contours, short_axis

Spacing = tuple[float, float]


@dataclass(frozen=True)
class Diameter:
    """A straight line across an object: its `length` in the unit of the measurements, and both ends (x, y) in
    pixels of the frame, where callipers are drawn, the left one first.
    """

    length: float
    start: Point
    end: Point


@dataclass(frozen=True)
class Ellipse:
    """The ellipse that stands for an object: `centre` (x, y) in pixels, its two axes, its `circumference`."""

    centre: Point
    major: Diameter
    minor: Diameter
    circumference: float


@dataclass(frozen=True)
class Measurements:
    """Sizes of a mask. Lengths are in `unit`, the area in its square; places (x, y) are pixels of the frame.

    `area` covers all pixels. `perimeter` is the length of the outer outlines, holes do not count.
    `long_diameter` joins the two points of the outline that are farthest apart, `short_diameter` is the
    largest one perpendicular to it. `ellipse` has the area of the mask and the directions and the ratio of
    axes of its second moments. `box` is half-open x0, y0, x1, y1 in pixels, `box_size` its width and height
    in `unit`. `components` counts the pieces: they are measured together, as one object.
    """

    unit: Literal["px", "mm"]
    area: float
    perimeter: float
    long_diameter: Diameter
    short_diameter: Diameter
    ellipse: Ellipse
    box: Box
    box_size: tuple[float, float]
    components: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, numbers with four decimals."""
        rounded = _rounded(asdict(self))
        assert isinstance(rounded, dict)
        return rounded


def measure_mask(mask: BoolArray, spacing: Spacing | None = None) -> Measurements:
    """Measure a mask (H, W) bool that is not empty.

    `spacing` is mm per pixel in (x, y), as `Scan.spacing_of` gives it; without it everything is in pixels.
    Pixels need not be square: all is measured on scaled coordinates. Raises UltrasamError for an empty mask,
    an array that is no mask and a spacing that is no two positive numbers.
    """
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise UltrasamError(
            f"a mask is a boolean array (H, W), got {mask.dtype} {mask.shape}: try `array > 0`"
        )
    if not mask.any():
        raise UltrasamError("the mask is empty: there is nothing to measure")
    scale = _scale(spacing)
    x0, y0, x1, y1 = box_of(mask)
    mask = mask[int(y0) : int(y1), int(x0) : int(x1)]  # an object is often small in its frame
    corner = np.array([x0, y0])
    curves = [(curve + corner) * scale for curve in outer_contours(mask)]
    start, end = long_axis(np.concatenate(curves))
    area = float(np.count_nonzero(mask) * scale[0] * scale[1])
    return Measurements(
        unit="px" if spacing is None else "mm",
        area=area,
        perimeter=sum(length_of(curve, float(scale.max())) for curve in curves),
        long_diameter=_diameter(start, end, scale),
        short_diameter=_diameter(*short_axis(curves, start, end), scale),
        ellipse=_ellipse(mask, corner, scale),
        box=(x0, y0, x1, y1),
        box_size=(float((x1 - x0) * scale[0]), float((y1 - y0) * scale[1])),
        components=label_components(mask)[1],
    )


def ellipse_circumference(a: float, b: float) -> float:
    """Circumference of an ellipse with the half axes `a` and `b`, in their unit.

    S. Ramanujan's second formula ("Modular equations and approximations to pi", Quarterly Journal of Pure and
    Applied Mathematics 45, 1914); at most 0.04 % too short, for a line.
    """
    h = ((a - b) / (a + b)) ** 2
    return math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))


def _ellipse(mask: BoolArray, corner: NDArray[np.float64], scale: NDArray[np.float64]) -> Ellipse:
    """The ellipse of the second moments, scaled to the area of the mask (H, W), whose upper left pixel has
    its `corner` (2,) there in the frame.

    On 40 held-out heads of HC18, segmented by box, its circumference was nearer to the published one than
    that of a direct least-squares fit to the contour, and it needs no special case for a mask that is no
    ellipse.
    """
    rows, columns = mask.sum(axis=1), mask.sum(axis=0)
    count = rows.sum()
    y, x = np.arange(len(rows)) + 0.5, np.arange(len(columns)) + 0.5
    mean_x, mean_y = columns @ x / count, rows @ y / count
    x, y = x - mean_x, y - mean_y
    mixed = y @ (mask @ x)
    # A pixel is a square, not a point: it adds the variance of a uniform distribution.
    moments = np.array([[columns @ x**2, mixed], [mixed, rows @ y**2]]) / count + np.eye(2) / 12
    centre = corner + (mean_x, mean_y)
    area = count * scale[0] * scale[1]
    values, vectors = np.linalg.eigh(moments * np.outer(scale, scale))
    half_axes = 2 * np.sqrt(values[::-1])
    half_axes *= math.sqrt(area / (math.pi * half_axes[0] * half_axes[1]))
    middle = centre * scale
    major, minor = (
        _diameter(middle - half * axis, middle + half * axis, scale)
        for half, axis in zip(half_axes, vectors.T[::-1], strict=True)
    )
    return Ellipse(_point(centre), major, minor, ellipse_circumference(*half_axes.tolist()))


def _diameter(start: NDArray[np.float64], end: NDArray[np.float64], scale: NDArray[np.float64]) -> Diameter:
    """Between two points (2,) in scaled coordinates, from the left one to the right one."""
    left, right = sorted((_point(start / scale), _point(end / scale)))
    return Diameter(float(np.hypot(*(end - start))), left, right)


def _point(place: NDArray[np.float64]) -> Point:
    x, y = place.tolist()
    return x, y


def _scale(spacing: Spacing | None) -> NDArray[np.float64]:
    try:
        scale = np.ones(2) if spacing is None else np.array(spacing, np.float64)
    except (TypeError, ValueError):
        scale = np.empty(0)
    if scale.shape != (2,) or not (np.isfinite(scale) & (scale > 0)).all():
        raise UltrasamError(
            f"the spacing is mm per pixel in x and y, two positive numbers, not {spacing!r:.40}"
        )
    return scale


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value
