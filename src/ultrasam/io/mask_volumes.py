"""Label volumes through SimpleITK, on the grid of a volume or of a stack of frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.io.volumes import AXES, read_header

Planes = Iterable[tuple[int, NDArray[Any]]]
"""Frames of labels: (number of the frame, (H, W) of whole numbers)."""
LabelType = type[np.uint8] | type[np.uint16]


def write_like(path: Path, source: Path, axis: str, planes: Planes, dtype: LabelType) -> None:
    """Write labels on exactly the grid of the volume `source`: its size, spacing, origin and direction, also
    the times of a 4-D file. Voxel (i, j, k) of the labels lies on voxel (i, j, k) of the scan.

    `planes` are frames as `read_volume(source, axis)` counts and cuts them; what is in none is 0. The ending
    of `path` decides the format (.nii.gz, .nrrd). All labels are held in memory. Raises UltrasamError for a
    plane that does not fit, OSError if the file cannot be written.
    """
    header = read_header(source)
    values = np.zeros((header.times, *header.size[::-1]), dtype)
    along = AXES.index(axis)
    count = header.size[along]
    for frame, labels in planes:
        time, place = divmod(frame, count)
        if not 0 <= time < header.times:
            raise UltrasamError(f"{shown(source)} has {count * header.times} frames, no frame {frame}")
        # SimpleITK's arrays are z, y, x: the last axis of the file comes first.
        plane = np.moveaxis(values[time], 2 - along, 0)[place]
        _put(plane, labels, frame)
    import SimpleITK

    sitk: Any = SimpleITK  # has type information only in part
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(source))
    reader.ReadImageInformation()
    shape = [int(length) for length in reader.GetSize()][::-1]
    image = sitk.GetImageFromArray(values.reshape(shape), isVector=False)
    image.SetSpacing(reader.GetSpacing())
    image.SetOrigin(reader.GetOrigin())
    image.SetDirection(reader.GetDirection())
    _write(path, image, values)


def write_stack(
    path: Path,
    size: tuple[int, int, int],
    spacing: tuple[float, float],
    planes: Planes,
    dtype: LabelType,
) -> None:
    """Write labels of frames along z, which stand for the frames of a clip or the pictures of a file.

    `size` is the width and height of a frame and how many there are, `spacing` mm per pixel in (x, y); from
    frame to frame it is 1. Raises as `write_like` does.
    """
    import SimpleITK as sitk

    values = np.zeros(size[::-1], dtype)
    for frame, labels in planes:
        if not 0 <= frame < size[2]:
            raise UltrasamError(f"the scan has {size[2]} frames, no frame {frame}")
        _put(values[frame], labels, frame)
    image: Any = sitk.GetImageFromArray(values)
    image.SetSpacing((*spacing, 1.0))
    _write(path, image, values)


def _put(plane: NDArray[Any], labels: NDArray[Any], frame: int) -> None:
    if plane.shape != labels.shape:
        height, width = labels.shape
        raise UltrasamError(
            f"the mask of frame {frame} has {width} x {height} pixels, the scan {plane.shape[1]} x "
            f"{plane.shape[0]}: it was drawn on another file or along another axis"
        )
    plane[...] = labels


def _write(path: Path, image: Any, values: NDArray[Any]) -> None:
    """Write and read again: ITK does not tell everything that goes wrong, such as a disk that fills up."""
    import SimpleITK as sitk

    try:
        sitk.WriteImage(image, str(path), useCompression=True)
        again: Any = sitk.ReadImage(str(path))
        whole = np.array_equal(sitk.GetArrayViewFromImage(again).ravel(), values.ravel())
    except Exception as error:  # SimpleITK raises RuntimeError for anything
        lines = str(error).rsplit("::ERROR:", 1)[-1].strip().splitlines()
        raise OSError(f"{shown(path.name)}: {lines[-1] if lines else reason(error):.120}") from None
    if not whole:
        raise OSError(f"{shown(path.name)} was not written whole")
