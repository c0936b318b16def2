"""COCO files: the interchange for data sets, for prompts and for predictions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, atomic_write_text, check_file, reason, shown
from ultrasam.io.scan import MAX_PIXELS

Segmentation = dict[str, Any] | list[list[float]]
"""A mask: RLE {"size": [height, width], "counts": str or list} or polygons [[x, y, x, y, ...], ...]."""


@dataclass(frozen=True)
class CocoImage:
    """One image; the extra key `case_id` names what a split between training and validation keeps whole.

    The other extra keys are those of the sets that `ultrasam data build` writes: `split` is the part of the
    source ("train", "val", "test"), `spacing` mm per pixel in (x, y), `negative` an image kept although
    nothing is drawn in it.
    """

    id: int
    file_name: str
    height: int
    width: int
    dataset: str | None = None
    case_id: str | None = None
    view: str | None = None
    frame: int | None = None
    split: str | None = None
    spacing: tuple[float, float] | None = None
    negative: bool | None = None
    attributes: Mapping[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True)
class CocoAnnotation:
    """One object; `bbox` is COCO's (x, y, width, height) in pixels, `score` in [0, 1] a prediction's."""

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    segmentation: Segmentation | None
    area: float
    iscrowd: bool = False
    score: float | None = None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The half-open box (x0, y0, x1, y1) in pixels."""
        x, y, width, height = self.bbox
        return x, y, x + width, y + height


@dataclass(frozen=True)
class CocoCategory:
    """One class, and the kind of structure that it belongs to."""

    id: int
    name: str
    supercategory: str | None = None


@dataclass(frozen=True)
class Coco:
    """A COCO file in the order of the file; each reference between its parts is known to hold."""

    images: tuple[CocoImage, ...]
    annotations: tuple[CocoAnnotation, ...]
    categories: tuple[CocoCategory, ...]

    def by_image(self) -> dict[int, list[CocoAnnotation]]:
        """The annotations of each image by its id, in the order of the file; [] where nothing is drawn."""
        found: dict[int, list[CocoAnnotation]] = {image.id: [] for image in self.images}
        for annotation in self.annotations:
            found[annotation.image_id].append(annotation)
        return found


def read_coco(path: AnyPath) -> Coco:
    """Read and check a COCO file.

    An annotation needs `id`, `image_id`, `category_id` and `bbox`; without `segmentation` it is a box only,
    without `area` it has that of the box. Raises UltrasamError, naming the entry, if the file is not JSON,
    lacks a key, has a value of the wrong kind, an id twice, or an annotation whose image or category is
    unknown.
    """
    path = check_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UltrasamError(f"{shown(path)} cannot be read ({reason(error)}): copy it again") from error
    return parse_coco(content, path)


def parse_coco(content: bytes, name: AnyPath) -> Coco:
    """`read_coco` of the bytes of a file, which is called `name` in messages."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UltrasamError(
            f"{shown(name)} is not JSON ({reason(error)}): "
            "give a COCO file with images, annotations and categories"
        ) from None
    if not isinstance(parsed, dict):
        raise UltrasamError(
            f"{shown(name)} is no COCO file: give a JSON object with images, annotations and categories"
        )
    try:
        coco = Coco(
            images=_entries(parsed, "images", _image),
            annotations=_entries(parsed, "annotations", _annotation),
            categories=_entries(parsed, "categories", _category),
        )
        _check_references(coco)
    except _Invalid as error:
        raise UltrasamError(f"{shown(name)} is not a valid COCO file: {error}; correct it there") from None
    return coco


def write_coco(path: AnyPath, coco: Coco, info: Mapping[str, str] | None = None) -> None:
    """Write a COCO file atomically; what is None is left out, counts of an RLE may be bytes.

    The same content gives the same bytes. Raises UltrasamError if it cannot be written, ValueError if an id
    occurs twice, an annotation's image or category is unknown, or a number is not finite.
    """
    _check_references(coco)
    content = {
        "info": dict(info or {}),
        "images": [_without_none(image) for image in coco.images],
        "annotations": [
            _without_none(annotation) | {"iscrowd": int(annotation.iscrowd)}
            for annotation in coco.annotations
        ],
        "categories": [_without_none(category) for category in coco.categories],
    }
    atomic_write_text(path, json.dumps(content, default=_plain, allow_nan=False) + "\n")


class _Invalid(ValueError):
    """What is wrong with the content, to be told together with the path."""


_Entry = TypeVar("_Entry", CocoImage, CocoAnnotation, CocoCategory)


def _entries(
    content: dict[str, Any], key: str, parse: Callable[[dict[str, Any]], _Entry]
) -> tuple[_Entry, ...]:
    values = content.get(key)
    if not isinstance(values, list):
        raise _Invalid(f"its '{key}' list is missing" if values is None else f"its '{key}' is not a list")
    entries = []
    for position, value in enumerate(values):
        try:
            if not isinstance(value, dict):
                raise _Invalid("is not an object")
            entries.append(parse(value))
        except _Invalid as error:
            raise _Invalid(f"{key}[{position}] {error}") from None
    return tuple(entries)


def _image(value: dict[str, Any]) -> CocoImage:
    height, width = _integer(value, "height"), _integer(value, "width")
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise _Invalid(f"has a size of {width} x {height} pixels")
    dataset, case = value.get("dataset"), value.get("case_id")
    return CocoImage(
        id=_integer(value, "id"),
        file_name=_text(value, "file_name"),
        height=height,
        width=width,
        dataset=None if dataset is None else str(dataset),
        case_id=None if case is None else str(case),
        **_extras(value),
    )


# Extra keys and what they are; of another kind they are someone else's and not read.
_EXTRAS: dict[str, Callable[[Any], bool]] = {
    "view": lambda value: isinstance(value, str),
    "frame": lambda value: isinstance(value, int),
    "split": lambda value: isinstance(value, str),
    "spacing": lambda value: (
        isinstance(value, list) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)
    ),
    "negative": lambda value: isinstance(value, bool),
    "attributes": lambda value: isinstance(value, dict),
}


def _extras(value: dict[str, Any]) -> dict[str, Any]:
    found = {key: value[key] for key, fits in _EXTRAS.items() if key in value and fits(value[key])}
    if "spacing" in found:
        found["spacing"] = tuple(found["spacing"])
    return found


def _annotation(value: dict[str, Any]) -> CocoAnnotation:
    x, y, width, height = _bbox(value)
    area, score = value.get("area"), value.get("score")
    return CocoAnnotation(
        id=_integer(value, "id"),
        image_id=_integer(value, "image_id"),
        category_id=_integer(value, "category_id"),
        bbox=(x, y, width, height),
        segmentation=_segmentation(value),
        area=width * height if area is None else _finite(area, "area"),
        iscrowd=bool(value.get("iscrowd", False)),
        score=None if score is None else _finite(score, "score"),
    )


def _category(value: dict[str, Any]) -> CocoCategory:
    kind = value.get("supercategory")
    return CocoCategory(_integer(value, "id"), _text(value, "name"), kind if isinstance(kind, str) else None)


def _present(value: dict[str, Any], key: str) -> Any:
    if value.get(key) is None:
        raise _Invalid(f"has no '{key}'")
    return value[key]


def _integer(value: dict[str, Any], key: str) -> int:
    number = _present(value, key)
    if isinstance(number, bool) or not isinstance(number, int):
        raise _Invalid(f"has '{key}' {number!r:.40}, which is not a whole number")
    return number


def _text(value: dict[str, Any], key: str) -> str:
    text = _present(value, key)
    if not isinstance(text, str) or not text:
        raise _Invalid(f"has '{key}' {text!r:.40}, which is not a text")
    return text


def _finite(number: Any, key: str) -> float:
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not (is_number and abs(number) <= sys.float_info.max):  # false for NaN, right for huge whole numbers
        raise _Invalid(f"has '{key}' {number!r:.40}, which is not a finite number")
    return float(number)


def _bbox(value: dict[str, Any]) -> tuple[float, float, float, float]:
    bbox = _present(value, "bbox")
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise _Invalid(f"has 'bbox' {bbox!r:.40}: expected [x, y, width, height]")
    x, y, width, height = (_finite(number, "bbox") for number in bbox)
    if width < 0 or height < 0:
        raise _Invalid(f"has 'bbox' {bbox!r:.60} of negative width or height: expected [x, y, width, height]")
    return x, y, width, height


def _segmentation(value: dict[str, Any]) -> Segmentation | None:
    segmentation = value.get("segmentation")
    if not segmentation:
        return None
    if isinstance(segmentation, dict) and {"size", "counts"} <= segmentation.keys():
        return segmentation
    if isinstance(segmentation, list) and all(isinstance(polygon, list) for polygon in segmentation):
        return segmentation
    raise _Invalid("has a 'segmentation' that is neither RLE (size, counts) nor a list of polygons")


def _check_references(coco: Coco) -> None:
    known: dict[str, set[int]] = {}
    parts: dict[str, Iterable[CocoImage | CocoAnnotation | CocoCategory]] = {
        "image": coco.images,
        "annotation": coco.annotations,
        "category": coco.categories,
    }
    for kind, entries in parts.items():
        known[kind] = set()
        for entry in entries:
            if entry.id in known[kind]:
                raise _Invalid(f"two entries have the {kind} id {entry.id}")
            known[kind].add(entry.id)
    for annotation in coco.annotations:
        if annotation.image_id not in known["image"]:
            raise _Invalid(f"annotation {annotation.id} has the unknown image_id {annotation.image_id}")
        if annotation.category_id not in known["category"]:
            raise _Invalid(f"annotation {annotation.id} has the unknown category_id {annotation.category_id}")


def _without_none(entry: CocoImage | CocoAnnotation | CocoCategory) -> dict[str, Any]:
    return {key: value for key, value in vars(entry).items() if value is not None}


def _plain(value: object) -> object:
    """What JSON lacks: numpy's numbers and arrays, and the bytes of pycocotools' counts."""
    if isinstance(value, bytes):
        return value.decode("ascii")
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written to JSON")
