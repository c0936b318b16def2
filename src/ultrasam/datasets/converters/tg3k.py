"""TG3K: frames of sweeps over the thyroid gland, with masks as JPEG files; they name no sweep."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import files, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import opened, read_binary, read_pixels
from ultrasam.datasets.readers.polygons import read_json
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Table

# Numbers follow the sweeps, so that neighbours look alike. A case is a block of so many numbers, about a
# sweep: only the frames at its two ends have neighbours in other cases.
BLOCK = 200
PARTS = ("train", "val")


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "thyroid-image", "thyroid-mask")
    images, masks = files(root / "thyroid-image"), files(root / "thyroid-mask")
    matched, problems = pairs(images, masks, r"(\d+)\.jpe?g", r"(\d+)\.jpe?g")
    yield from problems
    part_of: dict[int, str] = {}
    table = root / "tg3k-trainval.json"
    if table.exists():
        yield Table(table)
        try:
            part_of = _parts(table)
        except UltrasamError as error:
            yield Problem.of(table, error)
        there = (int(path.stem) for path in images if path.stem.isdecimal())
        yield from missing_from(table, map(_name, part_of), map(_name, there))
    for number, image, mask in matched:
        start = int(number) // BLOCK * BLOCK
        part = part_of.get(int(number), "")
        if part_of and not part:
            yield Problem(image, f"is in no part of {table.name}: it is kept without")
        yield Record(
            case=f"{start:04d}-{start + BLOCK - 1:04d}",
            frame=int(number),
            files=(image, mask),
            load=partial(_load, image, mask),
            attributes={"authors_part": part} if part else {},
        )


def _name(number: int) -> str:
    return f"{number:04d}.jpg"


def _parts(table: Path) -> dict[int, str]:
    """The part, "train" or "val", of each frame."""
    content = read_json(table)
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in PARTS):
        raise UltrasamError(f"{shown(table)} has no lists {' and '.join(PARTS)}: its layout has changed")
    found: dict[int, str] = {}
    for part in PARTS:
        for number in content[part]:
            if not isinstance(number, int) or found.get(number, part) != part:
                raise UltrasamError(f"{shown(table)} lists {number!r} as no number, or in two parts")
            found[number] = part
    return found


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    return Sample(pixels, (Object("thyroid_gland", opened(read_binary(mask, pixels.shape))),))
