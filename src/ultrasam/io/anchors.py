"""A COCO file whose masks are those of a person, from which objects of a clip are tracked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, shown
from ultrasam.core.masks import BoolArray, decode_segmentation
from ultrasam.io.coco import read_coco

# What may number an object through the frames, the first that is there.
_IDENTITIES = ("object", "track_id", "instance_id")


class LazyMasks(Mapping[int, BoolArray]):
    """The masks (H, W) bool of one object by frame, decoded at each access and never kept."""

    def __init__(self, segmentations: Mapping[int, Any], height: int, width: int) -> None:
        self._segmentations = segmentations
        self._shape = height, width

    def __getitem__(self, frame: int) -> BoolArray:
        return decode_segmentation(self._segmentations[frame], *self._shape)

    def __iter__(self) -> Iterator[int]:
        return iter(self._segmentations)

    def __len__(self) -> int:
        return len(self._segmentations)


@dataclass(frozen=True)
class Anchors:
    """The masks of each object by its number, and the name of its class."""

    masks: Mapping[int, Mapping[int, BoolArray]]
    labels: Mapping[int, str]


def read_anchors(path: AnyPath, scan: Path, width: int, height: int, axis: str = "z") -> Anchors:
    """The masks of a COCO file that lie on frames of `width` x `height` pixels of `scan`, known by its name.

    The frame is the key `frame` of an image, else 0; `axis`, if an image says it, must be the one that a
    volume is cut along. Annotations with the same `object`, `track_id` or `instance_id` are one object,
    others by their order on each frame, from 1. What was itself tracked (`origin` "tracked", as `ultrasam
    track` writes it), crowds and empty masks are left out. Raises UltrasamError if the file is not valid, or
    nothing in it can be used.
    """
    coco = read_coco(path)  # for its checks: what follows needs keys that it does not keep
    entries = json.loads(Path(path).read_bytes())
    named = {category.id: category.name for category in coco.categories}
    images = {image["id"]: image for image in entries["images"] if _is_of(image, scan)}
    if not images:
        raise UltrasamError(
            f"{shown(path)} has no image of {shown(scan.name)}: its `file_name` has to be that of the clip"
        )
    for image in images.values():
        _check(image, path, width, height, axis)
    places: dict[int, int] = {}
    found: dict[int, dict[int, Any]] = {}
    labels: dict[int, str] = {}
    for entry in entries["annotations"]:
        image = images.get(entry["image_id"])
        if image is None or entry.get("iscrowd"):
            continue
        place = places[entry["image_id"]] = places.get(entry["image_id"], 0) + 1
        frame, number = _whole(image.get("frame")) or 0, _number(entry, place)
        if entry.get("origin") == "tracked":
            continue
        try:
            if not entry.get("segmentation"):
                raise UltrasamError("it has no mask, only a box: segment it first")
            empty = not decode_segmentation(entry["segmentation"], height, width).any()
        except UltrasamError as error:
            raise UltrasamError(f"{shown(path)}: annotation {entry['id']}: {error}") from None
        if empty:
            continue
        if frame in found.setdefault(number, {}):
            raise UltrasamError(f"{shown(path)} has object {number} twice on frame {frame}: correct it there")
        found[number][frame] = entry["segmentation"]
        labels.setdefault(number, named[entry["category_id"]])
    if not labels:
        raise UltrasamError(
            f"{shown(path)} has no mask made by hand on {shown(scan.name)}: there is nothing to track from"
        )
    masks = {number: LazyMasks(found[number], height, width) for number in sorted(labels)}
    return Anchors(masks, labels)


def _is_of(image: Mapping[str, Any], scan: Path) -> bool:
    return PurePosixPath(image["file_name"].replace("\\", "/")).name == scan.name


def _check(image: Mapping[str, Any], path: AnyPath, width: int, height: int, axis: str) -> None:
    if image.get("axis") in ("x", "y", "z") and image["axis"] != axis:
        raise UltrasamError(
            f"the masks in {shown(path)} lie along axis {image['axis']}: add --axis {image['axis']}"
        )
    said = image["width"], image["height"]
    if said != (width, height):
        raise UltrasamError(
            f"{shown(path)} says {said[0]} x {said[1]} pixels, the clip has {width} x {height}: "
            "correct it there"
        )


def _number(entry: Mapping[str, Any], place: int) -> int:
    numbers = (_whole(entry.get(key)) for key in _IDENTITIES)
    return next((number for number in numbers if number is not None), place)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
