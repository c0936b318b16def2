"""What the paper's Table 1 and Fig. 3 need: its tests among converted sets and its models in the store; what
is missing of them, and how to get it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.catalogue import DATASETS
from ultrasam.datasets.lists.assign import test_part
from ultrasam.datasets.lists.clean import largest_only
from ultrasam.datasets.lists.options import ListOptions
from ultrasam.datasets.lists.sources import chosen_sets, items_of
from ultrasam.datasets.results import ANNOTATIONS
from ultrasam.datasets.verify import built_sets
from ultrasam.evaluation.paper import Entrant
from ultrasam.evaluation.published import ROWS, STAR, TESTS, row_of, unseen_test
from ultrasam.evaluation.samples import Sample, limited, select_samples
from ultrasam.zoo.card import Card
from ultrasam.zoo.store import DEFAULT_MODEL, find, model_folders


@dataclass(frozen=True)
class Missing:
    """A part that is not there: `kind` "data", "model" or "run", and the steps to get it, each a sentence or
    a command.
    """

    kind: str
    id: str
    name: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Tests:
    """The images of the paper's tests, with the objects that it counts.

    `remarks` say where they are other than the paper's.
    """

    samples: tuple[Sample, ...]
    missing: tuple[Missing, ...]
    remarks: tuple[str, ...]


_HEADINGS = {"data": "Missing test sets", "model": "Missing models", "run": "Missing runs"}
_IMPORT = "ultrasam models import"
_WEIGHTS = {
    "sam": (
        "SAM ViT-B",
        "Download sam_vit_b_01ec64.pth (github.com/facebookresearch/segment-anything).",
        f"{_IMPORT} sam_vit_b_01ec64.pth --name sam-vit-b --licence Apache-2.0",
    ),
    "medsam": (
        "MedSAM",
        "Download medsam_vit_b.pth (github.com/bowang-lab/MedSAM).",
        f"{_IMPORT} medsam_vit_b.pth --name medsam --preprocessing medsam --licence Apache-2.0",
    ),
    "ultrasam": (
        "UltraSam",
        "Download UltraSam.pth from its authors (arXiv:2411.16222).",
        f'{_IMPORT} UltraSam.pth --name ultrasam-vit-b --licence "CC BY-NC-SA 4.0"',
    ),
}
# The organ that each UltraSam* has not seen, and the name of its recipe, by its test.
_STARS = {
    "bus_bra": ("breast", "ultrasam-star-busbra"),
    "mmotu_2d": ("ovary", "ultrasam-star-mmotu2d"),
    "gist514_db": ("gastrointestinal wall", "ultrasam-star-gist514"),
}


def find_tests(built: Path, limit: int | None = None) -> Tests:
    """The test parts of BUS-BRA, MMOTU-2D and GIST514-DB, as `ultrasam data split --paper-split` holds them
    out; of MMOTU-2D, as behind the paper's numbers, the largest object of an image and those nearly as
    large.

    `limit` is the largest number of images of a test. Raises UltrasamError if `built` is no folder, or if
    none of the three is there.
    """
    built_sets(built, ["any"])  # whether it is a folder
    samples: list[Sample] = []
    missing, remarks = [], []
    for name in TESTS:
        try:
            own, told = _test_samples(built, name)
        except UltrasamError as error:
            if (built / name).is_dir():
                remarks.append(f"{name}: {error}")
            missing.append(_missing_data(name, built))
            continue
        remarks += [*told, *_count_remarks(name, own)]
        samples += own if limit is None else limited(own, limit)
    if not samples:
        why = "".join(f"; {remark}" for remark in remarks)
        raise UltrasamError(
            f"{shown(built)} holds none of the three tests of the paper ({', '.join(TESTS)}): "
            f"`ultrasam data show NAME` says how to get each, `ultrasam data build` converts it{why}"
        )
    return Tests(tuple(samples), tuple(missing), tuple(remarks))


def _test_samples(built: Path, name: str) -> tuple[list[Sample], list[str]]:
    """The images of a set that are for tests, and what is to be told of it.

    Raises UltrasamError if it is not built or cannot be used.
    """
    options = ListOptions(paper_split=True)
    (one,), remarks = chosen_sets(built, options, [name])
    tests = {item.id for item in items_of(one, [one], options) if test_part(item) == "test"}
    samples = [s for s in select_samples(one.folder / ANNOTATIONS) if s.image.id in tests]
    if not samples:
        raise UltrasamError(f"no image of {shown(one.folder)} is for tests: build it again with its lists")
    return [_largest(sample) for sample in samples] if name == "mmotu_2d" else samples, remarks


def _largest(sample: Sample) -> Sample:
    kept = largest_only([{"id": one.id, "area": one.area} for one in sample.annotations])
    ids = {one["id"] for one in kept}
    return replace(sample, annotations=tuple(one for one in sample.annotations if one.id in ids))


def _count_remarks(name: str, samples: Sequence[Sample]) -> list[str]:
    expected = DATASETS[name].tests
    if expected is None or len(samples) == expected:
        return []
    difference = len(samples) - expected
    much = f"{difference} more than" if difference > 0 else f"{-difference} fewer than"
    return [f"{name}: {len(samples)} test images, {much} the {expected} of the paper"]


def _missing_data(name: str, built: Path) -> Missing:
    entry = DATASETS[name]
    build = f"ultrasam data build --raw RAW --out {shown(built)} --only {name}"
    return Missing("data", name, entry.name, (*entry.access, build))


def find_models(names: Sequence[str] = ()) -> tuple[list[Entrant], list[Missing]]:
    """The models of the paper in the store, and the bundled one; with `names` those. And what is missing.

    An UltraSam* whose id names its organ is measured on the test of this organ alone. Raises UltrasamError if
    one of `names` is not there or a model of the store is damaged.
    """
    entrants = []
    for name in names or model_folders():
        weights = find(name) if names or _takes_part(name) else None
        if weights is None:
            continue
        row = row_of(weights.card)
        organ = unseen_test(weights.card) if row == STAR else None
        entrants.append(Entrant(weights, row, None if organ is None else (organ,)))
    order = [*ROWS, None]
    entrants.sort(key=lambda one: (order.index(one.row), one.weights.card.id))
    return entrants, _missing_models(entrants)


def _takes_part(name: str) -> bool:
    """Whether a model of the store is one of the paper's or the bundled one; a damaged card is none."""
    if name == DEFAULT_MODEL:
        return True
    try:
        return row_of(Card.read(model_folders()[name])) is not None
    except UltrasamError:
        return False


def _missing_models(entrants: Iterable[Entrant]) -> list[Missing]:
    rows: Mapping[str | None, list[Entrant]] = {row: [] for row in ROWS}
    for one in entrants:
        rows.get(one.row, []).append(one)
    found = [
        Missing("model", row, *_named(_WEIGHTS[row])) for row in ROWS if row in _WEIGHTS and not rows[row]
    ]
    for test, (organ, name) in _STARS.items():
        if any(one.tests is None or test in one.tests for one in rows[STAR]):
            continue
        steps = (
            f"Ask its authors for it and import it with `{_IMPORT} FILE --name {name}`, or train it:",
            f"ultrasam train {name} --data LISTS/agnostic/train.json --init sam_vit_b_01ec64.pth",
            f"ultrasam export runs/{name} --out {name}",
            f"{_IMPORT} {name}",
        )
        found.append(Missing("model", name, f"UltraSam* that has not seen any {organ}", steps))
    return found


def _named(texts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    return texts[0], texts[1:]


def missing_markdown(missing: Sequence[Missing]) -> list[str]:
    """Paragraphs that say what is missing and how to get it; [] if nothing is."""
    parts = []
    for kind, heading in _HEADINGS.items():
        if own := [one for one in missing if one.kind == kind]:
            parts += [f"## {heading}", "\n".join(_line(one) for one in own)]
    return parts


def _line(one: Missing) -> str:
    steps = [f"`{step}`" if step.startswith("ultrasam ") else step for step in one.steps]
    return f"- `{one.id}`, {one.name}: " + " ".join(f"{n}. {step}" for n, step in enumerate(steps, 1))
