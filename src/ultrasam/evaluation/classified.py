"""Files of classified images: a CSV file with a row each, read back; tables of their figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, atomic_write_text, check_file, reason, shown
from ultrasam.evaluation.classification import FIGURES, Classification, Classified, Gain, evaluate_classes

DECIMALS = 6
"""Of a score in a file."""
_COLUMNS = ("image", "dataset", "case", "fold", "truth")
_SCORE = "score "


def write_classified(path: AnyPath, found: Sequence[Classified], classes: Sequence[str]) -> None:
    """A CSV file: image, dataset, case, fold, truth (a name), and `score NAME` for each class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(f"{_SCORE}{name}" for name in classes)])
    for one in found:
        scores = [f"{score:.{DECIMALS}f}" for score in one.scores]
        writer.writerow([one.name, one.dataset, one.case_id, one.fold, classes[one.truth], *scores])
    atomic_write_text(path, text.getvalue())


def read_classified(path: AnyPath) -> tuple[tuple[str, ...], list[Classified]]:
    """What `write_classified` wrote: the classes and the images. Raises UltrasamError for any other file."""
    path = check_file(path)
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = tuple(key.removeprefix(_SCORE) for key in rows[0] if key.startswith(_SCORE))
        places = {name: place for place, name in enumerate(names)}
        found = [
            Classified(
                row["image"],
                row["dataset"],
                row["case"],
                places[row["truth"]],
                tuple(float(row[f"{_SCORE}{name}"]) for name in names),
                int(row["fold"]),
            )
            for row in rows
        ]
        if not all(isfinite(score) for one in found for score in one.scores):
            raise ValueError("a score is no number")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise UltrasamError(
            f"{shown(path)} holds no classified images ({reason(error)}): give the predictions.csv of "
            "`ultrasam classify`"
        ) from None
    return names, found


def table(found: Classification, title: str) -> str:
    """Markdown: the macro figures with their intervals, each class, and the confusion matrix."""
    lines = [
        f"{title}: {found.images} images of {found.cases} cases",
        "",
        "| | precision | recall | F1 | AUROC |",
        "|---|---|---|---|---|",
        "| mean over classes | " + " | ".join(_percent(found.macro[name]) for name in FIGURES) + " |",
        "| 95 % interval over cases | "
        + " | ".join(_range(found.intervals[name]) for name in FIGURES)
        + " |",
    ]
    for one in found.by_class:
        if one.support:
            values = " | ".join(map(_percent, (one.precision, one.recall, one.f1)))
            lines.append(f"| {one.name} ({one.support}) | {values} | |")
    lines += ["", "| true class | " + " | ".join(f"as {name}" for name in found.classes) + " |"]
    lines.append("|---" * (len(found.classes) + 1) + "|")
    for name, row in zip(found.classes, found.matrix.tolist(), strict=True):
        lines.append(f"| {name} | " + " | ".join(map(str, row)) + " |")
    if found.absent:
        lines += ["", f"Without an image, and in no mean: {', '.join(found.absent)}."]
    return "\n".join(lines)


def fold_table(found: Sequence[Classified], classes: Sequence[str]) -> str:
    """Markdown: the macro figures of each fold of a cross-validation; "" for a single run."""
    folds = sorted({one.fold for one in found})
    if len(folds) < 2:
        return ""
    lines = ["| fold | images | precision | recall | F1 | AUROC |", "|---|---|---|---|---|---|"]
    for fold in folds:
        members = [one for one in found if one.fold == fold]
        values = ["-"] * len(FIGURES)  # of images of one class nothing can be said
        if len({one.truth for one in members}) > 1:
            own = evaluate_classes(members, classes, draws=0)
            values = [_percent(own.macro[name]) for name in FIGURES]
        lines.append(f"| {fold} | {len(members)} | {' | '.join(values)} |")
    return "\n".join(lines)


def gain_table(found: Sequence[Gain], other: str) -> str:
    """Markdown: what the model gains over another on the same images, in points of a hundred."""
    lines = [f"| less {other} | difference | 95 % interval over cases |", "|---|---|---|"]
    for one in found:
        between = "-"
        if one.interval is not None:
            between = f"{100 * one.interval[0]:+.1f} to {100 * one.interval[1]:+.1f}"
        lines.append(f"| {one.figure} | {100 * one.difference:+.1f} | {between} |")
    return "\n".join(lines)


def document(found: Classification) -> dict[str, Any]:
    """For a JSON file."""
    return {
        "images": found.images,
        "cases": found.cases,
        "classes": list(found.classes),
        "macro": dict(found.macro),
        "intervals": {name: None if v is None else list(v) for name, v in found.intervals.items()},
        "by_class": [vars(one) for one in found.by_class],
        "confusion": found.matrix.tolist(),
        "absent": list(found.absent),
    }


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _range(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{_percent(interval[0])} to {_percent(interval[1])}"
