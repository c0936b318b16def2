"""Augmentation of an image together with its masks: one affine warp and a mild change of grey levels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultrasam.config import AugmentConfig
from ultrasam.core.geometry import ByteArray

Matrix = NDArray[np.float64]


def random_warp(
    rng: np.random.Generator, config: AugmentConfig, width: int, height: int, size: int
) -> Matrix | None:
    """A 3x3 matrix from input to output pixels of a random flip, rotation, scale and shift, or None for no
    change.

    The image occupies `width` x `height` of the `size` x `size` square; it turns about its own centre.
    """
    flip = rng.random() < config.flip
    warp = rng.random() < config.warp
    if not flip and not warp:
        return None
    matrix = np.diag([-1.0, 1.0, 1.0]) if flip else np.eye(3)
    target = np.array([width / 2, height / 2])
    if warp:
        angle = math.radians(rng.uniform(-config.rotation, config.rotation))
        scale = math.exp(rng.uniform(math.log(config.scale_min), math.log(config.scale_max)))
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ matrix
        target = target + rng.uniform(-config.shift, config.shift, 2) * size
    before = np.eye(3)
    before[:2, 2] = -width / 2, -height / 2
    after = np.eye(3)
    after[:2, 2] = target
    return after @ matrix @ before


def apply_warp(image: ByteArray, matrix: Matrix, size: int, fill: tuple[int, ...] | int) -> ByteArray:
    """Warp (h, w) or (h, w, 3) uint8 bilinearly into a `size` square; what lies outside becomes `fill`."""
    inverse = np.linalg.inv(matrix)
    warped = Image.fromarray(image).transform(
        (size, size),
        Image.Transform.AFFINE,
        tuple(inverse[:2].ravel()),
        Image.Resampling.BILINEAR,
        fillcolor=fill,
    )
    return np.asarray(warped)


def random_intensity(rng: np.random.Generator, config: AugmentConfig, image: NDArray[np.float32]) -> None:
    """Gamma, gain and noise on the 0-255 scale, in place."""
    gamma = math.exp(rng.uniform(-config.gamma, config.gamma))
    gain = rng.uniform(1 - config.gain, 1 + config.gain)
    sigma = rng.uniform(0, config.noise)
    np.clip(image, 0, 255, out=image)
    image /= 255
    np.power(image, gamma, out=image)
    image *= 255 * gain
    # One noise field for the three channels: ultrasound is grey.
    image += rng.normal(0, sigma, (*image.shape[:2], 1)).astype(np.float32)
    np.clip(image, 0, 255, out=image)
