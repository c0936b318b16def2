"""Two models compared object by object: the difference, its interval and its p, against scipy and by hand."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.unit.test_measures import outcome

from ultrasam.core.errors import UltrasamError
from ultrasam.evaluation.paired import Earlier, differences, document_of, read_results, sign_flip_p
from ultrasam.evaluation.report import paired_table, to_json


def pair(rows: list[tuple[float, float, str]], dataset: str = "a") -> tuple[list[Any], Earlier]:
    """Outcomes and earlier results of objects with (IoU, IoU before, case)."""
    outcomes = [
        outcome(new, number=n, case_id=case, dataset=dataset) for n, (new, _, case) in enumerate(rows)
    ]
    ious = {(dataset, n, n, "box"): old for n, (_, old, _) in enumerate(rows)}
    return outcomes, Earlier("other", "sha", ious)


def test_the_difference_is_that_of_the_means() -> None:
    outcomes, other = pair([(0.9, 0.8, "x"), (0.7, 0.75, "x"), (0.6, 0.5, "y")])
    (found,) = differences(outcomes, other)
    assert found.difference == pytest.approx((0.1 - 0.05 + 0.1) / 3)
    assert (found.dataset, found.protocol, found.objects, found.cases) == ("a", "box", 3, 2)
    assert found.interval is not None and found.interval[0] <= found.difference <= found.interval[1]


def test_p_is_that_of_all_signs_and_of_scipy() -> None:
    sums = [0.3, -0.1, 0.25, 0.4, 0.05, 0.2, -0.05, 0.1]
    totals = np.array([np.dot(signs, sums) for signs in product((-1, 1), repeat=len(sums))])
    exact = np.mean(np.abs(totals) >= abs(sum(sums)) - 1e-9)
    assert sign_flip_p(sums, 40_000, 0) == pytest.approx(exact, abs=0.005)
    theirs = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert exact == pytest.approx(theirs.pvalue)


def test_no_difference_is_chance_and_a_clear_one_is_not() -> None:
    assert sign_flip_p([0.0, 0.0], 100, 0) == 1.0
    assert sign_flip_p([0.1] * 30, 9_999, 0) == pytest.approx(1e-4)


def test_objects_of_one_case_count_together() -> None:
    """A hundred objects of two cases prove no more than two cases can."""
    outcomes, other = pair([(0.9, 0.5, "x" if n < 50 else "y") for n in range(100)])
    (found,) = differences(outcomes, other)
    assert found.p > 0.4 and found.cases == 2
    alone, other = pair([(0.9, 0.5, f"{n}") for n in range(100)])
    assert differences(alone, other)[0].p < 0.001


def test_under_no_difference_p_is_even() -> None:
    rng = np.random.default_rng(0)
    found = [sign_flip_p(rng.normal(size=20), 400, seed) for seed in range(300)]
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09
    assert 0.4 < np.mean(found) < 0.6


def test_sets_and_their_sum_and_only_what_both_have() -> None:
    one, other = pair([(0.9, 0.8, "x"), (0.9, 0.8, "y")])
    two, more = pair([(0.5, 0.6, "x")], "b")
    both = Earlier("other", "sha", {**other.ious, **more.ious})
    extra = outcome(0.1, number=77, dataset="b"), outcome(0.4, "point", number=0)
    found = {
        (d.dataset, d.protocol): (d.objects, round(d.difference, 6))
        for d in differences([*one, *two, *extra], both)
    }
    assert found == {("a", "box"): (2, 0.1), ("b", "box"): (1, -0.1), ("all", "box"): (3, round(0.1 / 3, 6))}


def test_nothing_in_common_is_an_error() -> None:
    outcomes, _ = pair([(0.9, 0.8, "x")])
    with pytest.raises(UltrasamError, match="no object in common"):
        differences(outcomes, Earlier("other", "sha", {}))


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    outcomes, _ = pair([(0.9, 0.8, "x"), (2 / 3, 0.6, "y")])
    run = {"model": {"id": "m"}, "data": {"sha256": "s"}}
    (tmp_path / "r.json").write_text(to_json(run, [], outcomes))
    found = read_results(tmp_path / "r.json")
    assert (found.model, found.data) == ("m", "s")
    assert found.ious == {("a", 0, 0, "box"): 0.9, ("a", 1, 1, "box"): 0.666667}
    assert all(one.difference == 0 and one.p == 1 for one in differences(outcomes, found))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "nonsense", '{"objects": [{}], "run": {}}', '{"objects": 3}']
)
def test_what_holds_no_results_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UltrasamError, match="holds no results|is empty"):
        read_results(tmp_path / "r.json")


def test_the_table_and_the_json_have_each_difference() -> None:
    outcomes, other = pair([(0.9, 0.8, "x"), (0.7, 0.75, "y")])
    found = differences(outcomes, other)
    text = paired_table(found, "other")
    assert "| a " in text and "+0.025" in text and "2 / 2" in text and "`other`" in text
    content = json.loads(to_json({}, [], outcomes, document_of(found, other)))
    assert content["paired"]["model"] == "other"
    assert content["paired"]["differences"][0]["difference"] == pytest.approx(0.025)
