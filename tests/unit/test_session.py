"""A session on the tiny model, whose masks are discs and boxes (see conftest)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ultrasam
from ultrasam.core.metrics import iou
from ultrasam.core.prompts import Prompts
from ultrasam.io.scan import read_scan
from ultrasam.predict.session import Session

# The mean grey of the tiny model: such an image leaves its discs and boxes as they are.
GREY = np.full((128, 128), 127, np.uint8)
# One prompt takes mask 2, several mask 0: see conftest.
ALONE, TOGETHER = 12 + 4, 12


def disc(x: float, y: float, radius: float, shape: tuple[int, int] = (128, 128)) -> np.ndarray[Any, Any]:
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.hypot(columns - x, rows - y) < radius


@pytest.fixture
def session(tiny_model: ultrasam.Model) -> Session:
    return tiny_model.session(GREY)


def test_before_any_prompt_the_result_is_empty(session: Session) -> None:
    assert session.result.empty and session.result.box is None and session.result.area == 0
    assert session.result.score == 0 and session.result.mask.shape == (128, 128)
    assert session.results == {}


def test_a_single_click_takes_the_best_of_the_three_alternatives(session: Session) -> None:
    result = session.click(40, 60)
    assert iou(result.mask, disc(40, 60, ALONE)) > 0.98
    assert result.score == pytest.approx(0.8 - 0.01)  # one padding point
    assert result.box == (24, 44, 56, 76)
    assert result.area == np.count_nonzero(result.mask)
    assert result.prompts == Prompts(((40, 60),), (True,))
    assert result.logits.shape == (64, 64) and result.logits.dtype == np.float32


def test_two_prompts_take_the_first_mask(session: Session) -> None:
    session.click(30, 60)
    result = session.click(90, 60)
    assert result.score == pytest.approx(0.6 - 0.01 + 0.05)
    assert iou(result.mask, disc(30, 60, ALONE) | disc(90, 60, TOGETHER)) > 0.97


def test_a_negative_click_cuts_out(session: Session) -> None:
    session.box(20, 20, 100, 100)
    result = session.click(60, 60, positive=False)
    assert not result.mask[60, 60] and result.mask[25, 25]
    box = np.zeros((128, 128), bool)
    box[16:104, 16:104] = True  # the lone box was answered 4 px larger and came back as the previous mask
    assert iou(result.mask, box & ~disc(60, 60, TOGETHER)) > 0.97


def test_the_last_mask_is_fed_back(session: Session) -> None:
    first = session.click(30, 30)
    second = session.click(100, 100)
    assert second.score == pytest.approx(0.6 - 0.01 + 0.05)  # 0.05 tells that a mask was given
    assert (second.mask >= first.mask).all()


def test_a_new_box_replaces_the_old_one(session: Session) -> None:
    session.box(10, 10, 50, 50)
    result = session.box(60, 60, 100, 100)
    assert result.prompts == Prompts((), (), (60, 60, 100, 100))
    assert result.score == pytest.approx(0.8 + 0.05)  # a box is one prompt, so the best of three


def test_calliper_is_box_and_centre_click_in_one_step(session: Session) -> None:
    result = session.calliper((20, 60), (100, 60), (60, 40), (60, 80))
    assert result.prompts == Prompts(((60, 60),), (True,), (20, 40, 100, 80))
    assert result.score == pytest.approx(0.6)  # two prompts at once, no previous mask
    assert session.undo().empty


def test_prior_mask_is_the_answer_until_a_prompt_refines_it(session: Session) -> None:
    prior = disc(90, 90, 20)
    result = session.mask(prior)
    assert math.isnan(result.score) and iou(result.mask, prior) > 0.95
    refined = session.click(30, 30)
    assert refined.score == pytest.approx(0.8 - 0.01 + 0.05)
    assert iou(refined.mask, disc(90, 90, 20) | disc(30, 30, ALONE)) > 0.9


def test_prior_logits_are_taken_as_they_are(session: Session, tiny_model: ultrasam.Model) -> None:
    logits = tiny_model.session(GREY).click(64, 64).logits
    assert (session.mask(logits).logits == logits).all()


def test_a_prior_mask_after_prompts_asks_them_again_with_it(session: Session) -> None:
    session.click(30, 30)
    result = session.mask(disc(90, 90, 20))
    assert result.mask[90, 90] and result.mask[30, 30]
    assert result.score == pytest.approx(0.8 - 0.01 + 0.05)


@pytest.mark.parametrize(
    "prior",
    [
        np.zeros((64, 64), bool),
        np.zeros((128, 128), np.uint8),
        np.zeros((128, 128), np.float32),
        np.full((64, 64), np.nan, np.float32),
    ],
)
def test_unusable_priors_are_refused(session: Session, prior: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="prior mask"):
        session.mask(prior)
    assert session.results == {}


def test_undo_and_redo_without_limit_give_the_same_results(session: Session) -> None:
    seen = [session.result]
    for step in range(12):
        seen.append(session.click(10 + 9 * step, 64, positive=step % 3 != 2))
    for before in reversed(seen[:-1]):
        again = session.undo()
        assert (again.mask == before.mask).all() and again.score == before.score
    assert session.undo().empty  # at the start nothing happens
    for after in seen[1:]:
        again = session.redo()
        assert (again.mask == after.mask).all() and again.prompts == after.prompts
    assert (session.redo().mask == seen[-1].mask).all()


def test_after_undo_a_click_is_answered_as_if_the_undone_one_had_never_been(
    session: Session, tiny_model: ultrasam.Model
) -> None:
    session.click(30, 30)
    session.click(100, 30)
    session.undo()
    result = session.click(60, 90)
    other = tiny_model.session(GREY)
    other.click(30, 30)
    expected = other.click(60, 90)
    assert (result.logits == expected.logits).all() and result.score == expected.score
    assert (session.redo().mask == result.mask).all()  # the undone click is gone


def test_objects_are_independent(session: Session) -> None:
    first = session.click(30, 30)
    assert session.object("lesion-2").empty
    session.click(90, 90)
    session.undo()
    assert session.result.empty and session.name == "lesion-2"
    session.redo()
    assert set(session.results) == {"object-1", "lesion-2"}
    assert not session.results["lesion-2"].mask[30, 30]
    assert (session.object("object-1").mask == first.mask).all()


def test_reset_forgets_only_the_current_object(session: Session) -> None:
    session.click(30, 30)
    session.object("b")
    session.click(90, 90)
    assert session.reset().empty
    assert session.redo().empty and session.undo().empty
    assert set(session.results) == {"object-1"}


@pytest.mark.parametrize("name", ["", 3])
def test_an_object_needs_a_name(session: Session, name: Any) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="name"):
        session.object(name)


def test_a_refused_prompt_changes_nothing(session: Session) -> None:
    before = session.click(30, 30)
    session.click(90, 90)
    session.undo()
    for refused in (
        lambda: session.click(128, 5),
        lambda: session.click(float("nan"), 5),
        lambda: session.box(50, 50, 50, 60),
        lambda: session.box(-5, 50, 60, 60),
        lambda: session.calliper((1, 1), (1, 1), (2, 2), (3, 3)),
    ):
        with pytest.raises(ultrasam.UltrasamError):
            refused()
    assert (session.result.mask == before.mask).all()
    assert session.redo().mask[90, 90]


def test_results_cannot_be_changed(session: Session) -> None:
    result = session.click(30, 30)
    for array in (result.mask, result.logits):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1
    with pytest.raises(AttributeError):
        result.score = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (90, 61), (1, 128), (128, 1)])
def test_masks_have_the_size_of_the_original(tiny_model: ultrasam.Model, shape: tuple[int, int]) -> None:
    scale = max(shape) / 128
    session = tiny_model.session(np.full(shape, 127, np.uint8))
    result = session.click(shape[1] / 2, shape[0] / 2)
    assert result.mask.shape == shape
    assert iou(result.mask, disc(shape[1] / 2, shape[0] / 2, ALONE * scale, shape)) > 0.93


def test_path_scan_and_array_are_the_same(tiny_model: ultrasam.Model, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = tiny_model.session(pixels).click(50, 40)
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), read_scan(tmp_path / "a.png")):
        session = tiny_model.session(source)
        assert (session.image == pixels).all()
        assert (session.click(50, 40).logits == expected.logits).all()


def test_the_chosen_frame_of_a_clip_is_opened(tiny_model: ultrasam.Model, tmp_path: Path) -> None:
    pages = [Image.new("L", (40, 30), grey) for grey in (0, 100, 200)]
    pages[0].save(tmp_path / "clip.tiff", save_all=True, append_images=pages[1:])
    assert (tiny_model.session(tmp_path / "clip.tiff", frame=2).image == 200).all()
    with pytest.raises(ultrasam.UltrasamError, match="no frame 3"):
        tiny_model.session(tmp_path / "clip.tiff", frame=3)
    with pytest.raises(ultrasam.UltrasamError, match="no frame 1"):
        tiny_model.session(GREY, frame=1)


@pytest.mark.parametrize(
    "array", [np.zeros((5, 5), np.float32), np.zeros((5, 5, 4), np.uint8), np.zeros((0, 5), np.uint8)]
)
def test_other_arrays_are_refused(tiny_model: ultrasam.Model, array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ultrasam.UltrasamError):
        tiny_model.session(array)


def test_prompts_given_at_once_are_those_given_one_by_one(session: Session) -> None:
    prompts = Prompts(((40, 60), (50, 70)), (True, False), (20, 20, 100, 100))
    result = session.give(prompts)
    session.object("other")
    session.box(20, 20, 100, 100)
    session.click(40, 60)
    expected = session.click(50, 70, positive=False)
    assert result.prompts == expected.prompts == prompts and (result.logits == expected.logits).all()
    session.object("none")
    assert session.give(Prompts()).empty
