"""The table of `ultrasam.evaluation.paper` as Markdown, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ultrasam.datasets.catalogue import DATASETS
from ultrasam.evaluation.metrics import DECIMALS
from ultrasam.evaluation.paper import PROMPTS, Measured, Score, title
from ultrasam.evaluation.published import ROWS, TESTS
from ultrasam.evaluation.report import markdown_table

_LABELS = {
    "point": "Point: the centroid of the object, then the box of the mask of pass 1",
    "box": "Box: the exact box of the object in both passes",
}
_NOTE = (
    "mAP / mAP50 in percent: COCO, masks, without classes, one prediction per object ranked by predicted "
    "IoU. Paper: its Table 1; difference: ours less the paper's, in points."
)


def scores_of(measured: Sequence[Measured]) -> list[Score]:
    """All cells, model after model."""
    return [score for one in measured for score in one.scores]


def to_markdown(heading: str, about: Sequence[str], measured: Sequence[Measured]) -> str:
    """A table for each prompt, a line for each model; `about` are paragraphs between title and tables."""
    scores = scores_of(measured)
    parts = [f"# {heading}", *about, "\n".join(_tests(scores))]
    for prompt in PROMPTS:
        parts += [f"## {_LABELS[prompt]}", _table([one for one in scores if one.prompt == prompt])]
    parts.append(_NOTE)
    if ways := _pipelines(scores):
        parts.append(ways)
    return "\n\n".join(parts) + "\n"


def _tests(scores: Sequence[Score]) -> list[str]:
    """A line for each data set: what it was measured on, and whether the paper had as many images."""
    lines = []
    for dataset in _datasets(scores):
        # A model that sees but a part of the sets has the same objects of each.
        one = next(score for score in scores if score.dataset == dataset)
        line = f"- {_name(dataset)}: {one.images:,} images, {one.objects:,} objects"
        paper = DATASETS[dataset].tests if dataset in TESTS else None
        lines.append(
            line if paper in (None, one.images) else f"{line}; **the paper tests on {paper} images**"
        )
    return lines


def _table(scores: Sequence[Score]) -> str:
    by_place = {(title(one.model, one.pipeline), one.dataset): one for one in scores}
    datasets = _datasets(scores)
    compared = {one.dataset for one in scores if one.published}
    header = ["model", "row of the paper"]
    for dataset in datasets:
        header += [_name(dataset), *(["paper", "difference"] if dataset in compared else [])]
    rows = []
    for name in dict.fromkeys(name for name, _ in by_place):
        cells = []
        row = next(one.row for (model, _), one in by_place.items() if model == name)
        for dataset in datasets:
            cells += _cells(by_place.get((name, dataset)))[: 3 if dataset in compared else 1]
        rows.append([name, "" if row is None else ROWS[row], *cells])
    return markdown_table(header, rows, left=2)


def _cells(score: Score | None) -> list[str]:
    if score is None:
        return ["", "", ""]
    ours = f"{score.map:.1f} / {score.map50:.1f}"
    if score.published is None or score.difference is None:
        return [ours, "", ""]
    paper = f"{score.published.map:.1f} / {score.published.map50:.1f}"
    return [ours, paper, " / ".join(f"{value:+.1f}" for value in score.difference)]


def _pipelines(scores: Sequence[Score]) -> str:
    """What is to be said of the ways into the models and out of them."""
    texts = []
    if any(one.pipeline == "native" for one in scores):
        texts.append(
            "Native: images come into the model as its card says. Paper-pipeline: as in the paper's own "
            "model, longest side to the input, padded, mean and deviation of ImageNet. The paper does not "
            "say which of them its baselines had."
        )
    original = {title(o.model, o.pipeline): o.postprocess == "original" for o in scores}
    if all(original.values()):
        texts.append("Postprocess: original, for all models.")
    elif any(original.values()):
        others = ", ".join(f"`{name}`" for name, is_original in original.items() if not is_original)
        texts.append(f"Postprocess: original, except for {others}, whose images are stretched.")
    else:
        texts.append("Postprocess: logits, interpolated and then cut; the paper's masks are of `original`.")
    return " ".join(texts)


def _datasets(scores: Sequence[Score]) -> list[str]:
    """Those of the paper first, in its order."""
    there = dict.fromkeys(score.dataset for score in scores)
    return [name for name in TESTS if name in there] + [name for name in there if name not in TESTS]


def _name(dataset: str) -> str:
    return TESTS.get(dataset, dataset)


def rows_of(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """The cells as flat rows, the paper's numbers and the differences beside ours; None where there are
    none.
    """
    rows = []
    for score in scores:
        row = asdict(score)
        del row["row"], row["published"]
        paper, difference = score.published, score.difference
        row |= {
            "paper_row": None if score.row is None else ROWS[score.row],
            "paper_map": None if paper is None else paper.map,
            "paper_map50": None if paper is None else paper.map50,
            "difference_map": None if difference is None else difference[0],
            "difference_map50": None if difference is None else difference[1],
        }
        rows.append({k: round(v, DECIMALS) if isinstance(v, float) else v for k, v in row.items()})
    return rows


def to_json(run: Mapping[str, Any], measured: Sequence[Measured]) -> str:
    """One JSON object: `run`, `results` (the rows of the CSV) and `objects`, each with model and pipeline."""
    objects = [
        {"model": one.scores[0].model, "pipeline": one.scores[0].pipeline}
        | {
            key: round(value, DECIMALS) if isinstance(value, float) else value
            for key, value in vars(outcome).items()
            if key not in ("truth", "predicted")
        }
        for one in measured
        for outcome in one.outcomes
    ]
    document = {"run": dict(run), "results": rows_of(scores_of(measured)), "objects": objects}
    return json.dumps(document, allow_nan=False, ensure_ascii=False) + "\n"
