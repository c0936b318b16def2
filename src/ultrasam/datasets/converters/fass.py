"""FASS: four structures in the fetal abdomen, each drawn by itself, as arrays in pickled dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import on_grid, read_pixels
from ultrasam.datasets.readers.pickles import read_arrays
from ultrasam.datasets.record import Found, Object, Record, Sample

NAMES = {
    "artery": "fetal_artery",
    "liver": "fetal_liver",
    "stomach": "fetal_stomach",
    "vein": "fetal_vein",
}


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "IMAGES", "ARRAY_FORMAT")
    matched, problems = pairs(
        files(root / "IMAGES"),
        files(root / "ARRAY_FORMAT"),
        r"(P\d+)_(IMG\d+)\.png",
        r"(P\d+)_(IMG\d+)\.npy",
    )
    yield from problems
    for key, image, arrays in matched:
        patient, view = key.split("-")
        yield Record(case=patient, view=view, files=(image, arrays), load=partial(_load, image, arrays))


def _load(image: Path, arrays: Path) -> Sample:
    pixels = read_pixels(image)
    objects = []
    for name, values in sorted(read_arrays(arrays, "structures").items()):
        if name not in NAMES:
            raise UltrasamError(f"{shown(arrays)} has the structure {name!r}, which means nothing here")
        if values.ndim != 2:
            raise UltrasamError(f"{shown(arrays)} has an array of {values.shape} for the {name}: no mask")
        mask = on_grid(values != 0, pixels.shape, arrays)
        if not (levels := set(np.unique(values[mask]).tolist())) <= {1} and levels != {255}:
            raise UltrasamError(f"{shown(arrays)} has other values than 0 and 1 for the {name}")
        objects.append(Object(NAMES[name], mask))
    return Sample(pixels, tuple(objects))
