"""Objects followed from frame to frame through a clip or a volume, each until it drifts or is known by hand.

From one frame to the next a mask is moved as the image under it has moved (`motion`). The model sees it there
as the mask of the round before, and is asked with its box and then with a click at its inmost point. The box
is drawn towards the size that the object began with: a mask nearly fills its box, so without this it shrinks
or grows from frame to frame. The way and the guard's defaults were chosen by `benchmarks/tracking.py`; the
figures are in the documentation, under Results.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultrasam.core.clicks import center_click
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.core.masks import box_of
from ultrasam.core.metrics import iou
from ultrasam.core.prompts import Box
from ultrasam.io.scan import Scan
from ultrasam.predict.decode import Result
from ultrasam.predict.session import Session

if TYPE_CHECKING:
    from ultrasam.predict.model import Model

Direction = Literal["both", "forward", "back"]
DIRECTIONS = ("both", "forward", "back")
Shift = tuple[int, int]
StopKind = Literal["drift", "lost", "anchor", "end", "unreadable"]

# How much wider and higher the box is than the mask, at each side: a little, and more where the mask is
# smaller than at the start, less where it is larger, within a limit.
_WIDER = 0.02
_BACK = 0.5
_MOST = 0.08
# Motion is looked for around the mask: in its box and this share of its longer side on all sides, on a grid
# with at most so many cells along a side; it is at most this share of that part of the image.
_MARGIN = 0.35
_CELLS = 96
_FARTHEST = 0.3
# Grey values are compared in the box and half of that margin, on a grid with so many cells along a side.
_COMPARED = 48
# A part of an image that deviates less than this from its mean shows nothing.
_EVEN = 1.0


@dataclass(frozen=True, eq=False)
class Expected:
    """Where an object should be on the next frame: `mask` (H, W) bool, and how much the image there is like
    the one under the mask before: `match`, a correlation of at most 1.
    """

    mask: BoolArray
    match: float


@dataclass(frozen=True)
class Signs:
    """What the guard looks at in a result: see `Guard` for the numbers; `empty` is a mask without a pixel."""

    empty: bool
    score: float
    area: float
    overlap: float
    total: float
    match: float

    @staticmethod
    def of(result: Result, expected: Expected, start: int) -> Signs:
        """`start` is the number of pixels of the mask that tracking began with."""
        area = result.area
        return Signs(
            empty=not area,
            score=result.score,
            area=_factor(area, int(np.count_nonzero(expected.mask))),
            overlap=iou(result.mask, expected.mask),
            total=_factor(area, start),
            match=expected.match,
        )


@dataclass(frozen=True)
class Guard:
    """When an object has drifted: its tracking stops there, and a person should look.

    `score` is the least predicted IoU, 0 to 1. `area` is the largest factor (1 or more) by which the area may
    grow or shrink from one frame to the next, and `total` the largest against the frame where tracking began.
    `overlap` is the least IoU, 0 to 1, with the mask of the frame before, moved with the image. `match` is
    the least correlation, -1 to 1, of the image around the object with that of the frame before: it shows a
    jump to another scene. The loosest values, 0, -1 and infinity, ask for nothing; a mask without a pixel
    stops always.
    """

    score: float = 0.7
    area: float = 1.5
    overlap: float = 0.2
    total: float = 2.0
    match: float = 0.6

    def checked(self) -> Guard:
        """The same guard; raises UltrasamError for a value out of its range."""
        for name, least in (("score", 0), ("overlap", 0), ("match", -1)):
            value = getattr(self, name)
            if not least <= value <= 1:
                raise UltrasamError(f"the guard's {name} is {value:g}: give a number from {least} to 1")
        for name in ("area", "total"):
            value = getattr(self, name)
            if not value >= 1:
                raise UltrasamError(f"the guard's {name} is {value:g}: give a factor of at least 1")
        return self

    def doubt(self, signs: Signs) -> str:
        """Why a result with these signs should not be believed, "" where nothing speaks against it."""
        if signs.empty:
            return "the mask is empty"
        if signs.match < self.match:
            return f"the picture changes suddenly here (likeness {signs.match:.2f}, below {self.match:.2f})"
        if signs.score < self.score:
            return f"the model is unsure here (score {signs.score:.2f}, below {self.score:.2f})"
        if signs.area > self.area:
            return f"the area changes {signs.area:.2f}-fold from one frame to the next (limit {self.area:g})"
        if signs.total > self.total:
            return f"the area has changed {signs.total:.2f}-fold since the start (limit {self.total:g})"
        if signs.overlap < self.overlap:
            return f"the mask jumps here (overlap {signs.overlap:.2f}, below {self.overlap:.2f})"
        return ""


@dataclass(frozen=True, eq=False)
class Tracked:
    """One object on one frame. With a `doubt` the guard stopped the object here: the result is then only a
    proposal for a person to look at.
    """

    name: str
    frame: int
    result: Result
    doubt: str = ""


@dataclass(frozen=True)
class Stop:
    """Where the tracking of an object ended, and why.

    `frame` is the one that the guard stopped ("drift", or "lost" for an empty mask), that was made by hand
    ("anchor"), that cannot be read ("unreadable"), or the last that was wanted ("end").
    """

    name: str
    frame: int
    reason: str
    kind: StopKind


@dataclass
class _Followed:
    """An object under way: its mask on the frame before and the area that it began with."""

    mask: BoolArray
    area: int


class Tracker:
    """Objects of frame `frame` followed in one direction, frame by frame. Iterate over it once.

    `masks` (H, W) bool by name are those of the frame itself, which is not given again. `step` is 1 or -1 and
    `last` the last frame, default: that of the clip. `anchors[name]` are frames on which a person made or
    corrected the object: its tracking ends before the first of them. Each object is independent: one that
    the guard stops is given with its doubt and not followed any more. Each step gives a list of what is on
    one frame, in the order of `masks`, and ends when no object is left. `stops` tells then why each ended.

    Of the frames only one behind and one ahead are held, beside the model's cache of embeddings, whatever
    the length. Raises UltrasamError for a frame, mask, step or guard that cannot be used.
    """

    def __init__(
        self,
        model: Model,
        scan: Scan,
        frame: int,
        masks: Mapping[str, BoolArray],
        *,
        step: int = 1,
        last: int | None = None,
        anchors: Mapping[str, Collection[int]] = MappingProxyType({}),
        guard: Guard = Guard(),
    ) -> None:
        if step not in (1, -1):
            raise UltrasamError(f"the step is {step}: give 1 for forward or -1 for back")
        _check_frames(scan, (frame,) if last is None else (frame, last))
        if last is not None and (last - frame) * step < 0:
            side = "after" if step > 0 else "before"
            raise UltrasamError(f"the last frame, {last}, does not lie {side} frame {frame}: choose another")
        self._model = model
        self._scan = scan
        self._guard = guard.checked()
        self._anchors = anchors
        self._image = np.asarray(scan.frames[frame])
        self._objects = {name: self._followed(name, mask) for name, mask in masks.items()}
        end = (len(scan.frames) - 1 if step > 0 else 0) if last is None else last
        self._frames = range(frame + step, end + step, step)
        self._end = end
        self.stops: list[Stop] = []
        """Why and where each object ended, in that order."""

    def __iter__(self) -> Iterator[list[Tracked]]:
        sessions = self._sessions()
        try:
            for number in self._frames:
                self._leave_anchored(number)
                if not self._objects:
                    return
                try:
                    session = next(sessions)
                except UltrasamError as error:
                    self._leave_all(number, str(error), "unreadable")
                    return
                found = [self._one(name, number, session) for name in list(self._objects)]
                self._image = session.image
                yield found
            self._leave_all(self._end, "the last frame", "end")
        finally:
            sessions.close()

    def follow(self, session: Session, expected: BoolArray, start: int) -> Result:
        """What the model makes of the current object of a new session, where a mask like `expected` (H, W),
        which has a pixel, should be; it began with `start` pixels.
        """
        session.mask(expected)
        session.box(*_box_around(expected, start))
        return session.click(*center_click(expected))

    def expect(self, image: ByteArray, mask: BoolArray) -> Expected:
        """Where a mask of the frame before should be on the next one, `image`."""
        shift = motion(self._image, image, mask)
        return Expected(moved(mask, shift), likeness(self._image, image, mask, shift))

    def _one(self, name: str, number: int, session: Session) -> Tracked:
        followed = self._objects[name]
        expected = self.expect(session.image, followed.mask)
        session.object(name)
        result = self.follow(session, expected.mask, followed.area)
        doubt = self._guard.doubt(Signs.of(result, expected, followed.area))
        if doubt:
            del self._objects[name]
            self.stops.append(Stop(name, number, doubt, "lost" if result.empty else "drift"))
        else:
            followed.mask = result.mask
        return Tracked(name, number, result, doubt)

    def _sessions(self) -> Generator[Session, None, None]:
        """A session for each frame; the next is decoded and encoded while one is in use."""
        with ThreadPoolExecutor(1, "ultrasam-track") as pool:
            ahead = [pool.submit(self._model.session, self._scan, n) for n in self._frames[:1]]
            for number in self._frames:
                session = ahead.pop().result()
                if number != self._end:
                    ahead.append(pool.submit(self._model.session, self._scan, number + self._frames.step))
                yield session

    def _leave_anchored(self, number: int) -> None:
        for name in [one for one in self._objects if number in self._anchors.get(one, ())]:
            del self._objects[name]
            self.stops.append(Stop(name, number, "met a frame that was corrected by hand", "anchor"))

    def _leave_all(self, number: int, reason: str, kind: StopKind) -> None:
        self.stops += [Stop(name, number, reason, kind) for name in self._objects]
        self._objects.clear()

    def _followed(self, name: str, mask: BoolArray) -> _Followed:
        mask, shape = np.asarray(mask), self._image.shape[:2]
        if mask.dtype != np.bool_ or mask.shape != shape:
            raise UltrasamError(f"the mask of {name!r} is bool {shape}, got {mask.dtype} {mask.shape}")
        if not mask.any():
            raise UltrasamError(f"the mask of {name!r} is empty: there is nothing to track, prompt it anew")
        return _Followed(mask, int(np.count_nonzero(mask)))


class TrackAll:
    """Every object through a whole clip, from all frames on which it is known by hand. Iterate over it once.

    `anchors[name][frame]` is a mask (H, W) bool. An object is followed back from its first anchor, and
    forward from each to the next: so after one more anchor was made, the same call gives new what lies behind
    it. `direction` "forward" leaves out the way back, "back" goes back from each anchor to the one before.
    `first` and `last` bound the frames. Objects with an anchor on the same frame are followed together.
    Anchors are not given again; `stops` and the lists are those of the `Tracker`s.
    """

    def __init__(
        self,
        model: Model,
        scan: Scan,
        anchors: Mapping[str, Mapping[int, BoolArray]],
        *,
        direction: Direction = "both",
        first: int | None = None,
        last: int | None = None,
        guard: Guard = Guard(),
    ) -> None:
        if direction not in DIRECTIONS:
            raise UltrasamError(
                f"there is no direction {direction!r:.40}: use one of {', '.join(DIRECTIONS)}"
            )
        if not any(anchors.values()):
            raise UltrasamError("there is no object to track: give a mask or a prompt on one frame")
        bounds = [0 if first is None else first, len(scan.frames) - 1 if last is None else last]
        _check_frames(scan, [*bounds, *(frame for known in anchors.values() for frame in known)])
        for name, known in anchors.items():
            for frame in known:
                if not bounds[0] <= frame <= bounds[1]:
                    raise UltrasamError(
                        f"frame {frame}, where {name!r} is known, is not among the frames {bounds[0]} to "
                        f"{bounds[1]}: change --first or --last"
                    )
        self._model = model
        self._scan = scan
        self._guard = guard.checked()
        self._bounds = bounds
        self.anchors = anchors
        """What is known by hand: name -> frame -> mask."""
        self.stops: list[Stop] = []
        """Why and where the tracking of objects ended; an object has one for each run that it was in."""
        self.runs = self._plan(direction)
        """What is run, in order: the frame, the step, and the objects that are followed from there."""

    def __iter__(self) -> Iterator[list[Tracked]]:
        for frame, step, names in self.runs:
            tracker = Tracker(
                self._model,
                self._scan,
                frame,
                {name: self.anchors[name][frame] for name in names},
                step=step,
                last=self._bounds[step > 0],
                anchors=self.anchors,
                guard=self._guard,
            )
            yield from tracker
            self.stops += tracker.stops

    def _plan(self, direction: Direction) -> list[tuple[int, int, tuple[str, ...]]]:
        starts: dict[tuple[int, int], list[str]] = {}
        for name, known in self.anchors.items():
            for place, frame in enumerate(sorted(known)):
                if direction == "back" or (direction == "both" and place == 0):
                    starts.setdefault((-1, -frame), []).append(name)
                if direction != "back":
                    starts.setdefault((1, frame), []).append(name)
        return [(frame * step, step, tuple(starts[step, frame])) for step, frame in sorted(starts)]


def motion(before: ByteArray, after: ByteArray, mask: BoolArray) -> Shift:
    """How far the image under a mask has moved between two frames: (dx, dy) in whole pixels.

    `before` and `after` (H, W) or (H, W, 3) uint8, `mask` (H, W) bool with a pixel, of the first. The shift
    at which the two images around the mask correlate best; computed by FFT, on a coarse grid, with a Hann
    window, which favours small shifts.
    """
    x0, y0, x1, y1 = _around(mask, _MARGIN)
    size = _grid(x1 - x0, y1 - y0, _CELLS)
    one, other = (_detail(image[y0:y1, x0:x1], size) for image in (before, after))
    down, across = (np.hanning(cells + 2)[1:-1] for cells in one.shape)
    shape = 2 * size[1], 2 * size[0]  # with room, so that nothing comes in again at the other side
    spectra = [np.fft.rfft2(grey * down[:, None] * across, shape) for grey in (one, other)]
    correlation = np.fft.irfft2(np.conj(spectra[0]) * spectra[1], shape)
    far_y, far_x = (int(_FARTHEST * cells) for cells in reversed(size))
    dy, dx = np.mgrid[-far_y : far_y + 1, -far_x : far_x + 1]
    # The same best correlation at several shifts, as of an even image: the smallest shift.
    values = np.round(correlation[dy, dx] / max(float(correlation.max()), 1e-12), 6)
    best = int(np.lexsort((np.hypot(dx, dy).ravel(), -values.ravel()))[0])
    return (
        round(int(dx.flat[best]) * (x1 - x0) / size[0]),
        round(int(dy.flat[best]) * (y1 - y0) / size[1]),
    )


def likeness(before: ByteArray, after: ByteArray, mask: BoolArray, shift: Shift) -> float:
    """The correlation, -1 to 1, of the image around a mask with the image where `motion` has moved it.

    Arrays as in `motion`. 1 where neither shows anything or nothing of it stays in the frame.
    """
    dx, dy = shift
    height, width = mask.shape
    x0, y0, x1, y1 = _around(mask, _MARGIN / 2)
    x0, y0, x1, y1 = max(x0, -dx), max(y0, -dy), min(x1, width - dx), min(y1, height - dy)
    if x0 >= x1 or y0 >= y1:
        return 1.0
    size = _grid(x1 - x0, y1 - y0, _COMPARED)
    one = _detail(before[y0:y1, x0:x1], size)
    other = _detail(after[y0 + dy : y1 + dy, x0 + dx : x1 + dx], size)
    if not one.any() and not other.any():
        return 1.0
    return float((one * other).mean())


def moved(mask: BoolArray, shift: Shift) -> BoolArray:
    """A mask (H, W) shifted by whole pixels (dx, dy), or where nothing of it would stay in the frame, as it
    is.
    """
    dx, dy = shift
    height, width = mask.shape
    shifted = np.zeros_like(mask)
    shifted[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = mask[
        max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)
    ]
    return shifted if shifted.any() else mask


def _around(mask: BoolArray, margin: float) -> tuple[int, int, int, int]:
    """The box of a mask in whole pixels with a margin, a share of its longer side, cut at the frame."""
    left, top, right, bottom = box_of(mask)
    more = margin * max(right - left, bottom - top)
    height, width = mask.shape
    return (
        max(0, int(left - more)),
        max(0, int(top - more)),
        min(width, math.ceil(right + more)),
        min(height, math.ceil(bottom + more)),
    )


def _grid(width: int, height: int, cells: int) -> tuple[int, int]:
    """Cells across and down of a part of the image: square ones, at most `cells` along a side, none smaller
    than a pixel.
    """
    per_cell = max(1.0, max(width, height) / cells)
    return max(1, round(width / per_cell)), max(1, round(height / per_cell))


def _detail(part: ByteArray, size: tuple[int, int]) -> NDArray[np.float64]:
    """Grey values of a part of a frame on a grid (width, height), of mean 0 and deviation 1; 0 if even."""
    image = Image.fromarray(np.ascontiguousarray(part)).convert("L")
    grey = np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float64)
    deviation = float(grey.std())
    return np.zeros_like(grey) if deviation < _EVEN else (grey - grey.mean()) / deviation


def _box_around(mask: BoolArray, start: int) -> Box:
    """The box of a mask, which began with `start` pixels, a little enlarged, within the frame."""
    x0, y0, x1, y1 = box_of(mask)
    height, width = mask.shape
    smaller = math.sqrt(start / np.count_nonzero(mask)) - 1
    wider = min(max(_WIDER + _BACK * smaller, -_MOST), _MOST)
    across, down = wider * (x1 - x0), wider * (y1 - y0)
    return (
        max(0.0, x0 - across),
        max(0.0, y0 - down),
        min(float(width), x1 + across),
        min(float(height), y1 + down),
    )


def _factor(area: int, other: int) -> float:
    """How many times the larger of two areas is the smaller one."""
    return max(area, other) / max(1, min(area, other))


def _check_frames(scan: Scan, frames: Collection[int]) -> None:
    count = len(scan.frames)
    for frame in frames:
        if not 0 <= frame < count:
            raise UltrasamError(f"there is no frame {frame}: choose one from 0 to {count - 1}")
