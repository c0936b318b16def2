"""The paper's Table 1 against its numbers typed again, and which model belongs to which of its rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import write_tiny_model

from ultrasam.datasets.catalogue import DATASETS
from ultrasam.datasets.lists.assign import OFFICIAL
from ultrasam.evaluation.published import ROWS, TABLE1, TESTS, Published, published, row_of, unseen_test
from ultrasam.zoo.card import Card

# As in the article, line by line: BUS-BRA, MMOTU2D, GIST514-DB.
PRINTED = """
point SAM        14.2 / 27.2 | 2.1 / 4.7   | 6.2 / 12.2
point MedSAM     0 / 0       | 0 / 0       | 0 / 0
point UltraSam   67.5 / 95.7 | 57.5 / 85.7 | 55.5 / 90.8
point UltraSam*  58.3 / 92.7 | 44.4 / 70.6 | 9.3 / 17.4
box   SAM        68.1 / 100  | 34.5 / 58.8 | 57.2 / 92.2
box   MedSAM     59.1 / 98.9 | 48.8 / 95.4 | 30.4 / 81.0
box   UltraSam   79.1 / 99.0 | 79.5 / 100  | 73.0 / 100
box   UltraSam*  76.5 / 100  | 79.6 / 100  | 69.4 / 98.9
"""


def card(folder: Path, model: str, **fields: object) -> Card:
    return Card.read(write_tiny_model(folder / model, model, **fields))


def test_the_numbers_are_those_of_the_paper() -> None:
    printed = {}
    for line in PRINTED.strip().splitlines():
        prompt, row, numbers = line.split(None, 2)
        for dataset, cell in zip(("bus_bra", "mmotu_2d", "gist514_db"), numbers.split("|"), strict=True):
            printed[prompt, row, dataset] = tuple(map(float, cell.split("/")))
    ours = {
        (prompt, ROWS[row], dataset): (one.map, one.map50) for (prompt, row, dataset), one in TABLE1.items()
    }
    assert ours == printed and len(printed) == 24


def test_the_tests_are_the_official_ones_of_the_catalogue() -> None:
    assert tuple(TESTS) == OFFICIAL
    assert {name: DATASETS[name].tests for name in TESTS} == {
        "bus_bra": 375,
        "mmotu_2d": 469,
        "gist514_db": 106,
    }


@pytest.mark.parametrize(
    ("model", "fields", "row"),
    [
        ("sam-vit-b", {"preprocessing": "sam", "architecture": "SAM vit-b"}, "sam"),
        ("sam-vit-h", {"preprocessing": "sam", "architecture": "SAM vit-h"}, None),
        ("anything", {"preprocessing": "medsam", "architecture": "SAM vit-b"}, "medsam"),
        ("anything", {"preprocessing": "ultrasam", "architecture": "SAM vit-b"}, "ultrasam"),
        ("ultrasam-star-breast", {"preprocessing": "ultrasam"}, "ultrasam-star"),
        ("mine_STAR", {}, "ultrasam-star"),
        ("starting-point", {"preprocessing": "ultrasam"}, "ultrasam"),  # no word of its own
        ("ultrasam-lite", {}, None),
        ("ultrasam-vit-b", {}, "ultrasam"),  # trained and exported here
        ("ultrasam-vit-b-int8", {}, "ultrasam"),
        ("ultrasam-vit-b-tuned", {}, None),
        ("own", {"preprocessing": ["odd"]}, None),
    ],
)
def test_a_card_tells_the_row(tmp_path: Path, model: str, fields: dict[str, object], row: str | None) -> None:
    assert row_of(card(tmp_path, model, **fields)) == row


def test_a_star_is_compared_on_the_organ_it_has_not_seen(tmp_path: Path) -> None:
    names = {"breast_lesion": "bus_bra", "ovary": "mmotu_2d", "gastrointestinal": "gist514_db"}
    names |= {"busbra": "bus_bra", "mmotu2d": "mmotu_2d", "gist514": "gist514_db"}
    for organ, test in names.items():
        one = card(tmp_path, f"ultrasam-star-{organ}")
        assert unseen_test(one) == test
        for dataset in TESTS:
            found = published(one, "ultrasam-star", dataset, "box")
            assert (found is not None) == (dataset == test), (organ, dataset)
    whole = card(tmp_path, "ultrasam-star")
    assert unseen_test(whole) is None
    assert published(whole, "ultrasam-star", "mmotu_2d", "point") == Published(44.4, 70.6)


def test_there_is_nothing_where_the_paper_has_nothing(tmp_path: Path) -> None:
    one = card(tmp_path, "sam-vit-b")
    assert published(one, None, "bus_bra", "box") is None
    assert published(one, "sam", "busi", "box") is None
    assert published(one, "sam", "bus_bra", "ellipse") is None
    assert published(one, "sam", "bus_bra", "box") == Published(68.1, 100.0)
