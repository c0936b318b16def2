"""ACOUSLIC-AI: the fetal abdomen in six blind sweeps, stacked; most frames do not show it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import files, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import check_labels, on_grid
from ultrasam.datasets.readers.stacks import count_slices
from ultrasam.datasets.readers.tables import read_rows
from ultrasam.datasets.readers.volumes import slice_image, slice_labels, slice_spacing
from ultrasam.datasets.record import Attribute, Found, Object, Problem, Record, Sample, Table

# Both values mark the abdomen: they tell how good the plane is for measuring it.
PLANES = {1: "optimal", 2: "suboptimal"}
SWEEPS, FRAMES = 6, 140
# The challenge writes stacked-fetal-ultrasound too.
FOLDERS = ("images/stacked?fetal?ultrasound", "masks/stacked?fetal?abdomen")
TABLE = "circumferences/fetal_abdominal_circumferences_per_sweep.csv"
STACK = r"([\w-]+)\.mha"


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, *FOLDERS)
    images, masks = (files(min(root.glob(name))) for name in FOLDERS)
    matched, problems = pairs(images, masks, STACK, STACK)
    yield from problems
    table = root / TABLE
    subjects: dict[str, str] = {}
    if table.exists():
        yield Table(table)
        try:
            subjects = _subjects(table)
        except UltrasamError as error:
            yield Problem.of(table, error)
    else:
        yield Problem(table, "is missing: which stacks are of one woman is not known")
    yield from missing_from(table, subjects, (path.stem for path in images))
    for uuid, image, mask in matched:
        try:
            count = count_slices(image, mask)
        except UltrasamError as error:
            yield Problem.of(image, error, (mask,))
            continue
        subject = subjects.get(uuid, "")
        if subjects and not subject:
            yield Problem(image, f"has no subject in {table.name}: it is a case of its own")
        case, view = (f"subject-{subject}", uuid) if subject else (uuid, "")
        for index in range(count):
            # Where a stack has other frames, its sweeps cannot be told apart.
            sweep: dict[str, Attribute] = {"sweep": index // FRAMES + 1} if count == SWEEPS * FRAMES else {}
            yield Record(
                case=case,
                view=view,
                frame=index,
                files=(image, mask),
                load=partial(_load, image, mask, index),
                split="train",
                attributes=sweep,
            )


def _subjects(table: Path) -> dict[str, str]:
    """The woman of each stack. Raises UltrasamError if a stack has two."""
    subjects: dict[str, str] = {}
    for row in read_rows(table, "uuid", "subject_id"):
        if subjects.setdefault(row["uuid"], row["subject_id"]) != row["subject_id"]:
            raise UltrasamError(
                f"{shown(table)} has two subjects for {row['uuid']}: which is right is not known"
            )
    return subjects


def _load(scan: Path, mask: Path, index: int) -> Sample:
    pixels, labels = slice_image(scan, index), slice_labels(mask, index)
    on_grid(labels != 0, pixels.shape, mask)
    if not labels.any():
        return Sample(pixels, ())
    check_labels(labels, PLANES, mask)
    planes = [plane for value, plane in PLANES.items() if (labels == value).any()]
    about: dict[str, Attribute] = {"plane": planes[0]} if len(planes) == 1 else {}
    return Sample(pixels, (Object("fetal_abdomen", labels != 0),), slice_spacing(scan), about)
