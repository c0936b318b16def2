"""Arrays in HDF5 files, which may be larger than the memory: a few rows are read at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import check_file, reason, shown

# Rows that are compressed together are read together, up to so many bytes: else each would be unpacked once
# for every other.
MOST_BYTES = 2**27


@dataclass(frozen=True)
class Header:
    """Shape and type of an array that has not been read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def hdf5_header(path: Path, name: str) -> Header:
    """What the file says of its array `name`. Raises UltrasamError if it is damaged or has no such array."""
    with _array(path, name) as array:
        return Header(tuple(array.shape), np.dtype(array.dtype))


def hdf5_texts(path: Path, name: str) -> list[str]:
    """The values of an array as texts, whatever their type and its shape. Raises UltrasamError as
    `hdf5_header`.
    """
    with _array(path, name) as array:
        values = np.ravel(array[()]).tolist()
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def hdf5_row(path: Path, name: str, index: int) -> NDArray[Any]:
    """Row `index`, from 0, of an array. Quick if rows are asked for in order.

    Raises UltrasamError if there is none, if this part of the file is damaged, and as `hdf5_header` does.
    """
    count, together = _rows(path, name)
    if not 0 <= index < count:
        raise UltrasamError(f"{shown(path)} has {count} rows in {name!r}, no row {index}")
    block, place = divmod(index, together)
    row: NDArray[Any] = _block(path, name, block * together, together)[place]
    return row


@lru_cache(maxsize=8)
def _rows(path: Path, name: str) -> tuple[int, int]:
    """How many rows an array has, and how many are read together."""
    with _array(path, name) as array:
        if array.ndim == 0:
            raise UltrasamError(f"{shown(path)} has a single value in {name!r}, no rows")
        row = max(int(np.prod(array.shape[1:])) * array.dtype.itemsize, 1)
        packed = array.chunks[0] if array.chunks else 1
        return int(array.shape[0]), max(1, min(packed, MOST_BYTES // row))


# Images and masks are asked for in turn.
@lru_cache(maxsize=2)
def _block(path: Path, name: str, first: int, count: int) -> NDArray[Any]:
    with _array(path, name) as array:
        return np.asarray(array[first : first + count])


@contextmanager
def _array(path: Path, name: str) -> Iterator[Any]:
    """The array `name`, as h5py gives it, while its file is open; what fails there becomes UltrasamError."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise UltrasamError(f"{shown(path)} needs the package h5py: pip install h5py") from None
    try:
        with h5py.File(check_file(path), "r") as file:
            array = file.get(name)
            if not isinstance(array, h5py.Dataset):
                raise UltrasamError(f"{shown(path)} has no array {name!r} (it has {', '.join(file)[:120]})")
            yield array
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UltrasamError(f"{shown(path)} is damaged ({reason(error)}): copy it again") from error
