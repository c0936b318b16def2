"""USGRA-seg: nerves and vessels for regional anaesthesia, with masks of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import by_label, read_labels, read_pixels
from ultrasam.datasets.record import Found, Record, Sample

NAMES = {1: "nerve", 2: "vessel"}


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "images", "masks")
    matched, problems = pairs(files(root / "images"), files(root / "masks"), r"(\d+)\.png", r"(\d+)\.png")
    yield from problems
    for number, image, mask in matched:
        yield Record(case=number, files=(image, mask), load=partial(_load, image, mask))


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    return Sample(pixels, by_label(read_labels(mask, NAMES, pixels.shape), NAMES))
