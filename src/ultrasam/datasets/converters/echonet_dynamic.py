"""EchoNet-Dynamic: the left ventricle in apical videos, traced at end-diastole and end-systole."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import find_folder
from ultrasam.datasets.readers.polygons import Point
from ultrasam.datasets.readers.tracings import (
    LIST,
    TRACINGS,
    VIDEOS,
    Rows,
    Video,
    load_traced,
    outlines,
    phases,
    traced_videos,
)
from ultrasam.datasets.record import Found, Problem, Record

SPLITS = {"TRAIN": "train", "VAL": "val", "TEST": "test"}


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, VIDEOS, LIST, TRACINGS)
    for video in traced_videos(root, ("EF", "Split"), ("X1", "Y1", "X2", "Y2")):
        if not isinstance(video, Video):
            yield video
            continue
        split = SPLITS.get(video.row["Split"].upper())
        if split is None:
            yield Problem(
                video.path, f"is of the part {video.row['Split']!r} in {LIST}, not of {', '.join(SPLITS)}"
            )
            continue
        traced, problems = outlines(video, _outline)
        yield from problems
        phase_of = phases(traced)
        for frame, points in traced.items():
            facts = {"phase": phase_of.get(frame, ""), "ejection_fraction": video.row["EF"]}
            yield Record(
                case=video.name,
                frame=frame,
                files=(video.path,),
                load=partial(load_traced, video.path, frame, points, "left_ventricle", video.table),
                split=split,
                attributes={key: value for key, value in facts.items() if value},
            )


def _outline(chords: Rows) -> tuple[Point, ...]:
    """Down one side of the ventricle and up the other. The first row is its long axis, not a chord."""
    down = tuple((x, y) for x, y, _, _ in chords[1:])
    return down + tuple((x, y) for _, _, x, y in reversed(chords[1:]))
