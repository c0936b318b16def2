"""The contract between a model and whoever prompts it, the same for every model and engine."""

from __future__ import annotations

from typing import Protocol

from ultrasam.core.geometry import FloatArray
from ultrasam.core.prompts import IntArray


class Engine(Protocol):
    """Two calls: `encode` once per image, `decode` once per prompt."""

    def encode(self, image: FloatArray) -> FloatArray:
        """Normalised image (1, 3, S, S) float32 -> embedding (1, C, h, w) float32."""
        ...

    def decode(
        self,
        embedding: FloatArray,
        points: FloatArray,
        labels: IntArray,
        mask: FloatArray,
        has_mask: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """N objects of one image -> masks (N, 4, 4h, 4w) float32 logits and predicted IoU (N, 4) float32.

        `embedding` (1, C, h, w) float32; `points` (N, P, 2) float32 model coordinates x, y; `labels` (N, P)
        int64:
        -1 padding, 0 negative, 1 positive, 2 and 3 box corners; `mask` (N, 1, 4h, 4w) float32 logits of the
        round before; `has_mask` (N,) float32, 1 where `mask` counts and 0 elsewhere. Mask 0 answers several
        prompts, masks 1 to 3 are the alternatives for a single one.
        """
        ...
