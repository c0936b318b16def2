"""MMOTU OTU_3d: ovarian tumours with contrast agent, flat images; masks are painted as in OTU_2d."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import FolderNotFound, files, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import read_colours, read_pixels
from ultrasam.datasets.readers.tables import read_text
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped, Table

COLOURS = {
    (64, 0, 0): "chocolate_cyst",
    (0, 64, 0): "serous_cystadenoma",
    (0, 0, 64): "teratoma",
    (64, 0, 64): "theca_cell_tumor",
    (64, 64, 0): "simple_cyst",
    (64, 64, 64): "normal_ovary",
    (0, 128, 0): "mucinous_cystadenoma",
    (0, 0, 128): "high_grade_serous",
    (255, 255, 255): "",  # a black and white mask names no class
}
CATEGORY = "ovarian_lesion"


def records(raw: Path) -> Iterator[Found]:
    root = _root(raw)
    images, masks = files(root / "images"), files(root / "annotations")
    listed: dict[str, str] = {}
    complete = True
    for split in ("train", "val"):
        table = root / f"{split}.txt"
        if not table.exists():
            complete = False
            yield Problem(table, "is missing: which images belong to this part is not known")
            continue
        yield Table(table)
        # Lines are "N" or "N.JPG".
        names = {Path(line.split()[0]).stem for line in read_text(table).splitlines() if line.strip()}
        if twice := listed.keys() & names:
            raise UltrasamError(f"{shown(table)} lists {min(twice)}, which train.txt has too")
        listed |= dict.fromkeys(names, split)
        yield from missing_from(table, names, (path.stem for path in images))
    matched, problems = pairs(images, masks, r"(\d+)\.(?:jpe?g|png)", r"(\d+)\.png")
    yield from problems
    more = [path for path in (*images, *masks) if "_" in path.stem]
    yield from (Skipped(path, "another version of an image or mask") for path in more)
    for number, image, mask in matched:
        if complete and number not in listed:
            yield Problem(image, "is in neither list: to which part it belongs is not known", (mask,))
            continue
        yield Record(
            case=number,
            files=(image, mask),
            load=partial(_load, image, mask),
            split=listed.get(number, ""),
            attributes={"modality": "CEUS"},
        )


def _root(raw: Path) -> Path:
    """The folder OTU_3d, by its name where OTU_2d, which looks alike, may lie beside it."""
    try:
        return find_folder(raw, "OTU_3d/images", "OTU_3d/annotations") / "OTU_3d"
    except FolderNotFound:
        root = find_folder(raw, "images", "annotations")
        if root.name.lower() == "otu_2d":
            raise
        return root


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    painted = read_colours(mask, COLOURS, pixels.shape)
    if not painted:
        return Sample(pixels, ())
    # Where an edge is smooth, the colours of two classes fade to black through those of two others.
    name = max(painted, key=lambda entry: int(entry.mask.sum())).category
    if name == "normal_ovary":  # no lesion
        return Sample(pixels, ())
    lesion = Object(CATEGORY, np.logical_or.reduce([entry.mask for entry in painted]))
    return Sample(pixels, (lesion,), attributes={"class": name} if name else {})
