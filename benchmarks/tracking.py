"""How well objects are followed through a clip, how many of those that drift the guard stops, and how fast.

    python benchmarks/tracking.py --data DIR --limit 10
    python benchmarks/tracking.py --data DIR --limit 5 --ways
    python benchmarks/tracking.py --data DIR --limit 4 --skip 10 --tune

DIR holds annotations.json (COCO) and the folder images. Clips with masks on each frame are not needed: each
still of the validation cases is warped smoothly, frame by frame, with its masks, which are then known on all.
It is moved, turned, scaled and bent, its gain goes up and down, and each frame has speckle and noise of its
own. "slow" moves by up to 6 % of the longer side and turns by up to 6 degrees, "fast" by 15 % and 15 degrees;
"cut" is slow, and half-way the clip goes on with another still, so that no object is where it was.

Tracking starts from the true mask of frame 0. An object has drifted where its IoU with the truth is below
0.5; a frame that is not reached counts as 0. The first table is without the guard; with `--ways` it compares
ways to bring a mask to the next frame: "moved" says that the mask is first moved with the image, "box 5 %" is
its box, enlarged by so much at each side, "spring box" one that is drawn towards the size at the start,
"prior" the mask as that of the round before, "click" a click on its inmost point. Beside them stand baselines
without a model, the mask as it was and the mask moved, and a bound: the model asked on each frame with the
true box.

The second table is about the guard, with the way that is used. A drift is stopped where the guard ends the
object on or before the frame after the first below 0.5. An alarm is false where the object was never below
0.5. "Wrong frames kept" is the share of frames that were given without a doubt although below 0.5. With
`--tune` each limit is varied alone.

The third is the speed of a `Tracker` with all that it does, decoding of files apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

import ultrasam
from ultrasam.core.clicks import center_click
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.core.masks import box_of
from ultrasam.core.metrics import iou
from ultrasam.engines.cache import EmbeddingCache
from ultrasam.evaluation.samples import Sample, Selection, select_samples
from ultrasam.io.scan import Scan
from ultrasam.predict.decode import Result
from ultrasam.predict.session import Session
from ultrasam.predict.tracking import Expected, Guard, Signs, Tracker, _box_around

FRAMES = 30
OBJECTS = 2  # at most, of an image: the largest
GOAL = 8.0  # frames/s
# Share of the longer side, degrees, share of the size, share of the longer side.
MOTIONS = {"slow": (0.06, 6.0, 0.06, 0.01), "fast": (0.15, 15.0, 0.15, 0.02)}
NO_GUARD = Guard(score=0.0, area=math.inf, overlap=0.0, total=math.inf, match=-1.0)
SWEEPS: Mapping[str, Sequence[float]] = {
    "score": (0.5, 0.6, 0.65, 0.7, 0.75, 0.8),
    "area": (1.2, 1.3, 1.4, 1.6, 2.0),
    "overlap": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    "total": (1.5, 1.75, 2.0, 2.5, 3.0),
    "match": (0.4, 0.5, 0.6, 0.7, 0.8),
}


@dataclass(frozen=True)
class Warped:
    """A clip made of a still: frames (H, W, ...) uint8 and for each the masks (H, W) of its objects."""

    frames: Sequence[ByteArray]
    truths: Sequence[Sequence[BoolArray]]

    @property
    def scan(self) -> Scan:
        return Scan(Path("warped"), self.frames)


@dataclass(frozen=True)
class Step:
    """One object on one frame: what the model gave, what was expected, and how good it is."""

    result: Result
    expected: Expected
    truth: float


def wave(rng: np.random.Generator, most: float) -> np.ndarray:
    """A smooth curve over the frames that begins at 0 and stays within about `most`."""
    cycles, phase = rng.uniform(0.5, 1.2) * np.arange(FRAMES) / 30, rng.uniform()
    turns = 2 * np.pi * (cycles + phase)
    return most * rng.choice((-1, 1)) * (np.sin(turns) - np.sin(2 * np.pi * phase)) / 1.5


def warp(image: ByteArray, masks: Sequence[BoolArray], motion: str, seed: int) -> Warped:
    """The clip of a still. It moves less where the objects would lose more than 40 % of their area."""
    rng = np.random.default_rng(seed)
    shift, turn, zoom, bend = MOTIONS[motion]
    side = max(image.shape[:2])
    for attempt in range(6):
        less = 0.6**attempt
        moves = [wave(rng, shift * side * less) for _ in range(2)]
        moves += [wave(rng, math.radians(turn)), wave(rng, zoom)]
        maps = maps_of(rng, masks, moves, bend * side)
        truths = [[remap(mask.astype(np.float32), *one) > 0.5 for mask in masks] for one in maps]
        areas = np.array([[mask.sum() for mask in frame] for frame in truths])
        if (areas.min(axis=0) >= 0.6 * areas[0]).all():
            break
    gain = 1 + wave(rng, 0.15)
    frames = [noisy(rng, remap(image, *one), value) for one, value in zip(maps, gain, strict=True)]
    return Warped(frames, truths)


def maps_of(
    rng: np.random.Generator, masks: Sequence[BoolArray], moves: Sequence[np.ndarray], bend: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each frame where each of its pixels is in the still, x and y (H, W) float32."""
    height, width = masks[0].shape
    rows, columns = np.nonzero(np.any(masks, axis=0))
    x, y = columns.mean(), rows.mean()
    fields = [
        cv2.resize(
            rng.normal(size=(5, 5, 2)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
        for _ in range(2)
    ]
    bends = [wave(rng, bend) for _ in fields]
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    maps = []
    for number in range(FRAMES):
        dx, dy, angle, zoom = (float(one[number]) for one in moves)
        u, v = (xs - x - dx) / (1 + zoom), (ys - y - dy) / (1 + zoom)
        bent = sum(float(one[number]) * field for one, field in zip(bends, fields, strict=True))
        across = math.cos(angle) * u + math.sin(angle) * v + x + bent[..., 0]
        down = -math.sin(angle) * u + math.cos(angle) * v + y + bent[..., 1]
        maps.append((across.astype(np.float32), down.astype(np.float32)))
    return maps


def remap(values: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    return cv2.remap(values, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def noisy(rng: np.random.Generator, frame: ByteArray, gain: float) -> ByteArray:
    """The frame with another gain, with multiplied speckle of 12 % and added noise of 2 grey values."""
    shape = frame.shape[:2]
    speckle = 3.5 * cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), 1.0)
    factor, noise = gain * (1 + 0.12 * speckle), rng.normal(0, 2, shape)
    if frame.ndim == 3:
        factor, noise = factor[..., None], noise[..., None]
    return np.clip(frame * factor + noise * (frame > 0), 0, 255).astype(np.uint8)


class Way(Tracker):
    """A tracker that keeps what it expected, and may go another way: how much the box is wider at each side,
    None for no box, or "spring" for the one that is used.
    """

    move, wider, prior, click = True, "spring", True, True
    expected: Expected

    def expect(self, image: ByteArray, mask: BoolArray) -> Expected:
        self.expected = super().expect(image, mask)
        if not self.move:
            self.expected = replace(self.expected, mask=mask)
        return self.expected

    def follow(self, session: Session, expected: BoolArray, start: int) -> Result:
        if self.prior:
            result = session.mask(expected)
        if self.wider == "spring":
            result = session.box(*_box_around(expected, start))
        elif self.wider is not None:
            (x0, y0, x1, y1), (height, width) = box_of(expected), expected.shape
            across, down = self.wider * (x1 - x0), self.wider * (y1 - y0)
            box = max(0, x0 - across), max(0, y0 - down), min(width, x1 + across), min(height, y1 + down)
            result = session.box(*box)
        if self.click:
            result = session.click(*center_click(expected))
        return result


class Used(Way):
    """What `Tracker` itself does."""

    follow = Tracker.follow


class Kept(Way):
    """No model: the mask as it is expected."""

    def follow(self, session: Session, expected: BoolArray, start: int) -> Result:
        return replace(session.mask(expected), mask=expected)


class Bound(Way):
    """Asked with the true box; `truth` are the masks of the frames to come."""

    prior, wider, click = False, 0.0, False
    truth: list[BoolArray]

    def expect(self, image: ByteArray, mask: BoolArray) -> Expected:
        self.expected = Expected(self.truth.pop(0), 1.0)
        return self.expected


def way(base: type[Way] = Way, **options: object) -> type[Way]:
    return type("Way", (base,), options)


MOVED, BOUND = "the mask moved", "the true box on each frame"
USED = "moved, prior, spring box and click (used)"
WAYS: Mapping[str, type[Way]] = {
    "the mask as it was": way(Kept, move=False),
    MOVED: Kept,
    "not moved, prior and click": way(move=False, wider=None),
    "not moved, prior, spring box and click": way(move=False),
    "moved, prior and click": way(wider=None),
    "moved, prior and box 5 %": way(wider=0.05, click=False),
    "moved, prior and spring box": way(click=False),
    "moved, spring box and click": way(prior=False),
    USED: Used,
    BOUND: Bound,
}
SHOWN = (MOVED, USED, BOUND)


def steps_of(model: ultrasam.Model, clip: Warped, which: int, kind: type[Way]) -> list[Step]:
    """One object through the clip without a guard; fewer steps than frames where its mask became empty."""
    truths = [masks[which] for masks in clip.truths]
    tracker = kind(model, clip.scan, 0, {"object": truths[0]}, guard=NO_GUARD)
    if isinstance(tracker, Bound):
        tracker.truth = truths[1:]
    return [
        Step(found[0].result, tracker.expected, iou(found[0].result.mask, truths[found[0].frame]))
        for found in tracker
    ]


@dataclass(frozen=True)
class Course:
    """What became of one object: the IoU (29,) with the truth, and what the guard looks at."""

    truth: np.ndarray
    signs: Sequence[Signs]

    def stopped(self, guard: Guard) -> int:
        """The place of the first frame with a doubt, or past the end."""
        places = (place for place, signs in enumerate(self.signs) if guard.doubt(signs))
        return next(places, len(self.truth))


def course(steps: Sequence[Step], start: int) -> Course:
    truth = np.zeros(FRAMES - 1)
    truth[: len(steps)] = [step.truth for step in steps]
    return Course(truth, [Signs.of(step.result, step.expected, start) for step in steps])


def guard_cells(courses: Sequence[Course], guard: Guard) -> list[str]:
    drifted = [one for one in courses if (one.truth < 0.5).any()]
    good = [one for one in courses if not (one.truth < 0.5).any()]
    caught = sum(one.stopped(guard) <= int(np.argmax(one.truth < 0.5)) + 1 for one in drifted)
    false = sum(one.stopped(guard) < len(one.truth) for one in good)
    kept = np.concatenate([one.truth[: one.stopped(guard)] for one in courses])
    wrong = 100 * float((kept < 0.5).mean()) if len(kept) else 0.0
    return [f"{caught} of {len(drifted)}", f"{false} of {len(good)}", f"{wrong:.1f} %", f"{kept.size}"]


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |")


def rule(columns: int) -> None:
    print(f"|---|{'---:|' * (columns - 1)}")


def clips_of(samples: Sequence[Sample]) -> dict[str, list[Warped]]:
    """The clips of each kind, in the order of the samples; "cut" goes on with the next sample's still."""
    clips: dict[str, list[Warped]] = {"slow": [], "fast": [], "cut": []}
    stills = [one.pixels() for one in samples]
    for place, sample in enumerate(samples):
        masks = sorted(sample.truths().values(), key=lambda mask: -int(mask.sum()))[:OBJECTS]
        for kind in MOTIONS:
            clips[kind].append(warp(stills[place], masks, kind, sample.image.id))
        slow, height, width = clips["slow"][place], *stills[place].shape[:2]
        other = cv2.resize(stills[(place + len(stills) // 2) % len(stills)], (width, height))
        nothing = [np.zeros((height, width), np.bool_)] * len(masks)
        half = FRAMES // 2
        clips["cut"].append(
            Warped([*slow.frames[:half], *[other] * half], [*slow.truths[:half], *[nothing] * half])
        )
    return clips


def run(args: argparse.Namespace) -> None:
    model = ultrasam.load(args.model, threads=args.threads)
    data = args.data / "annotations.json"
    chosen = Selection("validation", datasets=tuple(args.dataset), limit=args.limit + args.skip)
    samples = select_samples(data, None, chosen)
    if args.skip:
        before = select_samples(data, None, replace(chosen, limit=args.skip))
        seen = {one.image.id for one in before}
        samples = [one for one in samples if one.image.id not in seen]
    clips = clips_of(samples)
    ways = {name: kind for name, kind in WAYS.items() if name in SHOWN or args.ways}
    courses: dict[tuple[str, str], list[Course]] = {}
    for kind, members in clips.items():
        for number, clip in enumerate(members, start=1):
            fresh = replace(model, cache=EmbeddingCache(2**30))  # each way finds the embeddings there
            for name in ways if kind != "cut" else [USED]:
                for which, mask in enumerate(clip.truths[0]):
                    steps = steps_of(fresh, clip, which, ways[name])
                    courses.setdefault((kind, name), []).append(course(steps, int(mask.sum())))
            print(f"{kind}: {number} of {len(members)} clips", file=sys.stderr, flush=True)
    objects = len(courses["slow", USED])
    print(f"{len(samples)} stills, {objects} objects, clips of {FRAMES} frames, model {model.card.id}")
    tell_ways(courses, ways)
    tell_guard(courses, clips, args.tune)
    tell_speed(model, clips["slow"])


def tell_ways(courses: Mapping[tuple[str, str], list[Course]], ways: Sequence[str]) -> None:
    print("\nWays to the next frame, without the guard: mean IoU / IoU on the last frame / drifted\n")
    row("way", *MOTIONS)
    rule(1 + len(MOTIONS))
    for name in ways:
        cells = []
        for kind in MOTIONS:
            truth = np.stack([one.truth for one in courses[kind, name]])
            drifted = int((truth < 0.5).any(axis=1).sum())
            cells.append(f"{truth.mean():.3f} / {truth[:, -1].mean():.3f} / {drifted} of {len(truth)}")
        row(name, *cells)


def tell_guard(
    courses: Mapping[tuple[str, str], list[Course]], clips: Mapping[str, object], tune: bool
) -> None:
    print("\nThe guard\n")
    row("guard", "clips", "drifts stopped", "false alarms", "wrong frames kept", "frames kept")
    rule(6)
    guards = {"default": Guard(), "none": NO_GUARD}
    if tune:
        guards |= {
            f"{name} {value:g}": replace(NO_GUARD, **{name: value})
            for name, values in SWEEPS.items()
            for value in values
        }
    for name, guard in guards.items():
        for kind in clips:
            row(name, kind, *guard_cells(courses[kind, USED], guard))
    print(f"\nThe default: {dataclasses.asdict(Guard())}")


def tell_speed(model: ultrasam.Model, clips: Sequence[Warped]) -> None:
    print("\nSpeed\n")
    row("objects", "clips", "frames/s", f"of {GOAL:g} frames/s")
    rule(4)
    for count in range(1, OBJECTS + 1):
        members = [clip for clip in clips if len(clip.truths[0]) >= count][:10]
        start, frames = time.perf_counter(), 0
        for clip in members:
            fresh = replace(model, cache=EmbeddingCache())
            masks = {str(place): mask for place, mask in enumerate(clip.truths[0][:count])}
            frames += sum(1 for _ in Tracker(fresh, clip.scan, 0, masks, guard=NO_GUARD))
        speed = frames / (time.perf_counter() - start)
        row(count, len(members), f"{speed:.1f}", f"{speed / GOAL:.1f} x")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with annotations.json and images")
    parser.add_argument("--model", default="ultrasam-lite", help="name or folder of a model")
    parser.add_argument("--dataset", nargs="+", default=[], help="only these data sets")
    parser.add_argument("--limit", type=int, default=10, help="stills of each data set (default: 10)")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many before them")
    parser.add_argument("--ways", action="store_true", help="compare ways to the next frame")
    parser.add_argument("--tune", action="store_true", help="vary each limit of the guard alone")
    parser.add_argument("--threads", type=int)
    try:
        run(parser.parse_args())
    except UltrasamError as error:
        print(f"tracking: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
