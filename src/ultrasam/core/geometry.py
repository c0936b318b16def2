"""From an image to the model's square input and back.

Public coordinates are continuous pixels of the original frame: pixel (column i, row j) covers [i, i+1) x [j,
j+1), x to the right, y down. Model coordinates are public coordinates times `Frame.scales`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.core.resize import resize_cv2

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


# How an image comes into the square input of a model, and its masks out of it.
PAD = "pad"
STRETCH = "stretch"
ORIGINAL = "original"
FITS = (PAD, STRETCH, ORIGINAL)


@dataclass(frozen=True)
class Frame:
    """How an image of `width` x `height` pixels lies in a square input of `size` pixels.

    `fit` "pad": the longest side becomes `size`, the aspect is kept, the rest is padding on the right and at
    the bottom. "stretch": both sides become `size`, as in MedSAM. "original": "pad" with the rules of the
    original UltraSam, to reproduce its numbers: the size is truncated, coordinates are those of pixel indices
    scaled, plus 0.5, and masks grow on their way back (`mask_of`).
    """

    width: int
    height: int
    size: int
    fit: str = PAD

    @property
    def scale(self) -> float:
        """Model pixels per original pixel along the longest side."""
        return self.size / max(self.width, self.height)

    @property
    def scales(self) -> tuple[float, float]:
        """Model pixels per original pixel in x and in y."""
        if self.fit == PAD:
            return self.scale, self.scale
        width, height = self.resized
        return width / self.width, height / self.height

    @property
    def resized(self) -> tuple[int, int]:
        """(width, height) of the image inside the input, rounded to whole pixels (halves up), at least 1."""
        if self.fit == STRETCH:
            return self.size, self.size
        half = 0.5 if self.fit == PAD else 0.0
        return max(1, int(self.width * self.scale + half)), max(1, int(self.height * self.scale + half))

    def to_model(self, places: NDArray[np.float64], corner: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Public coordinates (n, 2) x, y -> model coordinates; `corner` (n,) says which are corners of boxes.

        "original" takes a corner for itself and a point for the index of its pixel, then adds 0.5.
        """
        if self.fit != ORIGINAL:
            return places * self.scales
        index = places - np.where(corner, 0.0, 0.5)[:, None]
        return index * self.scales + 0.5


_RESAMPLING = {"pil": Image.Resampling.BILINEAR, "pil-bicubic": Image.Resampling.BICUBIC}
RESIZES = (*_RESAMPLING, "cv2")


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


def letterbox(image: ByteArray, size: int, resize: str = "pil", fit: str = PAD) -> ByteArray:
    """Resize an image into the input of a model as `Frame` says; padding is 0.

    `image` (H, W) or (H, W, C) uint8 -> (size, size) or (size, size, C) uint8. `resize` "pil": Pillow's
    bilinear with antialiasing, "pil-bicubic": its bicubic, "cv2": OpenCV's bilinear without antialiasing.
    """
    frame = Frame(image.shape[1], image.shape[0], size, fit)
    if resize == "cv2":
        resized = resize_cv2(image, *frame.resized)
    else:
        resized = np.asarray(Image.fromarray(image).resize(frame.resized, _RESAMPLING[resize]))
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
    across, down = frame.scales
    # The product of a side and its scale may exceed the grid by a rounding error, which Pillow refuses.
    right = min(frame.width * across * per_pixel, float(logits.shape[1]))
    bottom = min(frame.height * down * per_pixel, float(logits.shape[0]))
    image = Image.fromarray(np.ascontiguousarray(logits, np.float32))
    return np.asarray(
        image.resize((frame.width, frame.height), Image.Resampling.BILINEAR, box=(0, 0, right, bottom)),
        np.float32,
    )


def mask_of(logits: FloatArray, frame: Frame) -> BoolArray:
    """The mask (height, width) bool of the original frame for low-resolution logits (h, w).

    Logits are interpolated, then compared with 0. With the fit "original" they are compared first, and
    whatever the interpolated mask touches belongs to it, in two steps, to the input and to the frame: such
    masks are larger (by 5 % of the area of ten ground truths that the original got exactly right).
    """
    if frame.fit != ORIGINAL:
        return upsample_logits(logits, frame) > 0
    width, height = frame.resized
    return _touched(_touched(logits > 0, frame.size, frame.size)[:height, :width], frame.height, frame.width)


def _touched(mask: BoolArray, height: int, width: int) -> BoolArray:
    """Where the bilinear interpolation of a mask (h, w) to (height, width) is not 0."""
    low, high = _neighbours(mask.shape[0], height)
    mask = mask[low] | mask[high]
    low, high = _neighbours(mask.shape[1], width)
    return mask[:, low] | mask[:, high]


def _neighbours(before: int, after: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each new position the two old ones with a weight, twice the same where there is but one.

    In float32, as torch computes them: whether a weight is exactly 0 depends on it.
    """
    per_pixel = np.float32(before) / np.float32(after)
    half = np.float32(0.5)
    centres = np.maximum(per_pixel * (np.arange(after, dtype=np.float32) + half) - half, np.float32(0))
    low = centres.astype(np.intp)
    return low, np.where(centres > low, np.minimum(low + 1, before - 1), low)


def to_grid(values: FloatArray, side: int, fill: float, fit: str = PAD) -> FloatArray:
    """Values (H, W) of an image -> (side, side) on its square input, averaged where that is coarser.

    The way back of `upsample_logits`. Unless it is stretched, the image becomes square with `fill` on the
    right and at the bottom.
    """
    height, width = values.shape
    square = np.asarray(values, np.float32)
    if fit != STRETCH:
        square = np.full((max(values.shape),) * 2, fill, np.float32)
        square[:height, :width] = values
    return np.array(Image.fromarray(square).resize((side, side), Image.Resampling.BILINEAR), np.float32)
