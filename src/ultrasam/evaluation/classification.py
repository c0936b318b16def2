"""Classes of images: precision, recall, F1, AUROC and the confusion matrix, with intervals over cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Interval = tuple[float, float]
FIGURES = ("precision", "recall", "f1", "auroc")
"""The figures of a table, in its order."""


@dataclass(frozen=True)
class Classified:
    """One image with its true class and a score from 0 to 1 for each class.

    `fold` is the run of a cross-validation that it was tested in, 0 for a single run.
    """

    name: str
    dataset: str
    case_id: str
    truth: int
    scores: tuple[float, ...]
    fold: int = 0

    @property
    def predicted(self) -> int:
        """The class with the highest score, the first of equal ones."""
        return int(np.argmax(self.scores))


@dataclass(frozen=True)
class ClassFigures:
    """One class: `support` images are of it; its precision is 0 where it was never predicted."""

    name: str
    support: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Classification:
    """The figures of one set of images.

    `macro` has the mean over the classes that an image is of, by the names of `FIGURES`; `intervals` their
    95 % intervals by bootstrap over cases, None where a class has a single case. The AUROC is that of each
    class against the others, by its share of the scores; with two classes that of the second. Of a
    cross-validation it compares scores of the models of all folds. `matrix` (K, K) counts images by true and
    predicted class. `absent` are classes without an image, which no figure knows.
    """

    classes: tuple[str, ...]
    images: int
    cases: int
    macro: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    by_class: tuple[ClassFigures, ...]
    matrix: Counts
    absent: tuple[str, ...]


def evaluate_classes(
    found: Sequence[Classified], classes: Sequence[str], draws: int = 1000, seed: int = 0
) -> Classification:
    """Raises UltrasamError without images, or if all are of one class: then no figure says anything."""
    if not found:
        raise UltrasamError("there is no image to evaluate")
    truth, scores = _arrays(found)
    counts = np.bincount(truth, minlength=len(classes))
    if np.count_nonzero(counts) < 2:
        raise UltrasamError(
            f"all {len(found)} images are of the class {classes[int(truth[0])]}: precision, recall and AUROC "
            "need images of two classes or more"
        )
    matrix = confusion(truth, scores)
    precision, recall, f1 = precision_recall_f1(matrix)
    macro = figures(truth, scores)
    drawn = _bootstrap(found, lambda rows: figures(truth[rows], scores[rows]), draws, seed)
    return Classification(
        classes=tuple(classes),
        images=len(found),
        cases=len({(one.dataset, one.case_id) for one in found}),
        macro=macro,
        intervals={name: _interval(drawn, name) for name in FIGURES},
        by_class=tuple(
            ClassFigures(name, int(counts[k]), float(precision[k]), float(recall[k]), float(f1[k]))
            for k, name in enumerate(classes)
        ),
        matrix=matrix,
        absent=tuple(name for name, count in zip(classes, counts, strict=True) if not count),
    )


@dataclass(frozen=True)
class Gain:
    """One figure of a model less that of another on the same images, and its 95 % interval over cases."""

    figure: str
    difference: float
    interval: Interval | None


def gains(
    found: Sequence[Classified], other: Sequence[Classified], draws: int = 1000, seed: int = 0
) -> list[Gain]:
    """Each figure of `found` less that of `other`, over the images that both have.

    A draw of cases is the same for both. Raises UltrasamError if they have no image in common, or call one
    by another class.
    """
    theirs = {(one.dataset, one.name): one for one in other}
    if len(theirs) < len(other) or len({(one.dataset, one.name) for one in found}) < len(found):
        raise UltrasamError("an image stands twice among those of a run: test each image once")
    both = [(one, theirs[one.dataset, one.name]) for one in found if (one.dataset, one.name) in theirs]
    if not both:
        raise UltrasamError("the two runs have no image in common: test both on the same images")
    differs = next((one.name for one, two in both if one.truth != two.truth), None)
    if differs is not None:
        raise UltrasamError(f"the two runs have other classes for {differs}: test both on the same labels")
    truth, first = _arrays([one for one, _ in both])
    if len(np.unique(truth)) < 2:
        raise UltrasamError(f"the {len(both)} images that both runs have are of one class: test more")
    _, second = _arrays([two for _, two in both])

    def of(rows: NDArray[np.intp]) -> dict[str, float]:
        ours, others = figures(truth[rows], first[rows]), figures(truth[rows], second[rows])
        return {name: ours[name] - others[name] for name in FIGURES}

    values = of(np.arange(len(both)))
    drawn = _bootstrap([one for one, _ in both], of, draws, seed)
    return [Gain(name, values[name], _interval(drawn, name)) for name in FIGURES]


def figures(truth: NDArray[np.intp], scores: Array) -> dict[str, float]:
    """The macro figures of true classes (N,) and scores (N, K), over the classes that occur in `truth`."""
    matrix = confusion(truth, scores)
    present = matrix.sum(axis=1) > 0
    means = (float(values[present].mean()) for values in precision_recall_f1(matrix))
    return dict(zip(FIGURES, (*means, auroc(truth, scores)), strict=True))


def confusion(truth: NDArray[np.intp], scores: Array) -> Counts:
    """(K, K): images by true (rows) and predicted class."""
    size = scores.shape[1]
    pairs = truth * size + scores.argmax(axis=1)
    return np.bincount(pairs, minlength=size * size).reshape(size, size).astype(np.int64)


def precision_recall_f1(matrix: Counts) -> tuple[Array, Array, Array]:
    """Of each class (K,), from the confusion matrix; 0 where there is nothing to divide by."""
    right = np.diag(matrix).astype(np.float64)
    predicted, true = matrix.sum(axis=0), matrix.sum(axis=1)
    precision = right / np.maximum(predicted, 1)
    recall = right / np.maximum(true, 1)
    return precision, recall, 2 * right / np.maximum(predicted + true, 1)


def auroc(truth: NDArray[np.intp], scores: Array) -> float:
    """The mean area under the ROC curve of each class that occurs against the others, by the share of its
    score; with two classes in all that of the second. NaN if all images are of one class.

    The area is the share of pairs in which the image of the class has the higher score, ties by half (Hanley
    and McNeil 1982, doi:10.1148/radiology.143.1.7063747).
    """
    present = np.unique(truth)
    if len(present) < 2:
        return float("nan")
    shares = scores / np.maximum(scores.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    wanted = [1] if scores.shape[1] == 2 else present.tolist()
    return float(np.mean([_area(truth == k, shares[:, k]) for k in wanted]))


def _area(positive: NDArray[np.bool_], scores: Array) -> float:
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[places]
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


def _arrays(found: Sequence[Classified]) -> tuple[NDArray[np.intp], Array]:
    truth = np.array([one.truth for one in found], np.intp)
    return truth, np.array([one.scores for one in found], np.float64)


def _bootstrap(
    found: Sequence[Classified],
    of: Callable[[NDArray[np.intp]], Mapping[str, float]],
    draws: int,
    seed: int,
) -> list[Mapping[str, float]]:
    """Figures of draws of as many cases as there are, with replacement, from each data set by itself; only
    those draws in which every class occurs that does so in all.
    """
    cases: dict[str, dict[str, list[int]]] = {}
    for row, one in enumerate(found):
        cases.setdefault(one.dataset, {}).setdefault(one.case_id, []).append(row)
    if draws < 1 or max(map(len, cases.values())) < 2:
        return []
    truth = np.array([one.truth for one in found])
    present = len(np.unique(truth))
    of_class = {one.truth: {(o.dataset, o.case_id) for o in found if o.truth == one.truth} for one in found}
    if min(map(len, of_class.values())) < 2:  # every draw would have the same case
        return []
    groups = [[np.array(rows, np.intp) for rows in members.values()] for members in cases.values()]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        picked = [
            members[place] for members in groups for place in rng.integers(len(members), size=len(members))
        ]
        rows = np.concatenate(picked)
        if len(np.unique(truth[rows])) == present:
            drawn.append(of(rows))
    return drawn


def _interval(drawn: Sequence[Mapping[str, float]], name: str) -> Interval | None:
    if not drawn:
        return None
    low, high = np.percentile([one[name] for one in drawn], (2.5, 97.5))
    return float(low), float(high)
