"""COCO's average precision of boxes and masks with classes, by pycocotools, and its interval over cases."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ultrasam.evaluation.metrics import THRESHOLDS

MOST = 100
"""Predictions of an image that count for each class, the best first, as COCO has it."""
KINDS = {"box": "bbox", "mask": "segm"}
"""What is compared, in the words of COCO."""
_RECALLS = np.linspace(0, 1, 101)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """An object with the number of its class: compressed RLE, box x0, y0, x1, y1 and, if it was predicted, a
    score.
    """

    label: int
    rle: Mapping[str, Any]
    box: tuple[float, float, float, float]
    score: float = 1.0


@dataclass(frozen=True)
class ImageResult:
    """An image of `width` x `height` pixels: what is there, and what was found."""

    image_id: int
    dataset: str
    case_id: str
    width: int
    height: int
    truths: tuple[Labelled, ...]
    found: tuple[Labelled, ...] = ()


@dataclass(frozen=True)
class Precision:
    """Average precision of boxes and of masks, with IoU 0.50:0.95 and 0.50."""

    box: float
    box50: float
    mask: float
    mask50: float


@dataclass(frozen=True)
class ClassPrecision:
    """The objects of a class, and how well they are found; None where there is none."""

    name: str
    objects: int
    precision: Precision | None


@dataclass(frozen=True)
class Figures:
    """`precision` is the mean over the classes that have an object, `mask50_interval` the 95 % interval of
    its `mask50` by bootstrap over cases, None without draws or where no data set has two cases.
    """

    images: int
    objects: int
    cases: int
    precision: Precision
    mask50_interval: tuple[float, float] | None
    classes: tuple[ClassPrecision, ...]


def instance_figures(
    results: Sequence[ImageResult], classes: Sequence[str], draws: int = 1000, seed: int = 0
) -> Figures:
    """The figures of all images together. ValueError if there is no object in any."""
    if not any(result.truths for result in results):
        raise ValueError("there is no object to find")
    evaluations = {kind: _evaluated(results, len(classes), word) for kind, word in KINDS.items()}
    curves = {kind: _by_class(evaluation) for kind, evaluation in evaluations.items()}
    objects = np.bincount(
        [truth.label for result in results for truth in result.truths], minlength=len(classes)
    )
    there = np.flatnonzero(objects)
    found = [
        ClassPrecision(
            name,
            int(objects[number]),
            _precision({kind: curve[:, number] for kind, curve in curves.items()})
            if objects[number]
            else None,
        )
        for number, name in enumerate(classes)
    ]
    return Figures(
        images=len(results),
        objects=int(objects.sum()),
        cases=len({(result.dataset, result.case_id) for result in results}),
        precision=_precision({kind: curve[:, there].mean(axis=1) for kind, curve in curves.items()}),
        mask50_interval=_interval(results, _found_at_half(evaluations["mask"], results), draws, seed),
        classes=tuple(found),
    )


def _precision(curves: Mapping[str, Array]) -> Precision:
    """From the precision at the ten thresholds, of boxes and of masks."""
    box, masks = curves["box"], curves["mask"]
    return Precision(float(box.mean()), float(box[0]), float(masks.mean()), float(masks[0]))


def _evaluated(results: Sequence[ImageResult], classes: int, kind: str) -> COCOeval:
    """COCO's evaluation, accumulated; the images have the numbers of their places, the classes theirs."""
    truths: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for place, result in enumerate(results):
        for objects, entries in ((result.truths, truths), (result.found, predictions)):
            for one in objects:
                x0, y0, x1, y1 = one.box
                entries.append(
                    {
                        # From 1: to pycocotools an annotation with the id 0 is one that was not found.
                        "id": len(entries) + 1,
                        "image_id": place,
                        "category_id": one.label,
                        "segmentation": one.rle,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": float(mask.area(one.rle)),
                        "iscrowd": 0,
                        "score": one.score,
                    }
                )
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        for coco, entries in ((truth, truths), (found, predictions)):
            coco.dataset = {
                "info": {},
                "images": [
                    {"id": place, "height": one.height, "width": one.width}
                    for place, one in enumerate(results)
                ],
                "annotations": entries,
                "categories": [{"id": number, "name": str(number)} for number in range(classes)],
            }
            coco.createIndex()
        evaluation = COCOeval(truth, found, kind)
        evaluation.params.iouThrs, evaluation.params.recThrs = THRESHOLDS, _RECALLS
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [MOST]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _by_class(evaluation: COCOeval) -> Array:
    """The precision (10, classes) at each threshold; -1 for a class without objects."""
    # precision: threshold, recall, class, area, number of detections
    curves: Array = evaluation.eval["precision"][:, :, :, 0, 0]
    precision: Array = curves.mean(axis=1)
    return precision


@dataclass(frozen=True)
class _Ranked:
    """The predictions of a class, the best first: the case of each, and whether it finds an object."""

    case: NDArray[np.intp]
    right: Array
    objects: Array
    """Of each case."""


def _found_at_half(evaluation: COCOeval, results: Sequence[ImageResult]) -> list[_Ranked]:
    """For each class that has an object what COCO matched at an IoU of 0.5, as its ranking has it."""
    numbers = _case_numbers(results)
    cases = len(set(numbers))
    # One entry for each class, and in it for each image.
    entries = evaluation.evalImgs
    ranked = []
    for number in range(len(evaluation.params.catIds)):
        own = entries[number * len(results) : (number + 1) * len(results)]
        there = [(numbers[place], entry) for place, entry in enumerate(own) if entry is not None]
        objects = np.zeros(cases)
        for case, entry in there:
            objects[case] += len(entry["gtIds"])
        if not objects.any():
            continue
        scores = np.concatenate([np.asarray(entry["dtScores"], float) for _, entry in there])
        right = np.concatenate([np.asarray(entry["dtMatches"])[0] > 0 for _, entry in there])
        owner = np.concatenate([np.full(len(entry["dtScores"]), case) for case, entry in there])
        order = np.argsort(-scores, kind="mergesort")
        ranked.append(_Ranked(owner[order].astype(np.intp), right[order].astype(float), objects))
    return ranked


def _case_numbers(results: Sequence[ImageResult]) -> list[int]:
    known: dict[tuple[str, str], int] = {}
    return [known.setdefault((result.dataset, result.case_id), len(known)) for result in results]


def _interval(
    results: Sequence[ImageResult], ranked: Sequence[_Ranked], draws: int, seed: int
) -> tuple[float, float] | None:
    """The 2.5th and 97.5th percentile of the mean over classes over `draws` samples of the cases.

    A draw takes as many cases as there are, with replacement, from each data set by itself, and all images of
    a case together. What COCO matched in an image does not depend on the others, so a case that is drawn
    twice counts twice, and nothing is matched again. A class none of whose objects is drawn does not count.
    """
    members: dict[str, list[int]] = {}
    for number, (dataset, _) in enumerate(dict.fromkeys((one.dataset, one.case_id) for one in results)):
        members.setdefault(dataset, []).append(number)
    if draws < 1 or max(map(len, members.values())) < 2:
        return None
    rng = np.random.default_rng(seed)
    values = np.full(draws, np.nan)
    for draw in range(draws):
        weights = np.zeros(sum(map(len, members.values())))
        for own in members.values():
            np.add.at(weights, np.asarray(own)[rng.integers(len(own), size=len(own))], 1)
        found = [
            weighted_precision(one.right, weights[one.case], float(weights @ one.objects)) for one in ranked
        ]
        drawn = [value for value in found if value is not None]
        if drawn:
            values[draw] = np.mean(drawn)
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def weighted_precision(right: Array, weights: Array, objects: float) -> float | None:
    """COCO's average precision of predictions in the order of their scores, each of which counts `weights`
    times: `right` (n,) is 1 for one that finds an object, 0 for another. None without objects.
    """
    if objects <= 0:
        return None
    hits, misses = np.cumsum(weights * right), np.cumsum(weights * (1 - right))
    recall = hits / objects
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    # Never less than at a higher recall.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, _RECALLS, side="left")
    reached = places < len(recall)
    return float(precision[places[reached]].sum() / len(_RECALLS))
