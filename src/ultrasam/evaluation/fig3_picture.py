"""The picture of Fig. 3: a row for each image and prompt, a column for each model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ultrasam.core.clicks import centroid
from ultrasam.core.geometry import BoolArray, ByteArray, as_rgb
from ultrasam.core.masks import box_of
from ultrasam.datasets.figures import INK, SOFT, own_style, rendered
from ultrasam.evaluation.published import POINT, TESTS
from ultrasam.evaluation.samples import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches.
CELL, HEAD, SIDE, GAP, FOOT = 1.9, 0.75, 1.15, 0.08, 0.3
# Pixels of the longest side of an image in the picture.
LONGEST = 380
_TRUTH, _MASK = (0, 200, 90), (255, 140, 0)
_TRUTH_INK, _MASK_INK, _PROMPT_INK = "#00e676", "#ffa726", "#ffeb3b"
_FILL = 0.35
_LEGEND = "Yellow: prompt. Green: ground truth, dashed over the masks. Orange: mask of the model."


@dataclass(frozen=True, eq=False)
class Drawn:
    """The masks (H, W) bool of a model for the objects of an image, and their mean IoU with the truth."""

    masks: tuple[BoolArray, ...]
    iou: float


@dataclass(frozen=True, eq=False)
class Row:
    """An image, a prompt, "point" or "box", and what each column has drawn; None where it was not asked."""

    sample: Sample
    prompt: str
    drawn: tuple[Drawn | None, ...]


def side_by_side(columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> dict[str, bytes]:
    """The figure as "png" and "svg". `columns` are a name and what stands below it, for each model.

    Equal rows give equal bytes. Raises UltrasamError for an image that cannot be read, ModuleNotFoundError
    without matplotlib.
    """
    with own_style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        heads = [("image", "and its prompt"), ("ground truth", ""), *columns]
        heights = [_height(row.sample) for row in rows]
        width = SIDE + len(heads) * (CELL + GAP)
        height = HEAD + sum(heights) + GAP * len(rows) + FOOT
        figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(figure)
        top = height - HEAD
        for place, (name, below) in enumerate(heads):
            x = (SIDE + place * (CELL + GAP) + CELL / 2) / width
            figure.text(x, (top + 0.33) / height, _short(name), fontsize=10, fontweight="bold", ha="center")
            figure.text(x, (top + 0.13) / height, below, fontsize=8, color=SOFT, ha="center")
        for row, tall in zip(rows, heights, strict=True):
            top -= tall + GAP
            middle = (top + tall / 2) / height
            name = TESTS.get(row.sample.dataset, row.sample.dataset)
            figure.text(0.09 / width, middle, name, fontsize=9.5, fontweight="bold", va="bottom")
            figure.text(0.09 / width, middle - 0.06 / height, row.prompt, fontsize=9.5, va="top")
            axes = [
                figure.add_axes(
                    (
                        (SIDE + place * (CELL + GAP)) / width,
                        top / height,
                        CELL / width,
                        tall / height,
                    )
                )
                for place in range(len(heads))
            ]
            _draw_row(axes, row)
        figure.text(SIDE / width, 0.1 / height, _LEGEND, fontsize=8, color=SOFT)
        return rendered(figure)


def _height(sample: Sample) -> float:
    """Inches of a row: that of the image, neither a strip nor a tower."""
    return CELL * min(max(sample.image.height / sample.image.width, 0.5), 1.2)


def _draw_row(axes: Sequence[Axes], row: Row) -> None:
    truths = list(row.sample.truths().values())
    pixels = as_rgb(row.sample.pixels())
    for place in axes:
        place.set_axis_off()
    _show(axes[0], pixels, ())
    for truth in truths:
        _draw_prompt(axes[0], row.prompt, truth)
    _show(axes[1], pixels, truths, _TRUTH)
    for truth in truths:
        _outline(axes[1], truth, _TRUTH_INK)
    for place, drawn in zip(axes[2:], row.drawn, strict=True):
        if drawn is None:
            place.text(0.5, 0.5, "not asked", color=SOFT, fontsize=8, ha="center", va="center")
            continue
        _show(place, pixels, drawn.masks, _MASK)
        for mask in drawn.masks:
            _outline(place, mask, _MASK_INK)
        for truth in truths:
            _outline(place, truth, _TRUTH_INK, dashed=True)
        several = "mean " if len(drawn.masks) > 1 else ""
        place.text(
            0.03,
            0.05,
            f"{several}IoU {drawn.iou:.2f}",
            transform=place.transAxes,
            fontsize=8.5,
            color="white",
            bbox={"facecolor": INK, "alpha": 0.75, "edgecolor": "none", "pad": 2},
        )


def _show(
    axes: Axes, pixels: ByteArray, masks: Iterable[BoolArray], colour: tuple[int, int, int] = _MASK
) -> None:
    """The image, made small, in its own coordinates, with masks in a colour that lets it shine through."""
    height, width = pixels.shape[:2]
    painted = pixels.astype(np.float32)
    union = np.zeros((height, width), np.bool_)
    for mask in masks:
        union |= mask
    painted[union] = (1 - _FILL) * painted[union] + _FILL * np.array(colour, np.float32)
    image = Image.fromarray(painted.astype(np.uint8))
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.BILINEAR)
    axes.imshow(np.asarray(image), extent=(0, width, height, 0), interpolation="bilinear")
    axes.set(xlim=(0, width), ylim=(height, 0))


def _outline(axes: Axes, mask: BoolArray, colour: str, dashed: bool = False) -> None:
    if not mask.any():
        return
    # A border of nothing closes the outline where the object reaches the edge of the image.
    padded = np.pad(mask, 1).astype(np.float32)
    x, y = np.arange(padded.shape[1]) - 0.5, np.arange(padded.shape[0]) - 0.5
    style = "dashed" if dashed else "solid"
    axes.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=1.0, linestyles=style)


def _draw_prompt(axes: Axes, prompt: str, truth: BoolArray) -> None:
    if prompt == POINT:
        x, y = centroid(truth)
        axes.plot(x, y, marker="o", markersize=6, color=_PROMPT_INK, markeredgecolor=INK)
        return
    x0, y0, x1, y1 = box_of(truth)
    axes.plot((x0, x1, x1, x0, x0), (y0, y0, y1, y1, y0), color=_PROMPT_INK, linewidth=1.4)


def _short(name: str) -> str:
    """What fits above a column; a dollar sign would begin a formula."""
    text = " ".join(name.split()).replace(", ", ",\n")
    return "\n".join(line if len(line) < 22 else f"{line[:19]}..." for line in text.split("\n")).replace(
        "$", r"\$"
    )
