"""EchoCP: the chambers of the heart in contrast echocardiography, at rest and in the Valsalva manoeuvre."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.chambers import NAMES, doubt
from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import by_label, check_labels, on_grid
from ultrasam.datasets.readers.stacks import count_slices
from ultrasam.datasets.readers.volumes import slice_image, slice_labels, slice_spacing
from ultrasam.datasets.record import Found, Problem, Record, Sample

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
    # The files do not say which label is which. CardiacUDC, by the same owners, has these in its four-chamber
    # view; they are taken only where the chambers lie as in that view.
    if labels.any() and (why := doubt(mask, count)):
        raise UltrasamError(f"{shown(mask)} {why}: which label is which chamber is not known")
    return Sample(pixels, by_label(labels, NAMES), slice_spacing(image))
