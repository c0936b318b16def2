"""NIfTI, MetaImage (MHA, MHD) and NRRD files through SimpleITK, which is imported only when one is read."""

from __future__ import annotations

import gzip
import math
import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.core.geometry import ByteArray
from ultrasam.io.images import scale_to_bytes
from ultrasam.io.scan import Frames, Region, Scan, check_size

AXES = ("x", "y", "z")
# One volume (of a 4-D file: of one time) is held in memory: its files are mostly compressed, and a slice
# cannot be had without all before it. More values than these do not fit the memory of a laptop.
MAX_VALUES = 2**30


def read_volume(path: Path, axis: str = "z") -> Scan:
    """Open a volume as the frames along one of its axes: "x", "y" or "z" are the first, second and third axis
    of the file.

    The other two stay in their order, the earlier one to the right, the later one down, as they are stored;
    the directions in the header turn nothing. A file with a fourth axis gives the frames of its first time,
    then those of its second. Bytes stay as they are; other numbers go linearly from the lowest to the highest
    value of the file to 0-255, what is not finite to 0. Spacing is in mm and taken as unknown where the
    header says 1 for every axis, which is what files without a spacing say. Raises UltrasamError for a
    damaged file, one without pixels or with more than `MAX_VALUES` in a volume.
    """
    if axis not in AXES:
        raise UltrasamError(f"there is no axis {axis!r:.40}: use one of {', '.join(AXES)}")
    volume = _Volume(path)
    along = AXES.index(axis)
    if along >= len(volume.size):
        raise UltrasamError(f"{shown(path)} is one flat image: it has no axis {axis}, leave it out")
    rest = [i for i in range(3) if i != along]
    width, height = (volume.size[i] for i in rest)
    check_size(path, width, height)
    spacing = None if volume.spacing is None else (volume.spacing[rest[0]], volume.spacing[rest[1]])
    count = volume.size[along] * volume.times
    decode = partial(volume.slice, along)
    regions = (Region("volume", (0, 0, width, height), spacing),)
    return Scan(path, Frames(path, decode, range(count)), regions, {"format": "volume", "axis": axis})


@dataclass(frozen=True)
class Volume:
    """The numbers of a volume, as they are stored.

    `values` (z, y, x): the first axis of the file comes last; a flat image has one z. `spacing` is mm per
    voxel in (x, y, z) or None if the header says nothing; column i of `direction` (n, n), n = 2 or 3, is the
    way of axis i in the patient (left, posterior, superior), as ITK gives it.
    """

    values: NDArray[Any]
    spacing: tuple[float, float, float] | None
    direction: NDArray[np.float64]


def read_values(path: Path) -> Volume:
    """All numbers of a grey volume or flat image. Raises UltrasamError as `read_volume` does, and for a file
    of several times or colours.
    """
    volume = _Volume(path)
    if volume.times > 1 or volume.components > 1:
        raise UltrasamError(f"{shown(path)} has several times or colours: one grey volume was expected")
    return Volume(volume.values(0), volume.spacing, volume.direction)


def read_times(path: Path) -> tuple[Volume, ...]:
    """The volumes along the fourth axis of a grey file, in its order; one if it has no such axis.

    All are held in memory. Raises UltrasamError as `read_volume` does, and for a file of colours.
    """
    volume = _Volume(path)
    if volume.components > 1:
        raise UltrasamError(f"{shown(path)} has several colours: grey volumes were expected")
    return tuple(
        Volume(volume.values(time), volume.spacing, volume.direction) for time in range(volume.times)
    )


@dataclass(frozen=True)
class Header:
    """What the header of a volume says: voxels in (x, y, z), `direction` as in `Volume`, and how many volumes
    lie along a fourth axis.
    """

    size: tuple[int, int, int]
    direction: NDArray[np.float64]
    times: int = 1


def read_header(path: Path) -> Header:
    """The header alone, without the numbers. Raises UltrasamError as `read_volume` does."""
    volume = _Volume(path)
    return Header(volume.size, volume.direction, volume.times)


class _Volume:
    """The header of a file; its pixels, one 3-D volume at a time, when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            import SimpleITK as sitk
        except ModuleNotFoundError:
            raise UltrasamError(
                f"{shown(path)} is a volume, which needs the package SimpleITK: pip install 'ultrasam[data]'"
            ) from None
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        self._sitk: Any = sitk
        self._reader: Any = sitk.ImageFileReader()
        self._reader.SetFileName(str(path))
        try:
            self._reader.ReadImageInformation()
            size = [int(length) for length in self._reader.GetSize()]
            spacing = [float(step) for step in self._reader.GetSpacing()]
            self.components = int(self._reader.GetNumberOfComponents())
        except Exception as error:  # SimpleITK raises RuntimeError for anything
            raise self._damaged(error) from None
        if not 2 <= len(size) <= 4:
            raise UltrasamError(f"{shown(path)} has {len(size)} axes: give a volume of 2, 3 or 4")
        if min(size) < 1:
            raise UltrasamError(f"{shown(path)} has no pixels: export it again")
        self.size = (size[0], size[1], size[2] if len(size) > 2 else 1)
        direction = np.array(self._reader.GetDirection(), np.float64)
        self.direction = direction.reshape(len(size), len(size))[:3, :3]
        self.times = size[3] if len(size) == 4 else 1
        steps = (spacing[0], spacing[1], spacing[2] if len(spacing) > 2 else 1.0)
        known = all(math.isfinite(step) and step > 0 for step in steps) and set(steps) != {1.0}
        self.spacing = steps if known else None
        if self.components not in (1, 3, 4):
            raise UltrasamError(
                f"{shown(path)} has {self.components} values in a pixel: give grey or colour images"
            )
        if math.prod(self.size) * self.components > MAX_VALUES:
            raise UltrasamError(
                f"{shown(path)} is too large ({' x '.join(map(str, self.size))}): crop or shrink it"
            )
        self._axes = len(size)
        # SimpleITK fills up what a cut file lacks, or tells about it on the standard error.
        one = sitk.Image([1] * len(size), self._reader.GetPixelID(), self.components)
        self._bytes = math.prod(size) * self.components * sitk.GetArrayFromImage(one).dtype.itemsize
        self._lock = Lock()
        self._held: tuple[int, NDArray[Any]] | None = None
        self._range: tuple[float, float] | None = None

    def slice(self, along: int, index: int) -> ByteArray:
        """Frame `index` along an axis, (H, W) or (H, W, 3) uint8."""
        time, place = divmod(index, self.size[along])
        with self._lock:
            low, high = self._levels()
            values = self.values(time)
        # SimpleITK's arrays are z, y, x: the last axis of the file comes first.
        plane = values.take(place, axis=2 - along)
        if self.components > 1:
            plane = plane[..., :3]
        if values.dtype == np.uint8:
            return np.ascontiguousarray(plane)
        finite = np.nan_to_num(plane.astype(np.float64), nan=low, posinf=low, neginf=low)
        return scale_to_bytes(finite, low, high)

    def _levels(self) -> tuple[float, float]:
        """The lowest and the highest finite value of the file."""
        if self._range is None:
            low, high = math.inf, -math.inf
            for time in range(self.times):
                values = self.values(time)
                if values.dtype == np.uint8:
                    low, high = 0.0, 255.0
                    break
                finite = values if np.issubdtype(values.dtype, np.integer) else values[np.isfinite(values)]
                if finite.size:
                    low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            self._range = (low, high) if low <= high else (0.0, 1.0)
        return self._range

    def values(self, time: int) -> NDArray[Any]:
        """The 3-D volume of one time, (z, y, x) or (z, y, x, components)."""
        if self._held is None or self._held[0] != time:
            first, self._held = self._range is None, None
            try:
                if first:
                    self._check_whole()
                if self._axes == 4:
                    self._reader.SetExtractIndex([0, 0, 0, time])
                    self._reader.SetExtractSize([*self.size, 0])
                values = self._sitk.GetArrayFromImage(self._reader.Execute())
            except Exception as error:
                raise self._damaged(error) from None
            if self._axes == 2:
                values = values[None]
            self._held = time, values
        return self._held[1]

    def _check_whole(self) -> None:
        """Raise EOFError or another OSError if the file ends before its last pixel."""
        if self.path.name.lower().endswith(".gz"):
            with gzip.open(self.path) as file:
                while file.read(1 << 20):
                    pass
            return
        with self.path.open("rb") as file:
            head = file.read(4096)
        suffix = self.path.suffix.lower()
        packed = re.search(rb"CompressedData\s*=\s*True", head, re.I)
        if suffix == ".mhd" and not packed:
            # It names the file that holds its numbers.
            named = re.search(rb"^ElementDataFile\s*=\s*(\S.*?)\s*$", head, re.M | re.I)
            numbers = self.path.parent / os.fsdecode(named[1]) if named else None
            if numbers and numbers.is_file() and numbers.stat().st_size < self._bytes:
                raise EOFError(f"{numbers.name} has {numbers.stat().st_size:,} of {self._bytes:,} bytes")
        needed = self._bytes
        if packed:
            told = re.search(rb"CompressedDataSize\s*=\s*(\d+)", head)
            needed = int(told[1]) if told else 0
        if suffix in (".nii", ".mha") and self.path.stat().st_size < needed:
            raise EOFError(f"{self.path.stat().st_size:,} of {needed:,} bytes")

    def _damaged(self, error: Exception) -> UltrasamError:
        # SimpleITK says where in its code, ITK what, and a format's own library in its last line why.
        lines = str(error).rsplit("::ERROR:", 1)[-1].strip().splitlines()
        detail = " ".join(lines[-1].split()).replace(f'"{self.path}"', "it") if lines else reason(error)
        return UltrasamError(
            f"{shown(self.path)} cannot be read as a volume ({detail:.120}): export it again"
        )
