"""AUL: liver and liver mass, a polygon each in a JSON file of its own; the folder tells what the mass is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import BoolArray
from ultrasam.datasets.readers.folders import FolderNotFound, files, find_folder, keyed
from ultrasam.datasets.readers.masks import read_pixels
from ultrasam.datasets.readers.polygons import fill_polygons, read_points
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped

CLASSES = ("Benign", "Malignant", "Normal")
# Numbers of images whose liver stands in the place of the outline of the field of view, and of one without.
LIVER_AS_OUTLINE = ("229", "306")
NO_LIVER = ("374",)


def records(raw: Path) -> Iterator[Found]:
    found = False
    for name in CLASSES:
        try:
            folder = find_folder(raw, f"{name}/image", f"{name}/segmentation") / name
        except FolderNotFound:
            if name == CLASSES[-1] and not found:
                raise
            yield Problem(raw / name, "is missing, or holds no image and segmentation: unpack its archive")
            continue
        found = True
        yield from _of_class(folder, name.lower())


def _of_class(folder: Path, pathology: str) -> Iterator[Found]:
    images, problems = keyed(files(folder / "image"), r"(\d+)\.(?:jpe?g|png)")
    drawn: dict[str, dict[str, Path]] = {}
    for kind in ("liver", "mass", "outline"):
        place = folder / "segmentation" / kind
        drawn[kind], twice = keyed(files(place) if place.exists() else [], r"(\d+)\.json")
        problems += twice
        if kind == "outline" and place.exists():
            yield Skipped(place, "the field of view, no organ")
        elif kind == "mass" and pathology == "normal" and place.exists() and not files(place):
            yield Skipped(place, "a normal liver has no mass")
    # Of a number that stands twice nothing is used.
    for problem in problems:
        of_number = (kind.pop(problem.path.stem, None) for kind in (images, drawn["liver"], drawn["mass"]))
        yield replace(problem, also=tuple(path for path in of_number if path))
    for number, image in images.items():
        livers = [drawn["liver"].pop(number)] if number in drawn["liver"] else []
        masses = [drawn["mass"].pop(number)] if number in drawn["mass"] else []
        if number in LIVER_AS_OUTLINE and number in drawn["outline"]:
            livers.append(drawn["outline"][number])
        if not livers and number not in NO_LIVER:
            yield Problem(image, "has no polygon of the liver", tuple(masses))
        elif bool(masses) == (pathology == "normal"):
            what = f"is {pathology} and has {'a' if masses else 'no'} polygon of a mass"
            yield Problem(image, what, (*livers, *masses))
        else:
            yield Record(
                case=f"{pathology}-{number}",
                files=(image, *livers, *masses),
                load=partial(_load, image, tuple(livers), tuple(masses)),
                attributes={"pathology": pathology},
            )
    left = sorted(path for kind in ("liver", "mass") for path in drawn[kind].values())
    yield from (Problem(path, "has no image") for path in left)


def _load(image: Path, livers: tuple[Path, ...], masses: tuple[Path, ...]) -> Sample:
    pixels = read_pixels(image)
    objects = []
    if livers:
        # Of two, the larger is the field of view: the liver lies in it.
        liver = min((_region(path, pixels.shape) for path in livers), key=np.count_nonzero)
        objects.append(Object("liver", liver, instance=True))
    objects += [Object("liver_mass", _region(path, pixels.shape), instance=True) for path in masses]
    return Sample(pixels, tuple(objects))


def _region(path: Path, shape: tuple[int, ...]) -> BoolArray:
    region = fill_polygons([read_points(path)], shape, path)
    if not region.any():
        raise UltrasamError(f"{shown(path)} has a polygon that encloses no pixel")
    return region
