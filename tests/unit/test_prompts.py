"""Prompts: validation, callipers, stacking, prior masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import Frame, upsample_logits
from ultrasam.core.metrics import iou
from ultrasam.core.prompts import (
    Prompts,
    calliper,
    calliper_prompts,
    check_box,
    check_point,
    mask_to_logits,
    prompts_of,
    stack_prompts,
)

NAN, INF = float("nan"), float("inf")


def test_count_is_clicks_plus_box() -> None:
    assert Prompts().count == 0
    assert Prompts().with_click(1, 2).count == 1
    assert Prompts().with_click(1, 2).with_click(3, 4, False).with_box((0, 0, 5, 5)).count == 3


def test_a_second_box_replaces_the_first_and_keeps_clicks() -> None:
    prompts = Prompts().with_box((0, 0, 5, 5)).with_click(1, 2).with_box((1, 1, 4, 4))
    assert prompts.box == (1, 1, 4, 4)
    assert prompts.points == ((1, 2),)


def test_prefixes_begin_with_the_box_or_the_first_click() -> None:
    clicks = Prompts(((1, 1), (2, 2)), (True, False))
    assert clicks.prefixes() == [Prompts(((1, 1),), (True,)), clicks]
    boxed = clicks.with_box((0, 0, 4, 4))
    assert [len(prefix.points) for prefix in boxed.prefixes()] == [0, 1, 2]
    assert all(prefix.box == (0, 0, 4, 4) for prefix in boxed.prefixes())


def test_points_without_labels_are_refused() -> None:
    with pytest.raises(UltrasamError, match="2 points but 1 labels"):
        Prompts(((1, 1), (2, 2)), (True,))


@pytest.mark.parametrize("x, y", [(0, 0), (9.999, 4.999), (5, 2)])
def test_points_of_the_frame_are_accepted(x: float, y: float) -> None:
    assert check_point(x, y, 10, 5) == (x, y)


@pytest.mark.parametrize("x, y", [(-0.1, 1), (10, 1), (1, 5), (1, -1), (NAN, 1), (1, INF), (-INF, 1)])
def test_points_off_the_frame_are_refused(x: float, y: float) -> None:
    with pytest.raises(UltrasamError, match="point"):
        check_point(x, y, 10, 5)


def test_the_message_shows_the_digits_that_matter() -> None:
    with pytest.raises(UltrasamError, match=r"\(0, 0, 320.0001, 3\) is not inside the image of 320 x"):
        check_box((0, 0, 320.0001, 3), 320, 240)


def test_numbers_too_large_for_floats_are_refused() -> None:
    with pytest.raises(UltrasamError, match="a point is two numbers"):
        check_point(10**400, 1, 9, 9)
    with pytest.raises(UltrasamError, match="prompts are numbers"):
        prompts_of(None, [[10**400, 1]], None)


def test_a_point_that_is_no_number_is_refused() -> None:
    with pytest.raises(UltrasamError, match="two numbers"):
        check_point("left", 2, 10, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("box", [(0, 0, 10, 5), (1.5, 2, 1.75, 3)])
def test_boxes_of_the_frame_are_accepted(box: tuple[float, float, float, float]) -> None:
    assert check_box(box, 10, 5) == box


@pytest.mark.parametrize(
    "box, word",
    [
        ((1, 1, 1, 4), "no area"),
        ((1, 3, 4, 3), "no area"),
        ((4, 1, 1, 4), "no area"),
        ((-1, 0, 4, 4), "not inside"),
        ((0, 0, 10.5, 4), "not inside"),
        ((0, 0, 4, 6), "not inside"),
        ((0, NAN, 4, 4), "not finite"),
        ((0, 0, INF, 4), "not finite"),
        ((0, 0, 4), "four numbers"),
    ],
)
def test_boxes_that_cannot_be_meant_are_refused(box: tuple[float, ...], word: str) -> None:
    with pytest.raises(UltrasamError, match=word):
        check_box(box, 10, 5)  # type: ignore[arg-type]


def test_checked_checks_points_and_box() -> None:
    good = Prompts(((1, 1),), (True,), (0, 0, 2, 2))
    assert good.checked(10, 5) == good
    with pytest.raises(UltrasamError, match="outside"):
        good.with_click(11, 1).checked(10, 5)
    with pytest.raises(UltrasamError, match="not inside"):
        good.with_box((0, 0, 2, 6)).checked(10, 5)


def test_calliper_along_the_axes_is_its_ends() -> None:
    box, centre = calliper((10, 20), (50, 20), (30, 10), (30, 30))
    assert box == pytest.approx((10, 10, 50, 30))
    assert centre == pytest.approx((30, 20))


coordinate = st.floats(-1000, 1000)
half_axis = st.floats(1, 500)


@given(coordinate, coordinate, half_axis, half_axis, st.floats(0, math.pi))
def test_calliper_box_touches_the_turned_ellipse(
    cx: float, cy: float, a: float, b: float, turn: float
) -> None:
    u = (a * math.cos(turn), a * math.sin(turn))
    v = (-b * math.sin(turn), b * math.cos(turn))
    box, centre = calliper(
        (cx - u[0], cy - u[1]), (cx + u[0], cy + u[1]), (cx + v[0], cy + v[1]), (cx - v[0], cy - v[1])
    )
    t = np.linspace(0, 2 * math.pi, 20001)
    x = cx + u[0] * np.cos(t) + v[0] * np.sin(t)
    y = cy + u[1] * np.cos(t) + v[1] * np.sin(t)
    assert centre == pytest.approx((cx, cy), abs=1e-6)
    assert box == pytest.approx((x.min(), y.min(), x.max(), y.max()), abs=1e-4 * (a + b))


def test_calliper_prompts_are_cut_at_the_frame() -> None:
    # A circle of radius 10 * sqrt(2) around (10, 10) reaches over the frame's left and top border.
    prompts = calliper_prompts([(0, 0), (20, 20), (0, 20), (20, 0)], 40, 30)
    reach = 10 + 10 * math.sqrt(2)
    assert prompts.box == pytest.approx((0, 0, reach, reach))
    assert prompts.points == ((10, 10),)
    assert prompts.positive == (True,)


@pytest.mark.parametrize(
    "ends, word",
    [
        ([(1, 1), (1, 1), (0, 2), (2, 0)], "length 0"),
        ([(1, 1), (9, 1), (5, 2)], "four points"),
        ([(1, 1), (9, 1), (5, 2), (5, 60)], "not inside"),
        ([(1, 1), (9, 1), (5, NAN), (5, 4)], "not finite"),
        ([(1, 1), (9, 1), (5, 2), (5,)], "two ends"),
    ],
)
def test_callipers_that_cannot_be_meant_are_refused(ends: list[tuple[float, float]], word: str) -> None:
    with pytest.raises(UltrasamError, match=word):
        calliper_prompts(ends, 40, 30)


def test_prompts_of_arrays() -> None:
    assert prompts_of([1, 2, 3, 4], None, None) == Prompts((), (), (1, 2, 3, 4))
    assert prompts_of(None, [5, 6], None) == Prompts(((5, 6),), (True,))
    assert prompts_of(None, np.array([[5, 6], [7, 8]]), [1, 0]) == Prompts(((5, 6), (7, 8)), (True, False))
    assert prompts_of([1, 2, 3, 4], [[5, 6]], [0]) == Prompts(((5, 6),), (False,), (1, 2, 3, 4))


@pytest.mark.parametrize(
    "box, points, labels, word",
    [
        (None, None, None, "needs a box"),
        ([1, 2, 3], None, None, "four numbers"),
        (5.0, None, None, "four numbers"),
        (None, [1, 2, 3], None, r"\(K, 2\)"),
        (None, [[1, 2]], [2], "1 .positive click. or 0"),
        (None, [[1, 2]], [1, 0], "1 points but 2 labels"),
        (None, "here", None, "prompts are numbers"),
        (None, [[1, 2], [3]], None, "prompts are numbers"),
    ],
)
def test_prompts_of_arrays_refuses(box: object, points: object, labels: object, word: str) -> None:
    with pytest.raises(UltrasamError, match=word):
        prompts_of(box, points, labels)  # type: ignore[arg-type]


def test_stack_scales_and_labels() -> None:
    frame = Frame(200, 100, 50)  # scale 1/4
    objects = [
        Prompts(((8, 12),), (False,)),
        Prompts((), (), (0, 4, 100, 80)),
        Prompts(((8, 12), (20, 40)), (True, False), (0, 4, 100, 80)),
    ]
    points, labels = stack_prompts(objects, frame)
    assert points.dtype == np.float32 and labels.dtype == np.int64
    assert labels.tolist() == [[0, -1, -1, -1], [2, 3, -1, -1], [1, 0, 2, 3]]
    assert points[0, 0].tolist() == [2, 3]
    assert points[1, :2].tolist() == [[0, 1], [25, 20]]
    assert points[2].tolist() == [[2, 3], [5, 10], [0, 1], [25, 20]]
    assert (points[labels == -1] == 0).all()


def test_one_padding_point_stands_for_the_missing_box() -> None:
    _, labels = stack_prompts([Prompts(((1, 1), (2, 2)), (True, True))], Frame(10, 10, 10))
    assert labels.tolist() == [[1, 1, -1]]


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_prior_logits_stay_in_range_and_say_nothing_about_the_padding(
    h: int, w: int, data: st.DataObject
) -> None:
    mask = data.draw(hnp.arrays(np.bool_, (h, w)))
    logits = mask_to_logits(mask, 16)
    assert logits.shape == (16, 16) and logits.dtype == np.float32
    assert np.abs(logits).max() <= 10.001
    scale = 16 / max(h, w)
    # Where the frame is enlarged, its last pixels fade over half a pixel of theirs.
    first_outside = math.ceil(scale * h + max(1, scale / 2))
    assert (logits[first_outside:] < -9.9).all()


@pytest.mark.parametrize("height, width", [(300, 400), (400, 300), (256, 256)])
def test_prior_mask_comes_back_in_place(height: int, width: int) -> None:
    y, x = np.mgrid[:height, :width] + 0.5
    mask = ((x - 150) / 80) ** 2 + ((y - 120) / 60) ** 2 < 1
    back = upsample_logits(mask_to_logits(mask, 160), Frame(width, height, 320)) > 0
    assert iou(mask, back) > 0.985
