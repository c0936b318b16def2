"""Class-aware COCO figures: by hand, against another implementation, and their interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.synthetic import ellipse

from ultrasam.core.geometry import BoolArray
from ultrasam.core.masks import box_of, encode_rle
from ultrasam.evaluation.instances import (
    ImageResult,
    Labelled,
    instance_figures,
    weighted_precision,
)


def rectangle(x: int, y: int, width: int, height: int) -> BoolArray:
    mask = np.zeros((40, 60), np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


def labelled(label: int, mask: BoolArray, score: float = 1.0) -> Labelled:
    return Labelled(label, encode_rle(mask), box_of(mask), score)


def image(number: int, truths: list[Labelled], found: list[Labelled], case: str = "") -> ImageResult:
    return ImageResult(number, "d", case or f"c{number}", 60, 40, tuple(truths), tuple(found))


def test_a_case_worked_out_by_hand():
    """Class 0: two objects, the better prediction hits one (IoU 0.8), the next hits nothing, the last the
    other one exactly. Class 1: its only object is called class 0. Class 2 has no object.
    """
    wide, other, third = rectangle(0, 0, 10, 10), rectangle(20, 0, 10, 10), rectangle(40, 20, 8, 8)
    results = [
        image(1, [labelled(0, wide)], [labelled(0, rectangle(0, 0, 8, 10), 0.9)]),
        image(
            2,
            [labelled(0, other), labelled(1, third)],
            [labelled(0, other, 0.2), labelled(0, third, 0.5), labelled(2, third, 0.1)],
        ),
    ]
    figures = instance_figures(results, ("a", "b", "c"), draws=0)
    first, second, absent = figures.classes
    # At 0.5: right, wrong, right. Recall 0.5 with precision 1 (51 of the 101 places), then 1 with 2 / 3 (50).
    half = (51 + 50 * 2 / 3) / 101
    assert first.precision is not None and first.objects == 2
    assert first.precision.mask50 == pytest.approx(half, abs=1e-9)
    # The first one counts up to 0.80; from 0.85 on: wrong, wrong, right: recall 0.5 with precision 1 / 3.
    strict = 51 / 3 / 101
    assert first.precision.mask == pytest.approx((7 * half + 3 * strict) / 10, abs=1e-9)
    assert first.precision.box == pytest.approx(first.precision.mask)
    assert second.objects == 1 and second.precision is not None and second.precision.mask == 0
    assert absent.objects == 0 and absent.precision is None
    assert figures.precision.mask50 == pytest.approx(half / 2)  # over the two that have objects
    assert (figures.images, figures.objects, figures.cases) == (2, 3, 2)
    assert figures.mask50_interval is None


def test_boxes_are_those_of_the_file_and_masks_are_compared_by_themselves():
    disc = ellipse(64, 30, 20, 12, 12)[:40, :60]
    square = np.zeros_like(disc)
    x0, y0, x1, y1 = map(int, box_of(disc))
    square[y0:y1, x0:x1] = True
    figures = instance_figures([image(1, [labelled(0, disc)], [labelled(0, square)])], ("a",), draws=0)
    assert figures.precision.box == pytest.approx(1)
    # A disc is 0.785 of its square: reached at 0.50 to 0.75.
    assert figures.precision.mask == pytest.approx(0.6)
    assert figures.precision.mask50 == pytest.approx(1)


def test_only_the_hundred_best_of_an_image_count():
    mask = rectangle(0, 0, 10, 10)
    others = [labelled(0, rectangle(30, 20, 5, 5), 0.9) for _ in range(100)]
    results = [image(1, [labelled(0, mask)], [*others, labelled(0, mask, 0.1)])]
    assert instance_figures(results, ("a",), draws=0).precision.mask50 == 0
    results = [image(1, [labelled(0, mask)], [*others[1:], labelled(0, mask, 0.1)])]
    assert instance_figures(results, ("a",), draws=0).precision.mask50 == pytest.approx(0.01)


def test_without_an_object_there_is_nothing_to_measure():
    with pytest.raises(ValueError, match="no object"):
        instance_figures([image(1, [], [labelled(0, rectangle(0, 0, 5, 5))])], ("a",))


def random_results(seed: int, images: int = 20) -> list[ImageResult]:
    """Objects of three classes; most are found, moved a little, some called another class, some made up."""
    rng = np.random.default_rng(seed)
    results = []
    for number in range(images):
        truths, found = [], []
        for _ in range(rng.integers(0, 4)):
            x, y, w, h = rng.integers((0, 0, 5, 5), (40, 25, 18, 14))
            label = int(rng.integers(3))
            truths.append(labelled(label, rectangle(x, y, w, h)))
            dx, dy = rng.integers(-2, 3, 2)
            moved = rectangle(max(0, x + dx), max(0, y + dy), w, h)
            guess = label if rng.random() < 0.8 else int(rng.integers(3))
            found.append(labelled(guess, moved, float(rng.random())))
        for _ in range(rng.integers(0, 3)):
            x, y = rng.integers(0, (50, 30))
            found.append(labelled(int(rng.integers(3)), rectangle(x, y, 7, 7), float(rng.random())))
        results.append(image(number, truths, found, f"case{number // 2}"))
    return results


@pytest.mark.parametrize("seed", range(3))
def test_another_implementation_gives_the_same(seed):
    """faster_coco_eval on the same objects as one COCO file."""
    faster = pytest.importorskip("faster_coco_eval")
    results = random_results(seed)
    truths, found = [], []
    for result in results:
        for kind, objects in ((truths, result.truths), (found, result.found)):
            for one in objects:
                x0, y0, x1, y1 = one.box
                kind.append(
                    {
                        "id": len(kind) + 1,
                        "image_id": result.image_id + 1,
                        "category_id": one.label + 1,
                        "segmentation": one.rle,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": (x1 - x0) * (y1 - y0),
                        "iscrowd": 0,
                        "score": one.score,
                    }
                )
    truth = faster.COCO(
        {
            "images": [{"id": r.image_id + 1, "width": 60, "height": 40} for r in results],
            "annotations": [{k: v for k, v in one.items() if k != "score"} for one in truths],
            "categories": [{"id": n, "name": str(n)} for n in (1, 2, 3)],
        }
    )
    figures = instance_figures(results, ("a", "b", "c"), draws=0)
    for kind, expected in (
        ("bbox", (figures.precision.box, figures.precision.box50)),
        ("segm", (figures.precision.mask, figures.precision.mask50)),
    ):
        evaluation = faster.COCOeval_faster(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[:2] == pytest.approx(expected, abs=1e-6)


def test_the_interval_is_that_of_copied_images():
    """A draw by hand: the images of the cases drawn, as often as they were, evaluated by COCO itself."""
    results = random_results(7, images=12)
    found = instance_figures(results, ("a", "b", "c"), draws=40, seed=5)
    rng, by_hand = np.random.default_rng(5), []
    cases = list(dict.fromkeys(result.case_id for result in results))
    for _ in range(40):
        drawn = [cases[number] for number in rng.integers(len(cases), size=len(cases))]
        copies = [
            replace(one, image_id=n) for n, case in enumerate(drawn) for one in results if one.case_id == case
        ]
        by_hand.append(instance_figures(copies, ("a", "b", "c"), draws=0).precision.mask50)
    assert found.mask50_interval == pytest.approx(tuple(np.percentile(by_hand, (2.5, 97.5))), abs=1e-9)
    low, high = found.mask50_interval
    assert low < found.precision.mask50 < high


def test_one_case_of_each_data_set_has_no_interval():
    results = [replace(one, case_id="all") for one in random_results(1, images=6)]
    assert instance_figures(results, ("a", "b", "c"), draws=10).mask50_interval is None


def test_a_prediction_counts_as_often_as_its_case_was_drawn():
    right = np.array([1.0, 0.0, 1.0])
    assert weighted_precision(right, np.ones(3), 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert weighted_precision(right, np.array([1.0, 0.0, 1.0]), 2) == pytest.approx(1)
    assert weighted_precision(right, np.array([0.0, 0.0, 0.0]), 2) == 0
    assert weighted_precision(right, np.ones(3), 0) is None
    assert weighted_precision(np.zeros(0), np.zeros(0), 2) == 0
