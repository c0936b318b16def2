"""LUSS phantom: rib, pleura and artefacts in images of a lung phantom, with masks of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import files_below, is_in_masks, pairs, split_of
from ultrasam.datasets.readers.masks import by_label, read_labels, read_pixels
from ultrasam.datasets.record import Found, Problem, Record, Sample

NAMES = {1: "rib", 2: "pleural_line", 3: "a_line", 4: "b_line", 5: "b_line_confluence"}
NAME = r"(.+)\.png"


def records(raw: Path) -> Iterator[Found]:
    # How the folders are called is not documented, but that the masks lie in one with "mask" in its name.
    parts: dict[str, tuple[list[Path], list[Path]]] = {}
    for path in files_below(raw, ".png"):
        part = parts.setdefault(split_of(path, raw), ([], []))
        part[is_in_masks(path, raw)].append(path)
    if not any(images and masks for images, masks in parts.values()):
        lacking = "masks" if any(images for images, _ in parts.values()) else "images"
        raise UltrasamError(
            f"{shown(raw)} has no {lacking}: PNG files beside a folder of masks were expected"
        )
    for split, (images, masks) in sorted(parts.items()):
        if len(images) + len(masks) == 1:  # such as a key of the colours
            yield Problem((*images, *masks)[0], "has no mask" if images else "has no image")
            continue
        if not images or not masks:
            there, lacking = ("images", "masks") if images else ("masks", "images")
            folder = (*images, *masks)[0].parent
            yield Problem(folder, f"has {there} without {lacking}", (*images, *masks))
            continue
        matched, problems = pairs(images, masks, NAME, NAME)
        yield from problems
        for stem, image, mask in matched:
            case = f"{split}-{stem}" if split else stem
            yield Record(case=case, files=(image, mask), load=partial(_load, image, mask), split=split)


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    return Sample(pixels, by_label(read_labels(mask, NAMES, pixels.shape), NAMES))
