"""One frame: what is asked about its objects, the answers, and what is written of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import ByteArray
from ultrasam.core.masks import encode_rle
from ultrasam.core.overlay import draw_overlay
from ultrasam.core.polygons import mask_to_polygons
from ultrasam.core.prompts import Point, Prompts, calliper_prompts
from ultrasam.io.images import png_bytes
from ultrasam.io.scan import Scan
from ultrasam.predict.automatic import Automatic
from ultrasam.predict.crop import DEFAULT_CROP
from ultrasam.predict.decode import Result
from ultrasam.predict.heads import HeadSettings
from ultrasam.predict.model import Model
from ultrasam.predict.paper import DEFAULT_PROTOCOL
from ultrasam.predict.refine import DEFAULT_REFINE


@dataclass(frozen=True)
class Ask:
    """What is asked about one object: its prompts, which refine its calliper if it has one.

    `calliper` holds the ends (x, y) of the long and of the short axis. All in pixels of the frame.
    """

    prompts: Prompts = Prompts()
    calliper: tuple[Point, Point, Point, Point] | None = None

    def check(self, width: int, height: int) -> None:
        """Raises UltrasamError for the first prompt that does not fit a frame of this size."""
        if self.calliper is not None:
            calliper_prompts(self.calliper, width, height)
        self.prompts.checked(width, height)


@dataclass(frozen=True)
class Settings:
    """How frames are segmented and what is written of each.

    `masks`: "union" one PNG with 0 and 255, all objects together; "labels" one PNG with 0 and the numbers of
    the objects from 1, a later one over an earlier; "objects" one PNG with 0 and 255 for each; "none".
    `overlay`: whether a picture of the frame with masks and prompts is written. `segmentation`: how a mask is
    written in COCO, exact both ways. `refine`: whether objects are looked at a second time;
    `crop`: whether only the ultrasound is looked at; see `Model.session`. `protocol`: see `Model.predict`.
    `automatic`: what to keep of the objects that are looked for without prompts; None to take prompts.
    `head`: with it the model's instance head looks for them, else a grid of clicks.
    """

    masks: Literal["union", "labels", "objects", "none"] = "union"
    overlay: bool = True
    segmentation: Literal["rle", "polygons"] = "rle"
    refine: str = DEFAULT_REFINE
    crop: str = DEFAULT_CROP
    protocol: str = DEFAULT_PROTOCOL
    automatic: Automatic | None = None
    head: HeadSettings | None = None


def segment_frame(
    model: Model, scan: Scan, image: ByteArray, asks: Sequence[Ask], settings: Settings
) -> list[Result]:
    """One result per object of `image` (H, W, 3) uint8, a frame of `scan`; each prompt is one step, as in a
    `Session`. With `settings.automatic` the objects that are found, and `asks` is empty.
    """
    still = replace(scan, frames=[image])
    if settings.automatic is not None:
        looks: dict[str, Any] = {"refine": settings.refine, "crop": settings.crop}
        looks["settings"] = settings.automatic
        if settings.head is not None:
            return model.detect(still, least=settings.head.score, **looks)
        return model.automatic(still, **looks)
    if settings.protocol == "paper":
        if any(ask.calliper is not None for ask in asks):
            raise UltrasamError("the protocol paper takes points and boxes, no callipers")
        boxes = [ask.prompts.box for ask in asks]
        points = [ask.prompts.points or None for ask in asks]
        labels = [ask.prompts.positive or None for ask in asks]
        asked: dict[str, Any] = {"boxes": [boxes], "points": [points], "labels": [labels]}
        return model.predict(
            [still], **asked, refine=settings.refine, crop=settings.crop, protocol=settings.protocol
        )[0]
    session = model.session(still, refine=settings.refine, crop=settings.crop)
    for number, ask in enumerate(asks, start=1):
        session.object(f"object-{number}")
        if ask.calliper is not None:
            session.calliper(*ask.calliper)
        session.give(ask.prompts)
    return list(session.results.values())


def picture_endings(settings: Settings, count: int) -> list[str]:
    """How the names of the pictures of a frame with `count` objects end."""
    masks = {
        "union": ["_mask.png"],
        "labels": ["_labels.png"],
        "objects": [f"_mask{number}.png" for number in range(1, count + 1)],
        "none": [],
    }
    return masks[settings.masks] + (["_overlay.png"] if settings.overlay else [])


def pictures(image: ByteArray, results: Sequence[Result], settings: Settings) -> dict[str, bytes]:
    """The PNG files of a frame (H, W, 3) uint8 by `picture_endings`."""
    masks = [result.mask for result in results]
    drawn: list[np.ndarray[Any, Any]] = []
    if settings.masks == "union":
        union = np.zeros(image.shape[:2], np.bool_)  # stays so where nothing was found
        for mask in masks:
            union |= mask
        drawn = [union.astype(np.uint8) * 255]
    elif settings.masks == "labels":
        labels = np.zeros(image.shape[:2], np.uint8 if len(masks) < 256 else np.uint16)
        for number, mask in enumerate(masks, start=1):
            labels[mask] = number
        drawn = [labels]
    elif settings.masks == "objects":
        drawn = [mask.astype(np.uint8) * 255 for mask in masks]
    if settings.overlay:
        drawn.append(draw_overlay(image, masks, [result.prompts for result in results]))
    endings = picture_endings(settings, len(masks))
    return {ending: png_bytes(Image.fromarray(pixels)) for ending, pixels in zip(endings, drawn, strict=True)}


def annotation_of(result: Result, settings: Settings, summary: Mapping[str, Any]) -> dict[str, Any]:
    """An object as in COCO, without its ids: `bbox` x, y, width, height; `score` and `prompts` are ours, and
    so are the `measurements` of its summary, the `stability` of an object found without prompts and the
    `confidence` of the head that found it, which then says the category: their numbers begin at 1.
    """
    x0, y0, x1, y1 = result.box or (0.0, 0.0, 0.0, 0.0)
    as_polygons = settings.segmentation == "polygons"
    return {
        "segmentation": mask_to_polygons(result.mask) if as_polygons else encode_rle(result.mask),
        "area": result.area,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "score": round(result.score, 4),
        **({} if settings.automatic is None else {"stability": round(result.stability, 4)}),
        **_class_of(result, settings.head),
        "prompts": prompts_entry(result.prompts),
        "measurements": summary.get("measurements"),
    }


def _class_of(result: Result, head: HeadSettings | None) -> dict[str, Any]:
    if head is None:
        return {}
    number = head.classes.index(result.label) + 1
    return {"category_id": number, "confidence": round(result.confidence, 4)}


def categories_of(settings: Settings) -> list[dict[str, Any]]:
    """Those of COCO: the classes of the head, or one for every object."""
    names = ("object",) if settings.head is None else settings.head.classes
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]


def coco_document(
    model: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]] = ({"id": 1, "name": "object"},),
) -> dict[str, Any]:
    """A COCO file of predictions by the `model` (`model_entry`)."""
    from ultrasam import __version__

    return {
        "info": {
            "description": "Segmented by a model, not reviewed",
            "version": f"ultrasam {__version__}",
            "model": model,
        },
        "images": list(images),
        "categories": list(categories),
        "annotations": list(annotations),
    }


def model_entry(model: Model) -> dict[str, Any]:
    """Which model it was: its id, the SHA-256 of its files, and its postprocess if that is unusual."""
    entry = {"id": model.card.id, "sha256": dict(model.card.sha256)}
    return entry | ({} if model.postprocess == "logits" else {"postprocess": model.postprocess})


def prompts_entry(prompts: Prompts) -> dict[str, Any]:
    """What was asked, as in JSON: `box` or null, `points` [[x, y], ...] and for each its `labels`, 1 or 0."""
    return {
        "box": None if prompts.box is None else list(prompts.box),
        "points": [list(point) for point in prompts.points],
        "labels": [int(positive) for positive in prompts.positive],
    }
