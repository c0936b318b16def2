from __future__ import annotations

import json
from itertools import groupby

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from ultrasam.core import masks
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import BoolArray

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
noise = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=24))


@st.composite
def rectangles(draw: st.DrawFn) -> BoolArray:
    """Up to six filled or cleared rectangles: solid shapes with holes, unlike noise."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    mask = np.zeros((height, width), np.bool_)
    for _ in range(draw(st.integers(0, 6))):
        rows = sorted((draw(st.integers(0, height)), draw(st.integers(0, height))))
        columns = sorted((draw(st.integers(0, width)), draw(st.integers(0, width))))
        mask[slice(*rows), slice(*columns)] = draw(st.booleans())
    return mask


any_mask = noise | rectangles()


def ellipse(height: int, width: int, long: float, short: float, angle: float) -> BoolArray:
    y, x = np.mgrid[:height, :width] - np.array([height / 2, width / 2])[:, None, None]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along / long) ** 2 + (across / short) ** 2 <= 1


def large_masks() -> dict[str, BoolArray]:
    """Masks beyond the sizes that a search by brute force would take."""
    generator = np.random.default_rng(0)
    shape = (310, 420)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = np.cos(np.hypot(rows - 100, columns - 90) / 9) + np.cos((rows + 2 * columns) / 31)
    return {
        "full": np.ones(shape, np.bool_),
        "ellipse": ellipse(*shape, 140, 90, 0.6),
        "band": ellipse(*shape, 2000, 55, 0.8),
        "waves": waves > 0,
        "columns": np.broadcast_to(columns % 9 > 0, shape).copy(),
        "rows": np.broadcast_to(rows % 9 > 0, shape).copy(),
        "noise": generator.random(shape) < 0.7,
        "pinholes": generator.random(shape) < 0.9995,
    }


large = pytest.mark.parametrize("name", large_masks())

# label_components


def test_touching_corners_are_one_component() -> None:
    labels, count = masks.label_components(np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 0, 1]], np.bool_))
    assert count == 3
    assert labels.dtype == np.int32
    assert labels.tolist() == [[0, 1, 0, 2], [1, 0, 0, 0], [0, 1, 0, 3]]


def test_ends_of_adjacent_rows_do_not_touch() -> None:
    labels, count = masks.label_components(np.array([[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]], np.bool_))
    assert count == 3
    assert labels[labels > 0].tolist() == [1, 2, 3]


def test_branches_that_meet_late_are_one_component() -> None:
    comb = np.zeros((6, 21), np.bool_)
    comb[:, ::2] = True
    comb[-1] = True
    assert masks.label_components(comb)[1] == 1
    spiral = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]])
    assert masks.label_components(spiral.astype(np.bool_))[1] == 1


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (3, 4)])
def test_an_empty_mask_has_no_component(shape: tuple[int, int]) -> None:
    labels, count = masks.label_components(np.zeros(shape, np.bool_))
    assert count == 0
    assert labels.shape == shape
    assert not labels.any()


def assert_components_equal_scipy(mask: BoolArray) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    labels, count = masks.label_components(mask)
    expected, expected_count = ndimage.label(mask, np.ones((3, 3)))
    assert count == expected_count
    assert np.array_equal(labels > 0, mask)
    assert len(np.unique(np.stack((labels[mask], expected[mask])), axis=1).T) == count
    numbers, first = np.unique(labels[mask], return_index=True)
    assert numbers.tolist() == list(range(1, count + 1))
    assert (np.diff(first) > 0).all()


@untimed
@given(any_mask)
def test_components_are_those_of_scipy_in_raster_order(mask: BoolArray) -> None:
    assert_components_equal_scipy(mask)


@large
def test_components_of_large_masks_are_those_of_scipy(name: str) -> None:
    assert_components_equal_scipy(large_masks()[name])


# distance_to_border and farthest_pixel


def distance_by_brute_force(mask: BoolArray) -> np.ndarray:
    padded = np.pad(mask, 1)
    background = np.argwhere(~padded) - 1
    rows, columns = np.nonzero(mask)
    distance = np.zeros(mask.shape)
    for row, column in zip(rows, columns, strict=True):
        distance[row, column] = np.hypot(*(background - (row, column)).T).min()
    return distance


def test_distance_counts_the_outside_as_background() -> None:
    distance = masks.distance_to_border(np.ones((3, 5), np.bool_))
    assert distance.dtype == np.float32
    assert distance.tolist() == [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]]


def test_distance_is_euclidean() -> None:
    mask = np.ones((21, 21), np.bool_)
    mask[7, 6] = False
    assert masks.distance_to_border(mask)[10, 10] == 5


@untimed
@given(noise)
def test_distance_is_that_of_the_nearest_background_pixel(mask: BoolArray) -> None:
    np.testing.assert_allclose(masks.distance_to_border(mask), distance_by_brute_force(mask), rtol=1e-6)


def assert_distance_equals_scipy(mask: BoolArray) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    expected = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    np.testing.assert_allclose(masks.distance_to_border(mask), expected, rtol=1e-6)


@untimed
@given(rectangles())
def test_distance_equals_scipy(mask: BoolArray) -> None:
    assert_distance_equals_scipy(mask)


@large
def test_distance_in_large_masks_equals_scipy(name: str) -> None:
    assert_distance_equals_scipy(large_masks()[name])


def assert_farthest_is_first_maximum(mask: BoolArray) -> None:
    row, column = np.unravel_index(masks.distance_to_border(mask).argmax(), mask.shape)
    assert masks.farthest_pixel(mask) == (column, row)


@untimed
@given(any_mask.filter(np.any))
def test_farthest_pixel_is_the_first_maximum_of_the_distance(mask: BoolArray) -> None:
    assert_farthest_is_first_maximum(mask)


@large
def test_farthest_pixel_of_large_masks_is_the_first_maximum_of_the_distance(name: str) -> None:
    assert_farthest_is_first_maximum(large_masks()[name])


def test_an_empty_mask_has_no_farthest_pixel_and_no_distance() -> None:
    empty = np.zeros((4, 6), np.bool_)
    assert not masks.distance_to_border(empty).any()
    with pytest.raises(ValueError, match="empty"):
        masks.farthest_pixel(empty)


# box_of


def test_box_is_half_open_in_x_y_order() -> None:
    mask = np.zeros((10, 20), np.bool_)
    mask[2, 5] = mask[7, 11] = True
    box = masks.box_of(mask)
    assert box == (5, 2, 12, 8)
    assert all(type(side) is float for side in box)


@untimed
@given(any_mask.filter(np.any))
def test_box_is_the_smallest_that_holds_the_mask(mask: BoolArray) -> None:
    x0, y0, x1, y1 = (int(side) for side in masks.box_of(mask))
    inside = mask[y0:y1, x0:x1]
    assert inside.sum() == mask.sum()
    assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_an_empty_mask_has_no_box() -> None:
    with pytest.raises(ValueError, match="empty"):
        masks.box_of(np.zeros((4, 6), np.bool_))


@pytest.mark.parametrize("not_a_mask", [np.ones((3, 3), np.uint8), np.ones((1, 3, 3), np.bool_)])
def test_only_boolean_planes_are_masks(not_a_mask: np.ndarray) -> None:
    for function in (masks.label_components, masks.distance_to_border, masks.box_of, masks.encode_rle):
        with pytest.raises(ValueError, match="boolean array"):
            function(not_a_mask)


# RLE and polygons


def uncompressed(mask: BoolArray) -> dict[str, object]:
    """COCO's uncompressed RLE from its definition: runs down the columns, the first one background."""
    runs = [(value, len(list(run))) for value, run in groupby(mask.T.ravel().tolist())]
    leading = [0] if runs and runs[0][0] else []
    return {"size": list(mask.shape), "counts": leading + [length for _, length in runs]}


@untimed
@given(any_mask)
def test_rle_round_trip(mask: BoolArray) -> None:
    rle = json.loads(json.dumps(masks.encode_rle(mask)))
    decoded = masks.decode_segmentation(rle, *mask.shape)
    assert decoded.dtype == np.bool_
    assert np.array_equal(decoded, mask)
    as_bytes = {**rle, "counts": rle["counts"].encode()}
    assert np.array_equal(masks.decode_segmentation(as_bytes, *mask.shape), mask)


@untimed
@given(any_mask)
def test_rle_is_that_of_pycocotools(mask: BoolArray) -> None:
    rle = masks.encode_rle(mask)
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(coco.decode(rle), mask)
    assert coco.frPyObjects(uncompressed(mask), *mask.shape)["counts"].decode() == rle["counts"]


@large
def test_rle_of_large_masks_round_trip(name: str) -> None:
    mask = large_masks()[name]
    assert np.array_equal(masks.decode_segmentation(masks.encode_rle(mask), *mask.shape), mask)


@untimed
@given(any_mask)
def test_uncompressed_rle_decodes(mask: BoolArray) -> None:
    assert np.array_equal(masks.decode_segmentation(uncompressed(mask), *mask.shape), mask)


def test_polygons_are_united() -> None:
    square = [2, 1, 6, 1, 6, 4, 2, 4]
    overlapping = [4, 3, 9, 3, 9, 8, 4, 8]
    expected = np.zeros((10, 12), np.bool_)
    expected[1:4, 2:6] = True
    expected[3:8, 4:9] = True
    assert np.array_equal(masks.decode_segmentation([square, overlapping], 10, 12), expected)


def test_a_polygon_may_leave_the_image() -> None:
    decoded = masks.decode_segmentation([[-5.5, -5, 50, -5, 50, 2, -5.5, 2]], 6, 8)
    assert decoded.shape == (6, 8)
    assert decoded[:2].all() and not decoded[2:].any()


def test_no_polygon_is_an_empty_mask() -> None:
    decoded = masks.decode_segmentation([], 3, 4)
    assert decoded.shape == (3, 4)
    assert not decoded.any()


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        7,
        "text",
        {},
        {"size": [5, 6]},
        {"size": [6, 5], "counts": [30]},
        {"size": [5, 6], "counts": [29]},
        {"size": [5, 6], "counts": [-1, 31]},
        {"size": [5, 6], "counts": [2**62, 2**62, 2**62, 2**62, 30]},
        {"size": [5, 6], "counts": [10**30]},
        {"size": [5, 6], "counts": [[30]]},
        {"size": [5, 6], "counts": ["many"]},
        {"size": [5, 6], "counts": []},
        {"size": [5, 6], "counts": ""},
        {"size": [5, 6], "counts": "0"},
        {"size": [5, 6], "counts": "!!!!"},
        {"size": [5, 6], "counts": "zzzzzzzz"},
        {"size": [5, 6], "counts": "o" * 40 + "0"},
        {"size": [5, 6], "counts": "größe"},
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, float("inf")]],
        [[1e9, 2, 3, 4e9, 5, 6]],
        [[[1, 2], [3, 4], [5, 6]]],
        [1, 2, 3, 4, 5, 6],
        [["a", "b", "c", "d", "e", "f"]],
    ],
)
def test_a_broken_segmentation_is_refused_in_one_line(segmentation: object) -> None:
    with pytest.raises(UltrasamError) as caught:
        masks.decode_segmentation(segmentation, 5, 6)
    assert "check the COCO file" in str(caught.value)
    assert "\n" not in str(caught.value)


@untimed
@given(rectangles(), st.data())
def test_a_truncated_rle_is_refused(mask: BoolArray, data: st.DataObject) -> None:
    rle = masks.encode_rle(mask)
    rle["counts"] = rle["counts"][: data.draw(st.integers(0, len(rle["counts"]) - 1))]
    with pytest.raises(UltrasamError):
        masks.decode_segmentation(rle, *mask.shape)


@untimed
@given(st.text(max_size=12) | st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12))
def test_no_text_of_counts_does_worse_than_a_refusal(counts: str) -> None:
    rle = {"size": [5, 6], "counts": counts}
    try:
        decoded = masks.decode_segmentation(rle, 5, 6)
    except UltrasamError:
        return
    assert np.array_equal(coco.decode(rle), decoded)
