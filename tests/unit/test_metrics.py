from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from ultrasam.core import metrics
from ultrasam.core.masks import BoolArray, Box, box_of

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
shapes = array_shapes(min_dims=2, max_dims=2, max_side=12)
mask_pairs = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))
coordinate = st.floats(-50, 50).map(lambda value: round(value, 3))
boxes = st.tuples(coordinate, coordinate, coordinate, coordinate).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> BoolArray:
    mask = np.zeros((20, 20), np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def test_overlap_of_known_rectangles() -> None:
    a, b = rectangle(0, 0, 10, 10), rectangle(5, 0, 15, 10)
    assert metrics.iou(a, b) == pytest.approx(50 / 150)
    assert metrics.dice(a, b) == pytest.approx(100 / 200)
    assert metrics.box_iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)


def test_two_empty_masks_agree_and_one_does_not() -> None:
    empty, full = np.zeros((4, 4), np.bool_), np.ones((4, 4), np.bool_)
    assert metrics.iou(empty, empty) == metrics.dice(empty, empty) == 1
    assert metrics.iou(empty, full) == metrics.dice(empty, full) == 0


@untimed
@given(mask_pairs)
def test_iou_and_dice_are_symmetric_and_related(pair: tuple[BoolArray, BoolArray]) -> None:
    iou, dice = metrics.iou(*pair), metrics.dice(*pair)
    assert iou == metrics.iou(*pair[::-1])
    assert dice == metrics.dice(*pair[::-1])
    assert 0 <= iou <= 1
    assert (iou == 1) == np.array_equal(*pair)
    assert dice == pytest.approx(2 * iou / (1 + iou))


@untimed
@given(mask_pairs.filter(lambda pair: pair[0].any() or pair[1].any()))
def test_iou_is_that_of_pycocotools(pair: tuple[BoolArray, BoolArray]) -> None:
    a, b = (coco.encode(np.asfortranarray(mask, np.uint8)) for mask in pair)
    assert metrics.iou(*pair) == pytest.approx(coco.iou([a], [b], [False])[0, 0])


def test_masks_of_different_shapes_are_refused() -> None:
    for metric in (metrics.iou, metrics.dice):
        with pytest.raises(ValueError, match="shapes"):
            metric(np.ones((1, 5), np.bool_), np.ones((4, 5), np.bool_))


@untimed
@given(boxes, boxes)
def test_box_iou_is_symmetric_and_in_range(a: Box, b: Box) -> None:
    overlap = metrics.box_iou(a, b)
    assert overlap == pytest.approx(metrics.box_iou(b, a))
    assert 0 <= overlap <= 1 + 1e-9
    if a[0] < a[2] and a[1] < a[3]:
        assert metrics.box_iou(a, a) == pytest.approx(1)


@pytest.mark.parametrize(
    "other",
    [(10, 0, 20, 10), (11, 0, 20, 10), (0, 10, 10, 20), (-20, -20, -5, -5), (3, 3, 3, 8), (12, 12, 12, 12)],
)
def test_boxes_without_common_area_have_no_overlap(other: Box) -> None:
    assert metrics.box_iou((0, 0, 10, 10), other) == 0


def test_boxes_without_area_have_no_overlap() -> None:
    assert metrics.box_iou((3, 3, 3, 8), (3, 3, 3, 8)) == 0


@untimed
@given(
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20)).map(
        lambda c: (float(c[0]), float(c[1]), float(c[0] + c[2]), float(c[1] + c[3]))
    )
)
def test_ellipse_stays_in_its_box_and_is_symmetric(box: Box) -> None:
    mask = metrics.ellipse_in_box(box, 40, 40)
    assert mask.shape == (40, 40)
    assert mask.dtype == np.bool_
    x0, y0, x1, y1 = (int(side) for side in box)
    inside = mask[y0:y1, x0:x1]
    assert inside.sum() == mask.sum() > 0
    assert np.array_equal(inside, inside[::-1]) and np.array_equal(inside, inside[:, ::-1])


def test_ellipse_touches_all_four_sides_and_has_the_area_of_an_ellipse() -> None:
    box = (10.0, 20.0, 90.0, 71.0)
    mask = metrics.ellipse_in_box(box, 100, 120)
    assert box_of(mask) == box
    assert mask.sum() == pytest.approx(np.pi / 4 * 80 * 51, rel=0.01)


def test_ellipse_is_cut_by_the_image() -> None:
    mask = metrics.ellipse_in_box((-20, -10, 20, 10), 30, 40)
    assert box_of(mask) == (0, 0, 20, 10)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 5, 9, 5), (9, 5, 5, 9), (5, 9, 9, 5)])
def test_a_box_without_area_holds_no_ellipse(box: Box) -> None:
    assert not metrics.ellipse_in_box(box, 20, 20).any()
