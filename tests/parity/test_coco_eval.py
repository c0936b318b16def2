"""Our average precision against faster-coco-eval, which computes it in C++ by itself."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from tests.us43d.truth import blob, ellipse

from ultrasam.core.masks import encode_rle
from ultrasam.core.metrics import dice, iou
from ultrasam.evaluation.metrics import THRESHOLDS, Outcome, average_precision

SIZE = (64, 80)


def outcomes(seed: int, images: int = 12) -> list[Outcome]:
    """Objects with predictions from good to useless, scores that are sometimes wrong, and some ties."""
    rng = np.random.default_rng(seed)
    found = []
    for image in range(1, images + 1):
        for _ in range(int(rng.integers(1, 5))):
            x, y = rng.uniform(15, 60), rng.uniform(15, 45)
            truth = blob(SIZE, x, y, float(rng.uniform(5, 14)), int(rng.integers(1000)))
            move = rng.normal(0, 3, 2)
            predicted = ellipse(SIZE, x + move[0], y + move[1], *rng.uniform(4, 16, 2))
            predicted &= rng.random() > 0.1
            found.append(
                Outcome(
                    image,
                    len(found) + 1,
                    "a",
                    str(image),
                    "box",
                    iou(predicted, truth),
                    dice(predicted, truth),
                    nsd=0.0,
                    share=float(truth.mean()),
                    score=float(np.round(rng.random(), 1)),
                    truth=encode_rle(truth),
                    predicted=encode_rle(predicted),
                )
            )
    return found


def theirs(found: list[Outcome]) -> np.ndarray:
    """The mean precision at each IoU threshold."""
    entries = [{"id": n, "image_id": o.image_id, "category_id": 1} for n, o in enumerate(found, start=1)]
    truths = [
        {
            **entry,
            "segmentation": o.truth,
            "area": o.share * SIZE[0] * SIZE[1],
            "iscrowd": 0,
            "bbox": [0, 0, 1, 1],
        }
        for entry, o in zip(entries, found, strict=True)
    ]
    predictions = [
        {**entry, "segmentation": o.predicted, "score": o.score}
        for entry, o in zip(entries, found, strict=True)
    ]
    images = [{"id": n, "height": SIZE[0], "width": SIZE[1]} for n in {o.image_id for o in found}]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(
            {"images": images, "annotations": truths, "categories": [{"id": 1, "name": "object"}], "info": {}}
        )
        evaluation = COCOeval_faster(truth, truth.loadRes(predictions), "segm")
        evaluation.params.iouThrs = THRESHOLDS
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][:, :, 0, 0, 0].mean(axis=1))


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_is_that_of_another_program(seed: int) -> None:
    found = outcomes(seed)
    ours = average_precision(found)
    assert 0.02 < ours[0] < 0.98
    assert ours == pytest.approx(theirs(found), abs=1e-9)
