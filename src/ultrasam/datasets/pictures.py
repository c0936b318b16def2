"""The figure of what the collection is made of, and a contact sheet of a set with the contours of its
objects.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ultrasam.core.files import atomic_write, ensure_writable_dir
from ultrasam.core.masks import decode_segmentation
from ultrasam.core.overlay import COLOURS
from ultrasam.core.polygons import outlines
from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS
from ultrasam.datasets.results import ANNOTATIONS
from ultrasam.datasets.summary import SetSummary
from ultrasam.io.coco import Coco, CocoAnnotation, CocoImage, read_coco

TILE, LABEL, GAP, HEAD = 240, 18, 8, 34
_DARK, _LIGHT, _GREY = (24, 26, 30), (235, 236, 238), (150, 153, 158)
# Contours are drawn so many times larger, then reduced: smooth lines.
_SMOOTH = 2
# Wide enough to label inside the bar.
_LABELLED = 0.09


def write_pictures(sets: Sequence[SetSummary], out: Path, target: Path) -> None:
    """Write us43d.png, us43d.svg and sheets/ID.png into `target`. Raises UltrasamError if one cannot be
    written.
    """
    ensure_writable_dir(target / "sheets")
    for ending, data in composition(sets).items():
        atomic_write(target / f"us43d.{ending}", data)
    for one in sets:
        picture = io.BytesIO()
        contact_sheet(out / one.dataset).save(picture, "PNG")
        atomic_write(target / "sheets" / f"{one.dataset}.png", picture.getvalue())


def composition(sets: Sequence[SetSummary]) -> dict[str, bytes]:
    """The paper's Fig. 2 in our words, as PNG and SVG: objects by clinical application, a bar's parts are
    sets.

    Bars have a logarithmic scale, since applications differ a thousandfold; within a bar the parts are in
    proportion. Needs matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups: dict[str, list[SetSummary]] = defaultdict(list)
    for one in sets:
        if one.entry and one.objects:
            groups[one.entry.application].append(one)
    order = sorted(groups, key=lambda key: sum(one.objects for one in groups[key]))
    # The same bytes each time: no date, no random names in the SVG.
    with matplotlib.rc_context({"svg.hashsalt": "us43d", "font.size": 10, "svg.fonttype": "none"}):
        figure, axes = pyplot.subplots(figsize=(12, 1.6 + 0.46 * max(len(order), 3)), layout="constrained")
        most = max((sum(one.objects for one in groups[key]) for key in order), default=1)
        top = 10 ** (np.ceil(np.log10(max(most, 10)) * 4) / 4) * 3
        axes.set_xscale("log")
        axes.set_xlim(1, top)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        span = np.log10(top)
        for row, key in enumerate(order):
            members = sorted(groups[key], key=lambda one: (-one.objects, one.dataset))
            total = sum(one.objects for one in members)
            left = 0.0
            for number, one in enumerate(members):
                share = np.log10(max(total, 1.3)) * one.objects / total
                colour = np.array(COLOURS[number % len(COLOURS)]) / 255
                start, end = 10**left, 10 ** (left + share)
                axes.barh(row, end - start, left=start, color=colour, edgecolor="white", height=0.72)
                if share / span > _LABELLED:
                    axes.text(
                        10 ** (left + share / 2), row, one.dataset, ha="center", va="center", fontsize=8
                    )
                left += share
            images = sum(one.images for one in members)
            text = f" {total:,} in {images:,} images"
            axes.text(10**left, row, text, va="center", fontsize=9, color="#333333")
        axes.set_yticks(range(len(order)), [APPLICATIONS[key] for key in order])
        axes.set_ylim(-0.6, max(len(order), 1) - 0.4)
        axes.set_xlabel("objects (logarithmic; the sets within a bar in proportion)")
        axes.spines[["top", "right"]].set_visible(False)
        ours = [one for one in sets if one.entry and one.entry.in_us43d]
        title = f"{len(ours)} of {sum(entry.in_us43d for entry in DATASETS.values())} sets of US-43d"
        beyond = len(sets) - len(ours)
        title += f" and {beyond} beyond" if beyond else ""
        images, objects = sum(one.images for one in sets), sum(one.objects for one in sets)
        axes.set_title(f"{title}: {objects:,} objects in {images:,} images", loc="left")
        files = {}
        for ending in ("png", "svg"):
            data = io.BytesIO()
            figure.savefig(data, format=ending, dpi=120, metadata={"Date": None} if ending == "svg" else {})
            files[ending] = data.getvalue()
        pyplot.close(figure)
    return files


def contact_sheet(folder: Path, columns: int = 6, rows: int = 4) -> Image.Image:
    """Images of the set in `folder` with the contours of its objects, a colour for each class.

    The choice is the same each time: first the largest and the smallest object, the image with most objects
    and one of each class, then images of as many cases as there is room for. Raises UltrasamError if a file
    cannot be read.
    """
    coco = read_coco(folder / ANNOTATIONS)
    drawn: dict[int, list[CocoAnnotation]] = defaultdict(list)
    for annotation in coco.annotations:
        drawn[annotation.image_id].append(annotation)
    chosen = _chosen(coco, drawn, columns * rows)
    rows = max(1, -(-len(chosen) // columns))
    columns = min(columns, max(len(chosen), 3))
    width = columns * (TILE + GAP) + GAP
    sheet = Image.new("RGB", (width, HEAD + rows * (TILE + LABEL + GAP) + GAP), _DARK)
    canvas = ImageDraw.Draw(sheet)
    colours = {category.id: COLOURS[n % len(COLOURS)] for n, category in enumerate(coco.categories)}
    _draw_legend(canvas, folder.name, coco, colours, width)
    for number, image in enumerate(chosen):
        x = GAP + number % columns * (TILE + GAP)
        y = HEAD + number // columns * (TILE + LABEL + GAP)
        tile = _tile(folder / "images" / image.file_name, image, drawn[image.id], colours)
        sheet.paste(tile, (x + (TILE - tile.width) // 2, y + (TILE - tile.height) // 2))
        count = f"  {len(drawn[image.id])} objects" if len(drawn[image.id]) != 1 else ""
        canvas.text((x, y + TILE + 2), _fitted(canvas, Path(image.file_name).stem, count), _GREY, font=_FONT)
    return sheet


_FONT = ImageFont.load_default(12)
_BOLD = ImageFont.load_default(16)


def _chosen(coco: Coco, drawn: dict[int, list[CocoAnnotation]], count: int) -> list[CocoImage]:
    shown = [image for image in coco.images if drawn[image.id]] or list(coco.images)
    if not shown:
        return []
    pixels = {image.id: image.width * image.height for image in shown}
    by_size = sorted(
        (one for image in shown for one in drawn[image.id]),
        key=lambda one: (one.area / pixels[one.image_id], one.id),
    )
    first = [one.image_id for one in (by_size[-1:] + by_size[:1])]
    first.append(max(shown, key=lambda image: (len(drawn[image.id]), image.file_name)).id)
    for category in coco.categories:
        first += [one.image_id for one in by_size if one.category_id == category.id][:1]
    # In a random order that is always the same, those of a case one after the other in later rounds.
    seen: dict[str, int] = defaultdict(int)
    turn: dict[int, tuple[int, str]] = {}
    for image in sorted(shown, key=lambda image: _shuffled(image.file_name)):
        case = image.case_id or image.file_name
        turn[image.id] = (seen[case], _shuffled(image.file_name))
        seen[case] += 1
    order = [*dict.fromkeys([*first, *sorted(turn, key=lambda number: turn[number])])][:count]
    by_id = {image.id: image for image in shown}
    return sorted((by_id[number] for number in order), key=lambda image: image.file_name)


def _shuffled(name: str) -> str:
    return sha256(name.encode()).hexdigest()


def _tile(
    path: Path,
    image: CocoImage,
    annotations: Sequence[CocoAnnotation],
    colours: dict[int, tuple[int, int, int]],
) -> Image.Image:
    scale = TILE / max(image.width, image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    with Image.open(path) as picture:
        tile = picture.convert("RGB").resize(
            (size[0] * _SMOOTH, size[1] * _SMOOTH), Image.Resampling.BILINEAR
        )
    canvas = ImageDraw.Draw(tile)
    for annotation in annotations:
        if annotation.segmentation is None:
            continue
        mask = decode_segmentation(annotation.segmentation, image.height, image.width)
        for loop in outlines(mask):
            corners = [(x * scale * _SMOOTH, y * scale * _SMOOTH) for x, y in loop.tolist()]
            canvas.line([*corners, corners[0]], colours[annotation.category_id], 2 * _SMOOTH, joint="curve")
    small: Image.Image = tile.resize(size, Image.Resampling.LANCZOS)
    return small


def _draw_legend(
    canvas: ImageDraw.ImageDraw, name: str, coco: Coco, colours: dict[int, tuple[int, int, int]], width: int
) -> None:
    canvas.text((GAP, 8), name, _LIGHT, font=_BOLD)
    x = GAP + canvas.textlength(name, font=_BOLD) + 24
    for category in coco.categories:
        count = sum(annotation.category_id == category.id for annotation in coco.annotations)
        text = f"{category.name} {count:,}"
        if x + 18 + canvas.textlength(text, font=_FONT) > width:
            canvas.text((x, 11), "...", _LIGHT, font=_FONT)
            return
        canvas.rectangle((x, 12, x + 12, 24), colours[category.id])
        canvas.text((x + 18, 11), text, _LIGHT, font=_FONT)
        x += 18 + canvas.textlength(text, font=_FONT) + 20


def _fitted(canvas: ImageDraw.ImageDraw, text: str, end: str) -> str:
    """The text with `end`, shortened in front so that both fit below a tile."""
    short = text
    while short and canvas.textlength(f"...{short}{end}", font=_FONT) > TILE:
        short = short[1:]
    return f"{text if short == text else f'...{short}'}{end}"
