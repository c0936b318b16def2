"""EchoNet-Pediatric: the left ventricle of children in two views, traced at end-diastole and end-systole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
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
from ultrasam.datasets.record import Found, Problem, Record, Skipped

VIEWS = ("A4C", "PSAX")
# What stands in place of a frame where a phase is not traced, and the phase of the other frame.
NOT_TRACED = {"No Systolic": "ED", "No Diastolic": "ES"}


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, f"*/{TRACINGS}")
    for view in VIEWS:
        needed = (root / view, *(root / view / name for name in (VIDEOS, LIST, TRACINGS)))
        lost = [path for path in needed if not path.exists()]
        if lost:
            yield Problem(lost[0], f"is missing: the view {view} cannot be used without")
            continue
        try:
            for video in traced_videos(root / view, ("EF", "Split"), ("X", "Y")):
                yield from _frames(video, view) if isinstance(video, Video) else (video,)
        except UltrasamError as error:
            yield Problem(root / view, f"cannot be used: {error}")


def _frames(video: Video, view: str) -> Iterator[Found]:
    known = [phase for text, phase in NOT_TRACED.items() if text in video.tracings]
    rest = {text: rows for text, rows in video.tracings.items() if text not in NOT_TRACED}
    if not rest:
        yield Skipped(video.path, "none of its frames is traced")
    traced, problems = outlines(replace(video, tracings=rest), _outline)
    yield from problems
    # A name is PATIENT-EXAM-NUMBER.
    child, _, number = video.name.partition("-")
    phase_of = dict.fromkeys(traced, known[0]) if len(known) == len(traced) == 1 else phases(traced)
    for frame, points in traced.items():
        facts = {
            "phase": phase_of.get(frame, ""),
            "ejection_fraction": video.row["EF"],
            "fold": video.row["Split"],
        }
        yield Record(
            case=child,
            view=f"{view}-{number}" if number else view,
            frame=frame,
            files=(video.path,),
            load=partial(load_traced, video.path, frame, points, "left_ventricle", video.table),
            attributes={key: value for key, value in facts.items() if value},
        )


def _outline(corners: Rows) -> tuple[Point, ...]:
    return tuple((x, y) for x, y in corners)
