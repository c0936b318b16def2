from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ultrasam.core import clicks
from ultrasam.core.masks import BoolArray, distance_to_border, label_components

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
shapes = array_shapes(min_dims=2, max_dims=2, max_side=20)
mask_pairs = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))
some_mask = arrays(np.bool_, shapes).filter(np.any)


def zeros() -> BoolArray:
    return np.zeros((20, 30), np.bool_)


def test_first_click_is_the_middle_of_the_object() -> None:
    truth = zeros()
    truth[4:13, 10:19] = True
    assert clicks.next_click(zeros(), truth) == (14.5, 8.5, True)


def test_a_surplus_gets_a_negative_click() -> None:
    truth, predicted = zeros(), zeros()
    truth[5:10, 5:10] = True
    predicted[5:10, 5:17] = True
    x, y, positive = clicks.next_click(predicted, truth) or (0, 0, True)
    assert (y, positive) == (7.5, False)
    assert 12 <= x <= 15


def test_the_largest_error_wins_over_the_thickest() -> None:
    truth, predicted = zeros(), zeros()
    truth[0:5, 0:5] = True
    predicted[18:20, 0:30] = True
    click = clicks.next_click(predicted, truth)
    assert click is not None and click[2] is False


def test_adjacent_errors_of_both_kinds_are_two_regions() -> None:
    truth, predicted = zeros(), zeros()
    truth[5:14, 0:9] = True
    predicted[5:14, 9:16] = True
    assert clicks.next_click(predicted, truth) == (4.5, 9.5, True)


def test_errors_that_touch_at_a_corner_are_one_region() -> None:
    truth = zeros()
    truth[0:3, 0:3] = truth[3:6, 3:6] = True
    truth[10:13, 20:25] = True
    assert clicks.next_click(zeros(), truth) == (1.5, 1.5, True)


def test_equal_errors_missed_first_then_raster_order() -> None:
    truth, predicted = zeros(), zeros()
    predicted[0:3, 0:3] = True
    truth[2:5, 20:23] = truth[8:11, 2:5] = True
    assert clicks.next_click(predicted, truth) == (21.5, 3.5, True)


def test_no_error_no_click() -> None:
    truth = zeros()
    truth[3:6, 3:6] = True
    assert clicks.next_click(truth, truth) is None
    assert clicks.next_click(zeros(), zeros()) is None


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        clicks.next_click(np.ones((1, 5), np.bool_), np.ones((4, 5), np.bool_))


@untimed
@given(mask_pairs)
def test_next_click_is_the_deepest_pixel_of_the_largest_error(pair: tuple[BoolArray, BoolArray]) -> None:
    predicted, truth = pair
    click = clicks.next_click(predicted, truth)
    if click is None:
        assert np.array_equal(predicted, truth)
        return
    x, y, positive = click
    assert x % 1 == y % 1 == 0.5
    row, column = int(y), int(x)
    assert truth[row, column] == positive
    assert predicted[row, column] != positive
    missed, surplus = label_components(truth & ~predicted)[0], label_components(predicted & ~truth)[0]
    labels = missed if positive else surplus
    region = labels == labels[row, column]
    largest = max(np.bincount(labels[labels > 0], minlength=1).max() for labels in (missed, surplus))
    assert region.sum() == largest
    distance = distance_to_border(region)
    assert distance[row, column] == distance.max()


@untimed
@given(mask_pairs)
def test_exchanged_roles_give_the_opposite_sign(pair: tuple[BoolArray, BoolArray]) -> None:
    one, other = clicks.next_click(*pair), clicks.next_click(*pair[::-1])
    only = (pair[0] & ~pair[1], pair[1] & ~pair[0])
    sizes = [np.bincount(label_components(mask)[0][mask], minlength=1).max() for mask in only]
    if one is None or other is None:
        assert one is other
    elif sizes[0] != sizes[1]:
        assert one[:2] == other[:2]
        assert one[2] is not other[2]
    else:
        assert one[2] is other[2] is True


@untimed
@given(some_mask)
def test_center_click_is_the_first_deepest_pixel(mask: BoolArray) -> None:
    x, y = clicks.center_click(mask)
    row, column = np.unravel_index(distance_to_border(mask).argmax(), mask.shape)
    assert (x, y) == (column + 0.5, row + 0.5)
    assert mask[int(y), int(x)]


@untimed
@given(some_mask)
def test_centroid_is_the_mean_of_pixel_centres(mask: BoolArray) -> None:
    x, y = clicks.centroid(mask)
    rows, columns = np.nonzero(mask)
    assert x == pytest.approx(sum(column + 0.5 for column in columns) / len(columns))
    assert y == pytest.approx(sum(row + 0.5 for row in rows) / len(rows))


def test_the_centroid_can_leave_a_concave_mask_and_the_center_click_cannot() -> None:
    ring = np.ones((9, 9), np.bool_)
    ring[2:7, 2:7] = False
    assert clicks.centroid(ring) == (4.5, 4.5)
    x, y = clicks.center_click(ring)
    assert ring[int(y), int(x)]


def test_an_empty_mask_has_no_center() -> None:
    for function in (clicks.center_click, clicks.centroid):
        with pytest.raises(ValueError, match="empty"):
            function(zeros())
