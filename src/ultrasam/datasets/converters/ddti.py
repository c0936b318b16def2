"""DDTI: thyroid nodules, from the copy within TN3K (image and mask files) or from the source (polygons in
XML).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.folders import FolderNotFound, files, find_folder, pairs
from ultrasam.datasets.readers.masks import load_pair, read_pixels
from ultrasam.datasets.readers.polygons import Point, fill_polygons, read_marks_xml
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped, Table


def records(raw: Path) -> Iterator[Found]:
    try:
        root = find_folder(raw, "1_or_data/image", "1_or_data/mask")
    except FolderNotFound:
        if not any(raw.rglob("*.xml")):
            raise
        yield from _from_source(find_folder(raw, "[0-9]*.xml"))
        return
    if (root / "2_preprocessed_data").exists():
        yield Skipped(root / "2_preprocessed_data", "the same images cropped and filtered")
    images, masks = files(root / "1_or_data" / "image"), files(root / "1_or_data" / "mask")
    matched, problems = pairs(images, masks, r"(\d+)\.png", r"(\d+)\.png")
    yield from problems
    for number, image, mask in matched:
        yield Record(case=number, files=(image, mask), load=partial(load_pair, image, mask, "thyroid_nodule"))


def _from_source(folder: Path) -> Iterator[Found]:
    images = {path.stem: path for path in files(folder, ".jpg", ".jpeg", ".png")}
    for table in files(folder, ".xml"):
        yield Table(table)
        try:
            about, marks = read_marks_xml(table)
        except UltrasamError as error:
            yield Problem.of(table, error)
            continue
        for number, polygons in sorted(marks.items()):
            image = images.pop(f"{table.stem}_{number}", None)
            if image is None or not polygons:
                yield Problem(image or table, f"has no {'polygon' if image else f'image {number}'}")
                continue
            tirads = {"tirads": about["tirads"]} if about.get("tirads") else {}
            load = partial(_load_polygons, image, tuple(polygons), table)
            yield Record(case=table.stem, view=number, files=(image,), load=load, attributes=tirads)
    unmarked = sorted(path for path in images.values() if re.fullmatch(r"\d+_\d+", path.stem))
    yield from (Problem(path, "is marked in no XML file") for path in unmarked)


def _load_polygons(image: Path, polygons: tuple[tuple[Point, ...], ...], table: Path) -> Sample:
    pixels = read_pixels(image)
    nodules = (fill_polygons([points], pixels.shape, table) for points in polygons)
    return Sample(pixels, tuple(Object("thyroid_nodule", mask, instance=True) for mask in nodules))
