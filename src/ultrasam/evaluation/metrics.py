"""From one row per object and protocol to the figures of a table."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS
from ultrasam.evaluation.protocols import CLICK, ELLIPSE

THRESHOLDS = np.linspace(0.5, 0.95, 10)
ALL = "all"
# Of numbers in a JSON file: more than the figures carry, and a third of the file.
DECIMALS = 6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One object under one protocol.

    `nsd` is the normalised surface Dice, `share` the object's share of its image. `truth` and `predicted` are
    compressed RLE.
    """

    image_id: int
    annotation_id: int
    dataset: str
    case_id: str
    protocol: str
    iou: float
    dice: float
    nsd: float
    share: float
    score: float
    truth: dict[str, Any]
    predicted: dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """One line of the table: the objects of a data set (or of all) under one protocol.

    `map` and `map50` are COCO's average precision of masks without classes, with IoU 0.50:0.95 and 0.50;
    `threshold_share` is the mean over the same IoU thresholds of the share of objects that reach them (no
    ranking by score); `iou`, `dice`, `nsd` are means over objects; `iou_interval` is the 95 % interval of
    `iou` by bootstrap over cases, None for a single case; `score_error` is the mean absolute difference
    between score and IoU and `calibration_error` the expected one (`calibration`), None where the score is no
    prediction.
    """

    dataset: str
    protocol: str
    objects: int
    images: int
    cases: int
    map: float
    map50: float
    threshold_share: float
    iou: float
    iou_interval: tuple[float, float] | None
    dice: float
    nsd: float
    score_error: float | None
    calibration_error: float | None


def summarise(outcomes: Sequence[Outcome], draws: int = 1000, seed: int = 0) -> list[Summary]:
    """One summary per data set and protocol, in the order in which they come, then `ALL` if there are
    several.
    """
    protocols = list(dict.fromkeys(outcome.protocol for outcome in outcomes))
    summaries = []
    for dataset in with_all(outcome.dataset for outcome in outcomes):
        for protocol in protocols:
            members = [o for o in outcomes if o.protocol == protocol and dataset in (o.dataset, ALL)]
            if members:
                summaries.append(_summary(dataset, protocol, members, draws, seed))
    return summaries


def with_all(datasets: Iterable[str]) -> list[str]:
    """Each data set once, in the order in which they come, then `ALL` if there are several."""
    names = list(dict.fromkeys(datasets))
    return [*names, ALL] if len(names) > 1 else names


def _summary(dataset: str, protocol: str, outcomes: Sequence[Outcome], draws: int, seed: int) -> Summary:
    ious = np.array([outcome.iou for outcome in outcomes])
    scores = np.array([outcome.score for outcome in outcomes])
    precision = average_precision(outcomes)
    return Summary(
        dataset=dataset,
        protocol=protocol,
        objects=len(outcomes),
        images=len({outcome.image_id for outcome in outcomes}),
        cases=len({(outcome.dataset, outcome.case_id) for outcome in outcomes}),
        map=float(precision.mean()),
        map50=float(precision[0]),
        threshold_share=float((ious[:, None] >= THRESHOLDS).mean()),
        iou=float(ious.mean()),
        iou_interval=bootstrap_interval(outcomes, draws, seed),
        dice=float(np.mean([outcome.dice for outcome in outcomes])),
        nsd=float(np.mean([outcome.nsd for outcome in outcomes])),
        score_error=None if protocol == ELLIPSE else float(np.abs(scores - ious).mean()),
        calibration_error=None if protocol == ELLIPSE else expected_calibration_error(calibration(outcomes)),
    )


@dataclass(frozen=True)
class Bin:
    """Objects whose score is from `low` to `high`: how many, their mean score and their mean IoU."""

    low: float
    high: float
    objects: int
    score: float
    iou: float


def calibration(outcomes: Sequence[Outcome], bins: int = 10) -> list[Bin]:
    """What a reliability plot shows: bins of equal width in the score that hold an object, the lowest
    first.
    """
    scores = np.clip([outcome.score for outcome in outcomes], 0, 1)
    ious = np.array([outcome.iou for outcome in outcomes])
    places = np.minimum((scores * bins).astype(int), bins - 1)
    found = []
    for place in np.unique(places).tolist():
        inside = places == place
        means = float(scores[inside].mean()), float(ious[inside].mean())
        found.append(Bin(place / bins, (place + 1) / bins, int(inside.sum()), *means))
    return found


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean over objects of |mean score - mean IoU| of their bin (Guo et al. 2017, arXiv:1706.04599, with
    the IoU in the place of accuracy).
    """
    objects = sum(one.objects for one in bins)
    return sum(one.objects * abs(one.score - one.iou) for one in bins) / objects


@dataclass(frozen=True)
class ClicksNeeded:
    """How many clicks a target IoU takes: the mean over objects (NoC), in which an object that does not reach
    it counts with the cap, and the share of those.
    """

    dataset: str
    target: float
    objects: int
    clicks: float
    failed: float


def clicks_needed(
    outcomes: Sequence[Outcome], targets: Sequence[float] = (0.85, 0.9), cap: int = 20
) -> list[ClicksNeeded]:
    """NoC of each data set, then of `ALL` if there are several, by the rule of RITM (Sofiiuk et al. 2021,
    arXiv:2102.06583): the first of at most `cap` clicks after which the IoU is at least the target.

    `outcomes` need the protocols click-0 to click-(cap - 1); without the last there is nothing to say: [].
    """
    series: dict[tuple[str, int, int], dict[int, float]] = {}
    for outcome in outcomes:
        if outcome.protocol.startswith(CLICK):
            key = outcome.dataset, outcome.image_id, outcome.annotation_id
            series.setdefault(key, {})[int(outcome.protocol.removeprefix(CLICK))] = outcome.iou
    if not series or any(cap - 1 not in ious for ious in series.values()):
        return []
    found = []
    for dataset in with_all(dataset for dataset, _, _ in series):
        members = [ious for (name, _, _), ious in series.items() if dataset in (name, ALL)]
        for target in targets:
            firsts = [next((n + 1 for n in range(cap) if ious[n] >= target), None) for ious in members]
            clicks = float(np.mean([cap if first is None else first for first in firsts]))
            found.append(
                ClicksNeeded(dataset, target, len(members), clicks, firsts.count(None) / len(firsts))
            )
    return found


# Shares of the image that divide small objects from middling and these from large ones.
SIZES = (("small", 0.0, 0.01), ("middling", 0.01, 0.1), ("large", 0.1, 1.1))


def by_application(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes by the name of the clinical application, of those whose data set the catalogue knows."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.dataset in DATASETS:
            name = APPLICATIONS[DATASETS[outcome.dataset].application]
            found.setdefault(name, []).append(outcome)
    return {name: found[name] for name in APPLICATIONS.values() if name in found}


def by_size(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of small (under 1 % of the image), middling and large (from 10 % on) objects, where there
    are any.
    """
    found = {name: [o for o in outcomes if low <= o.share < high] for name, low, high in SIZES}
    return {name: members for name, members in found.items() if members}


def average_precision(outcomes: Sequence[Outcome]) -> Array:
    """COCO's average precision at the ten IoU thresholds, by pycocotools, of one protocol's outcomes.

    All objects are one class, and no prediction is dropped: COCO itself keeps 100 of an image.
    """
    sizes = {outcome.image_id: outcome.truth["size"] for outcome in outcomes}
    truths, predictions = [], []
    # Ids from 1: to pycocotools an annotation with the id 0 is one that was not found.
    for number, outcome in enumerate(outcomes, start=1):
        common = {"id": number, "image_id": outcome.image_id, "category_id": 1}
        area = float(mask.area(outcome.truth))
        truths.append({**common, "segmentation": outcome.truth, "area": area, "iscrowd": 0})
        predictions.append({**common, "segmentation": outcome.predicted, "score": outcome.score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": image, "height": h, "width": w} for image, (h, w) in sizes.items()],
            "annotations": truths,
            "categories": [{"id": 1, "name": "object"}],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(predictions), "segm")
        evaluation.params.iouThrs = THRESHOLDS
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [max(np.unique([o.image_id for o in outcomes], return_counts=True)[1])]
        evaluation.evaluate()
        evaluation.accumulate()
    # precision: threshold, recall, class, area, number of detections
    curves: Array = evaluation.eval["precision"][:, :, 0, 0, 0]
    precision: Array = curves.mean(axis=1)
    return precision


def bootstrap_interval(outcomes: Sequence[Outcome], draws: int, seed: int) -> tuple[float, float] | None:
    """`mean_interval` of the IoUs."""
    return mean_interval([(o.dataset, o.case_id, o.iou) for o in outcomes], draws, seed)


def mean_interval(
    values: Sequence[tuple[str, str, float]], draws: int, seed: int
) -> tuple[float, float] | None:
    """The 2.5th and 97.5th percentile of the mean of (data set, case, value) over `draws` samples of the
    cases.

    A draw takes as many cases as there are, with replacement, from each data set by itself, and all values of
    a case together. None without draws, or if no data set has two cases.
    """
    cases: dict[str, dict[str, list[float]]] = {}
    for dataset, case, value in values:
        cases.setdefault(dataset, {}).setdefault(case, []).append(value)
    if draws < 1 or max(map(len, cases.values())) < 2:
        return None
    total, count = np.zeros(draws), np.zeros(draws)
    rng = np.random.default_rng(seed)
    for members in cases.values():
        totals = np.array([sum(own) for own in members.values()])
        counts = np.array([len(own) for own in members.values()])
        chosen = rng.integers(len(members), size=(draws, len(members)))
        total += totals[chosen].sum(axis=1)
        count += counts[chosen].sum(axis=1)
    low, high = np.percentile(total / count, (2.5, 97.5))
    return float(low), float(high)
