"""What a second, enlarged look at an object and a crop to the ultrasound bring, by data set and by size.

    python benchmarks/looks.py --data annotations.json

Each held-out object is asked for by one click (its deepest pixel) and by its exact box, as a user's session
would: plainly, with a second look (`refine="zoom"`), with a crop (`crop="region"`), and with both. The first
table is by data set, the second by the share of the image that the object covers. The third and fourth show
what is left if only larger enlargements are taken: so the thresholds of "auto" are chosen. The last lines are
the cost.
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
WAYS = {
    "plain": {},
    "zoom": {"refine": "zoom"},
    "crop": {"crop": "region"},
    "crop, zoom": {"refine": "zoom", "crop": "region"},
}
SIZES = ((0.0, 0.01), (0.01, 0.03), (0.03, 0.1), (0.1, 1.0))
GAINS = (1.0, 1.1, 1.2, 1.5, 2.0, 2.5, 3.0, 99.0)


@dataclass(frozen=True)
class Row:
    """One object under one prompt: its share of the image, and by way the IoU and the enlargement."""

    dataset: str
    prompt: str
    share: float
    ious: dict[str, float]
    gains: dict[str, float]


def rows_of(model: ultrasam.Model, sample: Sample, seconds: dict[str, list[float]]) -> Iterable[Row]:
    """The rows of one image; adds to `seconds` what each first answer took, the encoded frame being there."""
    pixels = as_rgb(sample.pixels())
    sessions = {way: model.session(pixels, **options) for way, options in WAYS.items()}
    for truth in sample.truths().values():
        if not truth.any():
            continue
        asks: dict[str, Callable[[Session], Result]] = {
            "point": lambda session, truth=truth: session.click(*center_click(truth)),
            "box": lambda session, truth=truth: session.box(*box_of(truth)),
        }
        for prompt, ask in asks.items():
            results = {}
            for way, session in sessions.items():
                session.reset()
                start = time.perf_counter()
                results[way] = ask(session)
                seconds[way].append(time.perf_counter() - start)
            yield Row(
                sample.dataset,
                prompt,
                float(truth.mean()),
                {way: iou(result.mask, truth) for way, result in results.items()},
                {way: gain_of(result) for way, result in results.items()},
            )


def gain_of(result: Result) -> float:
    """How much longer the longest side of the frame is than that of what was looked at last."""
    if result.view is None:
        return 1.0
    x0, y0, x1, y1 = result.view
    return max(result.mask.shape) / max(x1 - x0, y1 - y0)


def mean_of(rows: Iterable[Row], way: str, least: float = 0.0) -> str:
    """The mean IoU where the way is taken from the enlargement `least` on and the plain one elsewhere."""
    values = [row.ious[way if row.gains[way] >= least else "plain"] for row in rows]
    return f"{statistics.mean(values):.3f}" if values else "-"


def table(title: str, groups: dict[str, list[Row]], header: str) -> None:
    columns = [f"{prompt}, {way}" for prompt in PROMPTS for way in WAYS]
    print(f"\n{title}\n\n| {header} | objects | {' | '.join(columns)} |")
    print(f"|---|---:|{'---:|' * len(columns)}")
    for name, rows in groups.items():
        if rows:
            by_prompt = [[row for row in rows if row.prompt == prompt] for prompt in PROMPTS]
            cells = [mean_of(chosen, way) for chosen in by_prompt for way in WAYS]
            print(f"| {name} | {len(rows) // 2} | {' | '.join(cells)} |")


def threshold_table(way: str, groups: dict[str, list[Row]]) -> None:
    print(f"\nMean IoU of `{way}` where it is taken only from this enlargement on\n")
    print(f"| data set | prompt | {' | '.join(f'{gain:g}' for gain in GAINS)} |")
    print(f"|---|---|{'---:|' * len(GAINS)}")
    for name, rows in groups.items():
        for prompt in PROMPTS:
            chosen = [row for row in rows if row.prompt == prompt]
            cells = [mean_of(chosen, way, gain) for gain in GAINS]
            print(f"| {name} | {prompt} | {' | '.join(cells)} |")


def run(args: argparse.Namespace) -> None:
    model = ultrasam.load(args.model, threads=args.threads)
    selection = Selection("validation", datasets=tuple(args.dataset), limit=args.limit)
    samples = select_samples(args.data, args.images, selection)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    rows: list[Row] = []
    for number, sample in enumerate(samples, start=1):
        rows += rows_of(model, sample, seconds)
        if number % 20 == 0:
            print(f"{number} of {len(samples)} images", file=sys.stderr, flush=True)
    names = sorted({row.dataset for row in rows})
    groups = {name: [row for row in rows if row.dataset == name] for name in names} | {"**all**": rows}
    table("Mean IoU by data set", groups, "data set")
    sizes = {
        f"{low:.0%} to {high:.0%}": [row for row in rows if low <= row.share < high] for low, high in SIZES
    }
    table("Mean IoU by size", sizes, "share of the image")
    threshold_table("zoom", groups)
    threshold_table("crop", groups)
    print("\nFirst answer, frame already encoded:")
    for way in WAYS:
        print(f"  {way:10} {1e3 * statistics.median(seconds[way]):.1f} ms")


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
        print(f"looks: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
