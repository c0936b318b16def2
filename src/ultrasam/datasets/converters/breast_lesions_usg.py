"""BrEaST-Lesions_USG: breast lesions, and what else the annotators saw; each object has a mask of its own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.core.geometry import BoolArray
from ultrasam.datasets.readers.folders import files, find_folder
from ultrasam.datasets.readers.masks import on_grid, read_binary, read_grey, read_pixels
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped

KINDS = {"tumor": "breast_lesion", "other": "other_structure"}
# Women without a lesion, whose images come without a mask.
NORMAL = 4


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "case[0-9]*_tumor*.png")
    # The table of clinical data is a download of its own: it lies here or beside the folder.
    for folder in [root] if root == raw else [root.parent, root]:
        yield from (Skipped(path, "clinical data, no masks") for path in files(folder, ".xlsx", ".csv"))
    named: dict[str, dict[Path, str]] = defaultdict(dict)
    for path in files(root, ".png"):
        if match := re.fullmatch(r"case(\d+)(?:_([a-z]+)_?\d*)?\.png", path.name, re.IGNORECASE):
            named[match[1]][path] = (match[2] or "").lower()
    without: list[Path] = []
    for number, kinds in named.items():
        images = [path for path, kind in kinds.items() if not kind]
        masks = tuple((path, KINDS[kind]) for path, kind in kinds.items() if kind in KINDS)
        unknown = [path for path, kind in kinds.items() if kind and kind not in KINDS]
        if len(images) > 1:
            yield Problem(images[0], f"has the name of {images[1].name}: keep one of them", tuple(kinds))
        elif unknown:
            # Without it the image would lack an object that is drawn.
            yield Problem(unknown[0], "is a mask of a kind that means nothing here", tuple(kinds))
        elif not images:
            yield Problem(next(iter(kinds)), "has no image", tuple(kinds))
        elif not masks:
            without += images
        else:
            used = (images[0], *(path for path, _ in masks))
            yield Record(case=number, files=used, load=partial(_load, images[0], masks))
    if len(without) > NORMAL:
        yield from (Problem(path, "has no mask") for path in without)
    else:
        yield from (Skipped(path, "it has no mask, as the normal breasts of the set") for path in without)


def _load(image: Path, masks: tuple[tuple[Path, str], ...]) -> Sample:
    pixels = read_pixels(image)
    objects = (Object(category, _mask(path, pixels.shape), instance=True) for path, category in masks)
    return Sample(pixels, tuple(objects))


def _mask(path: Path, shape: tuple[int, ...]) -> BoolArray:
    """A mask of one object: of two values, of which the other is 0, or black and white."""
    grey = read_grey(path)
    levels = np.unique(grey)
    if len(levels) > 2 or levels[0] > 0:
        return read_binary(path, shape)
    return on_grid(grey > 0, shape, path)
