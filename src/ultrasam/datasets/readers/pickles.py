"""Dictionaries of arrays in .npy files.

NumPy stores them as pickles, which can run any code when they are loaded. Here nothing of a pickle runs:
where it names one of the few things that an array of numbers consists of, it gets a stand-in that only keeps
what it is given, and whatever else it names is refused.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import check_file, reason, shown


def read_arrays(path: Path, key: str) -> dict[str, NDArray[Any]]:
    """The arrays under `key` of the dictionary in a .npy file, by name: {key: {name: array}, ...}.

    Arrays of truth values, whole and floating numbers, of any shape. Raises UltrasamError for a damaged file,
    one that holds anything else, and one whose pickle names other things than arrays.
    """
    path = check_file(path)
    try:
        found = _loaded(path).get(key)
        if isinstance(found, Mapping) and all(isinstance(name, str) for name in found):
            return {name: _numbers(array) for name, array in found.items()}
    except _Refused as error:
        raise UltrasamError(f"{shown(path)} {error}") from None
    except Exception as error:  # a damaged pickle makes its reader raise nearly anything
        raise UltrasamError(f"{shown(path)} is damaged ({reason(error)}): download it again") from error
    raise UltrasamError(f"{shown(path)} has no arrays by name under {key!r}")


class _Refused(Exception):
    """What a file holds instead."""


class _Array:
    """Stands for an array: version, shape, type, whether the first axis is the fastest, values."""

    state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Type:
    """Stands for the type of numbers: its code, such as u1, and the order of its bytes."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def _new_array(*_: Any) -> _Array:
    return _Array()


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,  # since NumPy 2
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise _Refused(f"is a pickle that names {module}.{name}: it is not read, since it could run code")
        return _STAND_INS[module, name]


def _loaded(path: Path) -> Mapping[Any, Any]:
    """The dictionary in a .npy file, its arrays as stand-ins."""
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with path.open("rb") as file:
        shape, _, kind = headers[np.lib.format.read_magic(file)](file)
        if kind.kind != "O" or shape != ():
            raise _Refused(f"holds an array of {kind}, {shape}: a dictionary of arrays was expected")
        array = _Unpickler(file).load()
    value = array.state[4][0]
    if not isinstance(value, dict):
        raise _Refused(f"holds a {type(value).__name__}: a dictionary of arrays was expected")
    return value


def _numbers(array: Any) -> NDArray[Any]:
    """The array that a stand-in stands for."""
    if not isinstance(array, _Array):
        raise _Refused(f"has a {type(array).__name__} in the place of an array")
    _, shape, kind, by_columns, values = array.state
    if re.fullmatch(r"[|<>=]", kind.order) is None or re.fullmatch(r"[biuf]\d+", kind.code) is None:
        raise _Refused(f"has an array of {kind.code}: numbers were expected")
    flat = np.frombuffer(values, np.dtype(kind.order + kind.code))
    return np.asarray(flat.reshape(shape, order="F" if by_columns else "C"))
