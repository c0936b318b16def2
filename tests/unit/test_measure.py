"""Measurements on masks: against drawn ellipses, against scipy, and under turns and scalings."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import ultrasam
from ultrasam.core.masks import BoolArray, box_of
from ultrasam.measure.contour import convex_hull, outer_contours
from ultrasam.measure.measurements import Diameter, Measurements, ellipse_circumference, measure_mask

special = pytest.importorskip("scipy.special")
spatial = pytest.importorskip("scipy.spatial")


def draw_ellipse(
    a: float, b: float, degrees: float, centre: tuple[float, float], spacing: tuple[float, float] = (1, 1)
) -> BoolArray:
    """Half axes `a`, `b` and the centre in the unit of the spacing; the pixels whose centre is inside."""
    side = [math.ceil((place + max(a, b) + 3) / step) for place, step in zip(centre, spacing, strict=True)]
    rows, columns = np.mgrid[: side[1], : side[0]] + 0.5
    x, y = columns * spacing[0] - centre[0], rows * spacing[1] - centre[1]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    inside: BoolArray = ((x * cosine + y * sine) / a) ** 2 + ((y * cosine - x * sine) / b) ** 2 <= 1
    return inside


@st.composite
def ellipses(draw: st.DrawFn) -> tuple[float, float, float, tuple[float, float]]:
    a = draw(st.floats(30, 60))
    b = a * draw(st.floats(0.5, 0.9))
    centre = (a + 4 + draw(st.floats(0, 1)), a + 4 + draw(st.floats(0, 1)))
    return a, b, draw(st.floats(0, 180)), centre


@st.composite
def blobs(draw: st.DrawFn) -> BoolArray:
    """Any mask of at most 12 x 12 pixels that is not empty."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    return mask


def direction(diameter: Diameter) -> NDArray[np.float64]:
    return np.subtract(diameter.end, diameter.start)


@given(ellipses())
def test_a_drawn_ellipse_has_its_sizes(drawn: Any) -> None:
    a, b, degrees, centre = drawn
    found = measure_mask(draw_ellipse(a, b, degrees, centre))
    exact = 4 * a * special.ellipe(1 - (b / a) ** 2)
    assert found.unit == "px" and found.components == 1
    assert found.area == pytest.approx(math.pi * a * b, rel=0.02)
    assert found.perimeter == pytest.approx(exact, rel=0.015)
    assert found.long_diameter.length == pytest.approx(2 * a, abs=1.2)
    assert found.short_diameter.length == pytest.approx(2 * b, abs=1.2)
    assert found.ellipse.major.length == pytest.approx(2 * a, rel=0.02)
    assert found.ellipse.minor.length == pytest.approx(2 * b, rel=0.02)
    assert found.ellipse.circumference == pytest.approx(exact, rel=0.01)
    assert found.ellipse.centre == pytest.approx(centre, abs=0.15)
    axis = (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    along = abs(np.dot(direction(found.ellipse.major), axis)) / found.ellipse.major.length
    assert along > math.cos(math.radians(4))


@given(ellipses(), st.sampled_from([(0.5, 1.0), (1.0, 0.4), (0.3, 0.3)]))
def test_pixels_need_not_be_square(drawn: Any, spacing: tuple[float, float]) -> None:
    a, b, degrees, centre = drawn
    found = measure_mask(draw_ellipse(a, b, degrees, centre, spacing), spacing)
    exact = 4 * a * special.ellipe(1 - (b / a) ** 2)
    assert found.unit == "mm"
    assert found.area == pytest.approx(math.pi * a * b, rel=0.02)
    assert found.perimeter == pytest.approx(exact, rel=0.015)
    assert found.long_diameter.length == pytest.approx(2 * a, abs=1.2)
    assert found.short_diameter.length == pytest.approx(2 * b, abs=1.2)
    assert found.ellipse.circumference == pytest.approx(exact, rel=0.01)
    # The ends are in pixels, the length between them in mm.
    for diameter in (found.long_diameter, found.short_diameter, found.ellipse.major, found.ellipse.minor):
        assert np.hypot(*(direction(diameter) * spacing)) == pytest.approx(diameter.length)
    assert np.multiply(found.ellipse.centre, spacing) == pytest.approx(centre, abs=0.15)


@given(blobs(), st.integers(1, 3))
def test_a_turned_mask_has_the_same_sizes(mask: BoolArray, quarters: int) -> None:
    one, other = measure_mask(mask), measure_mask(np.rot90(mask, quarters))
    assert other.area == one.area and other.components == one.components
    # Where the points of the smoothed contour lie depends on where it begins.
    assert other.perimeter == pytest.approx(one.perimeter, rel=0.02)
    assert other.long_diameter.length == pytest.approx(one.long_diameter.length)
    assert other.ellipse.circumference == pytest.approx(one.ellipse.circumference)
    assert other.box_size == (one.box_size if quarters == 2 else one.box_size[::-1])


@given(blobs(), st.floats(0.01, 100))
def test_lengths_grow_with_the_spacing_and_areas_with_its_square(mask: BoolArray, step: float) -> None:
    pixels, scaled = measure_mask(mask), measure_mask(mask, (step, step))
    assert scaled.area == pytest.approx(pixels.area * step**2)
    assert scaled.perimeter == pytest.approx(pixels.perimeter * step)
    assert scaled.long_diameter.length == pytest.approx(pixels.long_diameter.length * step)
    assert scaled.ellipse.minor.length == pytest.approx(pixels.ellipse.minor.length * step)
    assert scaled.box_size == pytest.approx(np.multiply(pixels.box_size, step))
    assert scaled.box == pixels.box == box_of(mask)
    assert scaled.ellipse.centre == pytest.approx(pixels.ellipse.centre)


@given(blobs(), st.sampled_from([None, (0.2, 0.7)]))
def test_the_long_diameter_is_the_largest_distance(mask: BoolArray, spacing: Any) -> None:
    found = measure_mask(mask, spacing)
    points = np.concatenate(outer_contours(mask)) * (spacing or (1, 1))
    assert found.long_diameter.length == pytest.approx(spatial.distance.pdist(points).max())


@given(blobs(), st.sampled_from([None, (0.2, 0.7)]))
def test_the_short_diameter_is_perpendicular_and_the_largest_such(mask: BoolArray, spacing: Any) -> None:
    scale = np.array(spacing or (1, 1))
    found = measure_mask(mask, spacing)
    along = direction(found.long_diameter) * scale / found.long_diameter.length
    assert abs(np.dot(direction(found.short_diameter) * scale, along)) < 1e-6
    assert found.short_diameter.length <= found.long_diameter.length + 1e-9
    # Brute force: the outermost crossings of a line across, at each of many places.
    normal = np.array([-along[1], along[0]])
    origin = np.array(found.long_diameter.start) * scale
    best = 0.0
    curves = [(curve * scale - origin) for curve in outer_contours(mask)]
    for place in np.linspace(0, found.long_diameter.length, 101):
        crossings = []
        for curve in curves:
            u, v = curve @ along, curve @ normal
            for i in range(len(u)):
                u0, u1, v0, v1 = u[i - 1], u[i], v[i - 1], v[i]
                if min(u0, u1) <= place <= max(u0, u1) and u0 != u1:
                    crossings.append(v0 + (place - u0) / (u1 - u0) * (v1 - v0))
        best = max(best, max(crossings, default=0) - min(crossings, default=0))
    assert found.short_diameter.length >= best - 0.02


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=3, unique=True))
def test_the_hull_is_that_of_scipy(places: list[tuple[int, int]]) -> None:
    points = np.array(places, float)
    if np.linalg.matrix_rank(points[1:] - points[0]) < 2:
        assert len(convex_hull(points)) == 2
        return
    hull = spatial.ConvexHull(points)
    assert {tuple(corner) for corner in convex_hull(points)} == {tuple(p) for p in points[hull.vertices]}


def test_one_pixel_is_one_pixel_wide() -> None:
    mask = np.zeros((3, 4), np.bool_)
    mask[1, 2] = True
    found = measure_mask(mask)
    assert found.area == 1 and found.box == (2, 1, 3, 2) and found.box_size == (1, 1)
    assert found.long_diameter.length == found.short_diameter.length == 1
    assert found.ellipse.centre == (2.5, 1.5)
    assert math.pi / 4 * found.ellipse.major.length * found.ellipse.minor.length == pytest.approx(1)


def test_a_line_of_pixels_is_as_long_as_they_are() -> None:
    found = measure_mask(np.ones((1, 20), np.bool_), (0.5, 2))
    assert found.long_diameter == Diameter(10, (0, 0.5), (20, 0.5))
    assert found.short_diameter.length == 2
    assert found.area == 20 and found.box_size == (10, 2)


def test_the_perimeter_goes_round_the_outside() -> None:
    disc = draw_ellipse(30, 30, 0, (35, 35))
    ring = disc.copy()
    ring[25:45, 25:45] = False
    assert measure_mask(ring).perimeter == measure_mask(disc).perimeter
    assert measure_mask(ring).area == measure_mask(disc).area - 400


def test_a_notch_is_bridged_by_the_short_diameter() -> None:
    notched = np.ones((20, 60), np.bool_)
    notched[:15, 20:40] = False
    solid = measure_mask(np.ones((20, 60), np.bool_))
    assert measure_mask(notched).long_diameter.length == solid.long_diameter.length
    assert 15 < measure_mask(notched).short_diameter.length <= solid.short_diameter.length


def test_pieces_are_counted_and_measured_together() -> None:
    mask = np.zeros((10, 40), np.bool_)
    mask[4, 2] = mask[4, 37] = True
    found = measure_mask(mask)
    assert found.components == 2 and found.long_diameter.length == 36


@pytest.mark.parametrize("ratio", [1, 0.5, 0.1, 0.001])
def test_the_circumference_is_the_elliptic_integral(ratio: float) -> None:
    exact = 4 * 3 * special.ellipe(1 - ratio**2)
    assert ellipse_circumference(3, 3 * ratio) == pytest.approx(exact, rel=4e-4)
    assert ratio < 0.5 or ellipse_circumference(3, 3 * ratio) == pytest.approx(exact, rel=1e-7)


def test_json_values_are_rounded() -> None:
    found = measure_mask(draw_ellipse(20, 12, 30, (25, 25)), (0.1, 0.2))
    content = json.loads(json.dumps(found.to_json()))
    assert set(content) == {field.name for field in dataclasses.fields(Measurements)}
    assert content["long_diameter"]["length"] == round(found.long_diameter.length, 4)
    assert content["ellipse"]["centre"] == pytest.approx(found.ellipse.centre, abs=1e-4)


@pytest.mark.parametrize("spacing", [(0, 1), (1, -1), (1,), (1, math.nan), (1, math.inf), 3, "ab"])
def test_a_wrong_spacing_is_refused(spacing: Any) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="two positive numbers"):
        measure_mask(np.ones((2, 2), np.bool_), spacing)


def test_what_is_no_mask_is_refused() -> None:
    with pytest.raises(ultrasam.UltrasamError, match="nothing to measure"):
        measure_mask(np.zeros((2, 2), np.bool_))
    for array in (np.ones((2, 2), np.uint8), np.ones((2, 2, 1), np.bool_)):
        with pytest.raises(ultrasam.UltrasamError, match="boolean array"):
            ultrasam.measure_mask(array)
