"""A contact sheet of a built set: some of its images with the contours of what is drawn in them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

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
CAPTION, GAP, MARGIN, HEADER, LEGEND = 40, 12, 24, 66, 24
INSIDE, OUTSIDE, RIM = 2.0, 0.25, 1.25
"""How far a contour reaches into its mask and out of it, and a dark rim out of it: pixels of the sheet."""
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
    drawn = coco.by_image()
    chosen = sorted(chosen_images(coco, columns * rows), key=lambda pair: pair[0].file_name)
    colours = {one.id: PALETTE[place % len(PALETTE)] for place, one in enumerate(coco.categories)}
    columns = max(1, min(columns, len(chosen)))
    rows = max(1, -(-len(chosen) // columns))
    # No narrower than three tiles: there is a title.
    width = 2 * MARGIN + max(columns, 3) * (TILE + GAP) - GAP
    legend = _legend(coco, colours, width - 2 * MARGIN)
    # Where all are wider than high there is no room to waste.
    height = max((fitted_size(image)[1] for image, _ in chosen), default=TILE)
    step = height + CAPTION + GAP
    sheet = Image.new("RGB", (width, HEADER + rows * step + legend.height + MARGIN // 2), _PAPER)
    _title(sheet, folder.name, coco, len(chosen))
    for place, (image, note) in enumerate(chosen):
        row, column = divmod(place, columns)
        tile = _tile(folder / "images" / image.file_name, image, drawn[image.id], colours, note, height)
        sheet.paste(tile, (MARGIN + column * (TILE + GAP), HEADER + row * step))
    sheet.paste(legend, (MARGIN, HEADER + rows * step))
    return sheet


def fitted_size(image: CocoImage) -> tuple[int, int]:
    """Width and height in a tile: `TILE` at the longer side, pixels as wide and high as they are in mm."""
    across, down = image.spacing or (1.0, 1.0)
    if not (0 < across < math.inf and 0 < down < math.inf):
        across = down = 1.0
    width, height = image.width * across, image.height * down
    scale = TILE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def chosen_images(coco: Coco, count: int) -> list[tuple[CocoImage, str]]:
    """Up to `count` images, each with what it was chosen for ("largest object", ...), the same every time.

    First one for each category, then those with the largest and the smallest object, as shares of their
    image, and with most objects; then others, from as many cases as there are. Which ones is decided by the
    hash of their names.
    """
    drawn = coco.by_image()
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
    hashes = {case: _hash(case) for case in waiting}
    found: list[CocoImage] = []
    while waiting and len(found) < count:
        case = min(waiting, key=lambda case: (used[case], hashes[case]))
        found.append(waiting[case].pop())
        used[case] += 1
        if not waiting[case]:
            del waiting[case]
    return found


def _case(image: CocoImage) -> str:
    return image.case_id or image.file_name


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _tile(
    path: Path,
    image: CocoImage,
    drawn: Sequence[CocoAnnotation],
    colours: dict[int, Colour],
    note: str,
    height: int,
) -> Image.Image:
    """An image with its contours, `TILE` x `height`, and beneath it its name, objects, size and note."""
    tile = Image.new("RGB", (TILE, height + CAPTION), _PAPER)
    tile.paste(_BACK, (0, 0, TILE, height))
    size = fitted_size(image)
    draw = ImageDraw.Draw(tile)
    try:
        picture = Image.fromarray(as_rgb(read_image(path).frames[0])).resize(size, Image.Resampling.LANCZOS)
        draw_contours(picture, image, drawn, colours)
        tile.paste(picture, ((TILE - size[0]) // 2, (height - size[1]) // 2))
    except UltrasamError:
        draw.text((TILE / 2, height / 2), "cannot be read", fill=_PAPER, font=_font(14), anchor="mm")
    line = f"{_number(len(drawn), 'object')}, {image.width} x {image.height}"
    draw.text((0, height + 3), _fitted(image.file_name, _font(13)), fill=_INK, font=_font(13))
    draw.text((0, height + 20), line, fill=_SOFT, font=_font(12))
    if note:
        # Two notes may not fit beside the numbers; the first is the rarer.
        room = TILE - _font(12).getlength(line) - 12
        shown = note if _font(12).getlength(note) <= room else note.split(",")[0]
        draw.text((TILE, height + 20), shown, fill=_INK, font=_font(12), anchor="ra")
    return tile


def draw_contours(
    picture: Image.Image, image: CocoImage, drawn: Sequence[CocoAnnotation], colours: dict[int, Colour]
) -> None:
    """Draw the outlines of masks on the grid of `image` into `picture`, RGB, which shows it in another size.

    Contours lie inside their masks, so that those of two that touch are both seen. `colours` are by
    category. Raises UltrasamError for a mask that does not fit the image.
    """
    scale = np.array([picture.width / image.width, picture.height / image.height]) * SMOOTH
    size = (picture.width * SMOOTH, picture.height * SMOOTH)
    rim = Image.new("L", size)
    covers: dict[Colour, Image.Image] = {}
    for annotation in drawn:
        mask = decode_segmentation(annotation.segmentation or [], image.height, image.width)
        # Corners lie between pixels, Pillow's coordinates in the middle of them.
        loops = [(loop * scale - 0.5).ravel().tolist() for loop in outlines(mask)]
        inner = _stroke(loops, size, INSIDE)
        inside = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
        cover = ImageChops.lighter(ImageChops.darker(inner, inside), _stroke(loops, size, OUTSIDE))
        colour = colours[annotation.category_id]
        covers[colour] = ImageChops.lighter(covers.get(colour, cover), cover)
        rim = ImageChops.lighter(rim, _stroke(loops, size, RIM))
    for colour, cover in [(_RIM, rim.point(lambda value: value * 0.6)), *covers.items()]:
        picture.paste(colour, (0, 0), cover.resize(picture.size, Image.Resampling.BOX))


def _stroke(loops: Sequence[list[float]], size: tuple[int, int], reach: float) -> Image.Image:
    """Closed lines through points x, y, x, y, ... that reach so many pixels of the sheet to either side."""
    # Of an even width Pillow's lines lie further to one side, which depends on their direction.
    width = round(2 * reach * SMOOTH) | 1
    stroke = Image.new("L", size)
    draw = ImageDraw.Draw(stroke)
    for loop in loops:
        draw.line([*loop, *loop[:4]], fill=255, width=width, joint="curve")
    return stroke


def _title(sheet: Image.Image, name: str, coco: Coco, shown: int) -> None:
    draw = ImageDraw.Draw(sheet)
    title = DATASETS[name].name if name in DATASETS else name
    cases = len({_case(image) for image in coco.images})
    images = _number(len(coco.images), "image")
    text = f"{images}, {_number(len(coco.annotations), 'object')}, {_number(cases, 'case')}"
    text = f"{name}: {text}; {'all' if shown == len(coco.images) else shown} shown"
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


def _number(count: int, of: str) -> str:
    return f"{count:,} {of}" if count == 1 else f"{count:,} {of}s" if count else f"no {of}"


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
