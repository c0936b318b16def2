"""Annotations as the store keeps them and as the page gets them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from math import isfinite, isqrt
from typing import Any

import numpy as np

from ultrasam.annotate.document import AnnotatedObject, Annotation
from ultrasam.annotate.store import Stored, Value
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import FloatArray
from ultrasam.core.masks import BoolArray, Box, box_of, decode_segmentation, run_lengths
from ultrasam.core.prompts import Prompts
from ultrasam.measure.measurements import measure_mask
from ultrasam.predict.frames import prompts_entry

SCAN = "scan"
"""The key of what is kept of a scan as a whole: `axis` and `done`."""

# A step of a kept logit; +-127 steps reach where every decoder's squashing is saturated.
_STEP = 0.125

SpacingOf = Callable[[Box], tuple[float, float] | None]


def mask_key(number: int, frame: int) -> str:
    return f"mask/{number}/{frame}"


def object_key(number: int) -> str:
    return f"object/{number}"


def place_of(key: str) -> tuple[int, int] | None:
    """(object, frame) of the key of a mask; None of another key."""
    kind, _, rest = key.partition("/")
    if kind != "mask":
        return None
    number, _, frame = rest.partition("/")
    return int(number), int(frame)


def mark_of(number: int, frame: int, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the timeline shows of an annotation."""
    return {"object": number, "frame": frame, **summary}


def value_of(annotation: Annotation, logits: FloatArray | None = None) -> Value:
    """An annotation as it is kept, with the logits (side, side) that the next prompt refines."""
    summary = {
        "origin": annotation.origin,
        "score": annotation.score,
        "doubt": annotation.doubt,
        "checked": annotation.checked,
    }
    return Value(
        {
            "rle": dict(annotation.rle),
            "prompts": prompts_entry(annotation.prompts),
            "calliper": [list(end) for end in annotation.calliper],
            **summary,
        },
        summary,
        None if logits is None else pack_logits(logits),
    )


def annotation_of(key: str, stored: Stored) -> Annotation:
    """The annotation that is kept under the key of a mask."""
    place = place_of(key)
    assert place is not None
    value = stored.value
    return Annotation(
        *place,
        rle=value["rle"],
        score=value["score"],
        origin=value["origin"],
        doubt=value["doubt"],
        checked=value["checked"],
        prompts=prompts_of_entry(value["prompts"]),
        calliper=tuple((x, y) for x, y in value.get("calliper", ())),
    )


def prompts_of_entry(entry: Mapping[str, Any]) -> Prompts:
    """The prompts that `prompts_entry` made JSON of."""
    box = entry.get("box")
    return Prompts(
        tuple((float(x), float(y)) for x, y in entry.get("points", ())),
        tuple(bool(label) for label in entry.get("labels", ())),
        None if box is None else (box[0], box[1], box[2], box[3]),
    )


def object_value(found: AnnotatedObject, number: int) -> Value:
    """An object as it is kept, with the number of its class in place of the name."""
    kept = {"id": found.id, "class": number, "name": found.name, "colour": found.colour}
    return Value(kept, kept)


def object_of(kept: Mapping[str, Any], names: Mapping[int, str]) -> AnnotatedObject:
    """The object that `object_value` kept; `names` are those of the classes."""
    return AnnotatedObject(kept["id"], names[kept["class"]], kept["name"], kept["colour"])


def pack_logits(logits: FloatArray) -> bytes:
    """Logits (side, side) in steps of 1/8, up to +-16, compressed."""
    steps = np.clip(np.rint(logits / _STEP), -127, 127).astype(np.int8)
    return zlib.compress(steps.tobytes(), 1)


def unpack_logits(data: bytes | None, side: int) -> FloatArray | None:
    """What `pack_logits` packed; None if there is nothing, or a model with masks of another side made it."""
    if data is None:
        return None
    steps = np.frombuffer(zlib.decompress(data), np.int8)
    if isqrt(len(steps)) != side:
        return None
    logits: FloatArray = (steps.astype(np.float32) * np.float32(_STEP)).reshape(side, side)
    return logits


def sent_annotation(
    annotation: Annotation, version: int, spacing_of: SpacingOf | None, mask: BoolArray | None = None
) -> dict[str, Any]:
    """An annotation as the page gets it; `measurements` is null without `spacing_of` and of an empty mask."""
    mask = annotation.mask if mask is None else mask
    measured = None
    if spacing_of is not None and mask.any():
        measured = measure_mask(mask, spacing_of(box_of(mask))).to_json()
    return {
        "object": annotation.object,
        "frame": annotation.frame,
        "version": version,
        "mask": run_lengths(mask),
        "score": annotation.score,
        "origin": annotation.origin,
        "doubt": annotation.doubt,
        "checked": annotation.checked,
        "prompts": prompts_entry(annotation.prompts),
        "calliper": [list(end) for end in annotation.calliper],
        "measurements": measured,
    }


def received_mask(sent: Any, width: int, height: int) -> BoolArray:
    """A mask (height, width) that the page sent as uncompressed RLE. Raises UltrasamError if it is none."""
    if not isinstance(sent, dict) or not isinstance(sent.get("counts"), list):
        raise UltrasamError('a mask is {"size": [height, width], "counts": [...]}')
    return decode_segmentation(sent, height, width)


def score_of(score: float) -> float | None:
    """A score as it is kept: JSON has no NaN, which is that of a mask that no model has judged."""
    return round(float(score), 4) if isfinite(score) else None
