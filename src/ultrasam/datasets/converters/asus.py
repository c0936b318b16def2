"""ASUS: the surface of the vertebrae in sweeps along the spine, NumPy arrays with the skin at the bottom."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.arrays import open_npy
from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import by_label, check_labels
from ultrasam.datasets.record import Found, Problem, Record, Sample, Skipped

NAMES = {1: "spine"}
# White is 1, which resampling can overshoot, but not by much.
HIGHEST = 1.5
NOT_READ = {
    "_indices": "the numbers of the frames that were drawn in",
    "_transform": "where the probe was at each frame",
}


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "q[0-9]*_ultrasound.npy")
    arrays = files(root, ".npy")
    matched, problems = pairs(arrays, arrays, r"(q\d+)_ultrasound\.npy", r"(q\d+)_segmentation\.npy")
    yield from problems
    for path in arrays:
        for end, what in NOT_READ.items():
            if path.stem.endswith(end):
                yield Skipped(path, what)
    for sweep, scan, mask in matched:
        try:
            count = _count(scan, mask)
        except UltrasamError as error:
            yield Problem.of(scan, error, (mask,))
            continue
        for frame in range(count):
            load = partial(_load, scan, mask, frame)
            yield Record(case=sweep, frame=frame, files=(scan, mask), load=load)


def _count(scan: Path, mask: Path) -> int:
    """Frames of a sweep, from the headers."""
    shape, other = open_npy(scan).shape, open_npy(mask).shape
    if len(shape) != 4 or shape[3] != 1:
        raise UltrasamError(f"{shown(scan)} is of the shape {shape}: (frames, rows, columns, 1) was expected")
    if shape != other:
        raise UltrasamError(f"{shown(mask)} is of the shape {other}, its images of {shape}")
    return int(shape[0])


def _load(scan: Path, mask: Path, frame: int) -> Sample:
    levels = np.asarray(open_npy(scan)[frame, ..., 0], np.float64)
    if np.isnan(levels).all():
        levels = np.zeros_like(levels)  # a black frame, divided by its brightest pixel
    if not np.isfinite(levels).all() or levels.min() < 0 or levels.max() > HIGHEST:
        raise UltrasamError(f"{shown(scan)} has other values than from 0 to 1 in frame {frame}")
    labels = np.asarray(open_npy(mask)[frame, ..., 0])
    if not (labels == np.rint(labels)).all():
        raise UltrasamError(f"{shown(mask)} holds fractions in frame {frame}: 0 and 1 were expected")
    numbers = labels.astype(np.int32)
    check_labels(numbers, NAMES, mask)
    # Its owners turn rows, and only these, between the picture of the scanner and what they train on.
    pixels = np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)[::-1]
    return Sample(np.ascontiguousarray(pixels), by_label(np.ascontiguousarray(numbers[::-1]), NAMES))
