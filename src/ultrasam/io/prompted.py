"""A COCO file whose boxes and points are prompts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ultrasam.core.clicks import center_click
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, shown
from ultrasam.core.masks import decode_segmentation
from ultrasam.core.prompts import Prompts, check_box, prompts_of
from ultrasam.io.coco import read_coco

PromptKind = Literal["box", "point", "both"]


@dataclass(frozen=True)
class PromptedImage:
    """An image with objects: its entry in the COCO file, its own file, and the entries of its objects.

    `place` is its path below the folder of images, without what would lead out of a folder of results.
    """

    entry: Mapping[str, Any]
    path: Path
    place: PurePosixPath
    annotations: tuple[Mapping[str, Any], ...]

    @property
    def frame(self) -> int | None:
        """The entry's `frame`, as `ultrasam segment` writes it; None if it has none."""
        frame = self.entry.get("frame")
        return frame if isinstance(frame, int) and not isinstance(frame, bool) else None

    def prompts(self, kind: PromptKind, width: int, height: int) -> list[Prompts]:
        """`prompts_of_annotation` for each object in an image file of `width` x `height` pixels.

        Raises UltrasamError if the COCO file says another size.
        """
        said = self.entry["width"], self.entry["height"]
        if said != (width, height):
            raise UltrasamError(
                f"{shown(self.path)} has {width} x {height} pixels, "
                f"the COCO file says {said[0]} x {said[1]}: correct it there"
            )
        return [prompts_of_annotation(entry, kind, width, height) for entry in self.annotations]


@dataclass(frozen=True)
class PromptFile:
    """The images of a COCO file that have objects, in its order, and its categories as they stand there."""

    images: tuple[PromptedImage, ...]
    categories: tuple[Mapping[str, Any], ...]
    without_objects: int


def read_prompt_file(path: AnyPath, images: AnyPath | None = None) -> PromptFile:
    """Read a COCO file for its prompts; crowds are no objects.

    `images` is the folder of the image files; default: `images` beside the COCO file, or else its own folder.
    Raises UltrasamError if the file is not valid, has no object, or none of its images is there.
    """
    read_coco(path)  # for its checks: what follows needs each entry as it stands in the file
    content = json.loads(Path(path).read_bytes(), parse_float=_finite, parse_constant=_finite)
    folder = _image_folder(Path(path), images)
    objects: dict[int, list[Mapping[str, Any]]] = {}
    for entry in content["annotations"]:
        if not entry.get("iscrowd"):
            objects.setdefault(entry["image_id"], []).append(entry)
    found = []
    for entry in content["images"]:
        name, its_objects = entry["file_name"], tuple(objects.get(entry["id"], ()))
        if its_objects:
            found.append(PromptedImage(entry, folder / name, _place(name), its_objects))
    if not found:
        raise UltrasamError(f"{shown(path)} has no object: its boxes or points are the prompts")
    if not any(os.path.isfile(image.path) for image in found):
        raise UltrasamError(
            f"none of the {len(found)} images is there, the first is {shown(found[0].path)}: "
            "name their folder with --images DIR"
        )
    return PromptFile(tuple(found), tuple(content["categories"]), len(content["images"]) - len(found))


def prompts_of_annotation(entry: Mapping[str, Any], kind: PromptKind, width: int, height: int) -> Prompts:
    """The prompts of one object of a COCO file, in pixels of an image of `width` x `height`.

    "box": its `bbox`, cut at the image's border. "point": the first that it has of `point` [x, y], `prompts`
    as `ultrasam segment` writes them (with negative clicks), `keypoints` that are labelled (all of them
    positive clicks), and a click inside its mask, on the pixel farthest from the border. "both": the box,
    refined by the points. Raises UltrasamError, naming the object, for a box without area, a point outside
    the image and an object without any point or mask.
    """
    box = points = labels = None
    try:
        if kind != "point":
            x, y, across, down = map(float, entry["bbox"])
            cut = max(x, 0.0), max(y, 0.0), min(x + across, float(width)), min(y + down, float(height))
            box = check_box(cut, width, height)
        if kind != "box":
            points, labels = _points(entry, width, height)
        return prompts_of(box, points, labels).checked(width, height)
    except UltrasamError as error:
        raise UltrasamError(f"annotation {entry['id']}: {error}") from None


def _points(entry: Mapping[str, Any], width: int, height: int) -> tuple[Any, Any]:
    """Points (K, 2) and labels (K,) or None, as they stand in the file."""
    own, keypoints = entry.get("prompts"), entry.get("keypoints")
    if entry.get("point"):
        return entry["point"], None
    if isinstance(own, dict) and own.get("points"):
        return own["points"], own.get("labels")
    if isinstance(keypoints, list) and len(keypoints) % 3 == 0:
        shown_ones = [keypoints[i : i + 2] for i in range(0, len(keypoints), 3) if keypoints[i + 2]]
        if shown_ones:
            return shown_ones, None
    if entry.get("segmentation"):
        mask = decode_segmentation(entry["segmentation"], height, width)
        if mask.any():
            return [center_click(mask)], None
    raise UltrasamError("it has no point, keypoint or mask to take a click from: use --prompts box")


def _finite(text: str) -> float | None:
    """What is no finite number cannot be written again: null, where the file may hold it at all."""
    number = float(text)
    return number if math.isfinite(number) else None


def _image_folder(path: Path, images: AnyPath | None) -> Path:
    if images is None:
        beside = path.parent / "images"
        return beside if beside.is_dir() else path.parent
    if not os.path.isdir(images):
        raise UltrasamError(f"{shown(images)} is no folder: name that of the images with --images DIR")
    return Path(images)


def _place(file_name: str) -> PurePosixPath:
    parts = [part for part in file_name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    # A drive's letter would begin a path of its own.
    return PurePosixPath(*(part.replace(":", "_") for part in parts or ["image"]))
