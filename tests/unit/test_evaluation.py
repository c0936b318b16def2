"""Protocols, metrics, reports: what is asked of the model and what is made of its answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ultrasam
from ultrasam.core.clicks import center_click, next_click
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import Frame
from ultrasam.core.masks import box_of, encode_rle
from ultrasam.core.metrics import iou
from ultrasam.engines.onnx import OnnxEngine
from ultrasam.evaluation.evaluate import Asked, evaluate, evaluate_sample
from ultrasam.evaluation.metrics import (
    Outcome,
    Summary,
    average_precision,
    bootstrap_interval,
    summarise,
)
from ultrasam.evaluation.protocols import (
    Encoded,
    ellipses,
    interactive,
    jittered_box,
    two_passes,
)
from ultrasam.evaluation.report import to_json, to_markdown
from ultrasam.evaluation.samples import Sample
from ultrasam.evaluation.sheet import MEDIAN, TILE, WORST, chosen_outcomes, contact_sheet
from ultrasam.io.coco import CocoAnnotation, CocoImage
from ultrasam.predict.decode import OBJECTS_AT_ONCE
from ultrasam.predict.paper import found_box

SIZE, GRID = 128, 16


def rectangle(
    x0: int, y0: int, x1: int, y1: int, width: int = 160, height: int = 120
) -> np.ndarray[Any, Any]:
    mask = np.zeros((height, width), np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


class RecordingEngine:
    """Keeps what it is asked; answers with `single` as mask 0 and full masks of 1, 2, 3 as the others."""

    def __init__(self, single: np.ndarray[Any, Any]) -> None:
        self.single = single.astype(np.float32)
        self.calls: list[dict[str, Any]] = []

    def encode(self, image: Any) -> Any:
        raise AssertionError("the image is encoded by the caller")

    def decode(self, embedding: Any, points: Any, labels: Any, mask: Any, has_mask: Any) -> Any:
        self.calls.append({"points": points, "labels": labels, "mask": mask[:, 0], "has_mask": has_mask})
        n, side = len(points), mask.shape[-1]
        masks = np.empty((n, 4, side, side), np.float32)
        masks[:, 0] = self.single
        masks[:, 1:] = np.arange(1, 4).reshape(3, 1, 1)
        return masks, np.tile(np.float32([0.95, 0.2, 0.7, 0.4]), (n, 1))


def encoded(single: np.ndarray[Any, Any], width: int, height: int) -> tuple[Encoded, RecordingEngine]:
    engine = RecordingEngine(single)
    embedding = np.zeros((1, 3, GRID, GRID), np.float32)
    return Encoded(engine, embedding, Frame(width, height, SIZE)), engine


@pytest.fixture
def single() -> np.ndarray[Any, Any]:
    """Logits (64, 64), positive in columns 10-19 and rows 5-14: model pixels 20-40 and 10-30."""
    logits = np.full((64, 64), -8.0, np.float32)
    logits[5:15, 10:20] = 8.0
    return logits


def test_the_paper_protocol_asks_in_two_passes(single: np.ndarray[Any, Any]) -> None:
    # 64 x 32 original pixels: the scale is 2.
    asked, engine = encoded(single, 64, 32)
    truth = rectangle(8, 4, 20, 10, 64, 32)
    predictions = list(two_passes(asked, {7: truth}))

    first, box_replaced, point_kept, box_first, box_second, jitter_first, jitter_second = engine.calls
    for call in (first, box_first, jitter_first):
        assert call["has_mask"].tolist() == [0] and not call["mask"].any()
    for call in (box_replaced, point_kept, box_second, jitter_second):
        assert call["has_mask"].tolist() == [1]
        assert np.array_equal(call["mask"][0], single)  # mask 0 of pass 1, though its rivals score too

    assert first["labels"].tolist() == [[1, -1]]
    assert first["points"][0, 0].tolist() == [28, 14]  # the centroid (14, 7), scaled
    assert box_replaced["labels"].tolist() == [[2, 3]]
    # Midway between a positive and a negative grid point: the border of the positive cells.
    assert box_replaced["points"][0].tolist() == [[20, 10], [40, 30]]
    assert point_kept["labels"].tolist() == [[1, -1]]
    assert np.array_equal(point_kept["points"], first["points"])
    assert box_first["points"][0].tolist() == [[16, 8], [40, 20]]
    assert np.array_equal(box_second["points"], box_first["points"])
    assert np.array_equal(jitter_second["points"], jitter_first["points"])
    assert not np.array_equal(jitter_first["points"], box_first["points"])

    assert [p.protocol for p in predictions] == ["point", "point-plain", "box", "box-jitter"]
    for prediction in predictions:
        assert prediction.key == 7
        assert prediction.score == pytest.approx(0.7)  # the best of masks 1 to 3, not mask 0 with 0.95
        assert prediction.mask.shape == (32, 64) and prediction.mask.all()


def test_a_first_pass_without_a_mask_leaves_the_point() -> None:
    asked, engine = encoded(np.full((64, 64), -1.0), 64, 32)
    list(two_passes(asked, {1: rectangle(8, 4, 20, 10, 64, 32)}))
    assert engine.calls[1]["labels"].tolist() == [[1, -1]]
    assert np.array_equal(engine.calls[1]["points"], engine.calls[0]["points"])


def test_the_found_box_stays_in_the_image() -> None:
    logits = np.ones((64, 64), np.float32)  # also in the padding
    assert found_box(logits, Frame(160, 100, SIZE)) == (0.0, 0.0, 160.0, 100.0)
    # 333 x 217: the height in the input is 83.4, rounded to 83.
    x0, y0, x1, y1 = found_box(logits, Frame(333, 217, SIZE)) or (0, 0, 0, 0)
    assert (x0, y0, x1) == (0, 0, 333) and 215 < y1 <= 217
    assert found_box(-logits, Frame(160, 100, SIZE)) is None
    # The image ends at row 40 of 64: what is found below it is nothing.
    logits[:41] = -1
    assert found_box(logits, Frame(160, 100, SIZE)) is None


def test_a_batch_answers_as_one_by_one(tiny_model: ultrasam.Model) -> None:
    image = np.full((120, 160), 127, np.uint8)
    embedding, frame = tiny_model.encode(image)
    asked = Encoded(tiny_model.engine, embedding, frame)
    truths = {
        key: rectangle(4 * key, 2 * key, 4 * key + 9, 2 * key + 7) for key in range(OBJECTS_AT_ONCE + 3)
    }
    together = {(p.protocol, p.key): p for p in two_passes(asked, truths)}
    assert len(together) == 4 * len(truths)
    for key in (0, 5, OBJECTS_AT_ONCE + 2):
        for alone in two_passes(asked, {key: truths[key]}):
            same = together[alone.protocol, key]
            assert np.array_equal(alone.mask, same.mask) and alone.score == same.score


def test_clicks_are_those_of_a_session(tiny_model: ultrasam.Model) -> None:
    image = np.full((120, 160), 127, np.uint8)
    truth = rectangle(40, 30, 110, 70)
    evaluated = tiny_model.session(image)
    predictions = list(interactive(evaluated, {3: truth}, 3))
    assert not evaluated.results  # nothing is kept of an object that is done
    assert [p.protocol for p in predictions] == ["click-0", "click-1", "click-2", "click-3"]

    session = tiny_model.session(image)
    result = session.click(*center_click(truth))
    for prediction in predictions:
        assert np.array_equal(prediction.mask, result.mask) and prediction.score == result.score
        correction = next_click(result.mask, truth)
        assert correction is not None
        result = session.click(*correction)
    assert iou(predictions[3].mask, truth) > iou(predictions[0].mask, truth)


def test_without_an_error_the_answer_stands(tiny_model: ultrasam.Model) -> None:
    image = np.full((120, 160), 127, np.uint8)
    perfect = tiny_model.session(image).click(80.5, 60.5).mask
    assert center_click(perfect) == (80.5, 60.5)
    predictions = list(interactive(tiny_model.session(image), {1: perfect}, 2))
    assert [iou(p.mask, perfect) for p in predictions] == [1, 1, 1]


@given(st.integers(-(2**63), 2**63), st.data())
def test_a_jittered_box_is_a_box_near_the_exact_one(key: int, data: st.DataObject) -> None:
    frame = Frame(data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300)), SIZE)
    x0 = data.draw(st.integers(0, frame.width - 1))
    y0 = data.draw(st.integers(0, frame.height - 1))
    box = (x0, y0, data.draw(st.integers(x0 + 1, frame.width)), data.draw(st.integers(y0 + 1, frame.height)))
    moved = jittered_box(box, key, frame)
    assert 0 <= moved[0] < moved[2] <= frame.width and 0 <= moved[1] < moved[3] <= frame.height
    sides = (box[2] - box[0], box[3] - box[1]) * 2
    assert all(abs(a - b) <= 0.1 * side for a, b, side in zip(moved, box, sides, strict=True))
    assert moved == jittered_box(box, key, frame)


def test_the_jitter_depends_on_the_annotation() -> None:
    frame = Frame(160, 120, SIZE)
    boxes = {jittered_box((40, 30, 110, 70), key, frame) for key in (-2, -1, 0, 1, 2)}
    assert len(boxes) == 5


def outcome(
    true_iou: float, score: float = 1.0, image: int = 1, dataset: str = "a", case: str = "1", **other: Any
) -> Outcome:
    """An object of 100 x 1 pixels and a prediction that covers so much of it and nothing else."""
    row = other.pop("row", 0)
    truth = rectangle(0, row, 100, row + 1, 100, 130)
    predicted = rectangle(0, row, round(100 * true_iou), row + 1, 100, 130)
    values = {
        "image_id": image,
        "annotation_id": 1000 * image + row,
        "dataset": dataset,
        "case_id": case,
        "protocol": "box",
        "iou": true_iou,
        "dice": 2 * true_iou / (1 + true_iou),
        "nsd": true_iou,
        "share": 100 / 13_000,
        "score": score,
        "truth": encode_rle(truth),
        "predicted": encode_rle(predicted),
    }
    return Outcome(**(values | other))


def test_average_precision_ranks_by_score() -> None:
    # IoU 0.72 reaches five of ten thresholds, 0.3 none; recall 0.5 covers 51 of COCO's 101 recall points.
    good, bad = outcome(0.72, 0.9, image=1), outcome(0.3, 0.1, image=2)
    assert average_precision([good, bad]) == pytest.approx([51 / 101] * 5 + [0] * 5)
    good, bad = outcome(0.72, 0.1, image=1), outcome(0.3, 0.9, image=2)
    assert average_precision([good, bad]) == pytest.approx([51 / 101 / 2] * 5 + [0] * 5)


def test_average_precision_keeps_every_object() -> None:
    # COCO's own limit is 100 detections of an image, and its matching overlooks the id 0.
    crowded = [outcome(1.0, 1 - row / 200, row=row, annotation_id=row) for row in range(120)]
    assert average_precision(crowded).tolist() == [1.0] * 10


def test_average_precision_counts_an_empty_prediction_as_a_miss() -> None:
    outcomes = [outcome(1.0, 0.9, image=1), outcome(0.0, 0.5, image=2)]
    assert average_precision(outcomes) == pytest.approx([51 / 101] * 10)


def test_a_summary_has_the_means() -> None:
    outcomes = [
        outcome(0.5, 0.7, image=1, case="x"),
        outcome(0.94, 0.9, image=1, case="x", row=3),
        outcome(1.0, 1.0, image=2, case="y"),
    ]
    (summary,) = summarise(outcomes)
    assert (summary.dataset, summary.protocol) == ("a", "box")
    assert (summary.objects, summary.images, summary.cases) == (3, 2, 2)
    assert summary.iou == pytest.approx(2.44 / 3)
    assert summary.dice == pytest.approx((2 / 3 + 1.88 / 1.94 + 1) / 3)
    assert summary.threshold_share == pytest.approx((1 + 9 + 10) / 30)
    assert summary.score_error == pytest.approx((0.2 + 0.04 + 0) / 3)
    assert summary.map50 == pytest.approx(1.0)
    assert 0.5 < summary.map < 1


def test_all_data_sets_together_come_last() -> None:
    outcomes = [
        outcome(0.5, image=1, dataset="b"),
        outcome(0.9, image=2, dataset="a"),
        outcome(0.7, image=2, dataset="a", protocol="ellipse"),
    ]
    rows = summarise(outcomes)
    assert [(s.dataset, s.protocol, s.objects) for s in rows] == [
        *(("b", "box", 1), ("a", "box", 1), ("a", "ellipse", 1)),
        *(("all", "box", 2), ("all", "ellipse", 1)),
    ]
    assert [s.score_error is None for s in rows] == [False, False, True, False, True]
    # The same case id in two data sets is two cases.
    assert rows[3].cases == 2


def test_the_bootstrap_draws_whole_cases() -> None:
    # Two cases of ten equal objects: a sample has the mean 0, 0.5 or 1, however many objects there are.
    outcomes = [outcome(0.0, image=i, case="x") for i in range(10)]
    outcomes += [outcome(1.0, image=i, case="y") for i in range(10, 20)]
    assert bootstrap_interval(outcomes, 1000, 0) == (0.0, 1.0)
    singles = [outcome(o.iou, image=o.image_id, case=str(o.image_id)) for o in outcomes]
    low, high = bootstrap_interval(singles, 1000, 0) or (0, 0)
    assert 0.2 < low < 0.4 and 0.6 < high < 0.8
    assert bootstrap_interval(singles, 1000, 0) == (low, high)
    assert bootstrap_interval(singles, 1000, 1) is not None


def test_the_bootstrap_draws_within_each_data_set() -> None:
    outcomes = [outcome(0.2, image=i, case=f"a{i}", dataset="a") for i in range(4)]
    outcomes += [outcome(0.8, image=i, case=f"b{i}", dataset="b") for i in range(4)]
    assert bootstrap_interval(outcomes, 100, 0) == pytest.approx((0.5, 0.5))


def test_one_case_has_no_interval() -> None:
    assert bootstrap_interval([outcome(0.2, image=1), outcome(0.8, image=2)], 100, 0) is None
    assert bootstrap_interval([outcome(0.2, case="1"), outcome(0.8, case="2")], 0, 0) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=20))
def test_an_interval_lies_between_the_cases(pairs: list[tuple[float, int]]) -> None:
    plain = encode_rle(rectangle(0, 0, 1, 1, 1, 1))
    outcomes = [
        Outcome(1, 1, "a", str(case), "box", value, value, value, 1, 1, plain, plain) for value, case in pairs
    ]
    interval = bootstrap_interval(outcomes, 50, 0)
    if len({case for _, case in pairs}) < 2:
        assert interval is None
    else:
        values = [value for value, _ in pairs]
        assert interval is not None
        assert min(values) - 1e-9 <= interval[0] <= interval[1] <= max(values) + 1e-9


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A grey image of 160 x 120 pixels with two objects, an empty one, a crowd and a box."""
    path = tmp_path / "scan.png"
    Image.new("L", (160, 120), 127).save(path)
    masks = [
        rectangle(40, 30, 110, 70),
        rectangle(5, 5, 25, 30),
        rectangle(0, 0, 0, 0),
        rectangle(0, 0, 9, 9),
    ]
    annotations = [
        CocoAnnotation(i, 1, 1, (0, 0, 1, 1), encode_rle(mask), 1.0, iscrowd=i == 3)
        for i, mask in enumerate(masks)
    ]
    annotations.append(CocoAnnotation(9, 1, 1, (0, 0, 1, 1), None, 1.0))
    return Sample(CocoImage(1, "scan.png", 120, 160), path, "set", "case", tuple(annotations))


def test_every_object_is_evaluated_under_every_protocol(sample: Sample, tiny_model: ultrasam.Model) -> None:
    outcomes = evaluate_sample(tiny_model, sample, Asked(5))
    protocols = ["point", "point-plain", "box", "box-jitter", "ellipse", *(f"click-{i}" for i in range(6))]
    assert sorted((o.protocol, o.annotation_id) for o in outcomes) == sorted(
        (protocol, key) for protocol in protocols for key in (0, 1)
    )
    for o in outcomes:
        assert (o.image_id, o.dataset, o.case_id) == (1, "set", "case")
        assert o.dice == pytest.approx(2 * o.iou / (1 + o.iou))
    found = {(o.protocol, o.annotation_id): o for o in outcomes}
    # The tiny model's best alternative is the box grown by 4 of 128 model pixels, 5 of the image's; it
    # predicts 0.8 for it and 0.05 more for a mask fed back.
    assert found["box", 0].score == pytest.approx(0.85)
    assert found["box", 0].iou == pytest.approx(70 * 40 / (80 * 50), abs=0.03)
    assert found["ellipse", 0].iou == pytest.approx(np.pi / 4, abs=0.01)


def test_the_image_is_encoded_once(
    sample: Sample, tiny_model: ultrasam.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    encode = OnnxEngine.encode
    monkeypatch.setattr(
        OnnxEngine, "encode", lambda self, image: shapes.append(image.shape) or encode(self, image)
    )
    evaluate_sample(tiny_model, sample, Asked(5))
    assert shapes == [(1, 3, SIZE, SIZE)]


def test_progress_and_what_was_left_out_are_told(sample: Sample, tiny_model: ultrasam.Model) -> None:
    steps: list[tuple[int, int]] = []
    with pytest.warns(UserWarning, match="3 objects left out"):
        outcomes = evaluate(tiny_model, [sample], Asked(0), lambda done, total: steps.append((done, total)))
    assert steps == [(1, 1)]
    assert {o.protocol for o in outcomes if o.protocol.startswith("click")} == {"click-0"}


def test_there_is_no_metric_over_nothing(sample: Sample, tiny_model: ultrasam.Model) -> None:
    empty = Sample(sample.image, sample.path, "set", "case", (sample.annotations[2],))
    with pytest.raises(UltrasamError, match="nothing to evaluate"):
        evaluate(tiny_model, [empty])


def test_an_image_of_another_size_is_refused(sample: Sample, tiny_model: ultrasam.Model) -> None:
    Image.new("L", (159, 120)).save(sample.path)
    with pytest.raises(UltrasamError, match="159 x 120 pixels, the COCO file says 160 x 120"):
        evaluate(tiny_model, [sample])


def test_ellipses_need_no_model() -> None:
    truth = rectangle(40, 30, 110, 70)
    (prediction,) = ellipses({4: truth})
    assert (prediction.protocol, prediction.key, prediction.score) == ("ellipse", 4, 1.0)
    assert box_of(prediction.mask) == box_of(truth)


def summary(**values: Any) -> Summary:
    fields = {
        "dataset": "busi",
        "protocol": "box",
        "objects": 12,
        "images": 11,
        "cases": 10,
        "map": 0.7,
        "map50": 0.9,
        "threshold_share": 0.75,
        "iou": 0.81234,
        "iou_interval": (0.79, 0.83),
        "dice": 0.9,
        "nsd": 0.85,
        "score_error": 0.05,
        "calibration_error": 0.02,
    }
    return Summary(**(fields | values))


def test_the_tables_are_markdown() -> None:
    rows = [
        summary(),
        summary(protocol="ellipse", iou=0.5, iou_interval=None, score_error=None, calibration_error=None),
        summary(protocol="click-0", iou=0.61),
        summary(protocol="click-1", iou=0.72),
        summary(dataset="a|b"),
    ]
    text = to_markdown("Model on data", ["About."], rows)
    assert text.startswith("# Model on data\n\nAbout.\n\n| data set")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")] for line in lines]
    prompts, clicks = cells[:5], cells[5:]
    assert {len(line) for line in prompts} == {12} and {len(line) for line in clicks} == {3}
    assert prompts[2] == [
        *(
            "busi",
            "12 / 11 / 10",
            "box",
            "0.700",
            "0.900",
            "0.750",
            "0.812",
            "[0.790, 0.830]",
            "0.900",
            "0.850",
            "0.050",
            "0.020",
        )
    ]
    assert prompts[3][:3] == ["", "", "ellipse in the box (no model)"]
    assert prompts[3][7] == prompts[3][10] == prompts[3][11] == ""
    assert prompts[4][0] == "a/b"
    assert clicks[0] == ["data set", "0", "1"] and clicks[2] == ["busi", "0.610", "0.720"]


def test_the_json_has_every_object() -> None:
    document = json.loads(to_json({"model": "m"}, [summary(), summary(iou_interval=None)], [outcome(1 / 3)]))
    assert document["run"] == {"model": "m"}
    assert document["results"][0]["iou_interval"] == [0.79, 0.83]
    assert document["results"][1]["iou_interval"] is None
    assert document["objects"] == [
        {
            "image_id": 1,
            "annotation_id": 1000,
            "dataset": "a",
            "case_id": "1",
            "protocol": "box",
            "iou": 0.333333,
            "dice": 0.5,
            "nsd": 0.333333,
            "share": 0.007692,
            "score": 1.0,
        }
    ]


def test_the_sheet_has_the_worst_and_the_median() -> None:
    outcomes = [outcome(value / 40, image=value) for value in (*range(1, 22, 2), *range(20, 0, -2))]
    chosen = chosen_outcomes(outcomes)
    assert [kind for kind, _ in chosen] == ["worst"] * WORST + ["median"] * MEDIAN
    assert [o.image_id for _, o in chosen] == [1, 2, 3, 4, 10, 11]
    for count in range(1, 11):
        few = [o.image_id for _, o in chosen_outcomes(outcomes[:count])]
        assert len(few) == len(set(few)) == min(count, WORST + MEDIAN)


def test_the_sheet_shows_both_contours(sample: Sample, tiny_model: ultrasam.Model, tmp_path: Path) -> None:
    outcomes = evaluate_sample(tiny_model, sample, Asked(0))
    path = tmp_path / "sheet.png"
    path.write_bytes(contact_sheet(outcomes, [sample]))
    picture = np.asarray(Image.open(path)).astype(int)
    assert picture.shape[1] == (WORST + MEDIAN) * TILE
    assert picture.shape[0] > 2 * TILE  # a row for points and one for boxes
    tile = picture[: picture.shape[0] // 2, :TILE]
    red, green, blue = tile.transpose(2, 0, 1)
    assert ((green > 150) & (red < 60) & (blue < 120)).sum() > 100
    assert ((red > 200) & (green < 100) & (blue < 100)).sum() > 100
