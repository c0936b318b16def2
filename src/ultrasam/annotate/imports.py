"""A COCO file as annotations of the scans of a project."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, get_args

from ultrasam.annotate.classes import checked_name, is_name
from ultrasam.annotate.document import AnnotatedObject, Annotation, Origin
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, check_file, reason, shown
from ultrasam.core.masks import decode_segmentation, encode_rle
from ultrasam.core.prompts import Prompts, prompts_of
from ultrasam.io.anchors import frame_number, identity_of
from ultrasam.io.coco import CocoAnnotation, CocoImage, parse_coco
from ultrasam.io.prompted import prompts_of_annotation
from ultrasam.io.volumes import AXES

_ORIGINS: tuple[str, ...] = get_args(Origin)
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_NAME = "the COCO file"

SizeOf = Callable[[str, int, str | None], tuple[int, int]]


@dataclass(frozen=True)
class Ask:
    """An object that has only a box or points: what a model is to be asked to get its mask."""

    place: str
    frame: int
    object: AnnotatedObject
    label: str
    prompts: Prompts


@dataclass(frozen=True)
class Imported:
    """What a COCO file holds for a project.

    `scans` has by place the objects and their annotations, these in order of frame, then of object; `asks`
    what has no mask yet, its objects numbered together with those of `scans`. `classes` are the names of the
    categories in order, `skipped` one sentence for each entry that was left out, `axes` by place the axis
    that the frames of a volume lie along, where the file says it.
    """

    scans: Mapping[str, tuple[tuple[AnnotatedObject, ...], tuple[Annotation, ...]]]
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    asks: tuple[Ask, ...] = ()
    axes: Mapping[str, str] = field(default_factory=dict)


def read_annotations(
    source: AnyPath | bytes,
    places: Iterable[str],
    size_of: SizeOf,
    axes: Mapping[str, str] | None = None,
) -> Imported:
    """Read a COCO file, a path or its bytes, for the scans of a project.

    `places` are the paths of the scans below the project's folder. An image belongs to the scan with exactly
    its `file_name`, else to the only one with the same last part. `size_of(place, frame, axis)` gives the
    width and height of a frame in pixels, or raises UltrasamError if there is none; the axis is that of the
    image entry (`axis`), None without one. `axes` says by place along which axis volumes are annotated in the
    project already.

    The frame of a clip is the key `frame` of an image, else 0. Entries with the same `object`, `track_id` or
    `instance_id` on several frames of a scan are one object; otherwise each is a new one. Masks keep the
    `origin` that a file of our own says, else it is "imported". What does not fit is skipped and named.
    Raises UltrasamError for a file that is no valid COCO file.
    """
    if isinstance(source, bytes):
        name, content = _NAME, source
    else:
        name = str(source)
        try:
            content = check_file(source).read_bytes()
        except OSError as error:
            raise UltrasamError(f"{shown(source)} cannot be read ({reason(error)}): copy it again") from error
    coco = parse_coco(content, name)
    entries = json.loads(content)  # the extra keys, in the same order
    labels = {category.id: category.name for category in coco.categories}
    pile = _Pile(_Matching(list(places)), size_of, dict(axes or {}))
    targets = {
        image.id: pile.target(image, entry)
        for image, entry in zip(coco.images, entries["images"], strict=True)
    }
    for annotation, entry in zip(coco.annotations, entries["annotations"], strict=True):
        target = targets[annotation.image_id]
        if target is not None:
            pile.take(target, annotation, entry, labels[annotation.category_id])
    scans, asks = pile.numbered()
    classes = tuple(dict.fromkeys(name for name in map(str.strip, labels.values()) if is_name(name)))
    return Imported(scans, classes, tuple(pile.skipped), asks, pile.axes)


class _Matching:
    """Which scan is meant by a name."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = set(places)
        self._by_name: dict[str, list[str]] = {}
        for place in places:
            self._by_name.setdefault(PurePosixPath(place).name, []).append(place)

    def place(self, file_name: str) -> str:
        """Raises UltrasamError if it is none or not clear."""
        wanted = PurePosixPath(file_name.replace("\\", "/"))
        for exact in (file_name, str(wanted)):
            if exact in self._places:
                return exact
        found = self._by_name.get(wanted.name, [])
        if len(found) == 1:
            return found[0]
        raise UltrasamError(
            f"{len(found)} scans have this name" if found else "there is no scan of this name in the folder"
        )


@dataclass(frozen=True)
class _Target:
    place: str
    frame: int
    width: int
    height: int


@dataclass(frozen=True)
class _Found:
    """An entry that fits: `mask` is its RLE or None, `entry` the file's."""

    target: _Target
    label: str
    identity: Hashable
    mask: Mapping[str, Any] | None
    prompts: Prompts
    score: float | None
    entry: Mapping[str, Any]


@dataclass
class _Pile:
    """What was found so far."""

    matching: _Matching
    size_of: SizeOf
    axes: dict[str, str]
    skipped: list[str] = field(default_factory=list)
    found: list[_Found] = field(default_factory=list)

    def target(self, image: CocoImage, entry: Mapping[str, Any]) -> _Target | None:
        told = entry.get("frame")
        frame = 0
        try:
            frame = frame_number(told)
            place = self.matching.place(image.file_name)
            axis = entry.get("axis")
            axis = axis if axis in AXES else None
            here = self.axes.get(place) or axis
            if axis is not None and axis != here:
                raise UltrasamError(
                    f"its frames lie along the axis {axis}, here the volume is cut along {here}"
                )
            width, height = self.size_of(place, frame, here)
            if (image.width, image.height) != (width, height):
                raise UltrasamError(
                    f"the file says {image.width} x {image.height} pixels, the scan has {width} x {height}"
                )
        except UltrasamError as error:
            self.skipped.append(f"{shown(image.file_name)}, frame {told if told is not None else 0}: {error}")
            return None
        if here is not None:  # the frames that follow have to lie along it too
            self.axes[place] = here
        return _Target(place, frame, width, height)

    def take(self, target: _Target, annotation: CocoAnnotation, entry: Mapping[str, Any], label: str) -> None:
        try:
            label = checked_name(label)
            if annotation.iscrowd:
                raise UltrasamError("it is a crowd, not one object")
            mask = None
            if annotation.segmentation is not None:
                drawn = decode_segmentation(annotation.segmentation, target.height, target.width)
                if not drawn.any():
                    raise UltrasamError("its mask is empty")
                mask, prompts = encode_rle(drawn), _own_prompts(entry, target)
            else:
                prompts = _prompts_to_ask(annotation, entry, target)
        except UltrasamError as error:
            where = f"{shown(target.place)}, frame {target.frame}, annotation {annotation.id}"
            self.skipped.append(f"{where}: {str(error).removeprefix(f'annotation {annotation.id}: ')}")
            return
        score = annotation.score if annotation.score is not None and 0 <= annotation.score <= 1 else None
        self.found.append(_Found(target, label, identity_of(entry), mask, prompts, score, entry))

    def numbered(
        self,
    ) -> tuple[dict[str, tuple[tuple[AnnotatedObject, ...], tuple[Annotation, ...]]], tuple[Ask, ...]]:
        """All that was found, with an object for each identity."""
        by_place: dict[str, list[_Found]] = {}
        for found in self.found:
            by_place.setdefault(found.target.place, []).append(found)
        scans, asks = {}, []
        for place, here in by_place.items():
            numbers = _numbers(here)
            objects: dict[int, AnnotatedObject] = {}
            annotations = []
            for found, number in zip(here, numbers, strict=True):
                known = objects.setdefault(number, _object(number, found))
                if found.mask is None:
                    asks.append(Ask(place, found.target.frame, known, found.label, found.prompts))
                else:
                    annotations.append(_annotation(number, found))
            with_masks = {annotation.object for annotation in annotations}
            if annotations:
                scans[place] = (
                    tuple(objects[number] for number in sorted(with_masks)),
                    tuple(sorted(annotations, key=lambda a: (a.frame, a.object))),
                )
        return scans, tuple(asks)


def _numbers(found: Sequence[_Found]) -> list[int]:
    """The number of the object of each entry of a scan: the file's own where it can be, else the next free.

    An identity that occurs twice on a frame, or with two classes, is not the same object.
    """
    groups: dict[Hashable, list[int]] = {}
    seen: set[Hashable] = set()
    for position, one in enumerate(found):
        key: Hashable = ("new", position)
        if one.identity is not None:
            key = (one.identity, one.label)
            if (key, one.target.frame) in seen:
                key = ("new", position)
            seen.add((key, one.target.frame))
        groups.setdefault(key, []).append(position)
    wished = {positions[0]: _own_number(found[positions[0]]) for positions in groups.values()}
    taken: set[int] = set()
    numbers = [0] * len(found)
    for positions in groups.values():
        number = wished[positions[0]]
        if number and number not in taken:
            taken.add(number)
            for position in positions:
                numbers[position] = number
    following = 1
    for positions in groups.values():
        if numbers[positions[0]]:
            continue
        while following in taken:
            following += 1
        taken.add(following)
        for position in positions:
            numbers[position] = following
    return numbers


def _own_number(found: _Found) -> int:
    """The number that a file of our own gives the object; 0 if it gives none."""
    number = found.entry.get("object")
    if isinstance(number, int) and not isinstance(number, bool) and 0 < number < 2**31:
        return number
    return 0


def _object(number: int, found: _Found) -> AnnotatedObject:
    name, colour = found.entry.get("name"), found.entry.get("colour")
    name = name[:80] if isinstance(name, str) and name.isprintable() else ""
    fits = isinstance(colour, str) and _COLOUR.fullmatch(colour)
    return AnnotatedObject(number, found.label, name, colour if fits else None)


def _annotation(number: int, found: _Found) -> Annotation:
    origin, doubt = found.entry.get("origin"), found.entry.get("doubt")
    return Annotation(
        object=number,
        frame=found.target.frame,
        rle=found.mask or {},
        score=found.score,
        origin=origin if origin in _ORIGINS else "imported",
        doubt=doubt if isinstance(doubt, str) else "",
        checked=found.entry.get("checked") is True,
        prompts=found.prompts,
        calliper=_calliper(found.entry, found.target),
    )


def _own_prompts(entry: Mapping[str, Any], target: _Target) -> Prompts:
    """What was asked for a mask, as `ultrasam` writes it; none if it does not fit: the mask counts."""
    own = entry.get("prompts")
    if not isinstance(own, dict):
        return Prompts()
    try:
        prompts = prompts_of(own.get("box"), own.get("points") or None, own.get("labels") or None)
        return prompts.checked(target.width, target.height)
    except UltrasamError:
        return Prompts()


def _prompts_to_ask(annotation: CocoAnnotation, entry: Mapping[str, Any], target: _Target) -> Prompts:
    """The box of an entry without a mask, refined by its points if it has some; or its points alone."""
    has_box = annotation.bbox[2] > 0 and annotation.bbox[3] > 0
    try:
        points = prompts_of_annotation(entry, "point", target.width, target.height)
    except UltrasamError:
        if not has_box:
            raise
        points = Prompts()
    if not has_box:
        return points
    box = prompts_of_annotation(entry, "box", target.width, target.height).box
    return Prompts(points.points, points.positive, box)


def _calliper(entry: Mapping[str, Any], target: _Target) -> tuple[tuple[float, float], ...]:
    ends = entry.get("calliper")
    try:
        found = tuple((float(x), float(y)) for x, y in ends or ())
    except (TypeError, ValueError, OverflowError):
        return ()
    inside = all(
        math.isfinite(x) and math.isfinite(y) and 0 <= x <= target.width and 0 <= y <= target.height
        for x, y in found
    )
    return found if len(found) == 4 and inside else ()
