"""Embeddings of the frames seen last, so that going back to one costs nothing."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from ultrasam.core.geometry import ByteArray, FloatArray

# 64 embeddings of the lite model (256 x 40 x 40 float32), 25 of a ViT (256 x 64 x 64).
DEFAULT_BYTES = 100 * 2**20


class EmbeddingCache:
    """The least recently used embeddings go first when `max_bytes` are exceeded; the newest is always kept.

    Threads may share it. One cache belongs to one model: the key says nothing about the weights.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._embeddings: OrderedDict[bytes, FloatArray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._embeddings)

    def get(self, image: ByteArray, encode: Callable[[ByteArray], FloatArray]) -> FloatArray:
        """The embedding of `image` (H, W, 3) uint8, by `encode` unless these pixels were seen before."""
        key = pixel_hash(image)
        with self._lock:
            if key in self._embeddings:
                self._embeddings.move_to_end(key)
                return self._embeddings[key]
        embedding = encode(image)
        embedding.flags.writeable = False
        with self._lock:
            if key not in self._embeddings:
                self._embeddings[key] = embedding
                self._bytes += embedding.nbytes
            while self._bytes > self._max_bytes and len(self._embeddings) > 1:
                self._bytes -= self._embeddings.popitem(last=False)[1].nbytes
        return embedding


def pixel_hash(image: ByteArray) -> bytes:
    """A key that two images share only if their shapes and pixels are equal."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()
