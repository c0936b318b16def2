"""What segmentation without prompts finds of the objects that people have drawn, and what it finds besides.

    python benchmarks/automatic.py --data annotations.json --limit 20
    python benchmarks/automatic.py --data annotations.json --limit 20 --tune
    python benchmarks/automatic.py --data annotations.json --dataset usgra --head runs/instances/smoke

On the validation cases, or with --training on the others. A found mask is right if its mask IoU with an
object that no better scored mask has taken is at least 0.5 (or 0.75). Precision is the share of the found
masks that are right, recall the share of the objects that were found. A mask of something that nobody has
drawn counts as wrong.

Beside the generator stand its best mask alone, the generator with or without a second pass (what it does not
do by default), without suppression of what was found twice (its best masks, as many as it keeps at most), and
a baseline without a model: ellipses, as many as the generator found, in equal cells over the ultrasound, the
ones nearest to its middle. `--head` adds a run of `ultrasam instances train`: its own masks with a score of
0.5 or more, and what the model outlines from their boxes. Name only data of its classes.

`--tune` is how the thresholds were chosen: on the training cases, first pass only, for each least score and
least stability the precision, recall and F1 at 0.5, mean over the data sets.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import ultrasam
from ultrasam.cli.head import head_of_run
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import BoolArray, ByteArray, as_rgb
from ultrasam.core.metrics import iou
from ultrasam.core.prompts import Prompts, mask_to_logits
from ultrasam.engines.cache import EmbeddingCache
from ultrasam.engines.threads import checked_threads
from ultrasam.evaluation.samples import Sample, Selection, select_samples
from ultrasam.predict.automatic import candidates, grid_points, suppress
from ultrasam.predict.crop import crop_of
from ultrasam.predict.decode import inside
from ultrasam.predict.heads import HeadSettings

THRESHOLDS = (0.5, 0.75)
SCORES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
STABILITIES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


@dataclass(frozen=True)
class Count:
    """Of one image: masks found, objects drawn, how many masks are right at each of `THRESHOLDS`."""

    found: int
    drawn: int
    right: tuple[int, ...]
    seconds: float = 0.0


def matches(masks: Sequence[BoolArray], truths: Sequence[BoolArray], least: float) -> int:
    """How many masks, the best first, have an object for themselves with at least this IoU."""
    left, right = list(truths), 0
    for mask in masks:
        overlaps = [iou(mask, truth) for truth in left]
        if overlaps and max(overlaps) >= least:
            left.pop(int(np.argmax(overlaps)))
            right += 1
    return right


def count(masks: Sequence[BoolArray], truths: Sequence[BoolArray], seconds: float = 0.0) -> Count:
    right = tuple(matches(masks, truths, least) for least in THRESHOLDS)
    return Count(len(masks), len(truths), right, seconds)


def ellipses(image: ByteArray, number: int) -> list[BoolArray]:
    """`number` ellipses, each in a cell of an even grid over the ultrasound, nearest to its middle first."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = crop_of(image, (), "region") or (0, 0, width, height)
    across = max(1, round(math.sqrt(number * (x1 - x0) / (y1 - y0))))
    down = math.ceil(number / across)
    cells = [
        (x0 + (column + 0.5) * (x1 - x0) / across, y0 + (row + 0.5) * (y1 - y0) / down)
        for row in range(down)
        for column in range(across)
    ]
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    cells.sort(key=lambda cell: math.dist(cell, middle))
    rows, columns = np.mgrid[:height, :width] + 0.5
    a, b = (x1 - x0) / across / 2, (y1 - y0) / down / 2
    return [((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 < 1 for x, y in cells[:number]]


def counts_of(model: ultrasam.Model, sample: Sample, settings: ultrasam.Automatic) -> dict[str, Count]:
    """Of each way on one image."""
    image = as_rgb(sample.pixels())
    truths = list(sample.truths().values())
    other = "without" if settings.second else "with"
    ways = {
        "generator": settings,
        f"{other} a second pass": replace(settings, second=not settings.second),
        "without suppression": replace(settings, overlap=1.0, contained=1.0),
    }
    found: dict[str, Count] = {}
    for way, chosen in ways.items():
        fresh = replace(model, cache=EmbeddingCache())  # each way encodes the image
        start = time.perf_counter()
        masks = [result.mask for result in fresh.automatic(image, settings=chosen)]
        found[way] = count(masks, truths, time.perf_counter() - start)
        if way == "generator":
            found["its best mask alone"] = count(masks[:1], truths)
            found["ellipses, as many"] = count(ellipses(image, len(masks)) if masks else [], truths)
    if model.head is not None:
        start = time.perf_counter()
        masks = [one.mask for one in model.head.run.find(image, HeadSettings.score)]
        found["instance head, its own masks"] = count(masks, truths, time.perf_counter() - start)
        fresh = replace(model, cache=EmbeddingCache())
        start = time.perf_counter()
        masks = [result.mask for result in fresh.detect(image)]
        found["instance head, outlined by the model"] = count(masks, truths, time.perf_counter() - start)
    return found


def share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "-"


def table(dataset: str, counts: Sequence[dict[str, Count]]) -> None:
    drawn = sum(one["generator"].drawn for one in counts)
    print(f"\n{dataset}: {len(counts)} images, {drawn} objects\n")
    ends = [f"{name} at {least:g}" for least in THRESHOLDS for name in ("precision", "recall")]
    print(f"| masks from | masks an image | {' | '.join(ends)} | s an image |")
    print(f"|---|---:|{'---:|' * len(ends)}---:|")
    for way in counts[0]:
        rows = [one[way] for one in counts]
        found = sum(row.found for row in rows)
        cells = []
        for place in range(len(THRESHOLDS)):
            right = sum(row.right[place] for row in rows)
            cells += [share(right, found), share(right, drawn)]
        seconds = statistics.median(row.seconds for row in rows)
        took = f"{seconds:.2f}" if seconds else ""
        print(f"| {way} | {found / len(rows):.1f} | {' | '.join(cells)} | {took} |")


def tune(model: ultrasam.Model, samples: Sequence[Sample], settings: ultrasam.Automatic) -> None:
    """Prints for each least score and stability precision / recall / F1 at 0.5, mean over the data sets."""
    totals: dict[tuple[float, float, str], list[int]] = {}
    for sample in samples:
        image = as_rgb(sample.pixels())
        embedding, frame = model.encode(image)
        box = crop_of(image, (), "region") or (0, 0, frame.width, frame.height)
        clicks = [Prompts(((x, y),), (True,)) for x, y in grid_points(box, settings.grid).tolist()]
        area = float((box[2] - box[0]) * (box[3] - box[1]))
        side = model.card.mask_side
        truths = [
            inside(mask_to_logits(truth, side, model.fit), frame) > 0 for truth in sample.truths().values()
        ]
        loose = replace(settings, score=min(SCORES), stability=min(STABILITIES))
        found = candidates(model.engine, embedding, frame, clicks, loose, area)
        for stability in STABILITIES:
            for score in SCORES:
                rows = np.flatnonzero((found.scores >= score) & (found.stabilities >= stability))
                kept = rows[suppress(found.bits[rows], found.scores[rows], settings)]
                flat = np.unpackbits(found.bits[kept].view(np.uint8), axis=1).astype(np.bool_)
                masks = [one[: truths[0].size].reshape(truths[0].shape) for one in flat]
                entry = totals.setdefault((score, stability, sample.dataset), [0, 0, 0])
                for place, value in enumerate((matches(masks, truths, 0.5), len(masks), len(truths))):
                    entry[place] += value
    names = sorted({sample.dataset for sample in samples})
    print(f"\nTraining cases of {', '.join(names)}, {len(samples)} images: precision / recall / F1\n")
    print(f"| least score | {' | '.join(f'stability {one:g}' for one in STABILITIES)} |")
    print(f"|---:|{'---:|' * len(STABILITIES)}")
    for score in SCORES:
        cells = []
        for stability in STABILITIES:
            triples = []
            for name in names:
                right, found_number, drawn = totals[score, stability, name]
                precision, recall = right / max(1, found_number), right / max(1, drawn)
                triples.append((precision, recall, 2 * right / max(1, found_number + drawn)))
            cells.append(
                " / ".join(f"{statistics.mean(column):.2f}" for column in zip(*triples, strict=True))
            )
        print(f"| {score:g} | {' | '.join(cells)} |")


def run(args: argparse.Namespace) -> None:
    model = ultrasam.load(args.model, threads=args.threads)
    if args.head:
        model = replace(model, head=head_of_run(Path(args.head), checked_threads(args.threads), "cpu"))
    given = {"score": args.score, "grid": args.grid, "most": args.most}
    settings = ultrasam.Automatic(**{name: value for name, value in given.items() if value is not None})
    only = "training" if args.tune or args.training else "validation"
    selection = Selection(only, datasets=tuple(args.dataset), limit=args.limit)
    samples = select_samples(args.data, args.images, selection)
    if args.tune:
        tune(model, samples, settings)
        return
    counts: dict[str, list[dict[str, Count]]] = {}
    for number, sample in enumerate(samples, start=1):
        counts.setdefault(sample.dataset, []).append(counts_of(model, sample, settings))
        if number % 20 == 0:
            print(f"{number} of {len(samples)} images", file=sys.stderr, flush=True)
    for dataset, rows in counts.items():
        table(dataset, rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="COCO file")
    parser.add_argument("--images", type=Path, help="folder of the images")
    parser.add_argument("--model", default="ultrasam-lite", help="name or folder of a model")
    parser.add_argument("--dataset", nargs="+", default=[], help="only these data sets")
    parser.add_argument("--limit", type=int, help="at most so many images of each data set")
    parser.add_argument("--score", type=float, help="as --auto-score of `ultrasam segment`")
    parser.add_argument("--grid", type=int, help="as --auto-grid")
    parser.add_argument("--most", type=int, help="as --auto-most")
    parser.add_argument("--tune", action="store_true", help="thresholds on training cases, see above")
    parser.add_argument("--training", action="store_true", help="the same tables on the training cases")
    parser.add_argument("--head", help="folder of a run of `ultrasam instances train`")
    parser.add_argument("--threads", type=int)
    try:
        run(parser.parse_args())
    except UltrasamError as error:
        print(f"automatic: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
