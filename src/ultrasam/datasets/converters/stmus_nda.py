"""STMUS_NDA: the cross-section of three muscles. The folder names the muscle; names repeat from one to the
next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import BoolArray
from ultrasam.datasets.readers.folders import files_below, is_in_masks, pairs, split_of
from ultrasam.datasets.readers.masks import binary, on_grid, read_grey, read_pixels
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample

MUSCLES = {"BB": "biceps_brachii", "GM": "gastrocnemius_medialis", "TA": "tibialis_anterior"}
NAME = r"(.+)\.png"


def records(raw: Path) -> Iterator[Found]:
    # Where the masks lie below or above the folder of a muscle is not documented: any order is understood.
    parts: dict[tuple[str, str], tuple[list[Path], list[Path]]] = defaultdict(lambda: ([], []))
    places: dict[str, Path] = {}
    for path in files_below(raw, ".png"):
        for folder in path.relative_to(raw).parents:
            if folder.name in MUSCLES:
                places.setdefault(folder.name, raw / folder)
                parts[folder.name, split_of(path, raw)][is_in_masks(path, raw)].append(path)
                break
    if not parts:
        raise UltrasamError(
            f"{shown(raw)} has no PNG files in folders {', '.join(MUSCLES)}, one for each muscle"
        )
    for muscle in (name for name in MUSCLES if name not in places):
        yield Problem(raw / muscle, "is missing: the set has three muscles")
    for (muscle, split), (images, masks) in sorted(parts.items()):
        if not images or not masks:
            there, lacking = ("masks", "images") if masks else ("images", "masks")
            yield Problem(places[muscle], f"has {there} without {lacking}{f' in {split}' if split else ''}")
            continue
        matched, problems = pairs(images, masks, NAME, NAME)
        yield from problems
        for stem, image, mask in matched:
            # Whether one name is one subject is not known; if it is, a split does not divide the muscles.
            case = f"{split}-{stem}" if split else stem
            load = partial(_load, image, mask, MUSCLES[muscle])
            yield Record(case=case, view=muscle, files=(image, mask), load=load, split=split)


def _load(image: Path, mask: Path, muscle: str) -> Sample:
    pixels = read_pixels(image)
    return Sample(pixels, (Object(muscle, on_grid(_read_mask(mask), pixels.shape, mask)),))


def _read_mask(path: Path) -> BoolArray:
    """A mask of two values, whatever the brighter one is; of more, a black and white one."""
    grey = read_grey(path)
    levels = np.unique(grey)
    if levels[0] == 0 and len(levels) <= 2:
        return np.asarray(grey > 0)
    return binary(grey, shown(path))
