"""Volumes of slices or times with volumes of labels, drawn by one annotator or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import check_file, shown
from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import by_label, check_labels, on_grid
from ultrasam.datasets.readers.volumes import (
    Plane,
    slice_image,
    slice_labels,
    slice_spacing,
    slices_along,
)
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample
from ultrasam.io.volumes import read_header


def count_slices(scan: Path, *masks: Path, plane: Plane = "acquisition") -> int:
    """Slices in a plane, from the headers.

    Raises UltrasamError if a mask has other ones, or other directions.
    """
    header = read_header(check_file(scan))
    count = slices_along(header, plane)
    for mask in masks:
        own = read_header(check_file(mask))
        same = header.direction.shape == own.direction.shape
        # Up to a small angle, for rounding.
        if not (same and np.allclose(header.direction, own.direction, atol=0.1)):
            raise UltrasamError(
                f"{shown(mask)} has other directions in its header than {scan.name}: one would be turned"
            )
        if (drawn := slices_along(own, plane)) != count:
            raise UltrasamError(f"{shown(mask)} has {drawn} slices, its image {count}")
    return count


def slice_records(
    scan: Path, masks: Mapping[str, Path], names: Mapping[int, str], case: str, split: str
) -> Iterator[Found]:
    """A record for each slice of `scan`; `masks` by annotator, "" the main one.

    If the main one does not fit, the volume is a problem; if another one does not, it is left out as one.
    """
    try:
        count = count_slices(scan, masks[""])
    except UltrasamError as error:
        yield Problem.of(scan, error, tuple(masks.values()))
        return
    fitting = {"": masks[""]}
    for annotator, mask in masks.items():
        if annotator:
            try:
                count_slices(scan, mask)
                fitting[annotator] = mask
            except UltrasamError as error:
                yield Problem.of(mask, error)
    for index in range(count):
        load = partial(load_slice, scan, fitting, names, index)
        yield Record(case=case, frame=index, files=(scan, *fitting.values()), load=load, split=split)


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


def channel_records(raw: Path, names: Mapping[int, str], split: str = "") -> Iterator[Found]:
    """The images of a set in the folders image_mha and label_mha, N.mha in both, for `load_channels`."""
    root = find_folder(raw, "image_mha", "label_mha")
    images, labels = files(root / "image_mha"), files(root / "label_mha")
    matched, problems = pairs(images, labels, r"(\d+)\.mha", r"(\d+)\.mha")
    yield from problems
    for number, image, label in matched:
        load = partial(load_channels, image, label, names)
        yield Record(case=number, files=(image, label), load=load, split=split)


def load_channels(scan: Path, mask: Path, names: Mapping[int, str]) -> Sample:
    """A flat image whose channels lie one after the other like slices, with a flat mask of labels.

    Channels that are all equal give (H, W), others (H, W, 3). Raises UltrasamError for other than 1 or 3
    channels, a mask of another size, of several slices or of other directions, and an unknown label.
    """
    header, own = read_header(check_file(scan)), read_header(check_file(mask))
    if header.size[2] not in (1, 3):
        raise UltrasamError(f"{shown(scan)} has {header.size[2]} channels: 1 or 3 were expected")
    if own.size[2] != 1:
        raise UltrasamError(f"{shown(mask)} has {own.size[2]} slices: one flat mask was expected")
    if not np.allclose(header.direction[:2, :2], own.direction[:2, :2], atol=0.1):
        raise UltrasamError(
            f"{shown(mask)} has other directions in its header than {scan.name}: one would be turned"
        )
    channels = [slice_image(scan, index) for index in range(header.size[2])]
    grey = all(np.array_equal(channel, channels[0]) for channel in channels)
    labels = slice_labels(mask, 0)
    check_labels(labels, names, mask)
    on_grid(labels != 0, channels[0].shape, mask)
    pixels = channels[0] if grey else np.stack(channels, axis=2)
    return Sample(pixels, by_label(labels, names), slice_spacing(scan))


def files_of(volume: Path) -> list[Path]:
    """The files of a volume: an .mhd file has its numbers in a .raw file."""
    return [volume, volume.with_suffix(".raw")] if volume.suffix == ".mhd" else [volume]
