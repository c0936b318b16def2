"""Perceptual hashes and near-duplicates: found whatever their size or quality, and nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.us43d.truth import blob, scan

from ultrasam.datasets import likeness
from ultrasam.datasets.likeness import detail, near_pairs, perceptual_hash


def picture(seed: int, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Speckle with a lesion, each of its own."""
    return scan(size, seed, blob(size, 60 + 23 * (seed % 9), 70 + 17 * (seed % 5), 40, seed))


def bits(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def changed(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The same picture as other copies have it."""
    image = Image.fromarray(pixels)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=60)
    height, width = pixels.shape
    return {
        "smaller": np.asarray(image.resize((width // 2, height // 2), Image.Resampling.BICUBIC)),
        "other aspect": np.asarray(image.resize((width, height * 3 // 4), Image.Resampling.BILINEAR)),
        "JPEG": np.asarray(Image.open(jpeg)),
        "brighter": np.clip(pixels * 1.2 + 10, 0, 255).astype(np.uint8),
        "in colour": np.repeat(pixels[..., None], 3, axis=2),
    }


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_a_picture_are_near_duplicates(seed: int) -> None:
    pixels = picture(seed)
    for what, copy in changed(pixels).items():
        assert bits(perceptual_hash(pixels), perceptual_hash(copy)) <= 6, what
        assert float(detail(pixels) @ detail(copy)) >= 0.8, what


def test_other_pictures_are_not() -> None:
    details = [detail(picture(seed)) for seed in range(12)]
    for i, one in enumerate(details):
        for other in details[:i]:
            assert float(one @ other) < 0.8


def test_a_picture_of_one_grey_is_like_nothing() -> None:
    flat = np.full((40, 50), 80, np.uint8)
    assert not detail(flat).any() and 0 <= perceptual_hash(flat) < 1 << 64


def by_hand(hashes: np.ndarray, case: np.ndarray, distance: int) -> list[tuple[int, int]]:
    values = [int(one) for one in hashes]
    return [
        (i, j)
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if bits(values[i], values[j]) <= distance and case[i] != case[j]
    ]


def found(hashes: np.ndarray, case: np.ndarray, distance: int) -> list[tuple[int, int]]:
    return sorted((i, j) for block in near_pairs(hashes, case, distance) for i, j in block.tolist())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, (1 << 64) - 1), max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=8)), max_size=25),
    st.integers(0, 15),
    st.integers(1, 40),
)
def test_near_pairs_are_those_of_a_comparison_of_all(
    far: list[int], near: list[tuple[int, set[int]]], distance: int, cases: int
) -> None:
    values = list(far)
    for place, flipped in near:
        if far:
            values.append(far[place % len(far)] ^ sum(1 << bit for bit in flipped))
    hashes = np.array(values, np.uint64)
    case = np.arange(len(hashes)) % cases
    assert found(hashes, case, distance) == by_hand(hashes, case, distance)


def test_many_pairs_are_compared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "_CHUNK", 7)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 4, 60, dtype=np.uint64) << np.uint64(30)
    assert found(hashes, np.arange(60), 1) == by_hand(hashes, np.arange(60), 1)


def test_frames_of_one_video_that_hardly_differ_are_never_held_as_pairs() -> None:
    blocks = list(near_pairs(np.zeros(3000, np.uint64), np.zeros(3000, np.int64), 6))
    assert sum(map(len, blocks)) == 0


def test_bits_are_counted_without_numpy_2_too(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.random.default_rng(1).integers(0, 1 << 63, 200, dtype=np.uint64)
    expected = [int(one).bit_count() for one in hashes]
    assert likeness.bits(hashes).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert likeness.bits(hashes).tolist() == expected


@pytest.mark.parametrize("distance", [-1, 16])
def test_a_distance_out_of_reach_is_refused(distance: int) -> None:
    with pytest.raises(ValueError, match="0 to 15"):
        next(near_pairs(np.zeros(3, np.uint64), np.arange(3), distance))
