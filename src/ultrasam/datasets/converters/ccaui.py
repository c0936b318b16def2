"""CCAUI: the common carotid artery in cross-sections of sweeps along the neck."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import load_pair
from ultrasam.datasets.record import Found, Record

IMAGES, MASKS = "US images", "Expert mask images"
# The examination and the number of the slice: without them neighbours could not be kept together.
NAME = r"(.+)_slice_(\d+)\.png"


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, IMAGES, MASKS)
    matched, problems = pairs(files(root / IMAGES), files(root / MASKS), NAME, NAME)
    yield from problems
    for key, image, mask in matched:
        examination, _, number = key.rpartition("-")
        load = partial(load_pair, image, mask, "carotid_artery")
        yield Record(case=examination, frame=int(number), files=(image, mask), load=load)
