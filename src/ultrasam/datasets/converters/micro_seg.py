"""MicroSeg: the prostate in micro-ultrasound, NIfTI stacks; others than the expert have drawn it too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, keyed, listing, pairs
from ultrasam.datasets.readers.stacks import slice_records
from ultrasam.datasets.record import Found, Problem

NAMES = {1: "prostate"}
VOLUME = r".*?(\d+)\.nii(?:\.gz)?"


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "train/micro_ultrasound_scans", "train/expert_annotations")
    for split in ("train", "test"):
        folder = root / split
        if not folder.exists():
            yield Problem(folder, "is missing: the set has patients for training and for tests")
            continue
        scans, expert = files(folder / "micro_ultrasound_scans"), files(folder / "expert_annotations")
        matched, problems = pairs(scans, expert, VOLUME, VOLUME)
        yield from problems
        others = dict(_others(folder))
        for number, scan, mask in matched:
            masks = {annotator: paths[number] for annotator, paths in others.items() if number in paths}
            yield from slice_records(scan, {"": mask, **masks}, NAMES, f"{split}-{number}", split)


def _others(folder: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """The masks by number of whoever else has drawn: folders such as clinician_annotations."""
    for below in listing(folder):
        if below.is_dir() and below.name.endswith("_annotations") and below.name != "expert_annotations":
            yield below.name.removesuffix("_annotations").replace("_", "-"), keyed(files(below), VOLUME)[0]
