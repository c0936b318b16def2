"""MUP: MicroSeg again, in files whose names say all: microUS_train_01, expert_annotation_train_01."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import FolderNotFound, files_below, keyed, pairs
from ultrasam.datasets.readers.stacks import slice_records
from ultrasam.datasets.record import Found, Problem

NAMES = {1: "prostate"}
END = r"_(train|test)_(\d+)\.nii(?:\.gz)?"
SCAN = rf"microUS{END}"
EXPERT = rf"expert_annotations?{END}"
# Others' masks end in the same words.
OTHER = rf"(?!expert_)(\w+)_annotations?{END}"
# As in micro_seg.
ANNOTATORS = {"nonexpert": "non-expert"}


def records(raw: Path) -> Iterator[Found]:
    volumes = files_below(raw, ".nii", ".nii.gz")
    if not volumes:
        raise FolderNotFound(
            f"{shown(raw)} holds no folder with microUS_train_01.nii.gz and the like in it: the download is "
            "not complete, or its layout has changed"
        )
    matched, problems = pairs(volumes, volumes, SCAN, EXPERT)
    more, twice = keyed(volumes, OTHER)
    yield from (*problems, *twice)
    torn = {problem.path for problem in twice}
    others: dict[str, dict[str, Path]] = defaultdict(dict)
    for key, path in more.items():
        if path not in torn:
            annotator, _, volume = key.lower().partition("-")
            others[volume][ANNOTATORS.get(annotator, annotator.replace("_", "-"))] = path
    for key, scan, mask in matched:
        case = key.lower()
        masks = {"": mask, **others.pop(case, {})}
        yield from slice_records(scan, masks, NAMES, case, case.partition("-")[0])
    left = sorted(path for by in others.values() for path in by.values())
    yield from (Problem(path, "has no scan with a mask of the expert") for path in left)
