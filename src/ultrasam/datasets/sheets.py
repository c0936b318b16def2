"""A contact sheet of a built set: some of its images with the contours of what is drawn in them."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import as_rgb
from ultrasam.core.masks import decode_segmentation
from ultrasam.core.overlay import COLOURS
from ultrasam.core.polygons import outlines
from ultrasam.datasets.catalogue import DATASETS
from ultrasam.datasets.results import ANNOTATIONS
from ultrasam.io.coco import Coco, CocoAnnotation, CocoImage, read_coco
from ultrasam.io.images import read_image

Colour = tuple[int, int, int]

TILE = 240
"""Pixels of the square that an image is fitted into."""
CAPTION, GAP, MARGIN, HEADER, LEGEND = 36, 12, 24, 66, 24
LINE, RIM = 2.0, 4.0
"""Widths of a contour and of the dark rim beneath it, in pixels of the sheet."""
# Contours are drawn this many times larger and reduced, which smooths them.
SMOOTH = 4
# White and violet follow the colours of the overlays; with more than eight categories they begin anew.
PALETTE: tuple[Colour, ...] = (*COLOURS, (255, 255, 255), (165, 120, 255))

_PAPER, _INK, _SOFT, _RIM, _BACK = (255, 255, 255), (28, 39, 51), (91, 102, 115), (0, 0, 0), (24, 24, 26)


def contact_sheet(folder: Path, columns: int = 6, rows: int = 4) -> Image.Image:
    """Images of the set in `folder`, RGB, at most `columns` x `rows` of them, with contours and a legend.

    The choice is `chosen_images`, the order that of the names. An image or mask that cannot be read leaves
    an empty tile that says so. Raises UltrasamError if the COCO file is missing or not valid.
    """
    coco = read_coco(folder / ANNOTATIONS)
    drawn = _by_image(coco)
    chosen = sorted(chosen_images(coco, columns * rows), key=lambda pair: pair[0].file_name)
    colours = {one.id: PALETTE[place % len(PALETTE)] for place, one in enumerate(coco.categories)}
    columns = max(1, min(columns, len(chosen)))
    rows = max(1, -(-len(chosen) // columns))
    # No narrower than three tiles: there is a title.
    width = 2 * MARGIN + max(columns, 3) * (TILE + GAP) - GAP
    legend = _legend(coco, colours, width - 2 * MARGIN)
    grid = rows * (TILE + CAPTION + GAP)
    sheet = Image.new("RGB", (width, HEADER + grid + legend.height + MARGIN // 2), _PAPER)
    _title(sheet, folder.name, coco, len(chosen))
    for place, (image, note) in enumerate(chosen):
        row, column = divmod(place, columns)
        tile = _tile(folder / "images" / image.file_name, image, drawn[image.id], colours, note)
        sheet.paste(tile, (MARGIN + column * (TILE + GAP), HEADER + row * (TILE + CAPTION + GAP)))
    sheet.paste(legend, (MARGIN, HEADER + grid))
    return sheet


def png_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def chosen_images(coco: Coco, count: int) -> list[tuple[CocoImage, str]]:
    """Up to `count` images, each with what it was chosen for ("largest object", ...), the same every time.

    First one for each category, then those with the largest and the smallest object, as shares of their
    image, and with most objects; then others, from as many cases as there are. Which ones is decided by the
    hash of their names.
    """
    drawn = _by_image(coco)
    shuffled = sorted(coco.images, key=lambda image: _hash(image.file_name))
    notes: dict[int, list[str]] = {}
    for category in coco.categories:
        showing = [im for im in shuffled if any(one.category_id == category.id for one in drawn[im.id])]
        if showing and not any(image.id in notes for image in showing):
            notes[showing[0].id] = []
    for image, note in _extremes(shuffled, drawn):
        notes.setdefault(image.id, []).append(note)
    picked = [image for image in coco.images if image.id in notes]
    if len(picked) > count:  # the order of the choice counts
        kept = list(notes)[:count]
        picked = [image for image in picked if image.id in kept]
    picked += _spread_over_cases(shuffled, picked, count - len(picked))
    return [(image, ", ".join(notes.get(image.id, []))) for image in picked]


def _extremes(
    images: Sequence[CocoImage], drawn: dict[int, list[CocoAnnotation]]
) -> Iterable[tuple[CocoImage, str]]:
    """The images with the largest, the smallest and most objects, if there are objects to tell apart."""
    objects = [(one.area / (im.width * im.height), im) for im in images for one in drawn[im.id]]
    if len(objects) > 1:
        yield max(objects, key=lambda pair: pair[0])[1], "largest object"
        yield min(objects, key=lambda pair: pair[0])[1], "smallest object"
    fullest = max(images, key=lambda image: len(drawn[image.id]), default=None)
    if fullest is not None and len(drawn[fullest.id]) > 1:
        yield fullest, "most objects"


def _spread_over_cases(
    images: Sequence[CocoImage], picked: Sequence[CocoImage], count: int
) -> list[CocoImage]:
    """`count` further images, each of a case of which fewest are picked already."""
    taken = {image.id for image in picked}
    used = Counter(_case(image) for image in picked)
    waiting: dict[str, list[CocoImage]] = defaultdict(list)
    for image in reversed(images):
        if image.id not in taken:
            waiting[_case(image)].append(image)
    found: list[CocoImage] = []
    while waiting and len(found) < count:
        case = min(waiting, key=lambda case: (used[case], _hash(case)))
        found.append(waiting[case].pop())
        used[case] += 1
        if not waiting[case]:
            del waiting[case]
    return found


def _case(image: CocoImage) -> str:
    return image.case_id or image.file_name


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _by_image(coco: Coco) -> dict[int, list[CocoAnnotation]]:
    drawn: dict[int, list[CocoAnnotation]] = {image.id: [] for image in coco.images}
    for annotation in coco.annotations:
        drawn[annotation.image_id].append(annotation)
    return drawn


def _tile(
    path: Path, image: CocoImage, drawn: Sequence[CocoAnnotation], colours: dict[int, Colour], note: str
) -> Image.Image:
    """An image with its contours, `TILE` wide, and beneath it its name, size and number of objects."""
    tile = Image.new("RGB", (TILE, TILE + CAPTION), _PAPER)
    tile.paste(_BACK, (0, 0, TILE, TILE))
    scale = TILE / max(image.width, image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    draw = ImageDraw.Draw(tile)
    try:
        picture = Image.fromarray(as_rgb(read_image(path).frames[0])).resize(size, Image.Resampling.LANCZOS)
        _draw_contours(picture, image, drawn, colours)
        tile.paste(picture, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    except UltrasamError:
        draw.text((TILE / 2, TILE / 2), "cannot be read", fill=_PAPER, font=_font(14), anchor="mm")
    count = {0: "no object", 1: "1 object"}.get(len(drawn), f"{len(drawn)} objects")
    line = f"{count}, {image.width} x {image.height}"
    draw.text((0, TILE + 4), _fitted(image.file_name, _font(12)), fill=_INK, font=_font(12))
    draw.text((0, TILE + 19), line, fill=_SOFT, font=_font(11))
    if note:
        # Two notes may not fit beside the numbers; the first is the rarer.
        room = TILE - _font(11).getlength(line) - 12
        shown = note if _font(11).getlength(note) <= room else note.split(",")[0]
        draw.text((TILE, TILE + 19), shown, fill=_INK, font=_font(11), anchor="ra")
    return tile


def _draw_contours(
    picture: Image.Image, image: CocoImage, drawn: Sequence[CocoAnnotation], colours: dict[int, Colour]
) -> None:
    """Draw the outlines of the masks, which are on the grid of `image`, into `picture` of another size."""
    scale = np.array([picture.width / image.width, picture.height / image.height]) * SMOOTH
    lines: list[tuple[Colour, list[tuple[float, float]]]] = []
    for annotation in drawn:
        mask = decode_segmentation(annotation.segmentation or [], image.height, image.width)
        for loop in outlines(mask):
            # Corners lie between pixels, Pillow's coordinates in the middle of them.
            points = [(float(x), float(y)) for x, y in loop * scale - 0.5]
            lines.append((colours[annotation.category_id], [*points, *points[:2]]))
    large = (picture.width * SMOOTH, picture.height * SMOOTH)
    used = dict.fromkeys(colour for colour, _ in lines)
    for colour, of, width in [(_RIM, tuple(used), RIM), *((colour, (colour,), LINE) for colour in used)]:
        cover = Image.new("L", large)
        draw = ImageDraw.Draw(cover)
        for own, points in lines:
            if own in of:
                draw.line(points, fill=255 if colour != _RIM else 150, width=round(width * SMOOTH))
        picture.paste(colour, (0, 0), cover.resize(picture.size, Image.Resampling.BOX))


def _title(sheet: Image.Image, name: str, coco: Coco, shown: int) -> None:
    draw = ImageDraw.Draw(sheet)
    title = DATASETS[name].name if name in DATASETS else name
    images, objects = len(coco.images), len(coco.annotations)
    cases = len({_case(image) for image in coco.images})
    text = f"{name}: {images:,} images, {objects:,} objects, {cases:,} cases; {shown:,} images are shown"
    room = sheet.width - 2 * MARGIN
    draw.text((MARGIN, 12), _fitted(title, _font(21), room), fill=_INK, font=_font(21))
    draw.text((MARGIN, 39), _fitted(text, _font(14), room), fill=_SOFT, font=_font(14))


def _legend(coco: Coco, colours: dict[int, Colour], width: int) -> Image.Image:
    """A strip with the categories, their colours and numbers of objects, in as many lines as it takes."""
    counts = Counter(annotation.category_id for annotation in coco.annotations)
    font = _font(13)
    x = y = 0
    places = []
    for category in coco.categories:
        text = f"{category.name} {counts[category.id]:,}"
        needed = 20 + round(font.getlength(text)) + 20
        if x and x + needed > width:
            x, y = 0, y + LEGEND
        places.append((x, y, text, colours[category.id]))
        x += needed
    strip = Image.new("RGB", (width, y + LEGEND), _PAPER)
    draw = ImageDraw.Draw(strip)
    for x, y, text, colour in places:
        draw.rectangle((x, y + 5, x + 13, y + 18), fill=colour, outline=_SOFT)
        draw.text((x + 20, y + LEGEND // 2), text, fill=_INK, font=font, anchor="lm")
    return strip


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int = TILE) -> str:
    """The text, without its middle if it is too long."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
        if font.getlength(short) <= width:
            return short
    return "..."


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # what Pillow brings for a size
    return font
