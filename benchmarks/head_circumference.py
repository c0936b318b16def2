"""Fetal head circumference in mm against the published ones of HC18: of the ground truth, and of a model.

    python benchmarks/head_circumference.py --data open-us/annotations.json \\
        --sizes HC18/training_set_pixel_size_and_HC.csv [--model NAME_OR_FOLDER] [--limit 40]

`--data` is a COCO file with the data set `hc18`, whose images are named after those of HC18
(`..._001_HC.jpg`), `--sizes` the published table of pixel sizes and circumferences. The circumference is that
of the ellipse of `ultrasam.measure_mask`. The ground truth is measured on all images, the model on held-out
ones (the split of the lite recipe), prompted by the box of the ground truth. Prints a Markdown table: limits
are those of agreement, bias plus and minus 1.96 standard deviations (Bland and Altman, 1986).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import ultrasam
from ultrasam.core.masks import box_of
from ultrasam.evaluation.samples import Sample, Selection, select_samples

DATASET = "hc18"
# Millimetres: (measured, reference, mm per pixel)
Pair = tuple[float, float, float]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="COCO.json")
    parser.add_argument("--sizes", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--model", default="ultrasam-lite")
    parser.add_argument("--limit", type=int, default=40, metavar="N", help="held-out images for the model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    published = read_sizes(args.sizes)
    everything = select_samples(args.data, None, Selection(datasets=(DATASET,)))
    held_out = select_samples(args.data, None, Selection("validation", datasets=(DATASET,), limit=args.limit))
    truth = dict(zip((s.image.id for s in everything), measure_truth(everything, published), strict=True))
    predicted = measure_model(held_out, published, args)
    masks = [
        (found, truth[s.image.id][0], step) for s, (found, _, step) in zip(held_out, predicted, strict=True)
    ]
    rows = {
        "ground-truth masks, published circumference": summary(list(truth.values())),
        f"{args.model} by box, published circumference": summary(predicted),
        f"{args.model} by box, ground-truth masks": summary(masks),
    }
    print(markdown(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def read_sizes(path: Path) -> dict[str, tuple[float, float]]:
    """ "001_HC" -> (mm per pixel, circumference in mm)."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        return {
            Path(row["filename"]).stem: (float(row["pixel size(mm)"]), float(row["head circumference (mm)"]))
            for row in rows
        }


def measure_truth(samples: Sequence[Sample], published: dict[str, tuple[float, float]]) -> list[Pair]:
    pairs = []
    for sample in samples:
        (mask,) = sample.truths().values()
        step, reference = published_of(sample, published)
        pairs.append((ultrasam.measure_mask(mask, (step, step)).ellipse.circumference, reference, step))
    return pairs


def measure_model(
    samples: Sequence[Sample], published: dict[str, tuple[float, float]], args: argparse.Namespace
) -> list[Pair]:
    model = ultrasam.load(args.model, threads=args.threads)
    pairs = []
    for sample in samples:
        (truth,) = sample.truths().values()
        ((result,),) = model.predict([sample.pixels()], boxes=[[box_of(truth)]])
        step, reference = published_of(sample, published)
        found = (
            0.0 if result.empty else ultrasam.measure_mask(result.mask, (step, step)).ellipse.circumference
        )
        pairs.append((found, reference, step))
    return pairs


def published_of(sample: Sample, published: dict[str, tuple[float, float]]) -> tuple[float, float]:
    name = Path(sample.image.file_name).stem.rpartition("__")[2]
    if name not in published:
        sys.exit(f"{name} is not in the table of sizes")
    return published[name]


def summary(pairs: Sequence[Pair]) -> dict[str, float]:
    errors = [found - reference for found, reference, _ in pairs]
    bias, deviation = statistics.fmean(errors), statistics.stdev(errors)
    return {
        "images": len(pairs),
        "mean_absolute_error_mm": statistics.fmean(map(abs, errors)),
        "bias_mm": bias,
        "lower_limit_mm": bias - 1.96 * deviation,
        "upper_limit_mm": bias + 1.96 * deviation,
        "mean_absolute_error_percent": statistics.fmean(100 * abs(f - r) / r for f, r, _ in pairs),
        "radius_bias_px": statistics.fmean((f - r) / step / (2 * math.pi) for f, r, step in pairs),
    }


def markdown(rows: dict[str, dict[str, float]]) -> str:
    lines = [
        "| measured, against | images | mean absolute error | bias | 95 % limits | bias of the radius |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['images']} "
            f"| {row['mean_absolute_error_mm']:.2f} mm ({row['mean_absolute_error_percent']:.1f} %) "
            f"| {row['bias_mm']:+.2f} mm "
            f"| {row['lower_limit_mm']:+.2f} to {row['upper_limit_mm']:+.2f} mm "
            f"| {row['radius_bias_px']:+.2f} px |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
