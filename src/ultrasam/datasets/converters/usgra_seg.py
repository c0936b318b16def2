"""USGRA-seg: nerves and vessels for regional anaesthesia, with masks of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import by_label, read_labels, read_pixels
from ultrasam.datasets.record import Found, Problem, Record, Sample

NAMES = {1: "nerve", 2: "vessel"}


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "images", "masks")
    if root.name == "test" and root != raw and not (root / "test").exists():
        root = root.parent  # the part for training lacks a folder: that for tests must not pass for it
    for split, folder in (("train", root), ("test", root / "test")):
        lost = [place for place in (folder / "images", folder / "masks") if not place.is_dir()]
        if lost:
            yield Problem(lost[0], f"is missing: nothing can be used of the part {split!r}")
            continue
        images, masks = files(folder / "images"), files(folder / "masks")
        matched, problems = pairs(images, masks, r"(\d+)\.png", r"(\d+)\.png")
        yield from problems
        for number, image, mask in matched:
            load = partial(_load, image, mask)
            yield Record(case=f"{split}-{number}", files=(image, mask), load=load, split=split)


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    return Sample(pixels, by_label(read_labels(mask, NAMES, pixels.shape), NAMES))
