"""TG3K: frames of sweeps over the thyroid gland, with masks as JPEG files; they name no sweep."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import files, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import opened, read_binary, read_pixels
from ultrasam.datasets.readers.polygons import read_json
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Table
from ultrasam.io.images import opened_image

PARTS = ("train", "val")
NAME = r"(\d+)\.jpe?g"


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "thyroid-image", "thyroid-mask")
    images, masks = files(root / "thyroid-image"), files(root / "thyroid-mask")
    matched, problems = pairs(images, masks, NAME, NAME)
    yield from problems
    sweep_of = _sweeps(images, masks)
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
        part = part_of.get(int(number), "")
        if part_of and not part:
            yield Problem(image, f"is in no part of {table.name}: it is kept without")
        yield Record(
            case=sweep_of[int(number)],
            frame=int(number),
            files=(image, mask),
            load=partial(_load, image, mask),
            attributes={"authors_part": part} if part else {},
        )


def _sweeps(images: Iterable[Path], masks: Iterable[Path]) -> dict[int, str]:
    """{number of a frame: its sweep}, which is called after its first frame.

    Numbers follow the sweeps, and the frames of a sweep are of one size, which changes to the next. Two of
    the same size count as one: that divides neither.
    """
    files_of: dict[int, list[Path]] = defaultdict(list)
    for path in (*images, *masks):
        if re.fullmatch(NAME, path.name, re.IGNORECASE):
            files_of[int(path.stem)].append(path)
    found: dict[int, str] = {}
    first, size = 0, None
    for number, paths in sorted(files_of.items()):
        own = next((one for one in map(_size, paths) if one), size)
        if own != size:
            first, size = number, own
        found[number] = f"{first:04d}"
    return found


def _size(path: Path) -> tuple[int, int] | None:
    """The size of an image by its header; None if it cannot be read, which its own problem tells."""
    try:
        with opened_image(path) as image:
            return image.size
    except UltrasamError:
        return None


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
