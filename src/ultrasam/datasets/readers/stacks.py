"""Volumes of slices or times with volumes of labels, drawn by one annotator or several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.masks import by_label, check_labels, on_grid
from ultrasam.datasets.readers.volumes import (
    same_direction,
    slice_image,
    slice_labels,
    slice_spacing,
    stored_slices,
)
from ultrasam.datasets.record import Object, Sample


def count_slices(scan: Path, *masks: Path) -> int:
    """Slices in the plane of acquisition, from the headers.

    Raises UltrasamError if a mask has other ones, or other directions.
    """
    count = stored_slices(scan)
    for mask in masks:
        if not same_direction(scan, mask):
            raise UltrasamError(
                f"{shown(mask)} has other directions in its header than {scan.name}: one would be turned"
            )
        if (other := stored_slices(mask)) != count:
            raise UltrasamError(f"{shown(mask)} has {other} slices, its image {count}")
    return count


def load_slice(scan: Path, masks: Mapping[str, Path], names: Mapping[int, str], index: int) -> Sample:
    """Slice `index` with an object for each label; `masks` by annotator, "" the main one.

    Raises UltrasamError for a label that is not among `names`, and for a mask of another size.
    """
    pixels = slice_image(scan, index)
    objects: list[Object] = []
    for annotator, path in masks.items():
        labels = slice_labels(path, index)
        check_labels(labels, names, path)
        on_grid(labels != 0, pixels.shape, path)
        objects += by_label(labels, names, annotator)
    return Sample(pixels, tuple(objects), slice_spacing(scan))


def files_of(volume: Path) -> list[Path]:
    """The files of a volume: an .mhd file has its numbers in a .raw file."""
    return [volume, volume.with_suffix(".raw")] if volume.suffix == ".mhd" else [volume]
