from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import Frame, as_rgb, letterbox, mask_of, to_grid, to_tensor, upsample_logits
from ultrasam.core.metrics import iou

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
frames = st.builds(Frame, st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([256, 320, 1024]))
small_frames = st.builds(Frame, st.integers(1, 300), st.integers(1, 300), st.sampled_from([64, 256]))
MEAN, STD = (123.0, 116.0, 103.0), (58.0, 57.0, 50.0)


@untimed
@given(frames)
def test_the_longest_side_fills_the_input_and_the_aspect_is_kept(frame: Frame) -> None:
    width, height = frame.resized
    assert max(width, height) == frame.size
    assert min(width, height) >= 1
    assert abs(width - frame.width * frame.scale) <= 0.5 or width == 1
    assert abs(height - frame.height * frame.scale) <= 0.5 or height == 1


def test_scale_is_model_pixels_per_original_pixel() -> None:
    assert Frame(800, 600, 320).scale == 0.4
    assert Frame(800, 600, 320).resized == (320, 240)
    assert Frame(100, 200, 320).resized == (160, 320)
    assert Frame(128, 53, 320).resized == (320, 133)  # 132.5: halves go up, as in SAM


@untimed
@given(small_frames)
def test_letterbox_pads_right_and_bottom_with_zero(frame: Frame) -> None:
    image = np.full((frame.height, frame.width, 3), 200, np.uint8)
    padded = letterbox(image, frame.size)
    width, height = frame.resized
    assert padded.shape == (frame.size, frame.size, 3)
    assert padded.dtype == np.uint8
    assert (padded[:height, :width] == 200).all()
    assert not padded[height:].any()
    assert not padded[:, width:].any()


def test_letterbox_of_grey_is_a_channel_of_letterbox_of_rgb() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (37, 61), np.uint8)
    padded = letterbox(grey, 48)
    assert padded.shape == (48, 48)
    np.testing.assert_array_equal(letterbox(as_rgb(grey), 48), np.repeat(padded[:, :, None], 3, axis=2))


def test_letterbox_leaves_an_image_of_the_input_size_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    np.testing.assert_array_equal(letterbox(image, 64)[:40], image)


def test_letterbox_does_not_alias_fine_stripes() -> None:
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    inner = letterbox(stripes, 64)[4:-4, 4:-4]
    assert abs(inner.astype(float) - 127.5).max() < 16


def test_to_tensor_normalises_the_image_and_leaves_the_padding_at_zero() -> None:
    frame = Frame(80, 50, 64)
    image = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    padded = letterbox(image, 64)
    tensor = to_tensor(padded, frame, MEAN, STD)
    assert tensor.shape == (1, 3, 64, 64)
    assert tensor.dtype == np.float32
    width, height = frame.resized
    assert (width, height) == (64, 40)
    for channel in range(3):
        expected = (padded[:40, :, channel].astype(np.float64) - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(tensor[0, channel, :40], expected, rtol=1e-5, atol=1e-6)
    assert not tensor[:, :, 40:].any()


def test_to_tensor_leaves_the_padding_on_the_right_at_zero() -> None:
    frame = Frame(50, 80, 64)
    tensor = to_tensor(letterbox(np.zeros((80, 50, 3), np.uint8), 64), frame, MEAN, STD)
    assert (tensor[:, :, :, :40] < -2).all()
    assert not tensor[:, :, :, 40:].any()


@untimed
@given(frames.filter(lambda frame: frame.width * frame.height < 10**6))
def test_upsampled_logits_have_the_shape_of_the_frame(frame: Frame) -> None:
    logits = upsample_logits(np.full((40, 40), -3.5, np.float32), frame)
    assert logits.shape == (frame.height, frame.width)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, -3.5, rtol=1e-5)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (641, 333), (800, 540), (90, 70)])
def test_upsampled_logits_lie_at_public_coordinates(size: tuple[int, int]) -> None:
    """Logits that hold their own public coordinate come back as the coordinate of each pixel's centre."""
    frame = Frame(*size, 320)
    centre = (np.arange(80) + 0.5) * 4 / frame.scale
    x_of = upsample_logits(np.tile(centre, (80, 1)).astype(np.float32), frame)
    y_of = upsample_logits(np.tile(centre[:, None], (1, 80)).astype(np.float32), frame)
    x, y = np.arange(frame.width) + 0.5, np.arange(frame.height) + 0.5
    margin = int(np.ceil(4 / frame.scale))
    inner = slice(margin, -margin)
    tolerance = 0.1
    assert abs(x_of - x)[inner, inner].max() < tolerance
    assert abs(y_of - y[:, None])[inner, inner].max() < tolerance


def test_image_and_logits_agree_on_where_things_are() -> None:
    """A bright rectangle, brought back as if the network returned its input, lies where it was."""
    image = np.zeros((300, 400), np.uint8)
    image[120:180, 240:330] = 255
    frame = Frame(400, 300, 320)
    logits = letterbox(image, 320).astype(np.float32) - 127.5
    mask = upsample_logits(logits, frame) > 0
    rows, columns = np.nonzero(mask)
    assert abs(rows.min() - 120) <= 1 and abs(rows.max() - 179) <= 1
    assert abs(columns.min() - 240) <= 1 and abs(columns.max() - 329) <= 1


def test_as_rgb_repeats_grey_and_passes_colour() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rgb = as_rgb(grey)
    assert rgb.shape == (3, 4, 3)
    assert all(np.array_equal(rgb[:, :, channel], grey) for channel in range(3))
    colour = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert np.array_equal(as_rgb(colour), colour)


@pytest.mark.parametrize("shape", [(3,), (0, 4), (4, 0), (4, 4, 1), (4, 4, 4), (1, 4, 4, 3), (0, 4, 3)])
def test_as_rgb_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(UltrasamError, match="shape"):
        as_rgb(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.bool_, np.int64])
def test_as_rgb_refuses_other_types(dtype: type) -> None:
    with pytest.raises(UltrasamError, match="convert it to uint8"):
        as_rgb(np.zeros((4, 4), dtype))


@pytest.mark.parametrize(
    ("size", "fit", "resized"),
    [
        ((958, 533), "pad", (1024, 570)),
        ((958, 533), "original", (1023, 569)),  # truncated, also where 958 * (1024 / 958) is just below 1024
        ((800, 540), "original", (1024, 691)),
        ((800, 540), "stretch", (1024, 1024)),
    ],
)
def test_the_size_inside_the_input(size: tuple[int, int], fit: str, resized: tuple[int, int]) -> None:
    assert Frame(*size, 1024, fit).resized == resized


def test_coordinates_of_each_fit() -> None:
    places = np.array([[100.5, 40.5], [100.0, 40.0]])
    corner = np.array([False, True])
    np.testing.assert_allclose(Frame(800, 400, 1600).to_model(places, corner), places * 2)
    np.testing.assert_allclose(Frame(800, 400, 1600, "stretch").to_model(places, corner), places * [2, 4])
    # A point is the index of its pixel there: 100 * 2 + 0.5; a corner is itself.
    original = Frame(800, 400, 1600, "original").to_model(places, corner)
    np.testing.assert_allclose(original, [[200.5, 80.5], [200.5, 80.5]])


@given(size=st.tuples(st.integers(8, 300), st.integers(8, 300)), fit=st.sampled_from(["pad", "stretch"]))
def test_a_mask_comes_back_where_it_was(size: tuple[int, int], fit: str) -> None:
    width, height = size
    frame = Frame(width, height, 128, fit)
    mask = np.zeros((height, width), bool)
    mask[height // 4 : -(height // 4), width // 4 : -(width // 4)] = True
    values = to_grid(np.where(mask, 1, -1).astype(np.float32), 128, -1.0, fit)
    assert iou(mask_of(values, frame), mask) > 0.85 if min(size) > 40 else mask_of(values, frame).any()


@given(seed=st.integers(0, 10**6), width=st.integers(20, 200), height=st.integers(20, 200))
def test_the_original_rule_against_interpolated_masks(seed: int, width: int, height: int) -> None:
    """Every pixel that the interpolation of the binary mask touches, in two steps, as the original says."""
    torch = pytest.importorskip("torch")
    frame = Frame(width, height, 64, "original")
    logits = np.random.default_rng(seed).normal(size=(16, 16)).astype(np.float32)
    across, down = frame.resized
    binary = torch.from_numpy(logits > 0).float()[None, None]
    square = torch.nn.functional.interpolate(binary, (64, 64), mode="bilinear")[..., :down, :across]
    wanted = (
        torch.nn.functional.interpolate((square != 0).float(), (height, width), mode="bilinear")[0, 0] != 0
    )
    np.testing.assert_array_equal(mask_of(logits, frame), wanted.numpy())


def test_the_original_rule_grows_masks() -> None:
    logits = np.full((64, 64), -1, np.float32)
    logits[20:40, 20:40] = 1
    plain, original = (mask_of(logits, Frame(400, 400, 256, fit)) for fit in ("pad", "original"))
    assert original[plain].all() and original.sum() > 1.05 * plain.sum()
