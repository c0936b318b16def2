"""Objects without prompts: the grid, the filters, each object once, and the bundled model on two ellipses."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import ultrasam
from ultrasam import Automatic, Model, UltrasamError
from ultrasam.core.geometry import BoolArray, ByteArray, Frame
from ultrasam.core.metrics import iou
from ultrasam.core.prompts import Prompts
from ultrasam.predict.automatic import candidates, grid_points, packed, suppress
from ultrasam.predict.decode import inside, stability_of

# The tiny model is sure of its discs: scores 0.49, 0.79 and 0.39 for a click, radius 8, 16 and 6 of 128.
KEEP = Automatic(grid=6, score=0.3, stability=0.0, least=0.0, largest=1.0, contained=1.0, second=False)


def clicks(*places: tuple[float, float]) -> list[Prompts]:
    return [Prompts((place,), (True,)) for place in places]


def ellipses() -> tuple[ByteArray, list[BoolArray]]:
    """A made-up image (240, 320) uint8: two bright ellipses on speckle; and their masks."""
    rows, columns = np.mgrid[:240, :320]
    masks = [
        ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 < 1
        for x, y, a, b in ((90, 120, 40, 30), (230, 110, 30, 45))
    ]
    speckle = np.random.default_rng(0).rayleigh(25.0, (240, 320))
    bright = masks[0] | masks[1]
    return np.clip(np.where(bright, 2 * speckle + 90, speckle), 0, 255).astype(np.uint8), masks


@pytest.fixture(scope="module")
def lite() -> Model:
    return ultrasam.load(threads=1)


def test_stability_is_the_ratio_of_the_two_areas() -> None:
    logits = np.array([[3.0, 1.5, 0.5, -0.5], [2.0, 1.0, -1.0, -3.0]], np.float32)
    # Above 1: 3, 1.5 and 2. Above -1: these, 0.5, -0.5 and 1; -1 itself is not above.
    assert stability_of(logits) == pytest.approx(3 / 6)
    # Above 2: 3. Above -2: all but -3.
    assert stability_of(logits, 2.0) == pytest.approx(1 / 7)
    assert stability_of(np.stack([logits, np.full_like(logits, -9.0)])).tolist() == [0.5, 0.0]


def test_the_points_are_the_middles_of_nearly_square_cells() -> None:
    points = grid_points((10, 20, 90, 60), 4)
    assert points.tolist() == [[x, y] for y in (30, 50) for x in (20, 40, 60, 80)]
    assert grid_points((0, 0, 100, 3), 5)[:, 1].tolist() == [1.5] * 5
    assert len(grid_points((0, 0, 30, 30), 16)) == 256


def test_suppression_keeps_the_better_of_two_that_overlap() -> None:
    masks = np.zeros((5, 4, 9), np.bool_)
    masks[0, :, 0:4] = True  # 16 pixels
    masks[1, :, 1:5] = True  # IoU with 0: 12 / 20, with 2: 4 / 28
    masks[2, :, 4:8] = True
    masks[3, :2, 5:7] = True  # 4 pixels, all in 2: IoU 4 / 16
    masks[4, 3, 7:9] = True  # half of it in 2
    bits = packed(masks)
    assert bits.shape == (5, 3)
    scores = np.array([0.8, 0.9, 0.7, 0.6, 0.5], np.float32)
    assert suppress(bits, scores, Automatic(overlap=0.5, contained=0.8)) == [1, 2, 4]
    assert suppress(bits, scores, Automatic(overlap=0.6, contained=0.8)) == [1, 0, 2, 4]
    assert suppress(bits, scores, Automatic(overlap=0.5, contained=1.0)) == [1, 2, 3, 4]
    assert suppress(bits, scores, Automatic(overlap=0.5, contained=0.4)) == [1, 2]
    assert suppress(bits, scores, Automatic(overlap=0.5, contained=1.0, most=2)) == [1, 2]
    assert suppress(bits[:0], scores[:0], Automatic()) == []
    # Of equal scores the first row is the better.
    assert suppress(bits, np.ones(5, np.float32), Automatic(overlap=0.5, contained=0.8)) == [0, 2, 4]


def test_filters_by_score_stability_and_size(tiny_model: Model) -> None:
    embedding, frame = tiny_model.encode(np.full((128, 128), 127, np.uint8))
    asked = clicks((64.0, 64.0))

    def numbers(**changes: Any) -> list[int]:
        settings = replace(KEEP, **changes)
        found = candidates(tiny_model.engine, embedding, frame, asked, settings, 128.0 * 128)
        return list(found.masks)

    # Discs of radius 8, 16 and 6: shares of the image 1.2, 4.9 and 0.7 %. A logit is the distance in pixels:
    # the stability is about (r - 1)^2 / (r + 1)^2, counted in cells of 2 pixels 32/60, 172/216 and 16/32.
    assert numbers() == [1, 2, 3]
    assert numbers(score=0.45) == [1, 2]
    assert numbers(score=0.75) == [2]
    assert numbers(stability=0.52) == [1, 2]
    assert numbers(stability=0.7) == [2]
    assert numbers(least=0.01) == [1, 2]
    assert numbers(largest=0.02) == [1, 3]
    assert numbers(score=0.9) == []


def test_the_number_of_clicks_at_once_changes_nothing(tiny_model: Model) -> None:
    embedding, frame = tiny_model.encode(np.full((96, 128), 127, np.uint8))
    asked = clicks(*((float(x), float(y)) for x in range(10, 120, 20) for y in range(10, 90, 20)))
    found = [
        candidates(tiny_model.engine, embedding, frame, asked, KEEP, 96.0 * 128, at_once)
        for at_once in (1, 7, 100)
    ]
    assert len(found[0].points) == 3 * len(asked)
    for other in found[1:]:
        for name in ("points", "masks", "scores", "stabilities", "bits"):
            assert (getattr(other, name) == getattr(found[0], name)).all(), name


def test_what_lies_on_the_padding_does_not_count() -> None:
    logits = np.arange(64.0 * 64, dtype=np.float32).reshape(64, 64)
    # 200 x 100 pixels fill 128 x 64 of the input: 64 x 32 of the mask.
    assert inside(logits, Frame(200, 100, 128)).shape == (32, 64)
    assert inside(logits[None], Frame(100, 200, 128)).shape == (1, 64, 32)


@pytest.mark.parametrize("options", [{}, {"refine": "zoom"}, {"crop": "region"}])
def test_results_are_ordered_and_no_two_are_the_same_object(
    tiny_model: Model, options: dict[str, Any]
) -> None:
    image = np.zeros((160, 200), np.uint8)
    image[20:120, 40:180] = 127
    for second in (False, True):
        settings = replace(KEEP, overlap=0.2, second=second)
        results = tiny_model.automatic(image, settings=settings, **options)
        assert len(results) > 2
        scores = [result.score for result in results]
        assert scores == sorted(scores, reverse=True) and min(scores) >= 0.3
        # Compared where the masks are chosen: on the grid of the logits.
        frame = Frame(200, 160, 128)
        masks = [inside(result.logits, frame) > 0 for result in results]
        assert max(iou(a, b) for a, b in combinations(masks, 2)) <= 0.2
        for result in results:
            assert result.mask.shape == (160, 200) and result.mask.any() and result.prompts.count == 1
            # The scan alone is asked: its box with a margin.
            (x, y), *_ = result.prompts.points
            assert 32 <= x < 188 and 12 <= y < 128
        assert len(tiny_model.automatic(image, settings=replace(settings, most=2), **options)) in (1, 2)


def test_a_result_is_the_mask_that_was_chosen(tiny_model: Model) -> None:
    """Without a second pass it is what a click there gives: the tiny model's best mask is its second."""
    image = np.full((100, 128), 127, np.uint8)
    (result, *_) = tiny_model.automatic(image, settings=KEEP)
    (point,) = result.prompts.points
    clicked = tiny_model.session(image).click(*point)
    assert (result.mask == clicked.mask).all()
    assert (result.score, result.stability) == (clicked.score, clicked.stability)
    # A second pass feeds the mask back; the tiny model's score rises by 0.05.
    (again, *_) = tiny_model.automatic(image, settings=replace(KEEP, second=True))
    assert again.score == pytest.approx(result.score + 0.05)


def test_nothing_is_found_where_nothing_passes(tiny_model: Model) -> None:
    image = np.full((100, 128), 127, np.uint8)
    assert tiny_model.automatic(image, settings=replace(KEEP, score=0.95)) == []
    assert tiny_model.automatic(np.zeros((1, 1), np.uint8), settings=Automatic(score=0.95)) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Automatic(grid=0), "a grid of 0 points"),
        (Automatic(grid=65), "use 1 to 64"),
        (Automatic(most=0), "use 1 or more"),
        (Automatic(score=1.5), "score 1.5"),
        (Automatic(overlap=float("nan")), "overlap nan"),
        (Automatic(least=0.5, largest=0.5), "no mask covers"),
    ],
)
def test_settings_out_of_range_are_refused(tiny_model: Model, settings: Automatic, message: str) -> None:
    with pytest.raises(UltrasamError, match=message):
        tiny_model.automatic(np.zeros((8, 8), np.uint8), settings=settings)


def test_the_bundled_model_finds_two_ellipses(lite: Model) -> None:
    image, truths = ellipses()
    results = lite.automatic(image, settings=Automatic(grid=6))
    assert len(results) == 2
    for truth in truths:
        assert max(iou(result.mask, truth) for result in results) > 0.9
    assert all(result.stability >= Automatic().stability for result in results)


def test_the_bundled_model_finds_nothing_in_an_empty_image(lite: Model) -> None:
    assert lite.automatic(np.zeros((120, 160), np.uint8), settings=Automatic(grid=6)) == []
