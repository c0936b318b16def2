"""Dataset B: breast lesions, one image of each woman. Which are benign stands in a spreadsheet alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import load_pair
from ultrasam.datasets.record import Found, Record, Skipped


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "original", "GT")
    yield from (Skipped(path, "a table of benign and malignant, no masks") for path in files(root, ".xlsx"))
    images, masks = files(root / "original"), files(root / "GT")
    matched, problems = pairs(images, masks, r"(\d+)\.png", r"(\d+)\.png")
    yield from problems
    for number, image, mask in matched:
        yield Record(case=number, files=(image, mask), load=partial(load_pair, image, mask, "breast_lesion"))
