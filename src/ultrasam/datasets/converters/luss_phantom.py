"""LUSS phantom: rib, pleura and artefacts in images of a lung phantom, with masks of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import files_below, is_in_masks, pairs, split_of
from ultrasam.datasets.readers.masks import by_label, read_labels, read_pixels
from ultrasam.datasets.record import Found, Record, Sample

NAMES = {1: "rib", 2: "pleural_line", 3: "a_line", 4: "b_line", 5: "b_line_confluence"}
NAME = r"(.+)\.png"


def records(raw: Path) -> Iterator[Found]:
    # How the folders are called is not documented, but that the masks lie in one with "mask" in its name.
    parts: dict[str, tuple[list[Path], list[Path]]] = {}
    for path in files_below(raw, ".png"):
        part = parts.setdefault(split_of(path, raw), ([], []))
        part[is_in_masks(path, raw)].append(path)
    for split, (images, masks) in sorted(parts.items()):
        for paths, what in ((images, "images"), (masks, "masks")):
            if not paths:
                where = f"the part {split} of {shown(raw)}" if split else shown(raw)
                raise UltrasamError(
                    f"{where} has no {what}: PNG files beside a folder of masks were expected"
                )
        matched, problems = pairs(images, masks, NAME, NAME)
        yield from problems
        for stem, image, mask in matched:
            case = f"{split}-{stem}" if split else stem
            yield Record(case=case, files=(image, mask), load=partial(_load, image, mask), split=split)
    if not parts:
        raise UltrasamError(f"{shown(raw)} has no PNG files: images and masks were expected")


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    return Sample(pixels, by_label(read_labels(mask, NAMES, pixels.shape), NAMES))
