"""What a second, enlarged look at an object brings, by data set and by size of the object.

    python benchmarks/refine.py --data annotations.json

Each held-out object is asked for by one click (its deepest pixel) and by its exact box, without and with a
second look (`refine="zoom"`), as a user's session would. The first table is by data set, the second by the
share of the image that the object covers, the third by the least enlargement from which a second look is
taken: that is how the threshold of `refine="auto"` is chosen. The last lines are what it costs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import ultrasam
from ultrasam.core.clicks import center_click
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import as_rgb
from ultrasam.core.masks import box_of
from ultrasam.core.metrics import iou
from ultrasam.evaluation.samples import Sample, Selection, select_samples
from ultrasam.predict.decode import Result
from ultrasam.predict.session import Session

PROMPTS = ("point", "box")
SIZES = ((0.0, 0.01), (0.01, 0.03), (0.03, 0.1), (0.1, 1.0))
GAINS = (1.2, 1.5, 2.0, 2.5, 3.0, 99.0)


@dataclass(frozen=True)
class Row:
    """One object under one prompt: IoU without and with a second look, and the enlargement (1: none)."""

    dataset: str
    prompt: str
    share: float
    plain: float
    zoomed: float
    gain: float


def rows_of(model: ultrasam.Model, sample: Sample, seconds: dict[str, list[float]]) -> Iterable[Row]:
    """The rows of one image; adds to `seconds` what each first answer took, the encoded frame being there."""
    pixels = as_rgb(sample.pixels())
    sessions = {refine: model.session(pixels, refine=refine) for refine in ("none", "zoom")}
    for truth in sample.truths().values():
        if not truth.any():
            continue
        asks: dict[str, Callable[[Session], Result]] = {
            "point": lambda session, truth=truth: session.click(*center_click(truth)),
            "box": lambda session, truth=truth: session.box(*box_of(truth)),
        }
        for prompt, ask in asks.items():
            results = {}
            for refine, session in sessions.items():
                session.reset()
                start = time.perf_counter()
                results[refine] = ask(session)
                seconds[refine].append(time.perf_counter() - start)
            view = results["zoom"].view
            longest = 0 if view is None else max(view[2] - view[0], view[3] - view[1])
            yield Row(
                sample.dataset,
                prompt,
                float(truth.mean()),
                iou(results["none"].mask, truth),
                iou(results["zoom"].mask, truth),
                max(truth.shape) / longest if longest else 1.0,
            )


def table(title: str, groups: dict[str, list[Row]], header: str) -> None:
    print(f"\n{title}\n\n| {header} | objects | point | point, zoom | box | box, zoom |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, rows in groups.items():
        cells = []
        for prompt in PROMPTS:
            chosen = [row for row in rows if row.prompt == prompt]
            if chosen:
                cells += [f"{statistics.mean(row.plain for row in chosen):.3f}"]
                cells += [f"{statistics.mean(row.zoomed for row in chosen):.3f}"]
        if cells:
            print(f"| {name} | {len(rows) // 2} | {' | '.join(cells)} |")


def run(args: argparse.Namespace) -> None:
    model = ultrasam.load(args.model, threads=args.threads)
    selection = Selection("validation", datasets=tuple(args.dataset), limit=args.limit)
    samples = select_samples(args.data, args.images, selection)
    seconds: dict[str, list[float]] = {"none": [], "zoom": []}
    rows: list[Row] = []
    for number, sample in enumerate(samples, start=1):
        rows += rows_of(model, sample, seconds)
        if number % 20 == 0:
            print(f"{number} of {len(samples)} images", file=sys.stderr, flush=True)
    names = sorted({row.dataset for row in rows})
    table(
        "Mean IoU by data set",
        {name: [row for row in rows if row.dataset == name] for name in names} | {"**all**": rows},
        "data set",
    )
    table(
        "Mean IoU by size",
        {f"{low:.0%} to {high:.0%}": [row for row in rows if low <= row.share < high] for low, high in SIZES},
        "share of the image",
    )
    print("\nMean IoU where objects are looked at again only from this enlargement on\n")
    print(f"| data set | prompt | {' | '.join(f'{gain:g}' for gain in GAINS)} |")
    print(f"|---|---|{'---:|' * len(GAINS)}")
    for name in [*names, "**all**"]:
        for prompt in PROMPTS:
            chosen = [row for row in rows if row.prompt == prompt and name in (row.dataset, "**all**")]
            means = [
                statistics.mean(row.zoomed if row.gain >= gain else row.plain for row in chosen)
                for gain in GAINS
            ]
            print(f"| {name} | {prompt} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    plain, zoomed = (1e3 * statistics.median(seconds[name]) for name in ("none", "zoom"))
    print(f"\nFirst answer, frame already encoded: {plain:.1f} ms, with a second look {zoomed:.1f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="COCO file")
    parser.add_argument("--images", type=Path, help="folder of the images")
    parser.add_argument("--model", default="ultrasam-lite", help="name or folder of a model")
    parser.add_argument("--dataset", nargs="+", default=[], help="only these data sets")
    parser.add_argument("--limit", type=int, help="at most so many images of each data set")
    parser.add_argument("--threads", type=int)
    try:
        run(parser.parse_args())
    except UltrasamError as error:
        print(f"refine: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
