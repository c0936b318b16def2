"""Which images of a set look most alike to a model, and a picture of them to judge it by eye."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import ByteArray, FloatArray
from ultrasam.io.images import png_bytes

NEIGHBOURS = 5
QUERIES = 6
TILE, GAP, MARGIN, HEADER = 200, 10, 20, 54
_LINE, _CAPTION = 16, 56
_PAPER, _INK, _SOFT, _BACK = (255, 255, 255), (28, 39, 51), (91, 102, 115), (24, 24, 26)


@dataclass(frozen=True)
class Tile:
    """An image of the sheet: what is written below it, and a function that gives its pixels (H, W, 3)."""

    lines: tuple[str, ...]
    pixels: Callable[[], ByteArray]


def nearest(
    query: FloatArray, vectors: FloatArray, cases: Sequence[str], own: str, count: int = NEIGHBOURS
) -> list[tuple[int, float]]:
    """(row, cosine similarity in [-1, 1]) of the `count` rows nearest to `query`, the nearest first.

    `query` (C,), `vectors` (N, C). Of each case only its nearest row counts, and none of the case `own`, or
    the frames beside a frame would be all that is found. Of equal ones the first comes first.
    """
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    products = (vectors.astype(np.float64) * query).sum(axis=1)
    similar = np.divide(products, lengths, out=np.zeros(len(vectors)), where=lengths > 0)
    found: list[tuple[int, float]] = []
    seen = {own}
    for row in np.argsort(-similar, kind="stable"):
        if len(found) == count:
            break
        if cases[row] not in seen:
            seen.add(cases[row])
            found.append((int(row), float(similar[row])))
    return found


def chosen_queries(names: Sequence[str], cases: Sequence[str], kinds: Sequence[str]) -> list[int]:
    """Up to `QUERIES` rows, each of another case and of as many kinds as there are, the same every time.

    A hash of their names decides which.
    """
    order = sorted(range(len(names)), key=lambda row: sha256(names[row].encode(errors="replace")).digest())
    rank = {row: place for place, row in enumerate(order)}
    used: Counter[str] = Counter()
    waiting, chosen = dict.fromkeys(order), list[int]()
    while waiting and len(chosen) < QUERIES:
        row = min(waiting, key=lambda row: (used[kinds[row]], rank[row]))
        chosen.append(row)
        used[kinds[row]] += 1
        waiting = {other: None for other in waiting if cases[other] != cases[row]}
    return chosen


def nearest_sheet(title: str, rows: Sequence[Sequence[Tile]]) -> bytes:
    """A PNG: in each row a query and, to the right of a line, its neighbours.

    An image that cannot be read leaves an empty tile that says so.
    """
    columns = max(len(row) for row in rows)
    width = 2 * MARGIN + columns * (TILE + GAP) + GAP
    step = TILE + _CAPTION + GAP
    sheet = Image.new("RGB", (max(width, 2 * MARGIN + 3 * TILE), HEADER + len(rows) * step + MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 16), title, fill=_INK, font=ImageFont.load_default(16))
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            left = MARGIN + x * (TILE + GAP) + (2 * GAP if x else 0)
            _draw_tile(sheet, tile, left, HEADER + y * step)
    line = MARGIN + TILE + GAP + GAP // 2
    draw.line((line, HEADER, line, HEADER + len(rows) * step - GAP), fill=_SOFT, width=2)
    return png_bytes(sheet)


def _draw_tile(sheet: Image.Image, tile: Tile, left: int, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), fill=_BACK)
    try:
        picture = Image.fromarray(tile.pixels())
    except UltrasamError:
        draw.text((left + 8, top + 8), "cannot be read", fill=_PAPER, font=ImageFont.load_default(13))
    else:
        scale = TILE / max(picture.size)
        across, down = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((across, down), Image.Resampling.BILINEAR)
        sheet.paste(picture, (left + (TILE - across) // 2, top + (TILE - down) // 2))
    for number, text in enumerate(tile.lines):
        font = ImageFont.load_default(13 if number == 0 else 11)
        place = left, top + TILE + 4 + number * _LINE
        draw.text(place, _shortened(text, font), fill=_SOFT if number else _INK, font=font)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The end of the text as wide as a tile: the ends of names differ, their beginnings often do not."""
    line = "".join(c if c.isprintable() else "?" for c in text)
    if font.getlength(line) <= TILE:
        return line
    while line and font.getlength(f"…{line}") > TILE:
        line = line[1:]
    return f"…{line}"
