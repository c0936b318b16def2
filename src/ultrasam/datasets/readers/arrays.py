"""Arrays in .mat files of MATLAB and .npy files of NumPy, and frames of videos."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import check_file, reason, shown
from ultrasam.core.geometry import ByteArray
from ultrasam.datasets.raw import file_state
from ultrasam.io.scan import Scan
from ultrasam.io.video import read_video


def read_mat(path: Path, name: str) -> NDArray[Any]:
    """The array `name` of a .mat file (versions 4 to 7.2), axes as in MATLAB: rows first.

    Raises UltrasamError if it is damaged, of version 7.3 (which is HDF5) or has no such array of numbers.
    """
    from scipy.io import loadmat, whosmat

    path = check_file(path)
    with path.open("rb") as file:
        head = file.read(128)
    if head.startswith(b"MATLAB 7.3") or head.startswith(b"\x89HDF"):
        raise UltrasamError(f"{shown(path)} is of version 7.3: save it with `save -v7` in MATLAB or Octave")
    try:
        names = [entry[0] for entry in whosmat(path)]
        if name not in names:
            raise UltrasamError(f"{shown(path)} has no array {name!r} (it has {', '.join(names)[:120]})")
        array = np.asarray(loadmat(path, variable_names=[name])[name])
    except UltrasamError:
        raise
    except Exception as error:  # damaged files make scipy raise nearly anything
        raise UltrasamError(f"{shown(path)} is damaged ({reason(error)}): copy it again") from error
    if array.dtype.kind not in "buif":
        raise UltrasamError(f"{shown(path)}: {name!r} holds no numbers")
    return array


def open_npy(path: Path) -> NDArray[Any]:
    """The array of numbers in a .npy file, read from disk as it is used; its shape costs only the header.

    Raises UltrasamError if it is damaged, cut off or holds anything but numbers.
    """
    path = check_file(path)
    try:
        # "r" never unpickles: an array of objects is refused.
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # damaged headers make numpy raise nearly anything
        raise UltrasamError(f"{shown(path)} is damaged ({reason(error)}): copy it again") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise UltrasamError(f"{shown(path)} holds no numbers")
    return array


def video_frames(path: Path) -> int:
    """The number of frames of a video. Raises UltrasamError if it is damaged."""
    return len(_video(path, file_state(path)).frames)


def video_frame(path: Path, index: int) -> ByteArray:
    """Frame `index`, from 0, as (H, W), or (H, W, 3) where it has colours. Quick if frames are asked in
    order.
    """
    frame = _video(path, file_state(path)).frames[index]
    return np.ascontiguousarray(frame[..., 0]) if (frame == frame[..., :1]).all() else frame


@lru_cache(maxsize=1)
def _video(path: Path, state: str) -> Scan:
    path = check_file(path)
    with path.open("rb") as file:
        head = file.read(12)
    # Decoders play what is left of an AVI file as if it were all.
    told, there = int.from_bytes(head[4:8], "little"), path.stat().st_size
    if head.startswith(b"RIFF") and head.endswith(b"AVI ") and there < told:
        raise UltrasamError(f"{shown(path)} is cut off ({there:,} of {told:,} bytes): copy it again")
    return read_video(path)
