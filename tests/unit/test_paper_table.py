"""Models under the protocol of the paper: what they are asked, how images come in, what the table says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import write_tiny_model

import ultrasam
from ultrasam.core.geometry import PAD, STRETCH
from ultrasam.core.masks import encode_rle
from ultrasam.evaluation.evaluate import Asked, evaluate
from ultrasam.evaluation.paper import Entrant, Measured, Runner, measure, pipelines
from ultrasam.evaluation.paper_report import rows_of, scores_of, to_json, to_markdown
from ultrasam.evaluation.published import TABLE1
from ultrasam.evaluation.report import rows_to_csv
from ultrasam.evaluation.samples import Sample, select_samples
from ultrasam.zoo.store import find

MEDSAM = {"preprocessing": "medsam", "fit": "stretch", "normalise": "min-max", "mean": [0, 0, 0]}
MeasureAll = Callable[..., list[Measured]]


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Two images of "bus_bra" with two objects each, one of "mine" with one; not square, not black."""
    images, annotations = [], []
    rng = np.random.default_rng(0)
    for number, dataset in enumerate(("bus_bra", "bus_bra", "mine"), 1):
        pixels = rng.integers(120, 135, (60, 90), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        images.append(
            {"id": number, "file_name": f"{number}.png", "width": 90, "height": 60, "dataset": dataset}
        )
        for x0 in (5, 50)[: 1 if dataset == "mine" else 2]:
            mask = np.zeros((60, 90), np.bool_)
            mask[10 + 4 * number : 34 + 4 * number, x0 : x0 + 20 + 3 * number] = True
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1 + len(annotations) % 2,  # classes do not count
                    "bbox": [0, 0, 1, 1],
                    "segmentation": encode_rle(mask),
                }
            )
    categories = [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    return select_samples(tmp_path / "truth.json")


def entrant(folder: Path, name: str, row: str | None = None, **fields: object) -> Entrant:
    return Entrant(find(write_tiny_model(folder / name, name, **fields)), row)


def test_only_point_and_box_are_asked_and_answered_as_in_the_full_evaluation(
    samples: list[Sample], tiny_model: ultrasam.Model
) -> None:
    asked = evaluate(tiny_model, samples, Asked(paper=True))
    assert [(o.annotation_id, o.protocol) for o in asked if o.image_id == 1] == [
        (1, "point"),
        (2, "point"),
        (1, "box"),
        (2, "box"),
    ]
    whole = evaluate(tiny_model, samples, Asked(clicks=0))
    of_paper = {(o.annotation_id, o.protocol): o for o in whole if o.protocol in ("point", "box")}
    assert {(o.annotation_id, o.protocol): o for o in asked} == of_paper


def test_a_model_that_stretches_has_two_rows_and_others_one(samples: list[Sample], tmp_path: Path) -> None:
    usual = entrant(tmp_path, "usual").weights.card
    assert pipelines(usual) == {"card": usual}
    medsam = entrant(tmp_path, "medsam", "medsam", **MEDSAM)
    ways = pipelines(medsam.weights.card)
    assert list(ways) == ["native", "paper-pipeline"] and ways["native"] == medsam.weights.card
    paper = ways["paper-pipeline"]
    assert (paper.fit, paper.normalise, paper.resize) == (PAD, "mean-std", "cv2")
    assert paper.mean == (123.675, 116.28, 103.53) and paper.std == (58.395, 57.12, 57.375)
    # What lies in the input differs, and the engine is the same.
    (native, one), (pipeline, other) = Runner(threads=1).variants(medsam.weights)
    assert (native, pipeline) == ("native", "paper-pipeline") and one.engine is other.engine
    pixels = samples[0].pixels()
    (first, frame), (second, other_frame) = one.encode(pixels), other.encode(pixels)
    assert (frame.fit, other_frame.fit) == (STRETCH, PAD)
    assert first[0, 0, -1, -1] > 0.1 and second[0, 0, -1, -1] == 0  # below a padded image there is nothing
    measured = measure([medsam], samples, Runner(threads=1))
    assert [one.scores[0].pipeline for one in measured] == ["native", "paper-pipeline"]


def test_the_original_postprocess_is_for_models_that_pad(samples: list[Sample], tmp_path: Path) -> None:
    entrants = [entrant(tmp_path, "usual"), entrant(tmp_path, "medsam", "medsam", **MEDSAM)]
    measured = measure(entrants, samples, Runner(threads=1, postprocess="original"))
    assert [(one.scores[0].pipeline, one.scores[0].postprocess) for one in measured] == [
        ("card", "original"),
        ("native", "logits"),
        ("paper-pipeline", "original"),
    ]
    text = to_markdown("x", [], measured)
    assert "Postprocess: original, except for `medsam, native`, whose images are stretched." in text
    assert "The paper does not say which of them" in text
    text = to_markdown("x", [], measured[:1])
    assert "Postprocess: original, for all models." in text and "Native" not in text


def test_scores_are_in_percent_and_differ_from_the_paper_by_what_is_told(
    samples: list[Sample], tmp_path: Path
) -> None:
    entrants = [entrant(tmp_path, "a", "ultrasam"), entrant(tmp_path, "b")]
    heard: list[tuple[str, int, int]] = []
    measured = measure(
        entrants, samples, Runner(threads=1), lambda name: lambda done, of: heard.append((name, done, of))
    )
    assert heard == [(name, done, 3) for name in "ab" for done in (1, 2, 3)]
    rows = rows_of(scores_of(measured))
    assert [(row["model"], row["dataset"], row["prompt"]) for row in rows] == [
        (model, dataset, prompt)
        for model in "ab"
        for dataset in ("bus_bra", "mine")
        for prompt in ("point", "box")
    ]
    for row, outcomes in ((row, measured[row["model"] == "b"].outcomes) for row in rows):
        own = [o for o in outcomes if (o.dataset, o.protocol) == (row["dataset"], row["prompt"])]
        assert row["objects"] == len(own) and row["images"] == len({o.image_id for o in own})
        assert row["iou"] == pytest.approx(100 * np.mean([o.iou for o in own]), abs=1e-4)
        assert row["nsd"] == pytest.approx(100 * np.mean([o.nsd for o in own]), abs=1e-4)
        assert row["iou"] > 5
        if (row["model"], row["dataset"]) == ("a", "bus_bra"):
            paper = TABLE1[row["prompt"], "ultrasam", "bus_bra"]
            assert (row["paper_row"], row["paper_map"], row["paper_map50"]) == (
                "UltraSam",
                paper.map,
                paper.map50,
            )
            assert row["difference_map"] == pytest.approx(row["map"] - paper.map, abs=1e-5)
            assert row["difference_map50"] == pytest.approx(row["map50"] - paper.map50, abs=1e-5)
        else:
            assert row["paper_map"] is row["difference_map"] is row["difference_map50"] is None
    read = list(csv.DictReader(io.StringIO(rows_to_csv(rows))))
    assert len(read) == len(rows) and read[-1]["paper_map"] == ""
    assert float(read[0]["difference_map"]) == rows[0]["difference_map"]
    document = json.loads(to_json({"x": 1}, measured))
    assert document["run"] == {"x": 1} and document["results"] == rows
    assert len(document["objects"]) == 2 * 5 * 2


def test_the_table_has_the_sets_of_the_paper_first(samples: list[Sample], tmp_path: Path) -> None:
    measured = measure([entrant(tmp_path, "a", "ultrasam")], samples[::-1], Runner(threads=1))
    text = to_markdown("Title", ["About."], measured)
    assert text.startswith(
        "# Title\n\nAbout.\n\n- BUS-BRA: 2 images, 4 objects; **the paper tests on 375 images**"
    )
    assert "- mine: 1 images, 1 objects\n" in text
    (header, *_), lines = [line for line in text.splitlines() if line.startswith("| model")], []
    assert [cell.strip() for cell in header.strip("| ").split("|")] == [
        "model",
        "row of the paper",
        "BUS-BRA",
        "paper",
        "difference",
        "mine",
    ]
    lines = [line for line in text.splitlines() if line.startswith("| a ")]
    score = next(s for s in measured[0].scores if (s.dataset, s.prompt) == ("bus_bra", "box"))
    assert f"{score.map:.1f} / {score.map50:.1f} | 79.1 / 99.0 | {score.map - 79.1:+.1f}" in lines[1]
    assert "67.5 / 95.7" in lines[0]


def test_a_model_for_one_test_is_measured_on_it_alone(samples: list[Sample], tmp_path: Path) -> None:
    weights = entrant(tmp_path, "ultrasam-star-breast").weights
    stars = [Entrant(weights, "ultrasam-star", ("bus_bra",)), Entrant(weights, "ultrasam-star", ("other",))]
    (measured,) = measure(stars, samples, Runner(threads=1))
    assert {score.dataset for score in measured.scores} == {"bus_bra"}
