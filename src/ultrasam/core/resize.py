"""OpenCV's bilinear resizing of 8-bit images, bit for bit, without OpenCV.

Some checkpoints were trained on images that it resized, without antialiasing; Pillow differs by a grey level
in about a fifth of the pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ByteArray = NDArray[np.uint8]

# Weights are whole numbers of 11 bits, as in OpenCV's resizing of 8-bit images.
_ONE = 2048
# Between the two passes a row has 4 bits less than the product of a grey level and a weight.
_SHIFT = 4


def resize_cv2(image: ByteArray, width: int, height: int) -> ByteArray:
    """As `cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)`.

    `image` (H, W) or (H, W, C) uint8 -> (height, width) or (height, width, C) uint8. Sides are at least 1.
    """
    pixels = image.reshape(*image.shape[:2], -1)
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (2 * height, 2 * width):  # OpenCV takes the mean of each 2 x 2 there
        quads = pixels.reshape(height, 2, width, 2, -1).sum(axis=(1, 3), dtype=np.int32)
        return _bytes((quads + 2) >> 2).reshape(height, width, *image.shape[2:])
    low, share = _positions(columns, width)
    share[(low < 0) | (low >= columns - 1)] = 0  # at the border there is one pixel, not two
    near, far = _terms(pixels.astype(np.int32), low, share, axis=1)
    across = (near + far) >> _SHIFT
    low, share = _positions(rows, height)
    near, far = _terms(across, low, share, axis=0)
    values = ((near >> 16) + (far >> 16) + 2) >> 2
    return _bytes(values).reshape(height, width, *image.shape[2:])


def _bytes(values: NDArray[np.int32]) -> ByteArray:
    return np.clip(values, 0, 255).astype(np.uint8)


def _positions(before: int, after: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each new pixel the old one before its centre (-1 at the start) and the share of the next one."""
    centres = ((np.arange(after) + 0.5) * (before / after) - 0.5).astype(np.float32)
    low = np.floor(centres)
    return low.astype(np.intp), centres - low


def _terms(
    values: NDArray[np.int32], low: NDArray[np.intp], share: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    last = values.shape[axis] - 1
    shape = [1] * values.ndim
    shape[axis] = -1
    near = np.rint((1 - share) * np.float32(_ONE)).astype(np.int32).reshape(shape)
    far = np.rint(share * np.float32(_ONE)).astype(np.int32).reshape(shape)
    return (
        values.take(np.clip(low, 0, last), axis) * near,
        values.take(np.clip(low + 1, 0, last), axis) * far,
    )
