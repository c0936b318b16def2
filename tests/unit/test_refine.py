"""The second look at small objects, on the tiny model, whose masks are discs and boxes (see conftest)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ultrasam
from ultrasam.cli.main import main
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import Frame, to_grid, upsample_logits
from ultrasam.core.metrics import iou
from ultrasam.core.prompts import Prompts
from ultrasam.predict.refine import view_around

# Mean grey, but for a bright square around the small object, which only a second look sees large.
IMAGE = np.full((512, 512), 127, np.uint8)
IMAGE[180:300, 180:300] = 255
SMALL_BOX = (210.0, 220.0, 260.0, 250.0)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray[Any, Any]:
    rows, columns = np.mgrid[:512, :512] + 0.5
    return (x0 < columns) & (columns < x1) & (y0 < rows) & (rows < y1)


def grown(box: tuple[float, float, float, float], by: float) -> np.ndarray[Any, Any]:
    x0, y0, x1, y1 = box
    return rectangle(x0 - by, y0 - by, x1 + by, y1 + by)


@given(
    st.integers(1, 900),
    st.integers(1, 900),
    st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_view_holds_its_region_and_lies_in_the_frame(
    width: int, height: int, shares: tuple[float, float, float, float]
) -> None:
    x0, x1 = sorted((shares[0] * width, shares[1] * width))
    y0, y1 = sorted((shares[2] * height, shares[3] * height))
    view = view_around((x0, y0, x1, y1), Frame(width, height, 128))
    left, top, right, bottom = view.box
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    # Context on each side, unless the frame ends there; half a pixel may be lost to rounding.
    assert left <= x0 + 0.5 and top <= y0 + 0.5 and right >= x1 - 0.5 and bottom >= y1 - 0.5
    assert (view.frame.width, view.frame.height) == (right - left, bottom - top)
    assert max(right - left, bottom - top) >= max(width, height) / 4 * 0.99 - 1 or min(width, height) < 4
    if right - left < width and bottom - top < height:
        assert right - left == bottom - top


def test_a_view_moves_prompts_and_drops_clicks_beside_it() -> None:
    view = view_around(SMALL_BOX, Frame(512, 512, 128))
    left, top, right, bottom = view.box
    asked = Prompts(((235.0, 230.0), (right + 1.0, 230.0)), (True, False), SMALL_BOX)
    inside = view.prompts(asked)
    assert inside.points == ((235 - left, 230 - top),) and inside.positive == (True,)
    assert inside.box == (210 - left, 220 - top, 260 - left, 250 - top)
    assert not view.holds(asked) and view.holds(Prompts(box=SMALL_BOX))
    assert not view.holds(Prompts(box=(210.0, 220.0, right + 1.0, 250.0)))


def test_the_grid_and_back_is_the_same_mask() -> None:
    rows, columns = np.mgrid[:300, :400] + 0.5
    values = (90 - np.hypot(columns - 200, rows - 150)).astype(np.float32)
    back = upsample_logits(to_grid(values, 64, -10.0), Frame(400, 300, 128))
    assert iou(back > 0, values > 0) > 0.99


def test_a_second_look_sees_the_object_enlarged(tiny_model: ultrasam.Model) -> None:
    plain = tiny_model.session(IMAGE).box(*SMALL_BOX)
    zoomed = tiny_model.session(IMAGE, refine="zoom").box(*SMALL_BOX)
    assert plain.view is None and zoomed.view is not None
    left, top, right, bottom = zoomed.view
    # The first look grows the box by 4 and by the mean of the frame, the second look grows that mask by 4 and
    # the mean of what it sees: the logits of a mask are distances in model pixels of the frame, 4 of its own.
    mean = (IMAGE.astype(float) - 127).mean() / 128
    first = (4 + mean) * 4
    seen = (IMAGE[top:bottom, left:right].astype(float) - 127).mean() / 128
    second = (4 + seen) * 4
    assert seen > 4 * mean
    assert iou(plain.mask, grown(SMALL_BOX, first)) > 0.96
    assert iou(zoomed.mask, grown(SMALL_BOX, first + second)) > 0.96
    assert iou(plain.mask, grown(SMALL_BOX, first + second)) < 0.9
    assert zoomed.score == pytest.approx(0.8 - 0 + 0.05)  # asked again with a prior mask
    # The same mask on the grid of the frame, for whoever hands it on as a prior.
    again = upsample_logits(zoomed.logits, Frame(512, 512, 128)) > 0
    assert iou(again, zoomed.mask) > 0.95


def test_auto_looks_again_at_small_objects_only(tiny_model: ultrasam.Model) -> None:
    session = tiny_model.session(IMAGE, refine="auto")
    assert session.box(*SMALL_BOX).view is not None
    session.object("large")
    assert session.box(100, 100, 400, 400).view is None
    always = tiny_model.session(IMAGE, refine="zoom")
    assert always.box(100, 150, 270, 320).view is not None


def test_an_object_that_fills_the_frame_is_never_enlarged(tiny_model: ultrasam.Model) -> None:
    result = tiny_model.session(IMAGE, refine="zoom").box(20, 20, 490, 490)
    assert result.view is None and result.area > 400 * 400


def test_nothing_found_is_nothing_to_look_at(tiny_model: ultrasam.Model) -> None:
    result = tiny_model.session(IMAGE, refine="zoom").click(100, 100, positive=False)
    assert result.empty and result.view is None


def test_prompts_inside_the_view_ask_it_alone(tiny_model: ultrasam.Model) -> None:
    session = tiny_model.session(IMAGE, refine="zoom")
    first = session.box(*SMALL_BOX)
    encoded = len(tiny_model.cache)
    second = session.click(215, 225, positive=False)
    assert second.view == first.view and len(tiny_model.cache) == encoded
    # A negative click has a radius of 12 pixels of the view, which are smaller than those of the frame.
    assert not second.mask[225, 215] and first.mask[225, 215]
    side = first.view[2] - first.view[0]
    removed = first.mask & ~second.mask
    rows, columns = np.nonzero(removed)
    assert np.ptp(columns) <= 2 * 12 * side / 128 + 6


def test_a_click_outside_the_view_asks_the_whole_frame(tiny_model: ultrasam.Model) -> None:
    session = tiny_model.session(IMAGE, refine="zoom")
    first = session.box(*SMALL_BOX)
    second = session.click(450, 235)
    assert not first.mask[235, 450] and second.mask[235, 450] and second.mask[235, 235]
    assert second.view != first.view


def test_undo_and_redo_bring_back_what_was_seen(tiny_model: ultrasam.Model) -> None:
    session = tiny_model.session(IMAGE, refine="zoom")
    first = session.box(*SMALL_BOX)
    second = session.click(215, 225, positive=False)
    assert session.undo().view == first.view
    np.testing.assert_array_equal(session.result.mask, first.mask)
    np.testing.assert_array_equal(session.redo().mask, second.mask)


@pytest.mark.parametrize("refine", ["none", "zoom", "auto"])
def test_a_batch_answers_what_a_session_would(tiny_model: ultrasam.Model, refine: str) -> None:
    boxes = np.array([SMALL_BOX, (20, 20, 480, 460), (300, 300, 340, 330)])
    clicks = [[(235, 235)], [(100, 100), (300, 90)], [(310, 310)]]
    labels = [[0], [1, 0], [1]]
    (batch,) = tiny_model.predict([IMAGE], boxes=[boxes], points=[clicks], labels=[labels], refine=refine)
    session = tiny_model.session(IMAGE, refine=refine)
    for number, result in enumerate(batch):
        session.object(str(number))
        session.box(*boxes[number])
        for (x, y), label in zip(clicks[number], labels[number], strict=True):
            session.click(x, y, positive=bool(label))
        np.testing.assert_array_equal(session.result.mask, result.mask)
        assert session.result.score == pytest.approx(result.score)
        assert session.result.view == result.view


def test_a_view_at_the_border_of_a_wide_frame(tiny_model: ultrasam.Model, tmp_path: Path) -> None:
    image = np.full((100, 640, 3), 127, np.uint8)
    result = tiny_model.session(image, refine="zoom").box(600, 60, 640, 100)
    assert result.view is not None and result.view[2] == 640 and result.view[3] == 100
    assert result.mask.shape == (100, 640) and result.mask[80, 620] and not result.mask[:, :400].any()


def test_an_unknown_refinement_is_refused(tiny_model: ultrasam.Model) -> None:
    with pytest.raises(UltrasamError, match="'sharper': use one of none, zoom, auto"):
        tiny_model.session(IMAGE, refine="sharper")
    with pytest.raises(UltrasamError, match="'sharper'"):
        tiny_model.predict([IMAGE], boxes=[[SMALL_BOX]], refine="sharper")


def test_the_command_looks_again_where_asked(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    box = ",".join(map(str, SMALL_BOX))
    areas = {}
    for refine in ("none", "zoom", "auto"):
        words = ["segment", str(tmp_path / "a.png"), f"--box={box}", f"--refine={refine}", "--json"]
        assert main([*words, f"--model={tiny_folder}", f"--out={tmp_path / refine}"]) == 0
        areas[refine] = json.loads(capsys.readouterr().out)["objects"][0]["area_px"]
    session = ultrasam.load(tiny_folder).session(IMAGE, refine="zoom")
    assert areas["zoom"] == areas["auto"] == session.box(*SMALL_BOX).area > areas["none"]


def test_a_folder_looks_again_where_asked_and_does_it_anew(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scans").mkdir()
    Image.fromarray(IMAGE).save(tmp_path / "scans" / "a.png")
    box = ",".join(map(str, SMALL_BOX))
    areas = []
    for refine in ("none", "zoom"):
        words = ["segment", str(tmp_path / "scans"), f"--box={box}", f"--refine={refine}"]
        assert main([*words, f"--model={tiny_folder}", f"--out={tmp_path / 'out'}"]) == 0
        content = json.loads((tmp_path / "out" / "predictions.json").read_text())
        areas.append(content["annotations"][0]["area"])
    assert areas[1] > areas[0]
