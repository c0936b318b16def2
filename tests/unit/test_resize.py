"""OpenCV's resizing without OpenCV, against OpenCV."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ultrasam.core.resize import resize_cv2

SIDE = st.integers(1, 200)


@settings(max_examples=200, deadline=None)
@given(size=st.tuples(SIDE, SIDE), new=st.tuples(SIDE, SIDE), channels=st.sampled_from([0, 1, 3]))
@example(size=(60, 80), new=(30, 40), channels=3)  # means of 2 x 2
@example(size=(60, 80), new=(30, 41), channels=3)
@example(size=(1, 1), new=(7, 5), channels=0)
@example(size=(90, 160), new=(90, 160), channels=3)
def test_equal_to_opencv_bit_for_bit(size: tuple[int, int], new: tuple[int, int], channels: int) -> None:
    cv2 = pytest.importorskip("cv2")
    shape = (*size, channels) if channels else size
    image = np.random.default_rng(sum(size)).integers(0, 256, shape, np.uint8)
    height, width = new
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize_cv2(image, width, height), expected.reshape(*new, *shape[2:]))


@pytest.mark.parametrize("size", [(533, 958), (583, 770), (1536, 2048), (100, 1400)])
def test_equal_to_opencv_at_the_sizes_of_scans(size: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    height, width = (max(1, int(side * 1024 / max(size))) for side in size)
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize_cv2(image, width, height), expected)
