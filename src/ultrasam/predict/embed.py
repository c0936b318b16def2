"""An embedding as one vector, for retrieval and for probes that are trained on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.geometry import FloatArray, Frame


def pooled(embedding: FloatArray, frame: Frame) -> FloatArray:
    """The mean of an embedding (1, C, h, w) over its cells that show the image -> (C,) float32.

    Each cell counts by the share of its area that the image covers, so padding does not count at all.
    """
    _, _, rows, columns = embedding.shape
    width, height = frame.resized
    across, down = _covered(width, frame.size, columns), _covered(height, frame.size, rows)
    # Sums of numpy, not a matrix product, whose order of adding depends on the library and its threads.
    inside = embedding[0, :, : len(down), : len(across)].astype(np.float64)
    total = ((inside * across).sum(axis=2) * down).sum(axis=1)
    mean = total / (across.sum() * down.sum())
    return np.asarray(mean, np.float32)


def _covered(pixels: int, size: int, cells: int) -> NDArray[np.float64]:
    """Of a side of `size` pixels in `cells` cells, the share of each cell that the first `pixels` cover,
    without those at the end that they do not reach.
    """
    shares = np.clip(pixels * cells / size - np.arange(cells), 0.0, 1.0)
    return np.asarray(shares[shares > 0], np.float64)
