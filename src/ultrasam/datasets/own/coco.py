"""A COCO file of a user's own, with its images, as records."""

from __future__ import annotations

import math
import os
from collections import Counter
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.masks import decode_segmentation
from ultrasam.datasets.catalogue import Category
from ultrasam.datasets.own.cases import Named, cases_of, short
from ultrasam.datasets.own.files import MASK_FOLDERS, SPLITS, is_volume, place_of, plain
from ultrasam.datasets.own.masks import check_size, read_image
from ultrasam.datasets.raw import file_state
from ultrasam.datasets.readers.folders import files
from ultrasam.datasets.record import Attribute, Found, Object, Problem, Record, Sample, Skipped, Table
from ultrasam.io.coco import Coco, CocoAnnotation, CocoImage, read_coco

Shapes = tuple[tuple[str, CocoAnnotation], ...]


def is_coco(path: Path) -> bool:
    return path.suffix.lower() == ".json" and path.is_file()


def root_of(table: Path) -> Path:
    """The folder in which a COCO file and its images lie."""
    return table.parent.parent if plain(table.parent.name) in MASK_FOLDERS else table.parent


def coco_signature(table: Path) -> str:
    """Equal as long as neither the COCO file nor one of its images changes its size or time."""
    digest = sha256(f"{table.name}\0{file_state(table)}\n".encode())
    for image in read_coco(table).images:
        for path in _places(table, image):
            digest.update(os.fsencode(f"{os.path.relpath(path, table.parent)}\0{file_state(path)}\n"))
    return digest.hexdigest()


def categories_of(table: Path, coco: Coco) -> tuple[Category, ...]:
    """The categories in the order of the file. Raises UltrasamError if two have one name."""
    names = Counter(category.name for category in coco.categories)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise UltrasamError(f"{shown(table)} has two categories with the name {twice[0]!r}: rename one")
    return tuple(Category(category.name, category.supercategory or "other") for category in coco.categories)


def coco_records(table: Path, coco: Coco, pattern: str) -> tuple[list[Found], str]:
    """The records of a COCO file, and what a case is.

    A case is what `pattern` finds, else `case_id` if every image has one, else it depends on the folders.
    """
    placed, problems = _placed(table, coco)
    root = root_of(table)
    cases = cases_of([place_of(path, root) for path, _ in placed], pattern)
    keyed = not pattern and all(image.case_id for _, image in placed)
    names = {category.id: category.name for category in coco.categories}
    drawn = coco.by_image()
    notes: Counter[str] = Counter()
    found: list[Found] = [Table(table), *problems]
    for path, image in placed:
        shapes = tuple((names[one.category_id], one) for one in drawn[image.id] if not one.iscrowd)
        notes["crowd regions, which are no objects"] += len(drawn[image.id]) - len(shapes)
        boxes = [one.id for _, one in shapes if one.segmentation is None]
        if boxes:
            found.append(Problem(path, f"has a box without a mask in {table.name}: annotation {boxes[0]}"))
            continue
        place = place_of(path, root)
        try:
            named = cases.named(place, PurePosixPath(path.relative_to(root).as_posix()))
        except UltrasamError as error:
            found.append(Problem.of(path, error))
            continue
        if keyed:
            own = str(image.case_id)
            named = Named(short(own), "" if own == "/".join(place) else short("/".join(place)), named.split)
        split = SPLITS.get(plain(image.split or ""), "")
        notes["images with a split that is none of train, val and test"] += bool(image.split and not split)
        spacing = image.spacing
        if spacing and not all(math.isfinite(step) and step > 0 for step in spacing):
            notes["images with a spacing that is not positive"] += 1
            spacing = None
        found.append(
            Record(
                case=named.case,
                view=named.view,
                files=(path,),
                load=partial(_load, path, shapes, (image.height, image.width), spacing, table),
                split=split or named.split,
                attributes=_attributes(image),
            )
        )
    found += (Skipped(table, f"{what}: {count}") for what, count in sorted(notes.items()) if count)
    used = {table, *(path for path, _ in placed), *(problem.path for problem in problems)}
    for folder in sorted({path.parent for path, _ in placed}):
        found += (
            Skipped(path, f"{table.name} does not list it") for path in files(folder) if path not in used
        )
    return found, "a case is the case_id of the COCO file" if keyed else cases.told


def _placed(table: Path, coco: Coco) -> tuple[list[tuple[Path, CocoImage]], list[Problem]]:
    """The images with their files, by name, and those without one file of their own."""
    placed: list[tuple[Path, CocoImage]] = []
    problems: list[Problem] = []
    for image in sorted(coco.images, key=lambda image: (image.file_name, image.id)):
        there = _places(table, image)
        if len(there) == 1 and is_volume(there[0]):
            problems.append(Problem(there[0], f"is a volume, which {table.name} cannot have outlines for"))
        elif len(there) == 1:
            placed.append((there[0], image))
        elif there:
            problems.append(Problem(there[0], f"lies in {shown(there[1].parent.name)} too: keep one of them"))
        elif _inside(image) is None:
            problems.append(Problem(table, f"lists {image.file_name!r:.80}: write its path from here"))
        else:
            lost = root_of(table) / str(_inside(image))
            problems.append(Problem(lost, f"is missing, or in a folder that {table.name} does not name"))
    counts = Counter(path for path, _ in placed)
    problems += (Problem(path, f"is in {table.name} twice") for path, count in counts.items() if count > 1)
    return [(path, image) for path, image in placed if counts[path] == 1], problems


def _places(table: Path, image: CocoImage) -> list[Path]:
    """Where the file of an image may lie and does: as `file_name` says, from the COCO file or from images."""
    name = _inside(image)
    if name is None:
        return []
    root = root_of(table)
    folders = dict.fromkeys((table.parent, table.parent / "images", root, root / "images"))
    return [folder / name for folder in folders if (folder / name).is_file()]


def _inside(image: CocoImage) -> PurePosixPath | None:
    """`file_name` with / between its parts; None if it leads elsewhere."""
    name = PurePosixPath(image.file_name.replace("\\", "/"))
    return None if name.is_absolute() or ".." in name.parts or "\0" in image.file_name else name


def _attributes(image: CocoImage) -> dict[str, Attribute]:
    """Plain values of what else the COCO file says, with view and frame, which here name no file."""
    values = {**(image.attributes or {}), "view": image.view, "frame": image.frame}
    return {str(key): value for key, value in values.items() if isinstance(value, (str, int, float, bool))}


def _load(
    path: Path,
    shapes: Shapes,
    size: tuple[int, int],
    spacing: tuple[float, float] | None,
    table: Path,
) -> Sample:
    pixels, own_spacing = read_image(path)
    check_size(path, pixels.shape, table, size)
    objects = []
    for name, one in shapes:
        try:
            mask = decode_segmentation(one.segmentation, *size)
        except UltrasamError as error:
            raise UltrasamError(f"annotation {one.id} of it cannot be drawn: {error}") from None
        objects.append(Object(name, mask, instance=True))
    return Sample(pixels, tuple(objects), spacing or own_spacing)
