"""Objects followed through a clip, on the tiny model.

On an even image nothing moves. Asked with a box and then a click, the tiny model makes a square of side s one
of side s + 8 + 2 w, where w is how much the tracker widens the box: 0.02 s at the first step. From 60 pixels
that is 70.4, 1.4 times the area; from 20 pixels 28.8, twice the area, which a guard takes for a drift.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ultrasam
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.engines.cache import EmbeddingCache
from ultrasam.io.scan import Frames, Scan
from ultrasam.predict.decode import Result
from ultrasam.predict.session import Session
from ultrasam.predict.tracking import Guard, Stop, TrackAll, Tracked, Tracker, likeness, motion, moved

SIDE = 128
GUARD = Guard(score=0.6)  # the tiny model's score is 0.65
LOOSE = Guard(score=0, area=math.inf, overlap=0, total=math.inf, match=-1)


def square(x: int, y: int, side: int, size: int = SIDE) -> BoolArray:
    mask = np.zeros((size, size), np.bool_)
    mask[y : y + side, x : x + side] = True
    return mask


LARGE, SMALL = square(30, 30, 60), square(10, 10, 20)


def even(count: int) -> Scan:
    return Scan(Path("even.dcm"), [np.full((SIDE, SIDE), 127, np.uint8)] * count)


def texture(seed: int) -> ByteArray:
    """Blocks of 4 pixels with random grey values."""
    blocks = np.random.default_rng(seed).integers(60, 195, (SIDE // 4, SIDE // 4))
    return np.kron(blocks, np.ones((4, 4), np.int64)).astype(np.uint8)


def scan_of(frames: Sequence[ByteArray]) -> Scan:
    return Scan(Path("clip.dcm"), frames)


def frames_of(found: Sequence[Sequence[Tracked]], name: str) -> list[int]:
    return [one.frame for on_frame in found for one in on_frame if one.name == name]


def test_an_object_is_followed_to_the_end_of_the_clip(tiny_model: ultrasam.Model) -> None:
    tracker = Tracker(tiny_model, even(6), 2, {"a": LARGE}, guard=GUARD)
    found = list(tracker)
    assert frames_of(found, "a") == [3, 4, 5]
    assert tracker.stops == [Stop("a", 5, "the last frame", "end")]
    first = found[0][0].result
    assert first.mask[60, 60] and not first.mask[0, 0] and first.score == pytest.approx(0.65)
    assert first.area == pytest.approx(70.4**2, rel=0.05)
    assert all(not one.doubt for on_frame in found for one in on_frame)


class Asked:
    """A session that notes what it is asked."""

    def __init__(self) -> None:
        self.prompts: list[object] = []

    def mask(self, prior: BoolArray) -> None:
        self.prompts.append(prior)

    def box(self, *box: float) -> None:
        self.prompts.append(box)

    def click(self, *point: float) -> None:
        self.prompts.append(point)


@pytest.mark.parametrize(
    ("start", "wider"),
    [(50, 0.02), (52, 0.04), (48, 0.0), (46, -0.02), (70, 0.08), (20, -0.08)],
)
def test_the_box_is_drawn_towards_the_size_of_the_start(
    tiny_model: ultrasam.Model, start: int, wider: float
) -> None:
    """The mask has a side of 50 pixels: 2 % of it, and half of what is missing, at most 8 %."""
    expected, asked = square(40, 20, 50), Asked()
    Tracker(tiny_model, even(2), 0, {"a": LARGE}).follow(asked, expected, start**2)  # type: ignore[arg-type]
    mask, box, click = asked.prompts
    assert mask is expected and click == (64.5, 44.5)
    more = 50 * wider
    assert box == pytest.approx((40 - more, 20 - more, 90 + more, 70 + more))


def test_the_box_stays_in_the_frame(tiny_model: ultrasam.Model) -> None:
    asked = Asked()
    whole = np.ones((SIDE, SIDE), np.bool_)
    Tracker(tiny_model, even(2), 0, {"a": LARGE}).follow(asked, whole, SIDE**2)  # type: ignore[arg-type]
    assert asked.prompts[1] == (0, 0, SIDE, SIDE)


def test_back_and_no_farther_than_the_last(tiny_model: ultrasam.Model) -> None:
    tracker = Tracker(tiny_model, even(9), 6, {"a": LARGE}, step=-1, last=3, guard=GUARD)
    assert frames_of(list(tracker), "a") == [5, 4, 3]
    assert tracker.stops == [Stop("a", 3, "the last frame", "end")]
    tracker = Tracker(tiny_model, even(9), 2, {"a": LARGE}, step=-1, guard=GUARD)
    assert frames_of(list(tracker), "a") == [1, 0]
    tracker = Tracker(tiny_model, even(3), 2, {"a": LARGE}, guard=GUARD)
    assert list(tracker) == [] and tracker.stops == [Stop("a", 2, "the last frame", "end")]


def test_one_that_drifts_stops_and_the_others_go_on(tiny_model: ultrasam.Model) -> None:
    tracker = Tracker(tiny_model, even(5), 0, {"small": SMALL, "large": LARGE}, guard=GUARD)
    found = list(tracker)
    assert frames_of(found, "small") == [1] and frames_of(found, "large") == [1, 2, 3, 4]
    (doubtful,) = [one for on_frame in found for one in on_frame if one.doubt]
    assert doubtful.name == "small" and "from one frame to the next" in doubtful.doubt
    assert doubtful.result.mask[20, 20]
    assert tracker.stops[0] == Stop("small", 1, doubtful.doubt, "drift")
    assert tracker.stops[1].name == "large" and tracker.stops[1].kind == "end"


def test_the_run_ends_when_no_object_is_left(tiny_model: ultrasam.Model) -> None:
    tracker = Tracker(tiny_model, even(50), 0, {"small": SMALL}, guard=GUARD)
    assert len(list(tracker)) == 1 and len(tracker.stops) == 1


def test_an_anchor_is_met_and_not_replaced(tiny_model: ultrasam.Model) -> None:
    anchors = {"a": [0, 3], "b": {1}}
    tracker = Tracker(
        tiny_model, even(6), 1, {"a": LARGE, "b": square(60, 60, 60)}, anchors=anchors, guard=GUARD
    )
    found = list(tracker)
    assert frames_of(found, "a") == [2] and frames_of(found, "b") == [2, 3, 4, 5]
    assert tracker.stops[0] == Stop("a", 3, "met a frame that was corrected by hand", "anchor")


@pytest.mark.parametrize(
    ("guard", "reason"),
    [
        (replace(LOOSE, score=0.7), "unsure here (score 0.65, below 0.70)"),
        (replace(LOOSE, area=1.3), "the area changes 1.3"),
        (replace(LOOSE, total=1.3), "since the start (limit 1.3)"),
        (replace(LOOSE, overlap=0.8), "below 0.80"),
        (replace(LOOSE, match=1.0), ""),
        (LOOSE, ""),
    ],
)
def test_each_limit_of_the_guard_stops(tiny_model: ultrasam.Model, guard: Guard, reason: str) -> None:
    (found,) = Tracker(tiny_model, even(2), 0, {"a": LARGE}, guard=guard)
    assert reason in found[0].doubt and bool(reason) == bool(found[0].doubt)


def test_a_jump_to_another_scene_stops(tiny_model: ultrasam.Model) -> None:
    scan = scan_of([texture(1)] * 3 + [texture(2)] * 3)
    tracker = Tracker(tiny_model, scan, 0, {"a": LARGE}, guard=GUARD)
    assert frames_of(list(tracker), "a") == [1, 2, 3]
    (stop,) = tracker.stops
    assert (stop.frame, stop.kind) == (3, "drift") and "the picture changes suddenly" in stop.reason


class Nothing(Tracker):
    """A model that finds nothing on frame 2."""

    def follow(self, session: Session, expected: BoolArray, start: int) -> Result:
        result = super().follow(session, expected, start)
        return replace(result, mask=np.zeros_like(result.mask)) if session.image[0, 0, 0] == 2 else result


def test_an_empty_mask_is_lost_even_without_a_guard(tiny_model: ultrasam.Model) -> None:
    scan = scan_of([np.full((SIDE, SIDE), number, np.uint8) for number in range(5)])
    tracker = Nothing(tiny_model, scan, 0, {"a": LARGE}, guard=LOOSE)
    found = list(tracker)
    assert frames_of(found, "a") == [1, 2] and found[-1][0].result.empty
    assert tracker.stops == [Stop("a", 2, "the mask is empty", "lost")]


def test_a_frame_that_cannot_be_read_ends_the_run(tiny_model: ultrasam.Model) -> None:
    def decode(number: int) -> ByteArray:
        if number == 3:
            raise UltrasamError("frame 3 is damaged")
        return np.full((SIDE, SIDE), 127, np.uint8)

    scan = scan_of(Frames(Path("clip.dcm"), decode, range(9)))
    tracker = Tracker(tiny_model, scan, 0, {"a": LARGE, "b": LARGE}, guard=GUARD)
    assert len(list(tracker)) == 2
    assert tracker.stops == [Stop(name, 3, "frame 3 is damaged", "unreadable") for name in "ab"]


def test_a_mask_is_moved_with_the_image(tiny_model: ultrasam.Model) -> None:
    image = texture(3)
    frames = [np.roll(image, (2 * number, -3 * number), (0, 1)) for number in range(6)]
    for kept in Tracker(tiny_model, scan_of(frames), 0, {"a": square(60, 20, 40)}, guard=LOOSE):
        (one,) = kept
        assert one.result.box is not None
        x0, y0, x1, y1 = one.result.box
        assert (x0 + x1) / 2 == pytest.approx(80 - 3 * one.frame, abs=3)
        assert (y0 + y1) / 2 == pytest.approx(40 + 2 * one.frame, abs=3)


@pytest.mark.parametrize("shift", [(0, 0), (5, 0), (0, -7), (-6, 4), (9, 9)])
def test_motion_is_that_of_the_image(shift: tuple[int, int]) -> None:
    before = texture(4)
    after = np.roll(before, shift[::-1], (0, 1))
    assert motion(before, after, LARGE) == pytest.approx(shift, abs=1)  # whole cells of 1.06 pixels
    assert likeness(before, after, LARGE, shift) == pytest.approx(1.0)
    grey = np.repeat(after[:, :, None], 3, axis=2)
    assert motion(before, grey, LARGE) == motion(before, after, LARGE)


def test_an_even_image_does_not_move() -> None:
    image = np.full((SIDE, SIDE), 90, np.uint8)
    assert motion(image, image, LARGE) == (0, 0) and likeness(image, image, LARGE, (0, 0)) == 1.0
    assert likeness(image, texture(5), LARGE, (0, 0)) == 0.0
    assert abs(likeness(texture(6), texture(7), LARGE, (0, 0))) < 0.3
    assert motion(image[:1, :1], image[:1, :1], np.ones((1, 1), np.bool_)) == (0, 0)


def test_a_mask_moved_out_of_the_frame_stays() -> None:
    np.testing.assert_array_equal(moved(LARGE, (3, -2)), square(33, 28, 60))
    assert moved(LARGE, (60, 0)).sum() == 60 * 38  # cut at the border
    assert moved(LARGE, (120, 0)) is LARGE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frame": 6}, "there is no frame 6: choose one from 0 to 5"),
        ({"frame": -1}, "there is no frame -1"),
        ({"last": 9}, "there is no frame 9"),
        ({"last": 1}, "does not lie after frame 2"),
        ({"step": -1, "last": 4}, "does not lie before frame 2"),
        ({"step": 2}, "the step is 2"),
        ({"masks": {"a": np.zeros((SIDE, SIDE), np.bool_)}}, "the mask of 'a' is empty"),
        ({"masks": {"a": np.ones((4, 4), np.bool_)}}, "the mask of 'a' is bool"),
        ({"masks": {"a": np.ones((SIDE, SIDE), np.uint8)}}, "got uint8"),
        ({"guard": Guard(score=2)}, "the guard's score is 2: give a number from 0 to 1"),
        ({"guard": Guard(overlap=-0.1)}, "the guard's overlap is -0.1"),
        ({"guard": Guard(area=0.5)}, "the guard's area is 0.5: give a factor of at least 1"),
        ({"guard": Guard(total=math.nan)}, "the guard's total is nan"),
        ({"guard": Guard(match=-2)}, "the guard's match is -2: give a number from -1 to 1"),
    ],
)
def test_what_cannot_be_used_is_refused(
    tiny_model: ultrasam.Model, change: dict[str, object], words: str
) -> None:
    asked: dict[str, object] = {"frame": 2, "masks": {"a": LARGE}} | change
    with pytest.raises(UltrasamError, match=words):
        Tracker(tiny_model, even(6), asked.pop("frame"), asked.pop("masks"), **asked)  # type: ignore[arg-type]


def test_a_long_clip_needs_no_more_memory_than_a_short_one(tiny_model: ultrasam.Model) -> None:
    results: list[weakref.ref[Result]] = []
    alive: list[weakref.ref[ByteArray]] = []

    def decode(number: int) -> ByteArray:
        image = np.full((32, 32), 100 + number % 50, np.uint8)
        alive.append(weakref.ref(image))
        return image

    scan = scan_of(Frames(Path("clip.dcm"), decode, range(2000)))
    model = replace(tiny_model, cache=EmbeddingCache(max_bytes=5 * 3 * 16 * 16 * 4))
    most = 0
    for found in Tracker(model, scan, 0, {"a": square(8, 8, 16, 32)}, guard=LOOSE):
        results += [weakref.ref(one.result) for one in found]
        if len(results) % 100 == 0:
            most = max(most, sum(one() is not None for one in (*results, *alive)))
    assert len(results) == 1999 and 0 < most < 12
    assert len(model.cache) <= 5


def test_all_anchors_make_one_plan(tiny_model: ultrasam.Model) -> None:
    other = square(50, 50, 60)
    tracks = TrackAll(tiny_model, even(9), {"a": {6: LARGE, 2: LARGE}, "b": {2: other}}, guard=GUARD)
    assert tracks.runs == [(6, 1, ("a",)), (2, 1, ("a", "b")), (2, -1, ("a", "b"))] or tracks.runs == [
        (2, -1, ("a", "b")),
        (2, 1, ("a", "b")),
        (6, 1, ("a",)),
    ]
    found = list(tracks)
    assert sorted(frames_of(found, "a")) == [0, 1, 3, 4, 5, 7, 8]
    assert sorted(frames_of(found, "b")) == [0, 1, 3, 4, 5, 6, 7, 8]
    assert {(stop.name, stop.frame, stop.kind) for stop in tracks.stops} == {
        ("a", 0, "end"),
        ("b", 0, "end"),
        ("a", 6, "anchor"),
        ("b", 8, "end"),
        ("a", 8, "end"),
    }


@pytest.mark.parametrize(
    ("direction", "frames"),
    [
        ("both", [1, 2, 4, 5, 7]),
        ("forward", [4, 5, 7]),
        ("back", [1, 2, 4, 5]),
    ],
)
def test_directions_and_bounds(tiny_model: ultrasam.Model, direction: str, frames: list[int]) -> None:
    anchors = {"a": {3: LARGE, 6: LARGE}}
    tracks = TrackAll(
        tiny_model,
        even(9),
        anchors,
        direction=direction,
        first=1,
        last=7,
        guard=GUARD,  # type: ignore[arg-type]
    )
    assert sorted(frames_of(list(tracks), "a")) == frames


def test_a_corrected_frame_changes_what_lies_behind_it(tiny_model: ultrasam.Model) -> None:
    before = {
        one.frame: one.result.area for (one,) in TrackAll(tiny_model, even(6), {"a": {0: LARGE}}, guard=GUARD)
    }
    corrected = square(30, 30, 50)
    anchors = {"a": {0: LARGE, 3: corrected}}
    after = {one.frame: one.result.area for (one,) in TrackAll(tiny_model, even(6), anchors, guard=GUARD)}
    assert sorted(after) == [1, 2, 4, 5]
    assert (after[1], after[2]) == (before[1], before[2]) and after[4] < before[4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"anchors": {}}, "there is no object to track"),
        ({"anchors": {"a": {}}}, "there is no object to track"),
        ({"anchors": {"a": {9: LARGE}}}, "there is no frame 9"),
        ({"direction": "sideways"}, "there is no direction 'sideways'"),
        ({"first": 4}, "frame 3, where 'a' is known, is not among the frames 4 to 8"),
        ({"last": 2}, "not among the frames 0 to 2"),
        ({"last": 9}, "there is no frame 9"),
    ],
)
def test_a_plan_that_cannot_be_used_is_refused(
    tiny_model: ultrasam.Model, change: dict[str, object], words: str
) -> None:
    asked: dict[str, object] = {"anchors": {"a": {3: LARGE}}} | change
    with pytest.raises(UltrasamError, match=words):
        TrackAll(tiny_model, even(9), asked.pop("anchors"), **asked)  # type: ignore[arg-type]


def test_a_model_tracks_masks_and_prompts(tiny_model: ultrasam.Model) -> None:
    tracks = tiny_model.track(even(4), 1, masks=[LARGE], boxes=[(40, 40, 110, 110)], guard=GUARD)
    assert set(tracks.anchors) == {"object-1", "object-2"} and set(tracks.anchors["object-2"]) == {1}
    found = list(tracks)
    assert frames_of(found, "object-1") == [0, 2, 3] == frames_of(found, "object-2")
    (again,) = tiny_model.predict([even(4)], boxes=[[(40, 40, 110, 110)]])[0]
    np.testing.assert_array_equal(tracks.anchors["object-2"][1], again.mask)
    with pytest.raises(UltrasamError, match="there is no object to track"):
        tiny_model.track(even(4), 1)


def test_a_run_that_is_left_ends(tiny_model: ultrasam.Model) -> None:
    decoded: list[int] = []

    def decode(number: int) -> ByteArray:
        decoded.append(number)
        return np.full((SIDE, SIDE), 127, np.uint8)

    scan = scan_of(Frames(Path("clip.dcm"), decode, range(100)))
    run = iter(Tracker(tiny_model, scan, 0, {"a": LARGE}, guard=GUARD))
    next(run)
    close: Callable[[], None] = run.close  # type: ignore[attr-defined]
    close()
    assert max(decoded) <= 3
