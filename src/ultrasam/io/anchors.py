"""A COCO file whose masks are those of a person, from which objects of a clip are tracked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, shown
from ultrasam.core.masks import BoolArray, decode_segmentation, encode_rle
from ultrasam.io.coco import read_coco
from ultrasam.io.volumes import AXES

# What may number an object through the frames, the first that is there: ours first.
_IDENTITIES = ("object", "track_id", "instance_id")
KEPT = ("score", "prompts", "calliper", "origin", "doubt", "checked", "name", "colour")
"""What an annotation says of itself beside its mask, and keeps when it is written again."""
MAX_NUMBER = 65535  # what a label picture can hold


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

    def with_mask(self, frame: int, mask: BoolArray) -> LazyMasks:
        """The same with `mask` (H, W) bool on a frame."""
        return LazyMasks({**self._segmentations, frame: encode_rle(mask)}, *self._shape)

    def within(self, first: int, last: int) -> LazyMasks:
        """Those on the frames from `first` to `last`, both counted."""
        kept = {frame: one for frame, one in self._segmentations.items() if first <= frame <= last}
        return LazyMasks(kept, *self._shape)


@dataclass(frozen=True)
class Anchors:
    """The masks of each object by its number, and the name of its class.

    `masks` are those of a person, `tracked` those that were tracked, both by object and frame; `kept` has for
    each of them what else the file says of it, of the keys in `KEPT`.
    """

    masks: Mapping[int, LazyMasks]
    labels: Mapping[int, str]
    tracked: Mapping[int, LazyMasks] = field(default_factory=dict)
    kept: Mapping[tuple[int, int], Mapping[str, Any]] = field(default_factory=dict)


def read_anchors(path: AnyPath, scan: Path, width: int, height: int, axis: str = "z") -> Anchors:
    """The masks of a COCO file that lie on frames of `width` x `height` pixels of `scan`.

    An image belongs to the scan by the last part of its `file_name`; of several with that part the one that
    agrees with the path of the scan in most parts. The frame is the key `frame` of an image, else 0; `axis`,
    if an image says it, must be the one that a volume is cut along. Annotations with the same `object`,
    `track_id` or `instance_id` are one object, others by their order on each frame; a whole number
    from 1 to 65535 stays. What was itself tracked (`origin` "tracked", as `ultrasam track` writes it) and
    nobody called right (`checked`) is no anchor; crowds and empty masks are left out. Raises UltrasamError if
    the file is not valid, or nothing in it can be used.
    """
    coco = read_coco(path)  # for its checks: what follows needs keys that it does not keep
    entries = json.loads(Path(path).read_bytes())
    named = {category.id: category.name for category in coco.categories}
    images = {image["id"]: image for image in _images_of(entries["images"], path, scan)}
    for image in images.values():
        _check(image, path, width, height, axis)
    usable = [entry for entry in entries["annotations"] if entry["image_id"] in images]
    usable = [entry for entry in usable if not entry.get("iscrowd")]
    numbers = _numbers(usable)
    found: dict[int, dict[int, Any]] = {}
    tracked: dict[int, dict[int, Any]] = {}
    kept: dict[tuple[int, int], Mapping[str, Any]] = {}
    labels: dict[int, str] = {}
    for entry, number in zip(usable, numbers, strict=True):
        frame = _frame(images[entry["image_id"]], path)
        try:
            if not entry.get("segmentation"):
                raise UltrasamError("it has no mask, only a box: segment it first")
            empty = not decode_segmentation(entry["segmentation"], height, width).any()
        except UltrasamError as error:
            raise UltrasamError(f"{shown(path)}: annotation {entry['id']}: {error}") from None
        if empty:
            continue
        by_hand = entry.get("origin") != "tracked" or entry.get("checked") is True
        kind = found if by_hand else tracked
        if frame in kind.setdefault(number, {}):
            raise UltrasamError(f"{shown(path)} has object {number} twice on frame {frame}: correct it there")
        kind[number][frame] = entry["segmentation"]
        kept[number, frame] = {key: entry[key] for key in KEPT if entry.get(key) is not None}
        labels.setdefault(number, named[entry["category_id"]])
    if not found:
        raise UltrasamError(
            f"{shown(path)} has no mask made by hand on {shown(scan.name)}: there is nothing to track from"
        )

    def lazy(kind: Mapping[int, Mapping[int, Any]]) -> dict[int, LazyMasks]:
        return {number: LazyMasks(kind[number], height, width) for number in sorted(kind)}

    return Anchors(lazy(found), labels, lazy(tracked), kept)


def _images_of(images: Sequence[Mapping[str, Any]], path: AnyPath, scan: Path) -> list[Mapping[str, Any]]:
    """Those of the scan. Raises UltrasamError if there is none, or not clear which are."""
    own = PurePosixPath(Path(os.path.abspath(scan)).as_posix()).parts
    agreeing: dict[int, dict[str, list[Mapping[str, Any]]]] = {}
    for image in images:
        parts = PurePosixPath(image["file_name"].replace("\\", "/")).parts
        same = 0
        while same < min(len(parts), len(own)) and parts[-1 - same] == own[-1 - same]:
            same += 1
        if same:
            agreeing.setdefault(same, {}).setdefault(image["file_name"], []).append(image)
    if not agreeing:
        raise UltrasamError(
            f"{shown(path)} has no image of {shown(scan.name)}: its `file_name` has to be that of the clip"
        )
    best = agreeing[max(agreeing)]
    if len(best) > 1:
        names = ", ".join(shown(name) for name in list(best)[:3])
        raise UltrasamError(f"{shown(path)} has several clips that may be meant ({names}): keep one of them")
    return next(iter(best.values()))


def _check(image: Mapping[str, Any], path: AnyPath, width: int, height: int, axis: str) -> None:
    if image.get("axis") in AXES and image["axis"] != axis:
        raise UltrasamError(
            f"the masks in {shown(path)} lie along axis {image['axis']}: add --axis {image['axis']}"
        )
    said = image["width"], image["height"]
    if said != (width, height):
        raise UltrasamError(
            f"{shown(path)} says {said[0]} x {said[1]} pixels, the clip has {width} x {height}: "
            "correct it there"
        )


def _numbers(entries: Sequence[Mapping[str, Any]]) -> list[int]:
    """The number of the object of each entry: the file's own where it can be, else the next free one."""
    places: dict[int, int] = {}
    keys: list[tuple[str, int | str]] = []
    for entry in entries:
        place = places[entry["image_id"]] = places.get(entry["image_id"], 0) + 1
        keys.append(identity_of(entry) or ("place", place))
    numbers: dict[tuple[str, int | str], int] = {}
    for kind, value in dict.fromkeys(keys):
        whole = kind != "place" and isinstance(value, int) and 0 < value <= MAX_NUMBER
        if whole and value not in numbers.values():
            numbers[kind, value] = int(value)
    taken = set(numbers.values())
    following = 1
    for key in keys:
        if key not in numbers:
            while following in taken:
                following += 1
            numbers[key] = following
            taken.add(following)
    return [numbers[key] for key in keys]


def identity_of(entry: Mapping[str, Any]) -> tuple[str, int | str] | None:
    """What says in an annotation which object it is through the frames; None if nothing does."""
    for key in _IDENTITIES:
        value = entry.get(key)
        if isinstance(value, (int, str)) and not isinstance(value, bool) and value != "":
            return key, value
    return None


def frame_number(told: Any) -> int:
    """The number of a frame as a file says it, 0 where it says none. Raises UltrasamError if it is none."""
    if told is None:
        return 0
    whole = isinstance(told, int) or (isinstance(told, float) and told.is_integer())
    if isinstance(told, bool) or not whole or not 0 <= told < 2**31:
        raise UltrasamError("there is no such frame")
    return int(told)


def _frame(image: Mapping[str, Any], path: AnyPath) -> int:
    try:
        return frame_number(image.get("frame"))
    except UltrasamError as error:
        raise UltrasamError(
            f"{shown(path)}: image {image['id']} has `frame` {image.get('frame')!r:.40}: {error}"
        ) from None
