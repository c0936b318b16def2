"""Figures of classification against scikit-learn, their intervals, and their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultrasam.core.errors import UltrasamError
from ultrasam.evaluation.classification import Classified, evaluate_classes, figures, gains
from ultrasam.evaluation.classified import fold_table, read_classified, table, write_classified

metrics = pytest.importorskip("sklearn.metrics")


def images(truth: list[int], scores: np.ndarray, per_case: int = 1) -> list[Classified]:
    return [
        Classified(f"{n}.png", "busi", f"case-{n // per_case}", t, tuple(s), 1 + n % 2)
        for n, (t, s) in enumerate(zip(truth, scores.tolist(), strict=True))
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(8, 60), st.booleans())
def test_macro_figures_are_those_of_scikit_learn(seed: int, classes: int, count: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), rng.integers(classes, size=count)])
    scores = rng.random((len(truth), classes))
    if coarse:  # with ties
        scores = np.round(scores, 1) + 0.05
    found = figures(truth, scores)
    predicted = scores.argmax(axis=1)
    expected = metrics.precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)
    assert [found[name] for name in ("precision", "recall", "f1")] == pytest.approx(expected[:3])
    shares = scores / scores.sum(axis=1, keepdims=True)
    if classes == 2:
        assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, shares[:, 1]))
    else:
        assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth, shares, multi_class="ovr"))


def test_a_worked_case() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.6, 0.4]])
    found = evaluate_classes(images([0, 0, 0, 1, 1], scores), ("benign", "malignant"))
    assert found.matrix.tolist() == [[2, 1], [1, 1]]
    benign, malignant = found.by_class
    assert (benign.precision, benign.recall, benign.support) == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        3,
    )
    assert (malignant.precision, malignant.recall) == (0.5, 0.5)
    assert found.macro["auroc"] == pytest.approx(4 / 6)  # of 6 pairs two are the wrong way round
    text = table(found, "busi")
    assert "58.3" in text and "| benign | 2 | 1 |" in text
    assert "| 1 | 3 |" in fold_table(images([0, 0, 1, 1, 0], scores), ("benign", "malignant"))


def test_a_class_without_images_is_named_and_in_no_mean() -> None:
    scores = np.array([[0.9, 0.0, 0.1], [0.1, 0.0, 0.9], [0.2, 0.7, 0.1], [0.1, 0.0, 0.9]])
    found = evaluate_classes(images([0, 2, 0, 2], scores), ("a", "b", "c"))
    assert found.absent == ("b",)
    assert found.macro["recall"] == pytest.approx((0.5 + 1) / 2)
    assert "in no mean: b" in table(found, "x")


@pytest.mark.parametrize(
    ("truth", "message"), [([], "there is no image"), ([1, 1, 1], "all 3 images are of the class malignant")]
)
def test_nothing_is_measured_over_nothing(truth: list[int], message: str) -> None:
    with pytest.raises(UltrasamError, match=message):
        evaluate_classes(images(truth, np.full((len(truth), 2), 0.5)), ("benign", "malignant"))


def test_the_interval_draws_whole_cases() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(2, size=40), 5)
    # Five images of a case that are all alike tell no more than one.
    scores = np.repeat(rng.random((40, 2)), 5, axis=0)
    single, whole = (
        evaluate_classes(images(truth.tolist(), scores, size), ("a", "b")).intervals["f1"] for size in (1, 5)
    )
    assert single is not None and whole is not None
    assert whole[1] - whole[0] > 1.5 * (single[1] - single[0])
    one_case = evaluate_classes(images([0, 1], np.array([[0.9, 0.1], [0.1, 0.9]]), 2), ("a", "b"))
    assert one_case.intervals["f1"] is None


def test_a_model_gains_nothing_over_itself_and_something_over_chance() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=200).tolist()
    good = np.stack([1 - np.array(truth), np.array(truth)], axis=1) + rng.normal(0, 0.4, (200, 2)) + 2
    right, chance = images(truth, good), images(truth, rng.random((200, 2)))
    assert all(one.difference == 0 and one.interval == (0, 0) for one in gains(right, right))
    over = {one.figure: one for one in gains(right, chance)}
    assert over["auroc"].difference > 0.3
    assert over["auroc"].interval is not None and over["auroc"].interval[0] > 0.2
    with pytest.raises(UltrasamError, match="no image in common"):
        gains(right, [])
    other = [Classified(o.name, o.dataset, o.case_id, 1 - o.truth, o.scores) for o in chance]
    with pytest.raises(UltrasamError, match=r"other classes for 0\.png"):
        gains(right, other)


def test_a_file_of_classified_images_reads_back(tmp_path: Path) -> None:
    scores = np.array([[0.25, 0.75], [0.5, 0.5]])
    found = images([1, 0], scores)
    write_classified(tmp_path / "p.csv", found, ("benign, solid", "malignant"))
    assert read_classified(tmp_path / "p.csv") == (("benign, solid", "malignant"), found)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UltrasamError, match="holds no classified images"):
        read_classified(tmp_path / "other.csv")


def test_what_cannot_be_compared_or_bounded_says_so(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    found = images([0, 1, 1, 0], scores)
    with pytest.raises(UltrasamError, match="of one class: test more"):
        gains(found, found[1:3])
    with pytest.raises(UltrasamError, match="stands twice"):
        gains([*found, found[0]], found)
    # A class with a single case is in every draw with the same images.
    assert evaluate_classes(found[:3], ("a", "b")).intervals["f1"] is None
    # A fold with one class has no figures, and the others stand.
    folds = [
        Classified(o.name, o.dataset, o.case_id, o.truth, o.scores, 1 + (n > 2)) for n, o in enumerate(found)
    ]
    assert "| 2 | 1 | - | - | - | - |" in fold_table(folds, ("a", "b"))
    path = tmp_path / "p.csv"
    write_classified(path, found, ("a", "b"))
    path.write_text(path.read_text().replace("0.900000", "nan"))
    with pytest.raises(UltrasamError, match="a score is no number"):
        read_classified(path)
