"""Which images look alike: a perceptual hash of each, pairs of near hashes, and a closer look at a pair.

Hash: the signs, about their median, of the 8 x 8 lowest frequencies of a discrete cosine transform of the
image at 32 x 32 pixels; 64 bits (C. Zauner, Implementation and benchmarking of perceptual image hash
functions, 2010). It bears other sizes, compression and levels of grey. Images of one organ by one scanner can
have near hashes too, so a pair is looked at closer: `detail` leaves out what makes all of them alike.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.geometry import ByteArray, FloatArray

BITS = 64
_SIDE = 32
_LOW = 8
# Pairs compared at a time: some 100 MB.
_CHUNK = 4_000_000

Hashes = NDArray[np.uint64]


def perceptual_hash(image: ByteArray) -> int:
    """64 bits of an image (H, W) or (H, W, 3) uint8; colours count as their mean."""
    import cv2

    low = cv2.dct(_shrunk(image))[:_LOW, :_LOW].ravel()
    # The first is the mean of the image.
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def detail(image: ByteArray) -> FloatArray:
    """An image at 32 x 32 pixels without its local mean, as (1024,) float32 of length 1; of one grey, zeros.

    The product of two is their correlation: near-duplicates have 0.8 and more.
    """
    import cv2

    small = _shrunk(image)
    small -= cv2.GaussianBlur(small, (0, 0), _SIDE / 8)
    length = float(np.linalg.norm(small))
    unit: FloatArray = (small / length if length > 1e-3 else np.zeros_like(small)).ravel()
    return unit


def _shrunk(image: ByteArray) -> FloatArray:
    import cv2

    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    grey: FloatArray = small if small.ndim == 2 else small.mean(axis=2)
    return grey


def near_pairs(hashes: Hashes, case: NDArray[np.int64], distance: int) -> Iterator[NDArray[np.int64]]:
    """All pairs (i, j), i < j, of `hashes` (N,) that differ in at most `distance` bits, of different cases.

    `case` (N,) numbers these. Each pair comes once, in blocks (P, 2): all together may be more than the
    memory holds. Two such hashes agree in at least one of `distance` + 1 bands of bits, so only those are
    compared that share a band. ValueError for a distance that is not from 0 to 15.
    """
    if not 0 <= distance <= 15:
        raise ValueError(f"a distance of 0 to 15 bits is looked for, not {distance}")
    edges = np.linspace(0, BITS, distance + 2).astype(int)
    masks = [
        np.uint64(((1 << int(high - low)) - 1) << int(low))
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    for number, mask in enumerate(masks):
        for first, second in _pairs_within(hashes & mask):
            near = bits(hashes[first] ^ hashes[second]) <= distance
            near &= case[first] != case[second]
            first, second = first[near], second[near]
            fresh = np.ones(len(first), np.bool_)
            for earlier in masks[:number]:  # it has brought those that agree there
                fresh &= ((hashes[first] ^ hashes[second]) & earlier) != 0
            yield np.sort(np.stack([first[fresh], second[fresh]], axis=1), axis=1)


def _pairs_within(band: Hashes) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Index pairs whose values in `band` are equal, at most about `_CHUNK` at a time."""
    order = np.argsort(band, kind="stable")
    ordered = band[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(starts[1:], len(ordered))
    # For each place the number of later places with its value.
    later = np.repeat(ends, ends - starts) - np.arange(len(ordered)) - 1
    total = np.cumsum(later)
    begin = 0
    while begin < len(ordered):
        done = total[begin - 1] if begin else 0
        end = max(int(np.searchsorted(total, done + _CHUNK, side="right")), begin + 1)
        counts = later[begin:end]
        first = np.repeat(np.arange(begin, end), counts)
        step = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield order[first], order[first + 1 + step]
        begin = end


def bits(values: Hashes) -> NDArray[np.uint8]:
    """The number of bits set in each of (N,) uint64."""
    count = getattr(np, "bitwise_count", None)  # from numpy 2 on
    if count is None:
        words = _COUNTS[values.view(np.uint16).reshape(-1, 4)]
        return np.asarray(words.sum(axis=1), np.uint8)
    return np.asarray(count(values), np.uint8)


_COUNTS = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)
