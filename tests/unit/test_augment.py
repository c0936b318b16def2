"""Geometric and intensity augmentation of training images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from tests.synthetic import ellipse  # noqa: E402

from ultrasam.config import AugmentConfig  # noqa: E402
from ultrasam.training.augment import apply_warp, random_intensity, random_warp  # noqa: E402

NO_AUGMENT = AugmentConfig(flip=0, warp=0, gamma=0, gain=0, noise=0)


@given(st.integers(0, 10**6))
def test_image_and_points_move_together(seed):
    """The centroid of a warped mask is the warped centroid."""
    config = AugmentConfig(warp=1.0, rotation=20, scale_min=0.8, scale_max=1.1, shift=0.02)
    matrix = random_warp(np.random.default_rng(seed), config, 64, 48, 64)
    mask = ellipse(64, 32, 24, 9, 6)[:48]
    ys, xs = np.nonzero(mask)
    warped = apply_warp(mask.astype(np.uint8) * 255, matrix, 64, 0).astype(float)
    assert warped.sum() > 0
    grid_y, grid_x = np.mgrid[:64, :64] + 0.5
    centroid = np.array([(warped * grid_x).sum(), (warped * grid_y).sum()]) / warped.sum()
    expected = matrix @ np.array([xs.mean() + 0.5, ys.mean() + 0.5, 1])
    np.testing.assert_allclose(centroid, expected[:2], atol=0.25)
    area = warped.sum() / 255
    assert area == pytest.approx(
        mask.sum() * np.linalg.det(matrix[:2, :2]) * np.sign(np.linalg.det(matrix)), rel=0.06
    )


def test_a_flip_alone_mirrors_every_pixel():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (48, 64), dtype=np.uint8)
    matrix = random_warp(rng, replace(NO_AUGMENT, flip=1), 64, 48, 64)
    warped = apply_warp(image, matrix, 64, 7)
    np.testing.assert_array_equal(warped[:48], image[:, ::-1])
    assert (warped[48:] == 7).all()


def test_no_intensity_change_is_none():
    image = np.linspace(0, 255, 48, dtype=np.float32).reshape(4, 4, 3)
    before = image.copy()
    random_intensity(np.random.default_rng(0), NO_AUGMENT, image)
    np.testing.assert_allclose(image, before, atol=1e-3)


@pytest.mark.parametrize("name", ["gamma", "gain", "noise"])
def test_each_intensity_change_is_made_within_its_range(name):
    amount = {"gamma": 0.4, "gain": 0.2, "noise": 6.0}[name]
    image = np.full((32, 32, 3), 100, np.float32)
    random_intensity(np.random.default_rng(2), replace(NO_AUGMENT, **{name: amount}), image)
    assert abs(image - 100).max() > 1 and (image[..., 0] == image[..., 2]).all()
    if name == "gamma":
        low, high = (255 * (100 / 255) ** np.exp(sign * amount) for sign in (1, -1))
        assert low <= image.min() and image.max() <= high and np.ptp(image) < 1e-3
    elif name == "gain":
        assert image.min() >= 80 and image.max() <= 120 and np.ptp(image) < 1e-3
    else:
        assert 0.5 < image[..., 0].std() < 7 and abs(image.mean() - 100) < 1


def test_a_shift_is_a_share_of_the_input():
    config = replace(NO_AUGMENT, warp=1, rotation=0, scale_min=1, scale_max=1, shift=0.1)
    shifts = np.array([random_warp(np.random.default_rng(i), config, 64, 48, 64)[:2, 2] for i in range(50)])
    assert 5 < abs(shifts).max() <= 6.4


@given(st.integers(0, 10**6), st.integers(4, 100), st.integers(4, 80))
def test_a_zoomed_view_holds_its_object_in_the_middle(seed, width, height):
    """Drawn at twice to five times its size, with some of what is around it."""
    focus = (20.0, 30.0, 20.0 + width, 30.0 + height)
    matrix = random_warp(np.random.default_rng(seed), replace(NO_AUGMENT, zoom=1), 128, 128, 256, focus)
    scale = matrix[0, 0]
    longest = max(width, height)
    assert matrix[1, 1] == scale and matrix[0, 1] == matrix[1, 0] == 0
    assert scale == pytest.approx(min(max(scale, 1.0), 2.5))
    if 1.0 < scale < 2.5:
        assert 1.3 - 1e-9 <= 256 / (scale * longest) <= 2.6 + 1e-9
    centre = matrix @ np.array([20 + width / 2, 30 + height / 2, 1])
    np.testing.assert_allclose(centre, [128, 128, 1], atol=1e-9)


def test_without_zoom_the_object_changes_no_draw():
    config = AugmentConfig()
    a, b = (
        random_warp(np.random.default_rng(5), config, 64, 48, 64, focus) for focus in (None, (1, 2, 9, 9))
    )
    np.testing.assert_array_equal(a, b)


def test_views_zoom_as_often_as_asked():
    config, focus = replace(NO_AUGMENT, zoom=0.25), (10.0, 10.0, 30.0, 30.0)
    zoomed = [
        random_warp(np.random.default_rng(i), config, 64, 48, 64, focus) is not None for i in range(400)
    ]
    assert 0.18 < np.mean(zoomed) < 0.32
