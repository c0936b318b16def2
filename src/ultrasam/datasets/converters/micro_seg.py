"""MicroSeg: the prostate in micro-ultrasound, NIfTI stacks; non-experts have drawn it too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.folders import files, find_folder, keyed, listing, pairs
from ultrasam.datasets.readers.stacks import count_slices, load_slice
from ultrasam.datasets.record import Found, Problem, Record

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
        others = dict(_others(folder / "non_expert_annotations"))
        for number, scan, mask in matched:
            masks = {"": mask} | {name: paths[number] for name, paths in others.items() if number in paths}
            try:
                count = count_slices(scan, *masks.values())
            except UltrasamError as error:
                yield Problem.of(scan, error, tuple(masks.values()))
                continue
            for index in range(count):
                load = partial(load_slice, scan, masks, NAMES, index)
                paths = (scan, *masks.values())
                yield Record(case=f"{split}-{number}", frame=index, files=paths, load=load, split=split)


def _others(folder: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """The masks of each non-expert by number: in a folder of each, or all in one."""
    if folder.exists():
        if files(folder):
            yield "non-expert", keyed(files(folder), VOLUME)[0]
        for below in filter(Path.is_dir, listing(folder)):
            yield f"non-expert-{below.name}", keyed(files(below), VOLUME)[0]
