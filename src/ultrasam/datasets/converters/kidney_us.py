"""Open Kidney Ultrasound Data Set: the capsule and, within it, three regions, drawn by two sonographers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ultrasam.datasets.readers.folders import FolderNotFound, files, find_folder, keyed, missing_from
from ultrasam.datasets.readers.masks import by_label, read_labels, read_pixels
from ultrasam.datasets.readers.polygons import read_via_csv
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Table

CAPSULE = {1: "kidney_capsule"}
REGIONS = {1: "central_echo_complex", 2: "medulla", 3: "cortex"}
# The first sonographer's masks are the main ones.
ANNOTATORS = {"1": "", "2": "second"}
NAME = r"(\d+)_(IM-[\d-]+)_anon\.png"

Masks = tuple[tuple[Path, str, str], ...]


def records(raw: Path) -> Iterator[Found]:
    labels = find_folder(raw, "labels/reviewed_masks_1/capsule") / "labels"
    images, problems = keyed(files(_image_folder(raw, labels)), NAME)
    about: dict[str, tuple[dict[str, Any], Any]] = {}
    table = labels / "reviewed_labels_1.csv"
    if table.exists():
        yield Table(table)
        about = read_via_csv(table)
        yield from missing_from(table, about, (path.name for path in images.values()))
    else:
        yield Problem(table, "is missing: view and quality are not known")
    drawn: dict[str, list[tuple[Path, str, str]]] = {key: [] for key in images}
    for number, annotator in ANNOTATORS.items():
        for kind in ("capsule", "regions"):
            folder = labels / f"reviewed_masks_{number}" / kind
            if not folder.exists():
                yield Problem(folder, "is missing: what is drawn there is not in the set")
                continue
            masks, twice = keyed(files(folder), NAME)
            problems += twice
            for key, path in masks.items():
                if key in images:
                    drawn[key].append((path, kind, annotator))
                else:
                    yield Problem(path, "has no image")
    yield from problems
    torn = {problem.path for problem in problems}
    for key, masks_of in drawn.items():
        image = images[key]
        paths = tuple(path for path, _, _ in masks_of)
        if torn & {image, *paths}:
            yield Problem(image, "is there twice, or a mask of it is: which is right is not known", paths)
            continue
        if not masks_of:
            yield Problem(image, "has no mask")
            continue
        if about and image.name not in about:
            yield Problem(image, f"has no row in {table.name}: it is kept without view and quality")
        notes = about.get(image.name, ({}, []))[0]
        case, rest = key.split("-", 1)
        attributes = {name.lower(): str(notes[name]) for name in ("Quality", "View") if notes.get(name)}
        load = partial(_load, image, tuple(masks_of))
        yield Record(case=case, view=rest, files=(image, *paths), load=load, attributes=attributes)


def _image_folder(raw: Path, labels: Path) -> Path:
    """The folder of images, which come by another way than the labels; else the one among the labels."""
    try:
        return find_folder(raw, "*_IM-*_anon.png", besides=labels)
    except FolderNotFound:
        if (labels / "images").is_dir():
            return labels / "images"
        raise


def _load(image: Path, masks: Masks) -> Sample:
    pixels = read_pixels(image)
    objects: list[Object] = []
    for path, kind, annotator in masks:
        names = CAPSULE if kind == "capsule" else REGIONS
        objects += by_label(read_labels(path, names, pixels.shape), names, annotator)
    return Sample(pixels, tuple(objects))
