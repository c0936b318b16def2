"""Cleaning: against scipy, and with pictures whose sector is known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as mask_api
from scipy import ndimage
from tests.us43d.truth import ellipse, grid, scan

from ultrasam.core.masks import encode_rle
from ultrasam.datasets.lists.clean import Chunk, clean, close_holes, is_small, largest_only, sector
from ultrasam.datasets.lists.options import ListOptions

SIZE = (200, 260)


def fan(size: tuple[int, int] = SIZE) -> np.ndarray:
    """The sector of a convex probe, without what a hull adds."""
    rows, columns = grid(*size)
    x, y = columns - size[1] / 2, rows + 40
    return (np.hypot(x, y) < 220) & (np.hypot(x, y) > 60) & (np.abs(np.arctan2(x, y)) < 0.6)


def entry(mask: np.ndarray, number: int = 1) -> dict[str, Any]:
    rows, columns = np.nonzero(mask)
    x0, y0, x1, y1 = (float(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return {
        "id": number,
        "image_id": 5,
        "category_id": 2,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": float(np.count_nonzero(mask)),
        "segmentation": encode_rle(mask),
        "iscrowd": 0,
    }


def cleaned(
    *masks: np.ndarray,
    pixels: np.ndarray | None = None,
    folder: Path | None = None,
    small: bool = True,
    **options: Any,
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """What becomes of the masks of one image."""
    height, width = masks[0].shape
    image = {"id": 5, "file_name": "a.png", "height": height, "width": width}
    if folder is not None:
        Image.fromarray(pixels).save(folder / "a.png")
    drawn = tuple(entry(mask, number) for number, mask in enumerate(masks, 1))
    chunk = Chunk((image,), (drawn,), folder, (small,), ListOptions(**options))
    (own,), counts = clean(chunk)
    return own, counts


def decoded(one: dict[str, Any]) -> np.ndarray:
    return mask_api.decode(one["segmentation"]).astype(bool)


@settings(max_examples=150, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14))), st.integers(0, 9))
def test_holes_are_closed_as_scipy_would(mask: np.ndarray, most: int) -> None:
    expected = mask.copy()
    labels, count = ndimage.label(np.pad(~mask, 1, constant_values=True))
    for number in range(1, count + 1):
        hole = labels == number
        if number != labels[0, 0] and hole.sum() <= most:
            expected |= hole[1:-1, 1:-1]
    assert np.array_equal(close_holes(mask, most), expected)


def test_a_mask_is_not_changed_in_place() -> None:
    mask = np.ones((5, 5), np.bool_)
    mask[2, 2] = False
    assert close_holes(mask, 4).all() and not mask[2, 2]


def test_the_sector_is_filled_however_dark_it_is_inside() -> None:
    field = fan()
    pixels = np.where(field, scan(SIZE, 3) + np.uint8(1), 0).astype(np.uint8)
    pixels[ellipse(SIZE, 130, 110, 25, 20)] = 0  # a vessel
    pixels[4:12, 4:60] = 200  # a text beside the sector
    found = sector(pixels)
    assert found[field].all()
    assert not found[4:12, 4:60].any()
    # The hull closes the arc under the probe and no more.
    assert np.count_nonzero(found & ~field) < 0.1 * np.count_nonzero(field)
    assert np.array_equal(sector(np.repeat(pixels[..., None], 3, axis=2)), found)


def test_an_image_without_black_surroundings_or_without_light_is_all_sector() -> None:
    assert sector(scan(SIZE, 1) | np.uint8(1)).all()
    assert sector(np.zeros(SIZE, np.uint8)).all()


def test_masks_are_cut_at_the_sector_and_never_at_black_pixels_within(tmp_path: Path) -> None:
    field = fan()
    pixels = np.where(field, scan(SIZE, 3) + np.uint8(1), 0).astype(np.uint8)
    vessel = ellipse(SIZE, 130, 110, 25, 20)
    pixels[vessel] = 0
    over_the_edge = ellipse(SIZE, 130, 175, 40, 20)
    outside = ellipse(SIZE, 20, 180, 12, 12)
    own, counts = cleaned(vessel, over_the_edge, outside, pixels=pixels, folder=tmp_path)
    assert [one["id"] for one in own] == [1, 2]
    assert np.array_equal(decoded(own[0]), vessel) and own[0] == entry(vessel, 1)
    assert np.array_equal(decoded(own[1]), over_the_edge & sector(pixels))
    assert own[1]["area"] == np.count_nonzero(over_the_edge & sector(pixels)) and own[1]["category_id"] == 2
    assert counts["cut at the sector"] == 1 and counts["outside the sector"] == 1
    untouched, counts = cleaned(vessel, over_the_edge, outside)
    assert len(untouched) == 3 and not counts


def test_an_object_that_the_cut_parts_becomes_two_and_one_of_two_parts_stays_one(tmp_path: Path) -> None:
    pixels = np.zeros((120, 200), np.uint8)
    pixels[10:60] = 90
    arch = np.zeros_like(pixels, np.bool_)
    arch[40:90, 20:40] = arch[40:90, 100:120] = arch[70:90, 20:120] = True
    pair = np.zeros_like(arch)
    pair[20:40, 150:160] = pair[20:70, 175:185] = True
    own, counts = cleaned(arch, pair, pixels=pixels, folder=tmp_path, most_cut=0.9)
    assert [np.count_nonzero(decoded(one)) for one in own] == [400, 400, 10 * 20 + 10 * 40]
    assert counts["pieces after the cut"] == 1
    ids = [one["id"] for one in own]
    assert ids[0] == 1 and ids[2] == 2 and len(set(ids)) == 3 and all(0 <= number < 1 << 63 for number in ids)
    assert ids == [one["id"] for one in cleaned(arch, pair, pixels=pixels, folder=tmp_path, most_cut=0.9)[0]]


def test_of_what_lies_outside_the_sector_nothing_is_left_however_much_may_be_cut(tmp_path: Path) -> None:
    pixels = np.zeros((120, 200), np.uint8)
    pixels[10:60] = 90
    one, two, inside = (np.zeros_like(pixels, np.bool_) for _ in range(3))
    one[80:90, 20:40] = two[80:90, 20:40] = two[80:90, 60:80] = True
    inside[20:40, 20:40] = True
    own, counts = cleaned(one, two, inside, pixels=pixels, folder=tmp_path, most_cut=1.0)
    assert [number["id"] for number in own] == [3] and counts == {"outside the sector": 2}


def test_boxes_and_areas_are_those_of_the_cleaned_mask() -> None:
    mask = ellipse((80, 90), 40, 40, 20, 15)
    mask[38:41, 38:41] = False
    (one,), counts = cleaned(mask)
    assert one == entry(ellipse((80, 90), 40, 40, 20, 15)) and counts == {"holes closed": 1}


def test_small_objects_are_left_out_only_where_they_are_to_be() -> None:
    speck, lesion = np.zeros((100, 100), np.bool_), ellipse((100, 100), 50, 50, 9, 9)
    speck[3:10, 3:12] = True  # 63 pixels
    assert [one["id"] for one in cleaned(speck, lesion)[0]] == [2]
    assert [one["id"] for one in cleaned(speck, lesion, min_area=63)[0]] == [1, 2]
    assert [one["id"] for one in cleaned(speck, lesion, small=False)[0]] == [1, 2]
    assert cleaned(speck, lesion)[1] == {"small": 1}


@pytest.mark.parametrize(
    ("area", "size", "small"),
    [(63, (100, 100), True), (64, (100, 100), False), (199, (1000, 1000), True), (200, (1000, 1000), False)],
)
def test_small_is_under_64_pixels_or_a_fiftieth_of_a_percent(
    area: int, size: tuple[int, int], small: bool
) -> None:
    assert is_small(area, {"height": size[0], "width": size[1]}, ListOptions()) is small


def test_the_filter_of_the_paper_keeps_what_is_nearly_as_large_as_the_largest() -> None:
    kept = largest_only([{"area": 100.0}, {"area": 95.0}, {"area": 94.9}])
    assert [one["area"] for one in kept] == [100.0, 95.0] and largest_only([]) == []
