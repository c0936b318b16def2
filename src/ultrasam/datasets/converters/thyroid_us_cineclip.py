"""Thyroid cine clips of Stanford: one HDF5 file with a row for each frame of all clips."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import find_file, find_folder, missing_from
from ultrasam.datasets.readers.hdf5 import hdf5_header, hdf5_row, hdf5_texts
from ultrasam.datasets.readers.masks import binary, on_grid
from ultrasam.datasets.readers.tables import Row, rows_by
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped, Table

FILE, ABOUT = "dataset.hdf5", "metadata.csv"
# Frames follow each other closely: of each clip the first is taken, then every fifth.
EVERY = 5
CLIP = r"(\d+)(?:_(\w*))?"
# Columns of the table that say what a nodule is; the rest is about the patient and its size.
TOLD = ("tirads", "histo")


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, FILE)
    file, table = root / FILE, find_file(raw, ABOUT)
    clips, numbers = hdf5_texts(file, "annot_id"), hdf5_texts(file, "frame_num")
    counts = [len(clips), len(numbers)]
    for name in ("image", "mask"):
        header = hdf5_header(file, name)
        if len(header.shape) != 3 or header.dtype != "uint8":
            what = f"{header.dtype} in {len(header.shape)} axes"
            raise UltrasamError(f"{shown(file)} has {what} in {name!r}: uint8 in 3 axes was expected")
        counts.append(header.shape[0])
    if len(set(counts)) > 1:
        raise UltrasamError(f"{shown(file)} has arrays of several lengths: {', '.join(map(str, counts))}")
    yield Skipped(file, f"of every {EVERY} frames of a clip only the first is taken")
    rows: dict[str, Row] = {}
    if table is None:
        yield Problem(root / ABOUT, "is missing: what the nodules are is not known")
    else:
        yield Table(table)
        try:
            rows = rows_by(table, "annot_id")
        except UltrasamError as error:
            yield Problem.of(table, error)
    if table is not None and rows:
        yield from missing_from(table, rows, clips)
        if unknown := sorted(set(clips) - rows.keys()):
            what = f"has no row for {unknown[0]!r} ({len(unknown)} such clips)"
            yield Problem(table, f"{what}: they are kept without what the nodules are")
        elif not any(_plain(column).startswith(TOLD) for column in next(iter(rows.values()))):
            yield Problem(table, "has no column of TI-RADS or histology: what the nodules are is not known")
    yield from _frames(file, clips, numbers, rows)


def _frames(file: Path, clips: list[str], numbers: list[str], rows: dict[str, Row]) -> Iterator[Found]:
    frames: dict[str, list[tuple[int, int]]] = defaultdict(list)
    odd = []
    for row, (clip, number) in enumerate(zip(clips, numbers, strict=True)):
        if re.fullmatch(CLIP, clip) and re.fullmatch(r"\d+(\.0)?", number):
            frames[clip].append((int(float(number)), row))
        else:
            odd.append((row, clip, number))
    if odd:
        row, clip, number = odd[0]
        what = f"has {len(odd)} frame{'s' * (len(odd) > 1)} of no known patient or clip"
        yield Problem(file, f"{what}: in row {row} annot_id is {clip!r}, frame_num {number!r}")
    # In the order of the file, which is read in pieces.
    taken = sorted((row, clip, frame) for clip in frames for frame, row in sorted(frames[clip])[::EVERY])
    for row, clip, frame in taken:
        patient, _, nodule = clip.partition("_")
        about = {_plain(column): value for column, value in rows.get(clip, {}).items() if value}
        yield Record(
            case=patient,
            view=nodule,
            frame=frame,
            files=(file,),
            load=partial(_load, file, row),
            attributes={name: value for name, value in about.items() if name.startswith(TOLD)},
        )


def _plain(column: str) -> str:
    """TI-RADS_level as tirads_level."""
    return re.sub(r"\W+", "_", column.lower().replace("ti-rads", "tirads"))


def _load(file: Path, row: int) -> Sample:
    pixels = hdf5_row(file, "image", row)
    mask = binary(hdf5_row(file, "mask", row), f"{shown(file)}, mask {row},")
    return Sample(pixels, (Object("thyroid_nodule", on_grid(mask, pixels.shape, file)),))
