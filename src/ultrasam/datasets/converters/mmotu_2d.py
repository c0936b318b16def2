"""MMOTU OTU_2d: ovarian tumours, painted in the colour of their class; a list names the class once more."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.folders import files, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import read_colours, read_pixels
from ultrasam.datasets.readers.tables import read_list
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped, Table

# In the order of the numbers 0 to 7 in the lists.
COLOURS = {
    (64, 0, 0): "chocolate_cyst",
    (0, 64, 0): "serous_cystadenoma",
    (0, 0, 64): "teratoma",
    (64, 0, 64): "theca_cell_tumor",
    (64, 64, 0): "simple_cyst",
    (64, 64, 64): "normal_ovary",
    (0, 128, 0): "mucinous_cystadenoma",
    (0, 0, 128): "high_grade_serous",
}
NAMES = tuple(COLOURS.values())


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "images", "annotations", "train_cls.txt", "val_cls.txt")
    listed: dict[str, tuple[str, str]] = {}
    for split, table in (("train", root / "train_cls.txt"), ("test", root / "val_cls.txt")):
        yield Table(table)
        for name, number in read_list(table).items():
            if name in listed:
                raise UltrasamError(f"{table} lists {name}, which train_cls.txt has too")
            listed[name] = (split, number)
    masks = files(root / "annotations", ".png")
    images = files(root / "images")
    matched, problems = pairs(images, masks, r"(\d+)\.jpg", r"(\d+)\.png")
    yield from problems
    yield from missing_from(root / "train_cls.txt", listed, (path.name for path in images))
    yield from (Skipped(path, "the same mask in another form") for path in masks if "_" in path.stem)
    for number, image, mask in matched:
        split, label = listed.get(image.name, ("", ""))
        if label not in map(str, range(len(NAMES))):
            what = f"has the class {label!r}" if split else "is in neither list"
            yield Problem(image, f"{what}: its class is not known", (mask,))
            continue
        name = NAMES[int(label)]
        load = partial(_load, image, mask, name)
        yield Record(case=number, files=(image, mask), load=load, split=split, attributes={"class": name})


def _load(image: Path, mask: Path, name: str) -> Sample:
    pixels = read_pixels(image)
    painted = read_colours(mask, COLOURS, pixels.shape)
    if not painted:
        return Sample(pixels, ())
    # Where an edge is smooth, the colours of two classes fade to black through those of two others.
    most = max(painted, key=lambda entry: int(entry.mask.sum()))
    if most.category != name:
        raise UltrasamError(f"{mask} is painted as {most.category}, but listed as {name}")
    return Sample(pixels, (Object(name, np.logical_or.reduce([entry.mask for entry in painted])),))
