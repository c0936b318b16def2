"""Masks as COCO polygons."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ultrasam.core.masks import decode_segmentation
from ultrasam.core.polygons import mask_to_polygons

MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(np.bool_, shape))


def mask_of(*rows: str) -> np.ndarray[Any, Any]:
    return np.array([[letter == "#" for letter in row] for row in rows])


def area(polygon: list[float]) -> float:
    x, y = np.array(polygon).reshape(-1, 2).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


@given(mask=MASKS)
def test_polygons_give_back_the_mask(mask: np.ndarray[Any, Any]) -> None:
    polygons = mask_to_polygons(mask)
    assert (decode_segmentation(polygons, *mask.shape) == mask).all()
    assert sum(map(area, polygons)) == mask.sum()


@given(mask=MASKS)
def test_polygons_run_along_pixel_edges_and_turn_at_every_corner(mask: np.ndarray[Any, Any]) -> None:
    for polygon in mask_to_polygons(mask):
        assert len(polygon) >= 8 and area(polygon) > 0
        corners = [*zip(polygon[::2], polygon[1::2], strict=True)]
        edges = [*pairwise([*corners, corners[0]])]
        across = [y0 == y1 for (_, y0), (_, y1) in edges]
        assert all((x0 == x1) != (y0 == y1) for (x0, y0), (x1, y1) in edges)
        assert all(one != next_one for one, next_one in pairwise([*across, across[0]]))


def test_one_pixel_is_its_box() -> None:
    assert mask_to_polygons(mask_of("..", ".#")) == [[1, 1, 2, 1, 2, 2, 1, 2]]


def test_nothing_has_no_polygon() -> None:
    assert mask_to_polygons(np.zeros((3, 4), bool)) == []


@pytest.mark.parametrize(
    "rows, count",
    [
        (("###", "###"), 1),
        (("#.#", "###"), 1),
        (("#.", ".#"), 2),
        ((".#", "#."), 2),
        (("###", "#.#", "###"), 2),
        (("#####", "#.#.#", "#####"), 3),
        (("####", "#.##", "##.#", "####"), 2),
    ],
)
def test_how_many_polygons_a_mask_has(rows: tuple[str, ...], count: int) -> None:
    assert len(mask_to_polygons(mask_of(*rows))) == count


def test_a_large_mask_with_holes() -> None:
    y, x = np.mgrid[:300, :400]
    mask = (
        (np.hypot(x - 200, y - 150) < 120) & (np.hypot(x - 170, y - 140) > 30) & (np.sin(x * y / 900) < 0.9)
    )
    assert (decode_segmentation(mask_to_polygons(mask), 300, 400) == mask).all()
