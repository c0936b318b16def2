"""Table 1 of the UltraSam paper (Meyer et al. 2025, arXiv:2411.16222): its numbers, and whose they are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ultrasam.zoo.card import Card

POINT, BOX = "point", "box"
STAR = "ultrasam-star"
ROWS = {"sam": "SAM", "medsam": "MedSAM", "ultrasam": "UltraSam", STAR: "UltraSam*"}
"""The rows of the table, in its order, by the name that is used for them here."""
TESTS = {"bus_bra": "BUS-BRA", "mmotu_2d": "MMOTU2D", "gist514_db": "GIST514-DB"}
"""The test sets of the table, in its order: id in the catalogue -> what the paper calls it."""


@dataclass(frozen=True)
class Published:
    """COCO's mean average precision of masks with IoU 0.50:0.95 and 0.50, in percent as printed."""

    map: float
    map50: float


_NUMBERS = {
    (POINT, "sam"): ((14.2, 27.2), (2.1, 4.7), (6.2, 12.2)),
    (POINT, "medsam"): ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0)),
    (POINT, "ultrasam"): ((67.5, 95.7), (57.5, 85.7), (55.5, 90.8)),
    (POINT, STAR): ((58.3, 92.7), (44.4, 70.6), (9.3, 17.4)),
    (BOX, "sam"): ((68.1, 100.0), (34.5, 58.8), (57.2, 92.2)),
    (BOX, "medsam"): ((59.1, 98.9), (48.8, 95.4), (30.4, 81.0)),
    (BOX, "ultrasam"): ((79.1, 99.0), (79.5, 100.0), (73.0, 100.0)),
    (BOX, STAR): ((76.5, 100.0), (79.6, 100.0), (69.4, 98.9)),
}
TABLE1 = {
    (prompt, row, dataset): Published(*numbers)
    for (prompt, row), line in _NUMBERS.items()
    for dataset, numbers in zip(TESTS, line, strict=True)
}
"""(prompt, row, test set) -> what the paper has."""

# Each UltraSam* has not seen the organ of one test: what its name may say of it.
_UNSEEN = {
    "bus_bra": ("breast", "busbra", "bus-bra", "bus_bra"),
    "mmotu_2d": ("ovar", "mmotu"),
    "gist514_db": ("gastro", "gist"),
}


def row_of(card: Card) -> str | None:
    """The row of `ROWS` that a model belongs to, as far as its card tells; None for any other model.

    `ultrasam models import` writes whose weights it took. UltraSam*, which was trained without an organ, has
    the files of UltraSam: only the word "star" in the id of the card says which it is.
    """
    preprocessing = card.about.get("preprocessing")
    if re.search(r"(^|[-_. ])star([-_. ]|$)", card.id.lower()):
        return STAR
    if preprocessing in ("medsam", "ultrasam"):
        return str(preprocessing)
    if re.fullmatch(r"ultrasam-vit-b(-int8)?", card.id.lower()):  # trained by the recipe of this name
        return "ultrasam"
    # The paper's SAM is ViT-B; other sizes have no row.
    if preprocessing == "sam" and card.about.get("architecture") == "SAM vit-b":
        return "sam"
    return None


def unseen_test(card: Card) -> str | None:
    """The test set of the organ that an UltraSam* has not seen, if the id of its card names the organ
    ("breast", "ovary", "gastrointestinal") or the set; None if it does not.
    """
    name = card.id.lower()
    return next((test for test, words in _UNSEEN.items() if any(word in name for word in words)), None)


def published(card: Card, row: str | None, dataset: str, prompt: str) -> Published | None:
    """What the paper has for the model in this place; None where it has nothing.

    An UltraSam* that names its organ is compared on the test of this organ alone.
    """
    if row is None or (row == STAR and unseen_test(card) not in (None, dataset)):
        return None
    return TABLE1.get((prompt, row, dataset))
