"""BUS-UCLM: breast lesions, green where benign and red where malignant; several images of each patient."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.folders import files, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import read_colours, read_pixels
from ultrasam.datasets.readers.tables import read_rows
from ultrasam.datasets.record import Found, Problem, Record, Sample, Skipped, Table

COLOURS = {(0, 255, 0): "breast_lesion_benign", (255, 0, 0): "breast_lesion_malignant"}
# Half of a channel: the nearest of three colours that are all or nothing, also at a smooth edge.
TOLERANCE = 127
NAME = r"([A-Z0-9]+)_(\d+)\.png"
# How the columns of the table begin that flag an image, and what they become.
FLAGS = {"doppler": "doppler", "mark": "marks", "combin": "combined"}
VALUES = dict.fromkeys(("1", "true", "yes", "y"), True) | dict.fromkeys(("0", "false", "no", "n"), False)

Flags = dict[str, dict[str, bool]]


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "images", "masks")
    images = files(root / "images")
    flags: Flags = {}
    yield from (Skipped(path, "flags of the images, no masks") for path in files(root, ".xlsx"))
    for table in files(root, ".csv"):
        yield Table(table)
        try:
            flags |= (found := _flags(table))
        except UltrasamError as error:
            yield Problem.of(table, error)
            continue
        yield from missing_from(table, found, (path.stem for path in images))
    matched, problems = pairs(images, files(root / "masks"), NAME, NAME)
    yield from problems
    for key, image, mask in matched:
        patient, number = key.split("-")
        if flags and image.stem not in flags:
            yield Problem(image, "has no row in the table: it is kept without flags")
        yield Record(
            case=patient,
            view=number,
            files=(image, mask),
            load=partial(_load, image, mask),
            attributes=flags.get(image.stem, {}),
        )


def _flags(table: Path) -> Flags:
    """{stem of an image: its flags}. Raises UltrasamError for another layout and for unknown values."""
    rows = read_rows(table)
    header = list(rows[0]) if rows else []
    naming = [name for name in header if re.fullmatch(rf"{NAME[:-5]}(\.png)?", rows[0][name], re.IGNORECASE)]
    columns = {
        FLAGS[word]: name
        for name in header
        for word in FLAGS
        if re.search(rf"\b{word}", name.lower().replace("_", " "))
    }
    if len(naming) != 1 or not columns:
        raise UltrasamError(f"{table} has no columns of images and flags: its layout has changed")
    found: Flags = {}
    for row in rows:
        image = row[naming[0]]
        values = {name: VALUES.get(row[column].lower()) for name, column in columns.items()}
        for name, value in values.items():
            if value is None:
                odd = row[columns[name]]
                raise UltrasamError(f"{table} has {odd!r} in {columns[name]}, neither yes nor no, at {image}")
        stem = image.removesuffix(".png")
        if stem in found:
            raise UltrasamError(f"{table} has two rows for {image}: which is right is not known")
        found[stem] = {name: bool(value) for name, value in values.items()}
    return found


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    return Sample(pixels, read_colours(mask, COLOURS, pixels.shape, TOLERANCE))
