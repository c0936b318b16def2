"""The inference of the UltraSam paper (Meyer et al. 2025): one prompt for an object, answered in two passes.

Pass 1 takes the single-mask token without a mask prompt. Pass 2 gets its logits as mask prompt, and in place
of a point the box of its mask; the best of the other three masks by predicted IoU is the answer, that
prediction its score. With `ultrasam.load(postprocess="original")` sizes, coordinates and masks are those of
the original implementation, number for number; else they follow this package's one convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import ORIGINAL, FloatArray, Frame, mask_of, upsample_logits
from ultrasam.core.masks import box_of
from ultrasam.core.prompts import Box, Prompts, stack_prompts
from ultrasam.engines.base import Engine
from ultrasam.predict.decode import OBJECTS_AT_ONCE, Answer, choose_masks, decode

PROTOCOLS = ("clicks", "paper")
DEFAULT_PROTOCOL = "clicks"


def checked_protocol(protocol: str, refine: str, crop: str) -> str:
    """`protocol` if it is one of `PROTOCOLS` and goes with `refine` and `crop`, else UltrasamError."""
    if protocol not in PROTOCOLS:
        raise UltrasamError(f"there is no protocol {protocol!r:.40}: use one of {', '.join(PROTOCOLS)}")
    if protocol == "paper" and (refine, crop) != ("none", "none"):
        raise UltrasamError("the protocol paper looks at the whole frame: leave out refine and crop")
    return protocol


def two_passes(
    engine: Engine, embedding: FloatArray, frame: Frame, objects: Sequence[Prompts]
) -> list[Answer]:
    """Both passes for N objects of a frame with one point or one box each; `embedding` (1, C, h, w)."""
    for prompts in objects:
        if prompts.count != 1 or not all(prompts.positive):
            raise UltrasamError("the protocol paper takes one positive point or one box for each object")
    first = single_masks(engine, embedding, frame, objects)
    second = [refined(prompts, logits, frame) for prompts, logits in zip(objects, first, strict=True)]
    return decode(engine, embedding, frame, second, first)


def single_masks(
    engine: Engine, embedding: FloatArray, frame: Frame, objects: Sequence[Prompts]
) -> list[FloatArray]:
    """Pass 1: the single-mask token's logits (4h, 4w) of N objects with equally many tokens or not."""
    side = 4 * embedding.shape[-1]
    found: dict[int, FloatArray] = {}
    for tokens in {prompts.num_tokens for prompts in objects}:
        rows = [row for row, prompts in enumerate(objects) if prompts.num_tokens == tokens]
        for start in range(0, len(rows), OBJECTS_AT_ONCE):
            part = rows[start : start + OBJECTS_AT_ONCE]
            points, labels = stack_prompts([objects[row] for row in part], frame)
            no_mask, has_mask = (
                np.zeros((len(part), 1, side, side), np.float32),
                np.zeros(len(part), np.float32),
            )
            masks, iou = engine.decode(embedding, points, labels, no_mask, has_mask)
            # Two prompts or more mean the single-mask token; here it is wanted for one.
            answers = choose_masks(masks, iou, np.full(len(part), 2))
            found.update(zip(part, (answer.logits for answer in answers), strict=True))
    return [found[row] for row in range(len(objects))]


def refined(prompts: Prompts, logits: FloatArray, frame: Frame) -> Prompts:
    """What pass 2 is asked after the logits (4h, 4w) of pass 1: the box of its mask in place of a point.

    A box stays; so does a point that found nothing.
    """
    if prompts.box is not None:
        return prompts
    box = found_box(logits, frame)
    return prompts if box is None else Prompts(box=box)


def found_box(logits: FloatArray, frame: Frame) -> Box | None:
    """The tight box of logits (4h, 4w) > 0 in pixels of the original image.

    It is found on the model's input grid. With the fit "original" it is that of the mask in the image, and
    moved by what is added to a prompted box, since nothing is added to this one there.
    """
    if frame.fit == ORIGINAL:
        mask = mask_of(logits, frame)
        across, down = (0.5 / scale for scale in frame.scales)
        if not mask.any():
            return None
        x0, y0, x1, y1 = box_of(mask)
        return x0 - across, y0 - down, x1 - across, y1 - down
    width, height = frame.resized
    square = replace(frame, width=frame.size, height=frame.size)
    mask = upsample_logits(logits, square)[:height, :width] > 0
    if not mask.any():
        return None
    across, down = frame.scales
    x0, y0, x1, y1 = box_of(mask)
    # The resized image was rounded to whole pixels and may reach over the original by a part of one.
    return x0 / across, y0 / down, min(x1 / across, float(frame.width)), min(y1 / down, float(frame.height))
