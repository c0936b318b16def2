"""A picture of an evaluation: whether the score can be relied on, and how clicks and moved prompts change the
IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ultrasam.datasets.figures import DPI, GRID, INK, SOFT, own_style, rendered
from ultrasam.evaluation.metrics import (
    ALL,
    Bin,
    Outcome,
    Summary,
    calibration,
    expected_calibration_error,
)
from ultrasam.evaluation.protocols import BOX, CLICK, MOVED_BOX, MOVED_POINT, POINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

SIDE = 5.0
"""Inches of a panel."""
# The colours of Okabe and Ito, which all kinds of colour vision tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vP"
_RELIED_ON = {POINT: "point", BOX: "box", f"{CLICK}0": "one click"}
_CURVES = {
    CLICK: ("Corrective clicks", "corrective clicks after the first"),
    MOVED_POINT: ("Moved points", "standard deviation in 1024ths of the longest side"),
    MOVED_BOX: ("Moved boxes", "largest move of a side in % of width or height"),
}


def evaluation_plot(name: str, summaries: Sequence[Summary], outcomes: Sequence[Outcome]) -> bytes:
    """A PNG: the reliability of the score of model `name`, then a panel for each curve there is.

    Equal results give equal bytes. Raises ModuleNotFoundError without matplotlib.
    """
    with own_style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        curves = {start: found for start in _CURVES if len(found := _curve(summaries, start)) > 1}
        columns = min(2, 1 + len(curves))
        rows = -(-(1 + len(curves)) // columns)
        figure = Figure(figsize=(columns * SIDE, rows * SIDE + 0.4), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        figure.suptitle(name, fontsize=13, fontweight="bold", y=1 - 0.14 / (rows * SIDE))
        grid = figure.subfigures(rows, columns, squeeze=False)
        places = [place for row in grid for place in row]
        _draw_reliability(places[0], outcomes)
        for place, (start, steps) in zip(places[1:], curves.items(), strict=False):
            _draw_curves(_panel(place), start, steps, summaries)
        return rendered(figure)["png"]


def _panel(place: SubFigure) -> Axes:
    axes = place.subplots()
    place.subplots_adjust(left=0.13, right=0.96, bottom=0.12, top=0.84)
    return axes


def _curve(summaries: Sequence[Summary], start: str) -> list[int]:
    """The steps of the protocols that begin with `start`."""
    steps = {s.protocol.removeprefix(start) for s in summaries if s.protocol.startswith(start)}
    return sorted(map(int, steps))


def _draw_reliability(place: SubFigure, outcomes: Sequence[Outcome]) -> None:
    """Mean IoU over mean score of each bin, and beneath how many objects it holds."""
    axes, counts = place.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    place.subplots_adjust(left=0.13, right=0.96, bottom=0.12, top=0.84, hspace=0.08)
    axes.plot((0, 1), (0, 1), color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    errors = []
    for number, (protocol, label) in enumerate(_RELIED_ON.items()):
        own = [outcome for outcome in outcomes if outcome.protocol == protocol]
        if not own:
            continue
        bins = calibration(own)
        error = expected_calibration_error(bins)
        errors.append(f"{label} {error:.3f}")
        colour, marker = COLOURS[number], MARKERS[number]
        axes.plot(
            [one.score for one in bins],
            [one.iou for one in bins],
            color=colour,
            marker=marker,
            markersize=6,
            linewidth=1.5,
            label=label,
        )
        _draw_counts(counts, bins, number, colour)
    _dress(axes, "Can the score be relied on?", f"ECE: {', '.join(errors)}")
    axes.set_ylabel("true IoU, mean of a bin")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.text(0.03, 0.955, "score too low", color=SOFT, fontsize=8, va="top")
    axes.text(0.97, 0.045, "score too high", color=SOFT, fontsize=8, ha="right")
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0, 0.92))
    _dress(counts)
    counts.set_xlabel("predicted IoU (the score), mean of a bin")
    counts.set_ylabel("objects")
    counts.locator_params(axis="y", integer=True, nbins=3)


def _draw_counts(axes: Axes, bins: Sequence[Bin], number: int, colour: str) -> None:
    width = 0.8 * (bins[0].high - bins[0].low) / len(_RELIED_ON)
    left = [one.low + 0.1 * (one.high - one.low) + number * width for one in bins]
    axes.bar(left, [one.objects for one in bins], width=width, align="edge", color=colour)


def _draw_curves(axes: Axes, start: str, steps: Sequence[int], summaries: Sequence[Summary]) -> None:
    """The mean IoU of each data set over the steps, that of all together thick; of many sets this one
    alone has a colour.
    """
    datasets = list(dict.fromkeys(summary.dataset for summary in summaries))
    means = {(s.dataset, s.protocol): s for s in summaries}
    several = len(datasets) - 1 > len(COLOURS)
    for number, dataset in enumerate(datasets):
        own = [means[dataset, f"{start}{step}"] for step in steps]
        is_all = dataset == ALL
        colour = INK if is_all else GRID if several else COLOURS[number % len(COLOURS)]
        heights = [summary.iou for summary in own]
        label = f"all data sets ({own[0].objects:,} objects)" if is_all else _short(dataset)
        axes.plot(
            steps,
            heights,
            color=colour,
            marker="" if several and not is_all else MARKERS[number % len(MARKERS)],
            markersize=7 if is_all else 5,
            linewidth=2.4 if is_all else 1.4,
            label=None if several and not is_all else label,
            zorder=3 if is_all else 2,
        )
        intervals = [summary.iou_interval for summary in own]
        if is_all or len(datasets) == 1:
            bands = [one for one in intervals if one is not None]
            if len(bands) == len(steps):
                low, high = zip(*bands, strict=True)
                axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0)
    heading, below = _CURVES[start]
    _dress(axes, heading, "mean IoU; band: 95 % interval by case")
    axes.set(ylim=(0, 1), xlabel=below, ylabel="mean IoU")
    axes.set_xticks(steps if len(steps) < 12 else steps[::5])
    axes.legend(frameon=False, fontsize=8.5, loc="lower right" if start == CLICK else "lower left")


def _short(dataset: str) -> str:
    """A name on one line; a dollar sign would begin a formula."""
    text = " ".join(dataset.split()).encode("ascii", "backslashreplace").decode()
    return (text if len(text) < 28 else f"{text[:25]}...").replace("$", r"\$")


def _dress(axes: Axes, heading: str = "", below: str = "") -> None:
    """Title, and lines that stay in the background."""
    if heading:
        axes.set_title(heading, loc="left", fontsize=11, fontweight="bold", pad=20)
        axes.text(0, 1.025, below, transform=axes.transAxes, fontsize=9, color=SOFT)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, color=SOFT)
