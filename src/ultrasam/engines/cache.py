"""Embeddings of the frames seen last, so that going back to one costs nothing."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

from ultrasam.core.geometry import ByteArray, FloatArray
from ultrasam.engines.disk import DiskCache

# 44 embeddings of the lite model (256 x 48 x 48 float32), 25 of a ViT (256 x 64 x 64).
DEFAULT_BYTES = 100 * 2**20


class EmbeddingCache:
    """The least recently used embeddings go first when `max_bytes` are exceeded; the newest is always kept.

    Threads may share it; an image that one thread is encoding is not encoded by another. With `disk`, what is
    not in memory is looked for there, in arrays of `shape`. One cache belongs to one model: the key says
    nothing about the weights.
    """

    def __init__(
        self,
        max_bytes: int = DEFAULT_BYTES,
        disk: DiskCache | None = None,
        shape: tuple[int, ...] = (),
    ) -> None:
        self.disk = disk
        self._shape = shape
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._embeddings: OrderedDict[bytes, FloatArray] = OrderedDict()
        self._running: dict[bytes, Future[FloatArray]] = {}

    def __len__(self) -> int:
        return len(self._embeddings)

    def get(self, image: ByteArray, encode: Callable[[ByteArray], FloatArray]) -> FloatArray:
        """The embedding of `image` (H, W, 3) uint8, by `encode` unless these pixels were seen before."""
        key = pixel_hash(image)
        with self._lock:
            if key in self._embeddings:
                self._embeddings.move_to_end(key)
                return self._embeddings[key]
            running = self._running.get(key)
            if running is None:
                ours = self._running[key] = Future()
        if running is not None:
            return running.result()
        try:
            embedding = self._from_disk(key, image, encode)
            embedding.flags.writeable = False
            self._keep(key, embedding)
            ours.set_result(embedding)
        except BaseException as error:
            ours.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._running[key]
        return embedding

    def _from_disk(
        self, key: bytes, image: ByteArray, encode: Callable[[ByteArray], FloatArray]
    ) -> FloatArray:
        if self.disk is None:
            return encode(image)
        embedding = self.disk.get(key, self._shape)
        if embedding is None:
            embedding = encode(image)
            self.disk.put(key, embedding)
        return embedding

    def _keep(self, key: bytes, embedding: FloatArray) -> None:
        with self._lock:
            self._embeddings[key] = embedding
            self._bytes += embedding.nbytes
            while self._bytes > self._max_bytes and len(self._embeddings) > 1:
                self._bytes -= self._embeddings.popitem(last=False)[1].nbytes


def pixel_hash(image: ByteArray) -> bytes:
    """A key that two images share only if their shapes and pixels are equal."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()
