"""From an image to the model's square input and back.

Public coordinates are continuous pixels of the original frame: pixel (column i, row j) covers [i, i+1) x [j,
j+1), x to the right, y down. Model coordinates are public coordinates times `Frame.scale`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultrasam.core.errors import UltrasamError

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Frame:
    """How an image of `width` x `height` pixels lies in a square input of `size` pixels.

    The longest side becomes `size`, the aspect is kept, the rest is padding on the right and at the bottom.
    """

    width: int
    height: int
    size: int

    @property
    def scale(self) -> float:
        """Model pixels per original pixel, the same for x and y."""
        return self.size / max(self.width, self.height)

    @property
    def resized(self) -> tuple[int, int]:
        """(width, height) of the image inside the input, rounded to whole pixels (halves up), at least 1."""
        return max(1, int(self.width * self.scale + 0.5)), max(1, int(self.height * self.scale + 0.5))


def as_rgb(image: NDArray[np.generic]) -> ByteArray:
    """(H, W) or (H, W, 3) uint8 -> (H, W, 3) uint8, grey repeated; anything else raises UltrasamError."""
    if image.dtype != np.uint8:
        raise UltrasamError(f"the image has dtype {image.dtype}: convert it to uint8 (0-255) first")
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UltrasamError(
            f"the image has shape {image.shape}: expected (H, W) or (H, W, 3) with no side of length 0"
        )
    return np.ascontiguousarray(image, dtype=np.uint8)


def letterbox(image: ByteArray, size: int) -> ByteArray:
    """Resize the longest side to `size` (Pillow, bilinear with antialiasing) and pad right and bottom with 0.

    `image` (H, W) or (H, W, C) uint8 -> (size, size) or (size, size, C) uint8.
    """
    frame = Frame(image.shape[1], image.shape[0], size)
    resized = np.asarray(Image.fromarray(image).resize(frame.resized, Image.Resampling.BILINEAR))
    padded = np.zeros((size, size, *image.shape[2:]), np.uint8)
    padded[: resized.shape[0], : resized.shape[1]] = resized
    return padded


def to_tensor(
    padded: ByteArray | FloatArray,
    frame: Frame,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> FloatArray:
    """Normalise a letterboxed image on the 0-255 scale; the padding becomes 0 after it.

    `padded` (S, S, 3), uint8 or float32 -> (1, 3, S, S) float32.
    """
    width, height = frame.resized
    tensor = np.zeros((1, 3, frame.size, frame.size), np.float32)
    inside = padded[:height, :width].astype(np.float32)
    inside -= np.asarray(mean, np.float32)
    inside /= np.asarray(std, np.float32)
    tensor[0, :, :height, :width] = inside.transpose(2, 0, 1)
    return tensor


def upsample_logits(logits: FloatArray, frame: Frame) -> FloatArray:
    """Low-resolution logits (h, w) of the square input -> logits (height, width) of the original frame,
    bilinear.
    """
    per_pixel = logits.shape[1] / frame.size
    # The product of a side and its scale may exceed the grid by a rounding error, which Pillow refuses.
    right = min(frame.width * frame.scale * per_pixel, float(logits.shape[1]))
    bottom = min(frame.height * frame.scale * per_pixel, float(logits.shape[0]))
    image = Image.fromarray(np.ascontiguousarray(logits, np.float32))
    return np.asarray(
        image.resize((frame.width, frame.height), Image.Resampling.BILINEAR, box=(0, 0, right, bottom)),
        np.float32,
    )


def to_grid(values: FloatArray, side: int, fill: float) -> FloatArray:
    """Values (H, W) of an image -> (side, side) on its square input, averaged where that is coarser.

    The way back of `upsample_logits`. The image becomes square with `fill` on the right and at the bottom.
    """
    height, width = values.shape
    square = np.full((max(values.shape),) * 2, fill, np.float32)
    square[:height, :width] = values
    return np.array(Image.fromarray(square).resize((side, side), Image.Resampling.BILINEAR), np.float32)
