"""HC18: fetal heads. An ellipse is drawn round the head, a line in a mask of its own, sometimes cut by the
border.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.folders import files, find_file, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import read_binary, read_pixels
from ultrasam.datasets.readers.outlines import fill_outline
from ultrasam.datasets.readers.tables import rows_by
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped, Table

TABLE = "training_set_pixel_size_and_HC.csv"
SIZE = "pixel size(mm)"


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "training_set/*_Annotation.png")
    folder = root / "training_set"
    # The tables are downloads of their own, so they may lie beside the folder or above it.
    table = find_file(raw, TABLE)
    rows = {}
    if table is not None:
        yield Table(table)
        rows = rows_by(table, "filename", SIZE)
    else:
        yield Problem(root / TABLE, "is missing: the images have no spacing")
    for name in ("test_set", "test_set_pixel_size.csv"):
        if (root / name).exists():
            yield Skipped(root / name, "the test set has no masks")
    images = files(folder, ".png")
    matched, problems = pairs(images, images, r"(\d+_\d*HC)\.png", r"(\d+_\d*HC)_Annotation\.png")
    yield from problems
    if table is not None:
        yield from missing_from(table, rows, (path.name for path in images))
    for key, image, mask in matched:
        exam, view = key.split("_")
        row = rows.get(image.name)
        spacing = None
        if row is not None:
            spacing = _number(row[SIZE])
        if rows and spacing is None:
            yield Problem(image, f"has no pixel size in {TABLE}: it is kept without")
        load = partial(_load, image, mask, spacing)
        yield Record(case=exam, view=view, files=(image, mask), load=load, split="train")


def _number(text: str) -> float | None:
    try:
        size = float(text)
    except ValueError:
        return None
    return size if 0 < size < math.inf else None


def _load(image: Path, mask: Path, spacing: float | None) -> Sample:
    pixels = read_pixels(image)
    head = fill_outline(read_binary(mask, pixels.shape), mask)
    if not head.any():
        raise UltrasamError(f"{mask} is empty: every head of HC18 is outlined")
    size = None if spacing is None else (spacing, spacing)
    return Sample(pixels, (Object("fetal_head", head, instance=True),), size)
