"""Draw masks and prompts on a frame so that they can be read on grey ultrasound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.core.prompts import Prompts

# After Okabe and Ito (2008), told apart by all kinds of colour vision, and bright enough for ultrasound.
COLOURS = ((0, 190, 255), (230, 159, 0), (240, 228, 66), (204, 121, 167), (0, 158, 115), (213, 94, 0))
_POSITIVE = (0, 170, 80)
_NEGATIVE = (220, 40, 40)
_FILL = 0.25
_SMOOTH = 4  # markers are drawn this many times larger, then reduced


def draw_overlay(image: ByteArray, masks: Sequence[BoolArray], prompts: Sequence[Prompts]) -> ByteArray:
    """Masks with a translucent fill and a contour, boxes as thin rectangles, clicks as green + and red -
    discs.

    `image` (H, W, 3) uint8; `masks` bool (H, W) and `prompts` in pixels of it, one each per object.
    Returns a new (H, W, 3) uint8.
    """
    line = max(1, round(max(image.shape[:2]) / 500))
    canvas = image.copy()
    for number, mask in enumerate(masks):
        _paint_mask(canvas, mask, COLOURS[number % len(COLOURS)], line)
    picture = Image.fromarray(canvas)
    for number, asked in enumerate(prompts):
        if asked.box is not None:
            _draw_box(picture, asked.box, COLOURS[number % len(COLOURS)], line)
    for asked in prompts:
        for (x, y), positive in zip(asked.points, asked.positive, strict=True):
            _draw_click(picture, x, y, positive)
    return np.array(picture)


def _paint_mask(canvas: ByteArray, mask: BoolArray, colour: tuple[int, int, int], line: int) -> None:
    """A dark rim outside and a bright contour inside keep the edge visible on any grey."""
    rim = _grow(mask, line) & ~mask
    contour = mask & _grow(~mask, 2 * line)
    canvas[mask] = ((1 - _FILL) * canvas[mask] + _FILL * np.array(colour)).astype(np.uint8)
    canvas[rim] //= 3
    canvas[contour] = colour


def _grow(mask: BoolArray, steps: int) -> BoolArray:
    """Every pixel within `steps` moves (up, down, left, right) of the mask."""
    for _ in range(steps):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask


def _draw_box(
    picture: Image.Image, box: tuple[float, float, float, float], colour: tuple[int, int, int], line: int
) -> None:
    x0, y0 = int(box[0]), int(box[1])
    # The half-open box ends before its last coordinate; even a sliver covers one pixel.
    x1, y1 = max(x0, round(box[2]) - 1), max(y0, round(box[3]) - 1)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((x0 - line, y0 - line, x1 + line, y1 + line), outline=(0, 0, 0), width=line)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=line)


def _draw_click(picture: Image.Image, x: float, y: float, positive: bool) -> None:
    radius = max(5, round(max(picture.size) / 90))
    middle = radius * _SMOOTH
    tile = Image.new("RGBA", (2 * middle, 2 * middle))
    draw = ImageDraw.Draw(tile)
    for share, colour in (
        (1.0, (0, 0, 0)),
        (0.88, (255, 255, 255)),
        (0.72, _POSITIVE if positive else _NEGATIVE),
    ):
        reach = share * middle
        draw.ellipse((middle - reach, middle - reach, middle + reach, middle + reach), fill=(*colour, 255))
    arm, half = 0.45 * middle, 0.11 * middle
    draw.rectangle((middle - arm, middle - half, middle + arm, middle + half), fill=(255, 255, 255, 255))
    if positive:
        draw.rectangle((middle - half, middle - arm, middle + half, middle + arm), fill=(255, 255, 255, 255))
    marker = tile.resize((2 * radius, 2 * radius), Image.Resampling.LANCZOS)
    picture.paste(marker, (round(x) - radius, round(y) - radius), marker)
