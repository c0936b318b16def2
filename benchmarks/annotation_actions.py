"""How many actions the annotation of a clip takes, frame by frame and with tracking, and how good it becomes.

    python benchmarks/annotation_actions.py --data DIR --limit 5

DIR is as in `benchmarks/tracking.py`, and so are the clips: stills that move, 30 frames, the true masks
known. A simulated person annotates the largest object of each clip as on the page of `ultrasam annotate`. An
action is a click, a drag or a key. A frame is clicked, each time on the largest error, until its IoU is at
least `--enough`, at most `--clicks` times.

"clicks on each frame": one key to each next frame. "box on each frame": the same, the first prompt is a drag
of the true box. "tracking": the first frame is clicked, then one key tracks. Where the guard stops, the page
goes there by itself; the person clicks and tracks on. At the end the clip is played, one key; at the first
frame below `--seen`, which a person sees as wrong, the person goes there (one click on the timeline),
corrects it, tracks again, and plays on.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tracking import Warped, clips_of

import ultrasam
from ultrasam.core.clicks import center_click, next_click
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import BoolArray
from ultrasam.core.masks import box_of
from ultrasam.core.metrics import iou
from ultrasam.core.prompts import Prompts
from ultrasam.engines.cache import EmbeddingCache
from ultrasam.evaluation.samples import Selection, select_samples
from ultrasam.predict.decode import Result
from ultrasam.predict.session import Session
from ultrasam.predict.tracking import Tracker


@dataclass
class Person:
    """Somebody who annotates the first object of a clip."""

    model: ultrasam.Model
    clip: Warped
    enough: float
    clicks: int
    actions: int = 0
    masks: dict[int, BoolArray] = field(default_factory=dict)
    by_hand: set[int] = field(default_factory=set)

    def truth(self, frame: int) -> BoolArray:
        return self.clip.truths[frame][0]

    def good(self, frame: int) -> float:
        """The IoU with the truth; of a frame without an object 1 if nothing is drawn."""
        mask = self.masks.get(frame, np.zeros_like(self.truth(frame)))
        if not self.truth(frame).any():
            return float(not mask.any())
        return iou(mask, self.truth(frame))

    def correct(self, frame: int, before: Result | None = None, box: bool = False) -> None:
        """Click on a frame until it is good enough, on from a mask if there is one."""
        session: Session = self.model.session(self.clip.scan, frame)
        truth = self.truth(frame)
        mask = np.zeros_like(truth)
        if before is not None:
            mask = before.mask
            session.resume(Prompts(), before.logits)
        elif box:
            mask = session.box(*box_of(truth)).mask
            self.actions += 1
        for _ in range(self.clicks):
            if iou(mask, truth) >= self.enough:
                break
            place = (*center_click(truth), True) if not mask.any() else next_click(mask, truth)
            if place is None:
                break
            mask = session.click(*place).mask
            self.actions += 1
        self.masks[frame] = mask
        self.by_hand.add(frame)

    def frame_by_frame(self, box: bool) -> None:
        for frame in range(len(self.clip.frames)):
            self.actions += frame > 0
            self.correct(frame, box=box)

    def with_tracking(self, seen: float) -> None:
        self.correct(0)
        results = self.track(0)
        self.actions += 1  # play
        for frame in range(len(self.clip.frames)):
            if self.good(frame) < seen and frame not in self.by_hand:
                self.actions += 1  # go there
                self.correct(frame, results.get(frame))
                results |= self.track(frame)
                self.actions += 1  # play on

    def track(self, frame: int) -> dict[int, Result]:
        """Track forward from a frame, correcting where the guard stops; the results frame by frame."""
        results: dict[int, Result] = {}
        while True:
            self.actions += 1
            if not self.masks[frame].any():
                return results
            anchors = {"it": self.by_hand - {frame}}
            tracker = Tracker(self.model, self.clip.scan, frame, {"it": self.masks[frame]}, anchors=anchors)
            for tracked in tracker:
                results[tracked[0].frame] = tracked[0].result
                self.masks[tracked[0].frame] = tracked[0].result.mask
            stop = tracker.stops[0]
            if stop.kind not in ("drift", "lost"):
                return results
            frame = stop.frame
            self.correct(frame, results.get(frame) if not results[frame].empty else None)


def run(args: argparse.Namespace) -> None:
    model = ultrasam.load(args.model, threads=args.threads)
    chosen = Selection("validation", datasets=tuple(args.dataset), limit=args.limit)
    samples = select_samples(args.data / "annotations.json", None, chosen)
    print(f"{len(samples)} clips of each kind, model {model.card.id}\n")
    head = "clips | how | actions, mean | median | mean IoU | frames of 0.75 or more"
    print(f"| {head} | actions, against clicks |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for kind, clips in clips_of(samples).items():
        if kind == "cut":  # a clip that goes on with another organ is not annotated as one
            continue
        first = 0.0
        for how in ("clicks on each frame", "box on each frame", "tracking"):
            actions: list[int] = []
            good: list[float] = []
            for number, clip in enumerate(clips, start=1):
                fresh = replace(model, cache=EmbeddingCache())
                person = Person(fresh, clip, args.enough, args.clicks)
                if how == "tracking":
                    person.with_tracking(args.seen)
                else:
                    person.frame_by_frame(box=how.startswith("box"))
                actions.append(person.actions)
                good += [person.good(frame) for frame in range(len(clip.frames))]
                print(f"{kind}, {how}: {number} of {len(clips)}", file=sys.stderr, flush=True)
            mean = statistics.mean(actions)
            first = first or mean
            share = 100 * float(np.mean(np.array(good) >= 0.75))
            cells = [
                f"{mean:.1f}",
                f"{statistics.median(actions):g}",
                f"{np.mean(good):.3f}",
                f"{share:.0f} %",
            ]
            print(f"| {kind} | {how} | {' | '.join(cells)} | {mean / first:.2f} |")


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--data", type=Path, required=True, help="folder with annotations.json and images")
    parser.add_argument("--model", default="ultrasam-lite", help="name or folder of a model")
    parser.add_argument("--dataset", nargs="+", default=[], help="only these data sets")
    parser.add_argument("--limit", type=int, default=5, help="clips of each data set (default: 5)")
    parser.add_argument("--enough", type=float, default=0.85, help="IoU at which a frame is left")
    parser.add_argument("--seen", type=float, default=0.75, help="IoU below which a person sees a mistake")
    parser.add_argument("--clicks", type=int, default=5, help="clicks on a frame at most")
    parser.add_argument("--threads", type=int)
    try:
        run(parser.parse_args())
    except UltrasamError as error:
        print(f"annotation_actions: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
