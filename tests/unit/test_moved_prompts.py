"""Prompts moved farther and farther off: the same draw at each step, and none at 0."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.test_evaluation import sample

import ultrasam
from ultrasam.core.geometry import Frame
from ultrasam.evaluation.evaluate import Asked, evaluate_sample
from ultrasam.evaluation.metrics import summarise
from ultrasam.evaluation.protocols import jittered_box, moved_point
from ultrasam.evaluation.report import to_markdown
from ultrasam.evaluation.samples import Sample

__all__ = ["sample"]  # a fixture


def test_prompts_are_moved_farther_in_one_direction() -> None:
    frame = Frame(200, 100, 64)
    start = (90.0, 50.0)
    moves = [np.subtract(moved_point(start, 7, frame, step), start) for step in (5, 10, 20)]
    assert np.allclose(moves[1], 2 * moves[0]) and np.allclose(moves[2], 4 * moves[0])
    assert moved_point(start, 7, frame, 0) == start
    x, y = moved_point(start, 7, frame, 1e6)
    assert x in (0.0, 200.0) and y in (0.0, 100.0)
    square = Frame(1024, 1024, 64)
    spread = [np.subtract(moved_point((500, 500), key, square, 10), 500) for key in range(2000)]
    assert np.std(spread) == pytest.approx(10, rel=0.05) and abs(np.mean(spread)) < 0.5
    half, whole = (jittered_box((40, 30, 110, 70), 3, frame, amount) for amount in (0.05, 0.1))
    assert np.allclose(2 * np.subtract(half, (40, 30, 110, 70)), np.subtract(whole, (40, 30, 110, 70)))


def test_prompts_that_are_not_moved_are_those_of_the_protocol(
    tiny_model: ultrasam.Model, sample: Sample
) -> None:
    outcomes = evaluate_sample(tiny_model, sample, Asked(0, moved=True))
    found = {(o.protocol, o.annotation_id): (o.iou, o.score) for o in outcomes}
    names = {protocol for protocol, _ in found}
    assert {"moved-point-0", "moved-point-50", "moved-box-0", "moved-box-20"} <= names
    for key in {key for _, key in found}:
        assert found["moved-point-0", key] == pytest.approx(found["point", key])
        assert found["moved-box-0", key] == pytest.approx(found["box", key])
        assert found["moved-box-10", key] == pytest.approx(found["box-jitter", key])
    text = to_markdown("t", [], summarise(outcomes, 0))
    assert "1024ths" in text and "percent" in text
    plain = evaluate_sample(tiny_model, sample, Asked(0))
    assert not any(o.protocol.startswith("moved") for o in plain)
