"""Videos of which single frames are traced, with the tables of Stanford's EchoNet sets.

A folder has the videos in Videos, a row for each of them in FileList.csv, and in VolumeTracings.csv a row for
each point or chord of an outline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.arrays import video_frame, video_frames
from ultrasam.datasets.readers.folders import files, keyed, missing_from
from ultrasam.datasets.readers.polygons import Point, fill_polygons
from ultrasam.datasets.readers.tables import Row, read_rows
from ultrasam.datasets.record import Found, Object, Problem, Sample, Skipped, Table

VIDEOS, LIST, TRACINGS = "Videos", "FileList.csv", "VolumeTracings.csv"

Rows = list[tuple[float, ...]]
Outline = Sequence[Point]


@dataclass(frozen=True)
class Video:
    """A traced video: its row of the list, and its rows of the tracings by frame, as both are written."""

    name: str
    path: Path
    row: Row
    tracings: Mapping[str, Rows]

    @property
    def table(self) -> Path:
        return self.path.parents[1] / TRACINGS


def traced_videos(folder: Path, about: Sequence[str], coordinates: Sequence[str]) -> Iterator[Video | Found]:
    """The traced videos of a folder by name, and what cannot be used.

    `about` are the columns needed of the list, `coordinates` those of the tracings. A video that no row of
    the tracings names is left out on purpose; one that the list does not name exactly once is a problem.
    Raises UltrasamError if there are no videos, or for a damaged table.
    """
    listed, table = folder / LIST, folder / TRACINGS
    yield Table(listed)
    yield Table(table)
    rows: dict[str, list[Row]] = {}
    for row in read_rows(listed, "FileName", *about):
        rows.setdefault(_stem(row["FileName"]), []).append(row)
    tracings = _read_tracings(table, coordinates)
    videos, twice = keyed(files(folder / VIDEOS), r"(.+)\.avi")
    if not videos:
        raise UltrasamError(f"{shown(folder / VIDEOS)} holds no .avi files: the download is not complete")
    yield from twice
    yield from missing_from(listed, rows, videos)
    yield from missing_from(table, tracings.keys() - rows.keys(), videos)
    torn = {problem.path for problem in twice}
    for name, path in videos.items():
        if path in torn:
            continue
        of_video = rows.get(name, [])
        if len(of_video) != 1:
            yield Problem(path, f"has {len(of_video) or 'no'} rows in {LIST}: what it is of is not known")
        elif name not in tracings:
            yield Skipped(path, "none of its frames is traced")
        else:
            yield Video(name, path, of_video[0], tracings[name])


def _read_tracings(path: Path, coordinates: Sequence[str]) -> dict[str, dict[str, Rows]]:
    found: dict[str, dict[str, Rows]] = {}
    for row in read_rows(path, "FileName", "Frame", *coordinates):
        frames = found.setdefault(_stem(row["FileName"]), {})
        frames.setdefault(row["Frame"], []).append(tuple(_number(row[name]) for name in coordinates))
    return found


def _stem(name: str) -> str:
    """The name of a video without its ending, which one of the tables leaves out."""
    return name[:-4] if name.lower().endswith(".avi") else name


def _number(text: str) -> float:
    # What is no number is told when its frame is filled, so that it costs no other frame.
    try:
        return float(text)
    except ValueError:
        return math.nan


def outlines(video: Video, outline: Callable[[Rows], Outline]) -> tuple[dict[int, Outline], list[Problem]]:
    """The outlines of a video by frame, which `outline` makes of the rows of one; in the order of time."""
    found: dict[int, Outline] = {}
    problems: list[Problem] = []
    for text, rows in video.tracings.items():
        whole = text.removesuffix(".0")
        if whole.isascii() and whole.isdigit() and int(whole) not in found:
            found[int(whole)] = outline(rows)
        else:
            problems.append(Problem(video.path, f"has the frame {text!r} in {TRACINGS}, which is no new one"))
    return dict(sorted(found.items())), problems


def phases(outlines: Mapping[int, Outline]) -> dict[int, str]:
    """Of a ventricle in two frames: ED where it is larger, ES where it is smaller; else nothing."""
    areas = {frame: _area(points) for frame, points in outlines.items()}
    if len(areas) != 2:
        return {}
    small, large = sorted(areas, key=areas.__getitem__)
    return {small: "ES", large: "ED"} if areas[small] < areas[large] else {}


def _area(points: Outline) -> float:
    following = [*points[1:], *points[:1]]
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(points, following, strict=True))) / 2


def load_traced(video: Path, frame: int, points: Outline, category: str, table: Path) -> Sample:
    """Frame `frame`, from 0, of a video, with the one object within `points`, whose whole numbers are the
    middles of pixels.

    Raises UltrasamError if there is no such frame and, naming `table`, if the points enclose nothing.
    """
    count = video_frames(video)
    if frame >= count:
        raise UltrasamError(f"{shown(video)} has {count} frames, no frame {frame} as {table.name} says")
    pixels = video_frame(video, frame)
    # In `fill_polygons` whole numbers are the corners of pixels.
    mask = fill_polygons([[(x + 0.5, y + 0.5) for x, y in points]], pixels.shape, table)
    if not mask.any():
        raise UltrasamError(f"{shown(table)} has points for frame {frame} that enclose nothing")
    return Sample(pixels, (Object(category, mask, instance=True),))
