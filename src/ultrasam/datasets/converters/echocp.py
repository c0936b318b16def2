"""EchoCP: the chambers of the heart in contrast echocardiography, at rest and in the Valsalva manoeuvre."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import by_label, check_labels, on_grid
from ultrasam.datasets.readers.stacks import count_slices
from ultrasam.datasets.readers.volumes import slice_image, slice_labels, slice_spacing
from ultrasam.datasets.record import Found, Problem, Record, Sample

# The files do not say it. CardiacUDC, by the same owners, has these labels in its four-chamber view; they are
# taken only where the chambers lie as in that view.
NAMES = {1: "left_ventricle", 2: "left_atrium", 3: "right_atrium", 4: "right_ventricle"}
# Of two chambers the first lies above the second (axis 0), or further left in the picture (axis 1).
PLACES = ((1, 2, 0), (1, 3, 0), (4, 2, 0), (4, 3, 0), (4, 1, 1), (3, 2, 1))
MANOEUVRES = {"r": "rest", "v": "valsalva"}


def records(raw: Path) -> Iterator[Found]:
    volumes = files(find_folder(raw, "*_image.nii*"), ".nii", ".nii.gz")
    matched, problems = pairs(volumes, volumes, r"(.+)_image\.nii(?:\.gz)?", r"(.+)_label\.nii(?:\.gz)?")
    yield from problems
    for name, image, mask in matched:
        try:
            count = count_slices(image, mask)
        except UltrasamError as error:
            yield Problem.of(image, error, (mask,))
            continue
        patient, _, view = name.partition("_")
        manoeuvre = MANOEUVRES.get(view.lower())
        for index in range(count):
            yield Record(
                case=patient,
                view=view,
                frame=index,
                files=(image, mask),
                load=partial(_load, image, mask, count, index),
                attributes={"manoeuvre": manoeuvre} if manoeuvre else {},
            )


def _load(image: Path, mask: Path, count: int, index: int) -> Sample:
    pixels = slice_image(image, index)
    labels = slice_labels(mask, index)
    on_grid(labels != 0, pixels.shape, mask)
    check_labels(labels, NAMES, mask)
    if labels.any() and (doubt := _doubt(mask, count)):
        raise UltrasamError(f"{shown(mask)} {doubt}: which label is which chamber is not known")
    return Sample(pixels, by_label(labels, NAMES), slice_spacing(image))


@lru_cache(maxsize=2)
def _doubt(mask: Path, count: int) -> str:
    """Why the labels of a video of `count` frames may not be those of `NAMES`; "" if they are."""
    frames = [
        {value: np.argwhere(labels == value).mean(axis=0) for value in NAMES if (labels == value).any()}
        for labels in (slice_labels(mask, index) for index in range(count))
    ]
    seen = False
    for first, second, axis in PLACES:
        apart = [one[second][axis] - one[first][axis] for one in frames if first in one and second in one]
        seen = seen or bool(apart)
        if apart and np.mean(apart) <= 0:
            where = ("below", "to the right of")[axis]
            names = f"{NAMES[first]} and {NAMES[second]}"
            return f"has label {first} {where} label {second}, which in an apical view are no {names}"
    return "" if seen else "has no frame with two chambers, whose places tell what they are"
