"""mu-RegPro: the prostate in transrectal volumes, with landmarks; a label volume for each, overlapping."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import FolderNotFound, files, find_folder, pairs
from ultrasam.datasets.readers.masks import check_labels, on_grid
from ultrasam.datasets.readers.stacks import count_slices
from ultrasam.datasets.readers.volumes import Plane, slice_channels, slice_image, slice_spacing
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped
from ultrasam.io.volumes import read_header

# By channel of the labels: what a landmark is differs from patient to patient.
CATEGORIES = ("prostate_gland", *["prostate_landmark"] * 5)
SPLITS = ("train", "val")
PLANE: Plane = "sagittal"
VOLUME = r"(.+?)\.nii(?:\.gz)?"


def records(raw: Path) -> Iterator[Found]:
    found = False
    for split in SPLITS:
        try:
            folder = find_folder(raw, f"{split}/us_images", f"{split}/us_labels") / split
        except FolderNotFound:
            if split == SPLITS[-1] and not found:
                raise
            yield Problem(raw / split, "is missing, or holds no us_images and us_labels: unpack its archive")
            continue
        found = True
        for name in ("mr_images", "mr_labels"):
            if (folder / name).exists():
                yield Skipped(folder / name, "magnetic resonance of the same patients")
        try:
            scans, labels = files(folder / "us_images"), files(folder / "us_labels")
            matched, problems = pairs(scans, labels, VOLUME, VOLUME)
        except UltrasamError as error:
            yield Problem.of(folder, error)
            continue
        yield from problems
        for case, scan, labels_of in matched:
            yield from _volume(scan, labels_of, case, split)


def _volume(scan: Path, labels: Path, case: str, split: str) -> Iterator[Found]:
    try:
        count = count_slices(scan, labels, plane=PLANE)
        channels = read_header(labels).times
        if channels != len(CATEGORIES):
            raise UltrasamError(f"{shown(labels)} has {channels} channels, not {len(CATEGORIES)}")
    except UltrasamError as error:
        yield Problem.of(scan, error, (labels,))
        return
    for index in range(count):
        load = partial(_load, scan, labels, index)
        yield Record(case=case, frame=index, files=(scan, labels), load=load, split=split)


def _load(scan: Path, labels: Path, index: int) -> Sample:
    pixels = slice_image(scan, index, PLANE)
    objects = []
    landmarks = []
    for channel, values in enumerate(slice_channels(labels, index, PLANE)):
        category = CATEGORIES[channel]
        check_labels(values, {1: category}, labels)
        mask = on_grid(values == 1, pixels.shape, labels)
        # A channel is one structure, even where a slice cuts it twice.
        objects.append(Object(category, mask, instance=True))
        if channel and mask.any():
            landmarks.append(str(channel))
    about = {"landmarks": " ".join(landmarks)} if landmarks else {}
    return Sample(pixels, tuple(objects), slice_spacing(scan, PLANE), about)
