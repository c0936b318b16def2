"""Our average precision against faster-coco-eval, which computes it in C++ by itself."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image
from tests.conftest import write_tiny_model
from tests.us43d.truth import blob, ellipse

from ultrasam.core.masks import encode_rle
from ultrasam.core.metrics import dice, iou
from ultrasam.evaluation.metrics import THRESHOLDS, Outcome, average_precision
from ultrasam.evaluation.paper import Entrant, Runner, measure
from ultrasam.evaluation.samples import select_samples
from ultrasam.zoo.store import find

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


def test_the_scores_of_the_paper_table_are_those_of_another_program(tmp_path: Path) -> None:
    """From the COCO file itself, by the usual summary, which keeps 100 predictions of an image."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image in range(1, 13):
        Image.fromarray(rng.integers(100, 150, SIZE, np.uint8)).save(tmp_path / f"{image}.png")
        size = {"width": SIZE[1], "height": SIZE[0]}
        images.append(
            {"id": image, "file_name": f"{image}.png", "dataset": "a" if image < 9 else "b", **size}
        )
        for x in (20, 60):
            truth = blob(SIZE, x, 30, float(rng.uniform(6, 16)), image + x)
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "iscrowd": 0}
            area = {"area": int(truth.sum()), "bbox": [0, 0, 1, 1]}
            annotations.append(entry | area | {"segmentation": encode_rle(truth)})
    content = {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "x"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    weights = find(write_tiny_model(tmp_path / "tiny"))
    (measured,) = measure([Entrant(weights)], select_samples(tmp_path / "truth.json"), Runner(threads=1))
    assert len(measured.scores) == 4
    for score in measured.scores:
        own = {image["id"] for image in images if image["dataset"] == score.dataset}
        predictions = [
            {"image_id": o.image_id, "category_id": 1, "segmentation": o.predicted, "score": o.score}
            for o in measured.outcomes
            if (o.dataset, o.protocol) == (score.dataset, score.prompt)
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(
                content
                | {
                    "images": [image for image in images if image["id"] in own],
                    "annotations": [one for one in annotations if one["image_id"] in own],
                }
            )
            evaluation = COCOeval_faster(truth, truth.loadRes(predictions), "segm")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        assert 0 < score.map < score.map50 < 100
        assert (score.map, score.map50) == pytest.approx(100 * np.asarray(evaluation.stats[:2]), abs=1e-9)
