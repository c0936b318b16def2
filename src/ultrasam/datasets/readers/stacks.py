"""Volumes of slices or times with volumes of labels, drawn by one annotator or several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import check_file, shown
from ultrasam.datasets.readers.masks import by_label, check_labels, on_grid
from ultrasam.datasets.readers.volumes import (
    slice_image,
    slice_labels,
    slice_spacing,
)
from ultrasam.datasets.record import Object, Sample
from ultrasam.io.volumes import read_header


def count_slices(scan: Path, *masks: Path) -> int:
    """Slices in the plane of acquisition, from the headers.

    Raises UltrasamError if a mask has other ones, or other directions.
    """
    header = read_header(check_file(scan))
    for mask in masks:
        own = read_header(check_file(mask))
        same = header.direction.shape == own.direction.shape
        # Up to a small angle, for rounding.
        if not (same and np.allclose(header.direction, own.direction, atol=0.1)):
            raise UltrasamError(
                f"{shown(mask)} has other directions in its header than {scan.name}: one would be turned"
            )
        if own.size[2] != header.size[2]:
            raise UltrasamError(f"{shown(mask)} has {own.size[2]} slices, its image {header.size[2]}")
    return header.size[2]


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
