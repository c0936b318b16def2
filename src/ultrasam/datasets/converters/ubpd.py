"""UBPD: nerves, vessels, muscle, fat and spine round the brachial plexus, outlined in labelme files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import files, files_below, listing
from ultrasam.datasets.readers.masks import read_pixels
from ultrasam.datasets.readers.polygons import fill_polygons, read_labelme
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample

# The labels are Chinese, spelled in Latin letters.
NAMES = {
    "dongmai": "artery",
    "jingmai": "vein",
    "jirouzuzhi": "muscle",
    "shenjing": "nerve",
    "zhifang": "fat",
    "jizhu": "spine",
}
TOP, IMAGE, DRAWING = "UBPD", (".jpg", ".jpeg"), (".json",)
# Those who use the set divide it by the number before the underscore, as that of a patient.
NUMBERED = re.compile(r"(\d+)_(.+)")
# What Chinese systems wrote before UTF-8.
OTHER_ENCODING = "gbk"


def records(raw: Path) -> Iterator[Found]:
    images, drawings = files_below(raw, *IMAGE), files_below(raw, *DRAWING)
    if not images or not drawings:
        lacking = "JSON files" if images else "JPEG images"
        raise UltrasamError(f"{shown(raw)} has no {lacking}: NAME.jpg and NAME.json were expected")
    named: dict[str, tuple[list[Path], list[Path]]] = defaultdict(lambda: ([], []))
    for path in (*images, *drawings):
        named[path.stem.lower()][path.suffix.lower() in DRAWING].append(path)
    top = _top(raw)
    for same in named.values():
        for pictures, outlines in _groups(*same):
            if len(pictures) != 1 or len(outlines) != 1:
                first, *rest = (*pictures, *outlines)
                what = f"is one of {1 + len(rest)} files of its name, which do not make a pair"
                if not pictures or not outlines:
                    what = f"has no {'JSON file' if pictures else 'image'} of its name"
                yield Problem(first, what, tuple(rest))
                continue
            image, outline = pictures[0], outlines[0]
            *folders, stem = image.relative_to(top).with_suffix("").parts
            patient = NUMBERED.fullmatch(stem)
            case = patient[1] if patient else "-".join((*folders, stem))
            view = "-".join((*folders, patient[2])) if patient else ""
            yield Record(case=case, view=view, files=(image, outline), load=partial(_load, image, outline))


def _groups(images: list[Path], drawings: list[Path]) -> list[tuple[list[Path], list[Path]]]:
    """Images and JSON files of one name that belong together: those of one folder, or the only ones."""
    if len(images) == len(drawings) == 1:
        return [(images, drawings)]
    folders = sorted({path.parent for path in (*images, *drawings)})
    return [
        (
            [path for path in images if path.parent == folder],
            [path for path in drawings if path.parent == folder],
        )
        for folder in folders
    ]


def _top(raw: Path) -> Path:
    """The folder below which the folders of an image are part of its name."""
    top = raw
    while not files(top, *IMAGE, *DRAWING) and (top == raw or top.name.upper() != TOP):
        below = [path for path in listing(top) if path.is_dir()]
        if len(below) != 1:
            break
        top = below[0]
    return top


def _load(image: Path, drawing: Path) -> Sample:
    pixels = read_pixels(image)
    shapes, size = read_labelme(drawing, OTHER_ENCODING)
    if size != pixels.shape[:2]:
        raise UltrasamError(
            f"{shown(drawing)} was drawn on {size[1]} x {size[0]} pixels, its image has "
            f"{pixels.shape[1]} x {pixels.shape[0]}"
        )
    objects = []
    for shape in shapes:
        name = NAMES.get(shape.label.strip().lower())
        if name is None:
            known = ", ".join(NAMES)
            raise UltrasamError(
                f"{shown(drawing)} has the label {shape.label!r}, which means nothing here (known: {known})"
            )
        objects.append(Object(name, fill_polygons([shape.points], size, drawing), instance=True))
    return Sample(pixels, tuple(objects))
