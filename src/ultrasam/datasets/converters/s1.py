"""S1: breast lesions, grey (benign) and white (malignant) in their masks; the authors' parts for training and
tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.datasets.readers.folders import files_below, find_folder, pairs
from ultrasam.datasets.readers.masks import on_grid, opened, parts, read_grey, read_pixels
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped

SPLITS = {"train": "TrainingDataSet", "test": "TestingDataSet"}
BENIGN, MALIGNANT = 127, 255
CLASSES = {BENIGN: "breast_lesion_benign", MALIGNANT: "breast_lesion_malignant"}
# What lossy compression may do to a grey level.
TOLERANCE = 40
NAME = r"(.+)\.(?:png|jpe?g)"


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, SPLITS["train"])
    for split, name in SPLITS.items():
        folder = root / name
        if not folder.exists():
            yield Problem(folder, "is missing: the set has a part for training and one for tests")
            continue
        images, masks, other = [], [], set()
        for path in files_below(folder, ".png", ".jpg", ".jpeg"):
            where = path.parent.relative_to(folder).as_posix().lower()
            if "labels" not in where:
                images.append(path)
            elif "general" in where:
                other.add(path.parent)
            else:
                masks.append(path)
        yield from (Skipped(path, "another version of the masks") for path in sorted(other))
        matched, problems = pairs(images, masks, NAME, NAME)
        yield from problems
        for stem, image, mask in matched:
            load = partial(_load, image, mask)
            yield Record(case=f"{split}-{stem}", files=(image, mask), load=load, split=split)


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    grey = read_grey(mask)
    on_grid(grey > 0, pixels.shape, mask)
    drawn = lesions(grey, mask)
    if mask.suffix.lower() != ".png":
        drawn = {level: opened(region) for level, region in drawn.items()}
    return Sample(pixels, tuple(Object(CLASSES[level], region) for level, region in drawn.items()))


def lesions(grey: ByteArray, path: Path) -> dict[int, BoolArray]:
    """The regions of both classes. A smooth or compressed edge of white passes through grey, so a lesion has
    one class, that of most of its pixels, and ends at half of its level.

    Raises UltrasamError for a level in between and for a lesion of both classes, wherever it is wider than an
    edge.
    """
    nearest = np.array([0, BENIGN, MALIGNANT], np.int16)[np.digitize(grey, [BENIGN / 2, 191])]
    odd = opened(np.abs(grey.astype(np.int16) - nearest) > TOLERANCE)
    # A picture has hardly a region of one level, labels below the first grey level look like none.
    if odd.any() or (grey.any() and not nearest.any()):
        level = int(np.median(grey[odd])) if odd.any() else grey.max()
        raise UltrasamError(
            f"{shown(path)} has the grey level {level}, which means nothing here (known: 0 background, "
            f"{BENIGN} benign, {MALIGNANT} malignant)"
        )
    found = {level: np.zeros(grey.shape, np.bool_) for level in CLASSES}
    for part in parts(nearest > 0):
        white = part & (nearest == MALIGNANT)
        level = MALIGNANT if 2 * np.count_nonzero(white) > np.count_nonzero(part) else BENIGN
        if opened(part & (nearest != level)).any():
            raise UltrasamError(f"{shown(path)} has a lesion that is grey and white: its class is not known")
        found[level] |= part & (grey > level / 2)
    return found
