"""Regional-US: videos of the brachial plexus from three machines, with a mask for each frame; in some, of a
needle too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.arrays import video_frame, video_frames
from ultrasam.datasets.readers.folders import files, find_folder, keyed, listing
from ultrasam.datasets.readers.masks import read_binary
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped

MACHINES = ("Butterfly", "Sonosite", "eSaote")
# Neighbouring frames are near copies.
EVERY = 5
PLEXUS, NEEDLE = "ac_masks", "needle/needle_masks"
NOT_READ = {
    "bb_annotations": "boxes, from which the masks were made",
    "needle/needle_coordinates": "the ends of the needles, between which their masks were drawn",
}
Masks = dict[int, Path]


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "*/videos/*.mp4", f"*/{PLEXUS}")
    for folder in listing(root):
        if folder.is_dir() and folder.name not in MACHINES:
            yield Skipped(
                folder, "of no named machine, and perhaps one of the other videos under another name"
            )
    for machine in MACHINES:
        folder = root / machine
        if not (folder / "videos").is_dir():
            yield Problem(folder / "videos", "is missing: the set has videos of three machines")
            continue
        for name, reason in NOT_READ.items():
            if (folder / name).exists():
                yield Skipped(folder / name, reason)
        for name in (PLEXUS, NEEDLE):
            if (folder / name).exists():
                yield Skipped(folder / name, f"of every {EVERY} frames only the first is taken")
        yield from _videos(folder, machine)


def _videos(folder: Path, machine: str) -> Iterator[Found]:
    videos, problems = keyed(files(folder / "videos"), r"(.+)\.mp4")
    drawn: dict[str, dict[str, Masks]] = {PLEXUS: {}, NEEDLE: {}}
    for kind, masks in drawn.items():
        places = listing(folder / kind) if (folder / kind).is_dir() else []
        for place in (place for place in places if place.is_dir()):
            masks[place.name], odd = _numbered(place)
            yield from odd
            if place.name not in videos:
                yield Problem(place, f"has no video {place.name}.mp4")
    of = {video: (drawn[PLEXUS].get(video, {}), drawn[NEEDLE].get(video, {})) for video in videos}
    for problem in problems:
        plexus, needle = of.pop(problem.path.stem, ({}, {}))
        yield replace(problem, also=(*plexus.values(), *needle.values()))
    for video, (plexus, needle) in of.items():
        yield from _frames(videos[video], plexus, needle, machine)


def _frames(video: Path, plexus: Masks, needle: Masks, machine: str) -> Iterator[Found]:
    masks = (*plexus.values(), *needle.values())
    if not plexus:
        yield Problem(video, f"has no masks in {PLEXUS}", masks)
        return
    try:
        count = video_frames(video)
    except UltrasamError as error:
        yield Problem.of(video, error, masks)
        return
    for numbered in (plexus, needle):
        if numbered and max(numbered) >= count:
            what = f"is of a later frame than the last of {video.name}, which has {count}"
            yield Problem(numbered[max(numbered)], what)
    wanted = range(0, count, EVERY)
    lacking = [frame for frame in wanted if frame not in plexus]
    if lacking:
        yield Problem(
            video, f"has no mask of frame {lacking[0]} ({len(lacking)} of {len(wanted)} are missing)"
        )
    for frame in (frame for frame in wanted if frame in plexus):
        used = (video, plexus[frame], *([needle[frame]] if frame in needle else []))
        load = partial(_load, *used, frame=frame)
        yield Record(case=video.stem, frame=frame, files=used, load=load, attributes={"machine": machine})


def _numbered(folder: Path) -> tuple[Masks, list[Problem]]:
    """The masks of a video by the number of their frame, from 0; those of another name are problems."""
    pictures = files(folder, ".jpg", ".jpeg")
    found, problems = keyed(pictures, rf"{re.escape(folder.name)}_0*(\d+)\.jpe?g")
    twice = {problem.path for problem in problems}
    known = {*found.values(), *twice}
    what = f"is not called {folder.name}_NUMBER: its frame is not known"
    problems += [Problem(path, what) for path in pictures if path not in known]
    return {int(number): path for number, path in found.items() if path not in twice}, problems


def _load(video: Path, plexus: Path, needle: Path | None = None, *, frame: int) -> Sample:
    pixels = video_frame(video, frame)
    objects = [Object("brachial_plexus", read_binary(plexus, pixels.shape))]
    if needle is not None:
        # One line, drawn from end to end.
        objects.append(Object("needle", read_binary(needle, pixels.shape), instance=True))
    return Sample(pixels, tuple(objects))
