"""The picture of an evaluation: which panels there are, what they show, the same bytes each time."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ultrasam.core.masks import encode_rle
from ultrasam.evaluation.metrics import Outcome, calibration, expected_calibration_error, summarise

matplotlib = pytest.importorskip("matplotlib")

from ultrasam.evaluation import plot  # noqa: E402

RLE = encode_rle(np.ones((4, 4), np.bool_))
CLICKS = [f"click-{number}" for number in range(3)]
MOVED = [*(f"moved-point-{n}" for n in (0, 10)), *(f"moved-box-{n}" for n in (0, 20))]


def outcomes(protocols: list[str], datasets: tuple[str, ...] = ("a", "b")) -> list[Outcome]:
    rng = np.random.default_rng(0)
    return [
        Outcome(n, n, dataset, str(n), protocol, iou, iou, iou, 0.1, float(rng.random()), RLE, RLE)
        for dataset in datasets
        for n in range(5)
        for protocol in protocols
        for iou in [float(rng.random())]
    ]


def drawn(monkeypatch: pytest.MonkeyPatch, found: list[Outcome]) -> Any:
    """The figure whose bytes `evaluation_plot` gives."""
    figures = []
    real = plot.rendered
    monkeypatch.setattr(plot, "rendered", lambda figure: figures.append(figure) or real(figure))
    content = plot.evaluation_plot("my $model_1", summarise(found, 20), found)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG" and picture.width >= 500
    return figures[-1]


def test_the_first_panel_has_the_bins_their_counts_and_the_ece(monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes(["point", "box"])
    figure = drawn(monkeypatch, found)
    reliability, counts = figure.axes
    texts = [text.get_text() for text in reliability.texts]
    for protocol in ("point", "box"):
        own = [outcome for outcome in found if outcome.protocol == protocol]
        bins = calibration(own)
        (line,) = [line for line in reliability.lines if line.get_label() == protocol]
        assert list(line.get_xdata()) == [one.score for one in bins]
        assert list(line.get_ydata()) == [one.iou for one in bins]
        assert any(f"{protocol} {expected_calibration_error(bins):.3f}" in text for text in texts)
    assert sorted(bar.get_height() for bar in counts.patches) == sorted(
        one.objects
        for protocol in ("point", "box")
        for one in calibration([o for o in found if o.protocol == protocol])
    )


def test_there_is_a_panel_for_each_curve_that_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes(["point", "box", *CLICKS, *MOVED])
    figure = drawn(monkeypatch, found)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == [
        "Can the score be relied on?",
        "Corrective clicks",
        "Moved points",
        "Moved boxes",
    ]
    clicks = figure.axes[titles.index("Corrective clicks")]
    assert len(clicks.lines) == 3  # a, b and all
    for line, dataset in zip(clicks.lines, ("a", "b", None), strict=True):
        means = [
            np.mean([o.iou for o in found if o.protocol == protocol and dataset in (o.dataset, None)])
            for protocol in CLICKS
        ]
        assert list(line.get_xdata()) == [0, 1, 2]
        assert list(line.get_ydata()) == pytest.approx(means)
    boxes = figure.axes[titles.index("Moved boxes")]
    assert list(boxes.lines[0].get_xdata()) == [0, 20]


def test_a_first_click_alone_is_no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(monkeypatch, outcomes(["point", "box", "click-0"]))
    assert len(figure.axes) == 2
    assert "one click" in [line.get_label() for line in figure.axes[0].lines]


def test_many_sets_and_odd_names_can_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("$x", "a\ud800\nb")
    figure = drawn(monkeypatch, outcomes(["point", *CLICKS], names))
    texts = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert texts == [r"\$x", r"a\ud800 b", "all data sets (10 objects)"]
    figure = drawn(monkeypatch, outcomes(["point", *CLICKS], (*names, *map(str, range(9)))))
    assert len(figure.axes[2].get_legend().get_texts()) == 1  # that of all together


def test_the_same_results_give_the_same_bytes() -> None:
    found = outcomes(["point", *CLICKS])
    contents = [plot.evaluation_plot("x", summarise(found, 20), found) for _ in range(2)]
    assert contents[0] == contents[1]
