"""Slices of NIfTI, MHA, MHD and NRRD files, turned as their headers say.

Planes, in which a slice is looked at:

- "acquisition": the first two axes of the file, the first to the right and the second down; the third counts
  the slices or times in their stored order. An axis of the picture whose header says that it points to the
  patient's right or front, or downwards to the head, is reversed, so that a file written in one convention
  (NIfTI's identity) and one written in the other (DICOM's) give the same picture.
- "axial", "coronal", "sagittal": the planes of the patient as radiology shows them, whatever the order of the
  axes. Axial: the patient's left on the right, the back below; from the feet up. Coronal: left on the right,
  the feet below; from front to back. Sagittal: the back on the right, the feet below; from right to left.

Oblique directions count as the nearest axis. A header may be wrong: files are often written without a thought
for it. So an image and a mask whose headers differ are refused (`stacks.count_slices`) rather than turned
apart.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import check_file, shown
from ultrasam.core.geometry import ByteArray
from ultrasam.datasets.raw import file_state
from ultrasam.io.images import black_and_white, scale_to_bytes
from ultrasam.io.volumes import Header, Volume, read_header, read_times, read_values

Plane = Literal["acquisition", "axial", "coronal", "sagittal"]

# Anatomical axes that go right, down and from slice to slice, and whether each is reversed: 0 is right to
# left, 1 front to back, 2 feet to head.
_VIEWS = {
    "axial": ((0, False), (1, False), (2, False)),
    "coronal": ((0, False), (2, True), (1, False)),
    "sagittal": ((1, False), (2, True), (0, False)),
}


def stored_slices(path: Path, plane: Plane = "acquisition") -> int:
    """Slices in a plane, from the header alone. Raises UltrasamError for a damaged file."""
    return slices_along(read_header(check_file(path)), plane)


def slices_along(header: Header, plane: Plane) -> int:
    """Slices in a plane of the volume with this header."""
    return header.size[_turns(header.direction, plane)[0][2]]


def slice_values(path: Path, index: int, plane: Plane = "acquisition") -> NDArray[Any]:
    """Slice `index`, from 0, as (H, W) numbers as they are stored. Raises UltrasamError if there is none.

    The last volumes are kept, so the slices of one should be asked for one after the other.
    """
    values = _oriented(path, plane).values
    if not 0 <= index < len(values):
        raise UltrasamError(f"{shown(path)} has {len(values)} slices, no slice {index}")
    plane_values: NDArray[Any] = values[index]
    return plane_values


def slice_image(path: Path, index: int, plane: Plane = "acquisition") -> ByteArray:
    """Slice `index` as (H, W) uint8.

    White is that of the smallest usual depth that holds the whole volume (`io.images.grey_to_bytes`), so that
    levels of 8 bits stay as they are in any type.
    """
    values = np.nan_to_num(slice_values(path, index, plane), nan=0.0, posinf=0.0, neginf=0.0)
    return scale_to_bytes(values, *_oriented(path, plane).levels)


def slice_labels(path: Path, index: int, plane: Plane = "acquisition") -> NDArray[np.int32]:
    """Slice `index` of a volume of labels, (H, W) int32. Raises UltrasamError if it holds fractions."""
    return _as_labels(slice_values(path, index, plane), path, index)


def slice_channels(path: Path, index: int, plane: Plane = "acquisition") -> NDArray[np.int32]:
    """Slice `index` of a file with a volume of labels for each structure, (channels, H, W) int32.

    The channels are the fourth axis of the file. Raises UltrasamError if it holds fractions.
    """
    slices = [volume.values[index] for volume in _oriented_times(path, plane)]
    return np.stack([_as_labels(values, path, index) for values in slices])


def slice_spacing(path: Path, plane: Plane = "acquisition") -> tuple[float, float] | None:
    """mm per pixel in (x, y) of a slice, None if the header does not say."""
    return _oriented(path, plane).spacing


def _as_labels(values: NDArray[Any], path: Path, index: int) -> NDArray[np.int32]:
    if values.dtype.kind not in "biu" and not (
        np.isfinite(values).all() and (values == np.rint(values)).all()
    ):
        raise UltrasamError(
            f"{shown(path)} holds fractions in slice {index}: a volume of labels was expected"
        )
    return np.ascontiguousarray(values, np.int32)


@dataclass(frozen=True, eq=False)
class _Oriented:
    """A volume in a plane: `values` (slices, H, W) and the spacing of a slice."""

    values: NDArray[Any]
    spacing: tuple[float, float] | None

    @cached_property
    def levels(self) -> tuple[float, float]:
        """What becomes black and white."""
        floating = self.values.dtype.kind == "f"
        values = np.nan_to_num(self.values, nan=0.0, posinf=0.0, neginf=0.0) if floating else self.values
        return black_and_white(values, floating)


_Key = tuple[Path, str, Plane]
# The last volumes, the latest at the end: an image and its masks, drawn by several annotators perhaps. Of one
# that cannot be read the reason is kept, for all its slices ask for it.
_kept: OrderedDict[_Key, _Oriented | str] = OrderedDict()
_KEPT_BYTES = 1 << 30
_MOST_KEPT = 16


def _oriented(path: Path, plane: Plane) -> _Oriented:
    """A volume, kept until others take its place: the last two always, up to `_MOST_KEPT` if they have no
    more than `_KEPT_BYTES`.
    """
    key = (path, file_state(path), plane)
    found = _kept.pop(key, None)
    if found is None:
        check_file(path)
        while len(_kept) > 1 and (len(_kept) >= _MOST_KEPT or _kept_bytes() > _KEPT_BYTES):
            _kept.popitem(last=False)
        try:
            found = _turned(read_values(path), plane)
        except UltrasamError as error:
            found = str(error)
    _kept[key] = found
    if isinstance(found, str):
        raise UltrasamError(found)
    return found


def _kept_bytes() -> int:
    return sum(one.values.nbytes for one in _kept.values() if isinstance(one, _Oriented))


# Each slice needs all channels, and each channel costs a pass through the compressed file.
@lru_cache(maxsize=1)
def _oriented_times(path: Path, plane: Plane) -> tuple[_Oriented, ...]:
    return tuple(_turned(volume, plane) for volume in read_times(check_file(path)))


def _turned(volume: Volume, plane: Plane) -> _Oriented:
    order, reverse = _turns(volume.direction, plane)
    # From (z, y, x) to (slice, down, right).
    turned = volume.values.transpose([2 - axis for axis in reversed(order)])
    turned = turned[tuple(slice(None, None, -1 if back else 1) for back in reversed(reverse))]
    spacing = None if volume.spacing is None else (volume.spacing[order[0]], volume.spacing[order[1]])
    return _Oriented(turned, spacing)


def _turns(stored: NDArray[np.float64], plane: Plane) -> tuple[list[int], list[bool]]:
    """The axes of a file that go right, down and from slice to slice, and whether each is reversed."""
    direction = np.eye(3)
    direction[: len(stored), : len(stored)] = stored
    anatomical = _nearest_axes(direction)
    backwards = [bool(direction[anatomical[axis], axis] < 0) for axis in range(3)]
    if plane == "acquisition":
        # Down is to the feet, where the header says so.
        down = bool(direction[2, 1] > 0) if anatomical[1] == 2 else backwards[1]
        return [0, 1, 2], [backwards[0], down, False]
    order = [anatomical.index(axis) for axis, _ in _VIEWS[plane]]
    return order, [backwards[axis] != turned for axis, (_, turned) in zip(order, _VIEWS[plane], strict=True)]


def _nearest_axes(direction: NDArray[np.float64]) -> list[int]:
    """For each axis of the file the anatomical axis that it runs along, the clearest taken first."""
    left = np.abs(direction).copy()
    axes = [0, 0, 0]
    for _ in range(3):
        anatomical, axis = np.unravel_index(int(left.argmax()), left.shape)
        axes[int(axis)] = int(anatomical)
        left[anatomical, :] = left[:, axis] = -1
    return axes
