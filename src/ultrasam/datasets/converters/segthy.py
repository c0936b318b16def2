"""SegThy: the thyroid and two vessels of the neck, in volumes put together from sweeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import DEEPEST, files, keyed, listing, pairs
from ultrasam.datasets.readers.stacks import count_slices, load_slice
from ultrasam.datasets.record import Found, Problem, Record, Skipped

NAMES = {1: "thyroid_gland", 2: "carotid_artery", 3: "jugular_vein"}
# Slices follow each other closely: of each volume the first is taken, then every fifth.
EVERY = 5
# The volunteer, the rest, and _US for an image; 001_US is one without a rest.
NAME = r"([a-z]*\d+)(?:[_ -](?!US\.nii)(.+?))?(?:_US)?\.nii(?:\.gz)?"
LABELS = r"(?<!un)label"
OTHER = r"mri?(?![a-z]).*"


def records(raw: Path) -> Iterator[Found]:
    images: list[Path] = []
    labels: list[Path] = []
    for folder in _folders(raw):
        if folder != raw and _is_other(folder):
            yield Skipped(folder, "magnetic resonance")
            continue
        labelled = any(re.search(LABELS, part, re.IGNORECASE) for part in folder.relative_to(raw).parts)
        (labels if labelled else images).extend(files(folder, ".nii", ".nii.gz"))
    if not labels:
        found = f", only volumes in {shown(images[0].parent)}" if images else ""
        raise UltrasamError(
            f"{shown(raw)} has no volumes in a folder with 'label' in its name{found}: the download is not "
            "complete, or its layout has changed"
        )
    wanted = keyed(labels, NAME)[0].keys()
    used: list[Path] = []
    for folder, inside in groupby(images, lambda path: path.parent):
        volumes = list(inside)
        if wanted.isdisjoint(keyed(volumes, NAME)[0]):
            yield Skipped(folder, "volumes without labels")
        else:
            used += volumes
            yield Skipped(folder, f"of every {EVERY} slices only the first is taken")
    for path in (*used, *labels):
        if not re.fullmatch(NAME, path.name, re.IGNORECASE):
            yield Problem(
                path, "has no number at the start of its name: which volunteer it shows is not known"
            )
    matched, problems = pairs(used, labels, NAME, NAME)
    yield from problems
    for key, image, mask in matched:
        volunteer, _, rest = key.partition("-")
        try:
            count = count_slices(image, mask)
        except UltrasamError as error:
            yield Problem.of(image, error, (mask,))
            continue
        for index in range(0, count, EVERY):
            yield Record(
                case=volunteer,
                view=rest,
                frame=index,
                files=(image, mask),
                load=partial(load_slice, image, {"": mask}, NAMES, index),
            )


def _folders(folder: Path, depth: int = 0) -> Iterator[Path]:
    """A folder and those in it, sorted; not those in one of another modality."""
    yield folder
    if depth < DEEPEST and not (depth and _is_other(folder)):
        for below in listing(folder):
            if below.is_dir():
                yield from _folders(below, depth + 1)


def _is_other(folder: Path) -> bool:
    return re.fullmatch(OTHER, folder.name, re.IGNORECASE) is not None
