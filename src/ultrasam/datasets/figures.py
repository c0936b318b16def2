"""What US-43d is made of, as a figure: objects and images of each clinical application, and whose they are.

It says what Fig. 2 of the UltraSam paper says, of the sets that are built.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ultrasam.datasets.catalogue import APPLICATIONS
from ultrasam.datasets.stats import PAPER, SetStats, Stats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 1200
"""Pixels of the PNG, for which the sizes below are chosen."""
DPI = 100
ROW = 54
TOP, BOTTOM, LEFT, RIGHT = 96, 92, 232, 20
# Where a bar, the thin one of its images and the names beneath lie in a row, in shares of it from above.
BAR, IMAGES, NAMES = (0.06, 0.46), (0.49, 0.58), 0.74
# The longest bar takes this share of the width; the numbers stand right of it.
LONGEST = 0.76
# Beyond this ratio the smallest bar would be a sliver on a linear axis.
LARGEST_RATIO = 80

INK, SOFT, GRID, ORANGE = "#1c2733", "#5b6673", "#dfe3e8", "#d98200"
# From dark to light blue: neighbours differ in lightness, which all kinds of colour vision see.
SHADES = ("#08306b", "#2171b5", "#6baed6", "#bdd7ee")


@dataclass(frozen=True)
class _Axis:
    """The axis of the numbers: linear from 0, or logarithmic from `start` on. Lengths are in decades then."""

    logarithmic: bool
    start: float

    def length(self, number: float) -> float:
        if not self.logarithmic:
            return number
        return math.log10(max(number, self.start) / self.start)


def composition(stats: Stats) -> dict[str, bytes]:
    """The figure as "png", `WIDTH` pixels wide, and "svg": equal statistics give equal bytes.

    A row for each application of which something is built, the one with most objects first. Raises
    ModuleNotFoundError without matplotlib.
    """
    with own_style():
        return rendered(composed(stats))


def rendered(figure: Figure) -> dict[str, bytes]:
    """A figure as "png" with `DPI` and "svg", without the time or the version that made it; call it within
    `own_style`.
    """
    contents = {}
    for form, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, dpi=DPI, metadata=metadata)
        contents[form] = buffer.getvalue()
    return contents


def composed(stats: Stats) -> Figure:
    """The figure of `composition`."""
    with own_style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        rows = _rows(stats)
        height = TOP + BOTTOM + ROW * max(1, len(rows))
        figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        _draw(figure, height, rows, stats)
    return figure


def own_style() -> AbstractContextManager[None]:
    """Whatever a user has set for other figures does not change this one."""
    from matplotlib import style

    settings: dict[str, Any] = {"font.family": "DejaVu Sans", "svg.hashsalt": "ultrasam", "text.color": INK}
    context: AbstractContextManager[None] = style.context(["default", settings])
    return context


def _rows(stats: Stats) -> list[tuple[str, list[SetStats]]]:
    """(name of the application, its sets of US-43d), each with most objects first."""
    rows = []
    for key, name in APPLICATIONS.items():
        own = [one for one in stats.us43d if one.application == key and one.objects]
        if own:
            rows.append((name, sorted(own, key=lambda one: (-one.new_objects, one.id))))
    return sorted(rows, key=lambda row: (-_objects(row[1]), -_images(row[1])))


def _objects(sets: Sequence[SetStats]) -> int:
    return sum(one.new_objects for one in sets)


def _images(sets: Sequence[SetStats]) -> int:
    return sum(one.new_images for one in sets)


def _draw(figure: Figure, height: int, rows: Sequence[tuple[str, list[SetStats]]], stats: Stats) -> None:
    area = (LEFT / WIDTH, BOTTOM / height, 1 - (LEFT + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / height)
    axes = figure.add_axes(area)
    axes.set_ylim(max(1, len(rows)), 0)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0, labelsize=9, labelcolor=SOFT)
    numbers = [number for _, sets in rows for number in (_objects(sets), _images(sets)) if number]
    axis = _axis(numbers)
    longest = axis.length(max(numbers, default=1))
    axes.set_xlim(0, longest / LONGEST)
    _grid(axes, axis, max(numbers, default=1))
    for place, (name, sets) in enumerate(rows):
        axes.text(
            -12 / _pixels(axes),
            place + sum(BAR) / 2,
            _in_two_lines(name),
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=10,
            linespacing=1.1,
        )
        _row(axes, axis, place, sets)
    total, images = sum(_objects(sets) for _, sets in rows), sum(_images(sets) for _, sets in rows)
    title = f"What US-43d is made of: {total:,} objects in {images:,} images"
    _line(figure, 20, height - 20, title, 16, weight="bold")
    _legend(figure, height - 62, axis.logarithmic)
    _footer(figure, stats, len(rows))


def _axis(numbers: Sequence[int]) -> _Axis:
    smallest, largest = min(numbers, default=1), max(numbers, default=1)
    if largest <= LARGEST_RATIO * smallest:
        return _Axis(False, 0)
    # The smallest bar is not to vanish either.
    return _Axis(True, 10.0 ** math.floor(math.log10(smallest / 2)))


def _grid(axes: Axes, axis: _Axis, largest: int) -> None:
    if axis.logarithmic:
        decades = math.floor(axis.length(largest)) + 1
        ticks = [axis.start * 10.0**decade for decade in range(decades)]
    else:
        from matplotlib.ticker import MaxNLocator

        ticks = [tick for tick in MaxNLocator(6, integer=True).tick_values(0, largest) if tick <= largest]
    axes.set_xticks([axis.length(tick) for tick in ticks], [f"{tick:,g}" for tick in ticks])
    axes.vlines([axis.length(tick) for tick in ticks], 0, axes.get_ylim()[0], colors=GRID, lw=1, zorder=0)


def _row(axes: Axes, axis: _Axis, place: int, sets: Sequence[SetStats]) -> None:
    """The bar of an application with the names of its sets, as far as they fit; the others beneath."""
    from matplotlib.colors import LinearSegmentedColormap

    objects, images = _objects(sets), _images(sets)
    drawn = [one for one in sets if one.new_objects]
    colours = LinearSegmentedColormap.from_list("shades", SHADES)
    left = 0.0
    beneath: list[tuple[str, Any]] = []
    for number, one in enumerate(drawn):
        shade = colours(0.12 if len(drawn) == 1 else number / max(len(drawn) - 1, 3))
        # On a logarithmic axis only the whole bar can be read off; the sets have their share of its length.
        width = axis.length(objects) * one.new_objects / objects
        _box(axes, left, width, place, BAR, facecolor=shade, edgecolor="white", linewidth=0.8)
        label = axes.text(left + width / 2, place + sum(BAR) / 2, _label(one), ha="center", va="center")
        label.set(fontsize=8.5, color="white" if _is_dark(shade) else INK)
        if _width(label) > width * _pixels(axes) / axes.get_xlim()[1] - 8:
            label.remove()
            beneath.append((_label(one), shade))
        left += width
    _box(axes, 0, axis.length(images), place, IMAGES, facecolor=ORANGE, edgecolor="none")
    end = max(left, axis.length(images)) + 8 * axes.get_xlim()[1] / _pixels(axes)
    texts = (f"{objects:,} objects", f"{images:,} images")
    for text, y, weight in zip(texts, (0.15, 0.43), ("bold", "normal"), strict=True):
        shown = axes.text(end, place + y, text, va="center", fontsize=8.5, weight=weight)
        shown.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})  # over a line of the grid
    again = [one for one in sets if one.again_objects]
    beneath += [(f"{one.id}: {one.again_objects:,} again", None) for one in again]
    _names(axes, place + NAMES, beneath)


def _label(one: SetStats) -> str:
    return f"{one.id} {one.new_objects:,}"


def _names(axes: Axes, y: float, names: Sequence[tuple[str, Any]]) -> None:
    """A line of names, each after a square of its colour; those that do not fit are counted."""
    scale = axes.get_xlim()[1] / _pixels(axes)
    side, x = 8, 1.0
    for number, (text, colour) in enumerate(names):
        label = axes.text((x + side + 4) * scale, y, text, va="center", fontsize=8, color=SOFT)
        following = x + side + 4 + _width(label) + 12
        if following > _pixels(axes) - (60 if number + 1 < len(names) else 0):
            label.set(text=f"and {len(names) - number} more", x=x * scale)
            return
        look: dict[str, Any] = {"facecolor": colour} if colour else {"facecolor": "white", "hatch": "/////"}
        half = side / ROW / 2
        _box(axes, x * scale, side * scale, y - half, (0, 2 * half), edgecolor=SOFT, linewidth=0.5, **look)
        x = following


def _box(axes: Axes, x: float, width: float, place: float, between: tuple[float, float], **look: Any) -> None:
    from matplotlib.patches import Rectangle

    top, bottom = between
    axes.add_patch(Rectangle((x, place + top), width, bottom - top, zorder=2, **look))


def _legend(figure: Figure, y: float, logarithmic: bool) -> None:
    from matplotlib.patches import Rectangle

    x = 20.0
    height = figure.get_figheight() * DPI
    bars = (
        (SHADES[1], 12, "objects (image/mask pairs), a shade for each data set"),
        (ORANGE, 5, "images"),
    )
    for colour, thickness, text in bars:
        corner = (x / WIDTH, (y - thickness / 2) / height)
        size = (24 / WIDTH, thickness / height)
        figure.add_artist(Rectangle(corner, *size, transform=figure.transFigure, color=colour, lw=0))
        x += 32 + _width(_line(figure, x + 32, y, text, 10, va="center_baseline")) + 24
    if logarithmic:
        text = "logarithmic axis: within a bar each set has its share of the length"
        _line(figure, x, y, text, 10, va="center_baseline", color=SOFT)


def _footer(figure: Figure, stats: Stats, applications: int) -> None:
    used = stats.us43d
    lines = [
        f"{len(used)} of {PAPER['sets']} sets and {applications} of {PAPER['applications']} applications are "
        "built; what is not built is not drawn. Annotations of further annotators are not counted."
    ]
    again = [f"{one.id} ({one.again_images:,} images)" for one in used if one.again_images]
    others = [one.id for one in stats.sets if not one.in_us43d]
    notes = []
    if again:
        notes.append(f"Not counted, since another set holds them too: {', '.join(again)}.")
    if others:
        notes.append(f"Not of US-43d and not drawn: {', '.join(others)}.")
    lines += [textwrap.shorten(" ".join(notes), 190)] if notes else []
    for number, text in enumerate(lines):
        _line(figure, 20, 44 - 17 * number, text, 9, color=SOFT)


def _line(figure: Figure, x: float, y: float, text: str, size: float, **look: Any) -> Any:
    """A text at pixels x, y from the lower left corner of the figure."""
    height = figure.get_figheight() * DPI
    return figure.text(x / WIDTH, y / height, text, fontsize=size, **({"va": "top"} | look))


def _in_two_lines(name: str, longest: int = 28) -> str:
    """A long name, broken before a bracket or after a dash or stroke, else between any words."""
    if len(name) <= longest:
        return name
    for mark, first, second in ((" (", "", "("), (" / ", " /", ""), (" - ", " -", "")):
        before, found, after = name.partition(mark)
        lines = (before + first, second + after)
        if found and max(map(len, lines)) <= longest:
            return "\n".join(lines)
    return textwrap.fill(name, longest)


def _pixels(axes: Axes) -> float:
    """The width of the axes."""
    return float(axes.get_window_extent().width)


def _width(text: Any) -> float:
    """The width of a text in pixels."""
    return float(text.get_window_extent().width)


def _is_dark(colour: Sequence[float]) -> bool:
    red, green, blue = colour[:3]
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
