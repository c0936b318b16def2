"""Regions drawn as polygons, in the files of annotation tools.

Points are (x, y) in pixels of the image, x to the right and y down, as the tools count them: the middle of
the first pixel is (0.5, 0.5) or (0, 0), which no format says. They are taken as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.core.geometry import BoolArray
from ultrasam.core.masks import decode_segmentation
from ultrasam.datasets.readers.tables import read_rows, read_text

Point = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """One polygon with its label and whatever else the tool has stored with it."""

    label: str
    points: tuple[Point, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)


def fill_polygons(polygons: Iterable[Sequence[Point]], shape: tuple[int, ...], path: Path) -> BoolArray:
    """The union of polygons on a grid (H, W); two points or fewer enclose nothing.

    Raises UltrasamError, naming `path`, for points that are no finite numbers or lie wholly outside the
    image.
    """
    flat = []
    for points in polygons:
        if len(points) < 3:
            continue
        corners = np.asarray(points, np.float64)
        low, high = corners.min(axis=0), corners.max(axis=0)
        if not np.isfinite(corners).all():
            raise UltrasamError(f"{shown(path)} has a polygon with a point that is no number")
        if (high < 0).any() or low[0] > shape[1] or low[1] > shape[0]:
            raise UltrasamError(
                f"{shown(path)} has a polygon outside its image of {shape[1]} x {shape[0]} pixels, near "
                f"({low[0]:.0f}, {low[1]:.0f})"
            )
        flat.append(corners.ravel().tolist())
    return decode_segmentation(flat, shape[0], shape[1])


def read_json(path: Path, other: str = "latin-1") -> Any:
    """What a JSON file holds, in UTF-8 or the encoding `other`. Raises UltrasamError if it is damaged."""
    try:
        return json.loads(read_text(path, other))
    except (ValueError, RecursionError) as error:
        raise UltrasamError(f"{shown(path)} is not JSON ({reason(error)}): copy it again") from None


def read_points(path: Path) -> tuple[Point, ...]:
    """A JSON file that is a list of [x, y]: one closed polygon. Raises UltrasamError for anything else."""
    content = read_json(path)
    try:
        points = tuple((float(x), float(y)) for x, y in content)
    except (TypeError, ValueError):
        raise UltrasamError(f"{shown(path)} is no list of points [x, y]") from None
    if len(points) < 3:
        raise UltrasamError(f"{shown(path)} has {len(points)} points, which enclose nothing")
    return points


def read_labelme(path: Path, other: str = "latin-1") -> tuple[list[Shape], tuple[int, int]]:
    """The polygons of a labelme file, in UTF-8 or the encoding `other`, and the (height, width) of its image.

    Rectangles become polygons; a `group_id` stands in the attributes. Raises UltrasamError for other shapes.
    """
    content = read_json(path, other)
    shapes = []
    try:
        size = int(content["imageHeight"]), int(content["imageWidth"])
        for entry in content["shapes"]:
            points = [(float(x), float(y)) for x, y in entry["points"]]
            kind = entry.get("shape_type") or "polygon"
            if kind == "rectangle" and len(points) == 2:
                (x0, y0), (x1, y1) = points
                points = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
            elif kind != "polygon":
                raise UltrasamError(
                    f"{shown(path)} has a {kind}, which encloses nothing: a polygon was expected"
                )
            group = entry.get("group_id")
            extra = {} if group is None else {"group": str(group)}
            shapes.append(Shape(str(entry["label"]), tuple(points), extra))
    except (KeyError, TypeError, ValueError):
        raise UltrasamError(f"{shown(path)} is no file of labelme: it lacks shapes or the size") from None
    return shapes, size


def read_via_csv(path: Path) -> dict[str, tuple[dict[str, Any], list[Shape]]]:
    """A CSV file of the VGG Image Annotator: {file name: (attributes of the file, its polygons)}.

    The label of a shape is empty; the attributes of its region stand in `attributes`, a ticked box as its
    name with the value "true". Raises UltrasamError for a damaged file or another layout.
    """
    found: dict[str, tuple[dict[str, Any], list[Shape]]] = {}
    columns = ("filename", "file_attributes", "region_shape_attributes", "region_attributes")
    for row in read_rows(path, *columns):
        try:
            about, region, extra = (json.loads(row[column] or "{}") for column in columns[1:])
            shapes = found.setdefault(row["filename"], (dict(about), []))[1]
            if region.get("name") in ("polygon", "polyline"):
                xs, ys = region["all_points_x"], region["all_points_y"]
                points = tuple((float(x), float(y)) for x, y in zip(xs, ys, strict=True))
                shapes.append(Shape("", points, {str(key): str(value) for key, value in extra.items()}))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UltrasamError(
                f"{shown(path)} is no CSV file of the VGG Image Annotator, at {row['filename']!r:.60}"
            ) from None
    return found


def read_marks_xml(path: Path) -> tuple[dict[str, str], dict[str, list[tuple[Point, ...]]]]:
    """A case of DDTI: XML with, for each image, polygons as JSON.

    Returns the texts of the case by name (`number`, `age`, `tirads`, ...) and {number of the image:
    polygons}. Raises UltrasamError if it is damaged.
    """
    # Python's parser opens no other files; a file of entities within entities is refused here.
    text = read_text(path)
    try:
        if "<!ENTITY" in text:
            raise ValueError("it defines entities")
        root = ElementTree.fromstring(text)
        about = {child.tag: (child.text or "").strip() for child in root if len(child) == 0}
        marks: dict[str, list[tuple[Point, ...]]] = {}
        for mark in root.iter("mark"):
            image = (mark.findtext("image") or "").strip()
            polygons = marks.setdefault(image, [])
            for region in json.loads(mark.findtext("svg") or "[]"):
                points = region["points"]
                polygons.append(tuple((float(point["x"]), float(point["y"])) for point in points))
    except (ElementTree.ParseError, ValueError, KeyError, TypeError) as error:
        raise UltrasamError(f"{shown(path)} is no case of DDTI, or damaged ({reason(error)})") from None
    return about, marks
