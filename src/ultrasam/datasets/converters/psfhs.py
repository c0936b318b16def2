"""PSFHS: pubic symphysis and fetal head during birth, in the form of FH-PS-AOP."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.stacks import load_channels
from ultrasam.datasets.record import Found, Record

NAMES = {1: "pubic_symphysis", 2: "fetal_head"}


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "image_mha", "label_mha")
    images, labels = files(root / "image_mha"), files(root / "label_mha")
    matched, problems = pairs(images, labels, r"(\d+)\.mha", r"(\d+)\.mha")
    yield from problems
    for number, image, label in matched:
        yield Record(case=number, files=(image, label), load=partial(load_channels, image, label, NAMES))
