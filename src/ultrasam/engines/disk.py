"""Embeddings on disk, so that a frame that was encoded in an earlier run need not be encoded again."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import threading
import time
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write
from ultrasam.core.geometry import PAD, FloatArray
from ultrasam.zoo.card import Card

# 900 embeddings of the lite model, 500 of a ViT.
DEFAULT_BYTES = 2 * 2**30
# So much is left when the oldest are removed, so that this is not done for every new one.
_KEPT = 0.9
_ENDING = ".npy"


class DiskCache:
    """A folder with one file per embedding; the least recently used go first when it exceeds `max_bytes`.

    Several processes may share it. It never fails a run: what cannot be read or written is encoded again, and
    a file that is not whole is removed. An embedding can be turned back into something like its image, so the
    folder is made for its user alone.
    """

    def __init__(self, folder: Path, max_bytes: int = DEFAULT_BYTES) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes: int | None = None

    def get(self, key: bytes, shape: tuple[int, ...]) -> FloatArray | None:
        """The float32 array of this shape kept under `key`, or None."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                array: FloatArray | None = np.load(file, allow_pickle=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception:  # a damaged file makes numpy raise nearly anything
            array = None
        if array is None or array.dtype != np.float32 or array.shape != shape:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return array

    def put(self, key: bytes, embedding: FloatArray) -> None:
        """Keep an embedding; its file is whole or not there."""
        buffer = io.BytesIO()
        np.save(buffer, embedding, allow_pickle=False)
        path = self._path(key)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic_write(path, buffer.getvalue())
        except (UltrasamError, OSError):
            return
        with self._lock:
            self._bytes = size_of(self.folder.parent) if self._bytes is None else self._bytes + buffer.tell()
            if self._bytes > self._max_bytes:
                self._bytes = _shrink(self.folder.parent, int(self._max_bytes * _KEPT), path)

    def _path(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}{_ENDING}"


def folder_for(card: Card, home: Path, engine: str = "onnx cpu", fit: str = PAD) -> Path:
    """Where the embeddings of a model lie: another encoder, preprocessing or engine has its own folder."""
    pixels = card.image_size, card.mean, card.std, card.resize, card.normalise, fit
    facts = repr((card.sha256["encoder.onnx"], *pixels, engine))
    return home / "embeddings" / hashlib.sha256(facts.encode()).hexdigest()[:16]


def size_of(folder: Path) -> int:
    """Bytes of all models' embeddings in `folder`."""
    return sum(size for _, size, _ in _files(folder))


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """(last use, bytes, path) of every embedding of all models, in the folders below `folder`."""
    found = []
    for path in folder.glob(f"*/*{_ENDING}"):
        with contextlib.suppress(OSError):  # removed by another process meanwhile
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    return found


def _shrink(folder: Path, most: int, newest: Path) -> int:
    """Remove the least recently used until `most` bytes are left; the newest stays."""
    files = sorted(_files(folder))
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= most:
            break
        if path != newest:
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
    # What a killed process was writing.
    for path in folder.glob("*/.*.tmp"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - 3600:
                path.unlink()
    return total
