"""Two models on the same objects: the difference of their mean IoU, its interval, and if it may be chance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, check_file, reason, shown
from ultrasam.evaluation.metrics import ALL, DECIMALS, Outcome, mean_interval, with_all

Key = tuple[str, int, int, str]
"""Data set, image, annotation and protocol of an object's result."""


@dataclass(frozen=True)
class Earlier:
    """The results of another model that `ultrasam evaluate --json` wrote: its id, the SHA-256 of the COCO
    file and the IoU of each object.
    """

    model: str
    data: str
    ious: Mapping[Key, float]


@dataclass(frozen=True)
class Difference:
    """Mean IoU of this model less that of the other, over the objects that both have.

    `interval` is the 95 % interval by bootstrap over cases, None for a single case. `p` is two-sided, by a
    permutation test that changes the sign of all differences of a case together.
    """

    dataset: str
    protocol: str
    objects: int
    cases: int
    difference: float
    interval: tuple[float, float] | None
    p: float


def read_results(path: AnyPath) -> Earlier:
    """What `ultrasam evaluate --json` wrote. Raises UltrasamError for any other file."""
    path = check_file(path)
    try:
        content = json.loads(path.read_bytes())
        ious = {
            (row["dataset"], row["image_id"], row["annotation_id"], row["protocol"]): float(row["iou"])
            for row in content["objects"]
        }
        return Earlier(content["run"]["model"]["id"], content["run"]["data"]["sha256"], ious)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UltrasamError(
            f"{shown(path)} holds no results ({reason(error)}): give a file that `ultrasam evaluate --json` "
            "wrote"
        ) from None


def differences(
    outcomes: Sequence[Outcome], other: Earlier, draws: int = 10_000, seed: int = 0
) -> list[Difference]:
    """One for each data set and protocol of both, then for `ALL` if there are several sets.

    Raises UltrasamError if they have no object in common.
    """
    rows = [
        # As precise as the file is: the same model has no difference.
        (outcome, round(outcome.iou, DECIMALS) - other.ious[key])
        for outcome in outcomes
        if (key := (outcome.dataset, outcome.image_id, outcome.annotation_id, outcome.protocol)) in other.ious
    ]
    if not rows:
        raise UltrasamError("the two evaluations have no object in common: evaluate both on the same file")
    protocols = list(dict.fromkeys(outcome.protocol for outcome, _ in rows))
    found = []
    for dataset in with_all(outcome.dataset for outcome, _ in rows):
        for protocol in protocols:
            own = [(o, d) for o, d in rows if o.protocol == protocol and dataset in (o.dataset, ALL)]
            if own:
                found.append(_difference(dataset, protocol, own, draws, seed))
    return found


def _difference(
    dataset: str, protocol: str, rows: Sequence[tuple[Outcome, float]], draws: int, seed: int
) -> Difference:
    sums: dict[tuple[str, str], float] = {}
    for outcome, difference in rows:
        case = outcome.dataset, outcome.case_id
        sums[case] = sums.get(case, 0.0) + difference
    values = [(outcome.dataset, outcome.case_id, difference) for outcome, difference in rows]
    return Difference(
        dataset=dataset,
        protocol=protocol,
        objects=len(rows),
        cases=len(sums),
        difference=sum(sums.values()) / len(rows),
        interval=mean_interval(values, draws, seed),
        p=sign_flip_p(list(sums.values()), draws, seed),
    )


def sign_flip_p(sums: Sequence[float], draws: int, seed: int) -> float:
    """The share of `draws` random signs of the case sums, and of the sums as they are, whose total is at
    least as far from 0 (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585).
    """
    values = np.asarray(sums)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, len(values)))
    # A hair, so that sums that are equal but for rounding count as equal.
    extreme = np.abs(signs @ values) >= abs(values.sum()) - 1e-9
    return float((1 + np.count_nonzero(extreme)) / (1 + draws))


def document_of(found: Sequence[Difference], other: Earlier) -> dict[str, Any]:
    """For the JSON file."""
    return {"model": other.model, "differences": [vars(one) for one in found]}
