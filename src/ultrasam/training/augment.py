"""Augmentation of an image together with its masks: one affine warp and a mild change of grey levels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultrasam.config import AugmentConfig
from ultrasam.core.geometry import ByteArray
from ultrasam.core.prompts import Box

Matrix = NDArray[np.float64]

# A zoomed view is so many times as wide as the longer side of the object's box, and enlarged at most so much.
_CONTEXT_MIN, _CONTEXT_MAX = 1.3, 2.6
_ZOOM_MAX = 2.5


def random_warp(
    rng: np.random.Generator,
    config: AugmentConfig,
    width: int,
    height: int,
    size: int,
    focus: Box | None = None,
) -> Matrix | None:
    """A 3x3 matrix from input to output pixels of a random flip, rotation, scale and shift, or None for no
    change.

    The image occupies `width` x `height` of the `size` x `size` square; it turns about its own centre. Some
    views zoom in instead on the box `focus`, as a second pass over a crop sees it.
    """
    flip = rng.random() < config.flip
    warp = rng.random() < config.warp
    # No draw without zoom: older recipes see the samples they always saw.
    zoom = focus is not None and config.zoom > 0 and rng.random() < config.zoom
    if not flip and not warp and not zoom:
        return None
    matrix = np.diag([-1.0, 1.0, 1.0]) if flip else np.eye(3)
    centre = np.array([width / 2, height / 2])
    target = centre
    if zoom and focus is not None:
        x0, y0, x1, y1 = focus
        context = rng.uniform(_CONTEXT_MIN, _CONTEXT_MAX)
        # More would show the pixels of the cache, not the tissue.
        matrix = matrix * min(max(size / (context * max(x1 - x0, y1 - y0, 1.0)), 1.0), _ZOOM_MAX)
        matrix[2, 2] = 1.0
        centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        target = np.array([size / 2, size / 2])
    if warp:
        angle = math.radians(rng.uniform(-config.rotation, config.rotation))
        scale = math.exp(rng.uniform(math.log(config.scale_min), math.log(config.scale_max)))
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ matrix
        target = target + rng.uniform(-config.shift, config.shift, 2) * size
    before = np.eye(3)
    before[:2, 2] = -centre
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
