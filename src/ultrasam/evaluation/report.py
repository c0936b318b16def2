"""Results as Markdown for a person, as CSV for a table, and as JSON for everything else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ultrasam.evaluation.metrics import (
    ALL,
    DECIMALS,
    ClicksNeeded,
    Outcome,
    Summary,
    by_application,
    by_size,
    calibration,
    clicks_needed,
)
from ultrasam.evaluation.paired import Difference
from ultrasam.evaluation.protocols import CLICK, ELLIPSE, MOVED_BOX, MOVED_POINT

# What a prompt is called in the table.
LABELS = {
    "point": "point",
    "point-plain": "point, no box in pass 2",
    "box": "box",
    "box-jitter": "box, sides moved by up to 10 %",
    "ellipse": "ellipse in the box (no model)",
}


# Clicks in the table; more are asked for to count how many a target takes.
SHOWN_CLICKS = 5


def to_markdown(
    title: str,
    about: Sequence[str],
    summaries: Sequence[Summary],
    outcomes: Sequence[Outcome] = (),
) -> str:
    """Tables of the prompts and of the corrective clicks; `about` are lines between title and tables.

    With `outcomes` also tables by the size of objects and by clinical application, and, where there were
    enough clicks, of how many a target takes.
    """
    parts = [f"# {title}", *about]
    prompts = [s for s in summaries if s.protocol in LABELS]
    if prompts:
        parts.append(_prompt_table(prompts))
        parts.append(
            "mAP, mAP50: COCO, masks, without classes, one prediction per object ranked by predicted IoU. "
            "Share: mean over IoU 0.50-0.95 of the share of objects that reach it. "
            "[ ]: 95 % interval, bootstrap over cases. NSD: share of the contours within the tolerance. "
            "Score error: mean |predicted IoU - IoU|; ECE: its expectation over ten bins of the score."
        )
    clicks = [s for s in summaries if s.protocol.startswith(CLICK)]
    if clicks:
        parts.append("Mean IoU after one click and so many corrective clicks:")
        parts.append(_curve_table(clicks, CLICK, SHOWN_CLICKS + 1))
    for start, what in (
        (MOVED_POINT, "point is moved, by a standard deviation of so many 1024ths of the longest side"),
        (MOVED_BOX, "sides of the box are moved, by up to so many percent of its width or height"),
    ):
        if curve := [s for s in summaries if s.protocol.startswith(start)]:
            parts += [f"Mean IoU where the {what}:", _curve_table(curve, start)]
    if needed := clicks_needed(outcomes):
        parts.append("Clicks until an IoU is reached (NoC, at most 20), and the share that never reaches it:")
        parts.append(_needed_table(needed))
    if outcomes:
        parts.append("Mean IoU by the object's share of its image (small under 1 %, large from 10 % on):")
        parts.append(_means_table("object", by_size(outcomes)))
    if len(applications := by_application(outcomes)) > 1:
        parts.append("Mean IoU by clinical application, of the data sets that the catalogue knows:")
        parts.append(_means_table("application", applications))
    return "\n\n".join(parts) + "\n"


def to_json(
    run: Mapping[str, Any],
    summaries: Sequence[Summary],
    outcomes: Sequence[Outcome],
    paired: Mapping[str, Any] | None = None,
) -> str:
    """One JSON object: `run` (what was evaluated), `results` (the tables), `clicks_needed`, `calibration`
    (bins of the score by protocol), `paired` where there is something to compare with, and `objects` (one row
    each).
    """
    protocols = dict.fromkeys(outcome.protocol for outcome in outcomes)
    document = {
        "run": dict(run),
        "results": [_rounded(asdict(summary)) for summary in summaries],
        "clicks_needed": [_rounded(asdict(one)) for one in clicks_needed(outcomes)],
        "calibration": {
            protocol: [
                _rounded(asdict(one)) for one in calibration([o for o in outcomes if o.protocol == protocol])
            ]
            for protocol in protocols
            if protocol != ELLIPSE
        },
        **({"paired": dict(paired)} if paired else {}),
        "objects": [
            _rounded(
                {key: value for key, value in vars(outcome).items() if key not in ("truth", "predicted")}
            )
            for outcome in outcomes
        ],
    }
    return json.dumps(document, allow_nan=False, ensure_ascii=False) + "\n"


def to_csv(summaries: Sequence[Summary]) -> str:
    """The summaries as CSV, a line each; the interval as two columns, what is not known as an empty field."""
    rows = []
    for summary in summaries:
        row = _rounded(asdict(summary))
        low, high = row.pop("iou_interval") or (None, None)
        rows.append(row | {"iou_low": low, "iou_high": high})
    return rows_to_csv(rows)


def rows_to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Flat rows with the same keys as CSV; None is an empty field."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _prompt_table(summaries: Sequence[Summary]) -> str:
    header = ["data set", "objects / images / cases", "prompt"]
    header += ["mAP", "mAP50", "share", "mean IoU", "", "Dice", "NSD", "score error", "ECE"]
    rows = []
    previous = ""
    for summary in summaries:
        new = summary.dataset != previous
        previous = summary.dataset
        interval = summary.iou_interval
        rows.append(
            [
                _name(summary.dataset) if new else "",
                f"{summary.objects} / {summary.images} / {summary.cases}" if new else "",
                LABELS.get(summary.protocol, summary.protocol),
                *(_number(v) for v in (summary.map, summary.map50, summary.threshold_share, summary.iou)),
                "" if interval is None else f"[{_number(interval[0])}, {_number(interval[1])}]",
                _number(summary.dice),
                _number(summary.nsd),
                "" if summary.score_error is None else _number(summary.score_error),
                "" if summary.calibration_error is None else _number(summary.calibration_error),
            ]
        )
    return markdown_table(header, rows, left=3)


def _curve_table(summaries: Sequence[Summary], start: str, columns: int | None = None) -> str:
    """The mean IoU of each data set under the protocols that begin with `start`, by what follows it."""
    protocols = list(dict.fromkeys(summary.protocol for summary in summaries))[:columns]
    means = {(summary.dataset, summary.protocol): _number(summary.iou) for summary in summaries}
    rows = [
        [_name(dataset), *(means[dataset, protocol] for protocol in protocols)]
        for dataset in dict.fromkeys(summary.dataset for summary in summaries)
    ]
    return markdown_table(["data set", *(p.removeprefix(start) for p in protocols)], rows, left=1)


def _needed_table(needed: Sequence[ClicksNeeded]) -> str:
    targets = list(dict.fromkeys(one.target for one in needed))
    rows = []
    for dataset in dict.fromkeys(one.dataset for one in needed):
        own = [one for one in needed if one.dataset == dataset]
        numbers = [text for one in own for text in (f"{one.clicks:.2f}", _number(one.failed))]
        rows.append([_name(dataset), str(own[0].objects), *numbers])
    heads = [text for target in targets for text in (f"NoC@{100 * target:.0f}", "failed")]
    return markdown_table(["data set", "objects", *heads], rows, left=1)


def _means_table(what: str, groups: Mapping[str, Sequence[Outcome]]) -> str:
    """The mean IoU of each group of objects by each prompt."""
    present = {outcome.protocol for members in groups.values() for outcome in members}
    protocols = [protocol for protocol in LABELS if protocol in present]
    rows = []
    for name, members in groups.items():
        means = []
        for protocol in protocols:
            ious = [outcome.iou for outcome in members if outcome.protocol == protocol]
            means.append(_number(sum(ious) / len(ious)) if ious else "")
        objects = len({(outcome.image_id, outcome.annotation_id) for outcome in members})
        rows.append([name, str(objects), *means])
    return markdown_table([what, "objects", *(LABELS[p] for p in protocols)], rows, left=1)


def paired_table(found: Sequence[Difference], other: str) -> str:
    """A paragraph and a Markdown table of the differences to another model."""
    rows = [
        [
            _name(one.dataset),
            LABELS.get(one.protocol, one.protocol),
            f"{one.objects} / {one.cases}",
            f"{one.difference:+.3f}",
            "" if one.interval is None else f"[{one.interval[0]:+.3f}, {one.interval[1]:+.3f}]",
            f"{one.p:.4f}",
        ]
        for one in found
        if one.protocol in LABELS and one.protocol != ELLIPSE
    ]
    text = (
        f"Mean IoU less that of `{other}` on the same objects; 95 % interval by bootstrap over cases; p "
        "two-sided, "
        "by changing the signs of whole cases at random, of each line by itself:"
    )
    head = ["data set", "prompt", "objects / cases", "difference", "", "p"]
    return f"{text}\n\n{markdown_table(head, rows, left=3)}\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table whose columns line up in plain text too; the first `left` are flush left."""
    lines = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    padded = [
        [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in (padded[0], rule, *padded[1:]))


def _name(dataset: str) -> str:
    return f"**{dataset}**" if dataset == ALL else dataset


def _number(value: float) -> str:
    return f"{value:.3f}"


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    def short(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, DECIMALS)
        return [short(v) for v in value] if isinstance(value, tuple) else value

    return {key: short(value) for key, value in row.items()}
