"""Surface Dice, clicks needed, calibration and sizes: against other programs and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from ultrasam.core.masks import encode_rle
from ultrasam.core.metrics import contour, surface_dice
from ultrasam.evaluation.metrics import (
    Outcome,
    by_application,
    by_size,
    calibration,
    clicks_needed,
    expected_calibration_error,
)
from ultrasam.evaluation.report import to_markdown

PLAIN = encode_rle(np.ones((1, 1), np.bool_))
SHAPES = st.tuples(st.integers(1, 16), st.integers(1, 16))


def reference(a: np.ndarray, b: np.ndarray, tolerance: float, spacing: tuple[float, float]) -> float:
    """By scipy's distances."""
    cross = ndimage.generate_binary_structure(2, 1)
    first, second = (mask & ~ndimage.binary_erosion(mask, cross) for mask in (a, b))
    if not first.any() and not second.any():
        return 1.0
    if not first.any() or not second.any():
        return 0.0
    near = 0
    for one, other in ((first, second), (second, first)):
        distance = ndimage.distance_transform_edt(~other, sampling=spacing[::-1])
        near += np.count_nonzero(distance[one] <= tolerance + 1e-9)
    return near / (np.count_nonzero(first) + np.count_nonzero(second))


@settings(max_examples=200, deadline=None)
@given(
    SHAPES.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape))),
    st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.7, 50.0]),
    st.sampled_from([(1.0, 1.0), (0.3, 0.15), (0.5, 2.0)]),
)
def test_surface_dice_is_that_of_scipys_distances(
    masks: tuple[np.ndarray, np.ndarray], tolerance: float, spacing: tuple[float, float]
) -> None:
    found = surface_dice(*masks, tolerance, spacing)
    assert found == pytest.approx(reference(*masks, tolerance, spacing))
    assert found == surface_dice(*masks[::-1], tolerance, spacing)


def test_surface_dice_of_squares_that_are_shifted() -> None:
    a, b = np.zeros((40, 60), np.bool_), np.zeros((40, 60), np.bool_)
    a[10:30, 10:30], b[10:30, 13:33] = True, True
    assert surface_dice(a, a, 0) == 1.0
    assert surface_dice(a, b, 3) == 1.0
    assert surface_dice(a, b, 0.3, (0.1, 0.1)) == 1.0
    assert 0.4 < surface_dice(a, b, 2) < 1.0
    assert surface_dice(a, np.zeros_like(a), 5) == 0.0 and surface_dice(~a & a, ~a & a, 5) == 1.0
    with pytest.raises(ValueError, match="shapes"):
        surface_dice(a, b[:, 1:], 1)


def test_a_contour_has_the_pixels_with_a_side_outside() -> None:
    mask = np.zeros((5, 6), np.bool_)
    mask[:4, 1:5] = True
    inner = np.zeros_like(mask)
    inner[1:3, 2:4] = True
    assert np.array_equal(contour(mask), mask & ~inner)


def outcome(iou: float, protocol: str = "box", number: int = 1, **other: Any) -> Outcome:
    values = {
        "image_id": number,
        "annotation_id": number,
        "dataset": "a",
        "case_id": "1",
        "protocol": protocol,
        "iou": iou,
        "dice": iou,
        "nsd": iou,
        "share": 0.05,
        "score": iou,
        "truth": PLAIN,
        "predicted": PLAIN,
    }
    return Outcome(**(values | other))


def clicked(number: int, ious: list[float], dataset: str = "a") -> list[Outcome]:
    """An object after 1, 2, ... clicks; the last IoU stands for the rest of 20."""
    filled = ious + [ious[-1]] * (20 - len(ious))
    return [outcome(iou, f"click-{n}", number, dataset=dataset) for n, iou in enumerate(filled)]


def test_clicks_are_counted_until_the_target_and_failures_with_the_cap() -> None:
    outcomes = clicked(1, [0.9]) + clicked(2, [0.2, 0.85, 0.5, 0.95]) + clicked(3, [0.6])
    (first, second) = clicks_needed(outcomes)
    assert (first.target, first.objects, second.target) == (0.85, 3, 0.9)
    assert first.clicks == pytest.approx((1 + 2 + 20) / 3) and first.failed == pytest.approx(1 / 3)
    assert second.clicks == pytest.approx((1 + 4 + 20) / 3) and second.failed == pytest.approx(1 / 3)


def test_clicks_are_counted_by_data_set_and_over_all() -> None:
    outcomes = clicked(1, [0.9]) + clicked(2, [0.1], dataset="b")
    found = {(one.dataset, one.target): one.clicks for one in clicks_needed(outcomes)}
    assert found == {
        **{("a", target): 1.0 for target in (0.85, 0.9)},
        **{("b", target): 20.0 for target in (0.85, 0.9)},
        **{("all", target): 10.5 for target in (0.85, 0.9)},
    }


def test_with_fewer_clicks_there_is_nothing_to_say() -> None:
    assert clicks_needed(clicked(1, [0.9])[:6]) == []
    assert clicks_needed([outcome(0.5)]) == []
    assert "NoC" not in to_markdown("t", [], [], clicked(1, [0.9])[:6])
    assert "NoC@85" in to_markdown("t", [], [], clicked(1, [0.9]))


def test_calibration_compares_scores_with_ious_in_bins() -> None:
    outcomes = [
        outcome(0.5, score=0.92),
        outcome(0.9, score=0.98),
        outcome(0.3, score=0.31),
        outcome(1.0, score=1.0),
        outcome(0.0, score=-0.2),
    ]
    bins = calibration(outcomes)
    assert [(one.low, one.high, one.objects) for one in bins] == [
        (0.0, 0.1, 1),
        (0.3, 0.4, 1),
        (0.9, 1.0, 3),
    ]
    assert bins[2].score == pytest.approx(2.9 / 3) and bins[2].iou == pytest.approx(2.4 / 3)
    assert expected_calibration_error(bins) == pytest.approx((0 + 0.01 + 3 * (0.5 / 3)) / 5)


def test_objects_are_sorted_by_their_share_of_the_image() -> None:
    shares = [0.005, 0.01, 0.0999, 0.1, 1.0]
    found = by_size([outcome(0.5, number=n, share=share) for n, share in enumerate(shares)])
    assert {size: len(members) for size, members in found.items()} == {"small": 1, "middling": 2, "large": 2}
    text = to_markdown("t", [], [], [outcome(0.5, share=0.001), outcome(0.7, number=2, share=0.5)])
    assert "| small" in text and "| large" in text and "middling" not in text


def test_applications_are_those_of_the_catalogue_in_its_order() -> None:
    outcomes = [
        outcome(0.5, number=n, dataset=name) for n, name in enumerate(["hc18", "mine", "bus_bra", "busi"])
    ]
    found = by_application(outcomes)
    assert {name: len(members) for name, members in found.items()} == {
        "breast lesions": 2,
        "fetal head biometry": 1,
    }
    assert list(found) == ["breast lesions", "fetal head biometry"]
    assert "| breast lesions" in to_markdown("t", [], [], outcomes)
    assert "clinical application" not in to_markdown("t", [], [], outcomes[1:])
