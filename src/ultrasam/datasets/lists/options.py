"""How lists are made: every threshold, and which sets go in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.catalogue import Terms

Licence = Literal["open", "nc", "all"]
"""Whose sets may go in: "open" only those for any use, "nc" also those for non-commercial use, "all" every
set, also those that may not be given on, are lent on request or say nothing.
"""

ALLOWED: dict[Licence, tuple[Terms, ...]] = {
    "open": ("open",),
    "nc": ("open", "non-commercial"),
    "all": get_args(Terms),
}


@dataclass(frozen=True)
class ListOptions:
    """The options of `ultrasam data split`; the defaults are ours, since the paper does not give its own.

    Training and validation: an object smaller than `min_area` pixels or `min_share` of its image is left
    out. Holes of up to `hole` pixels are closed. With `sector`, masks of the sets whose entry says so are cut
    where they reach beyond the ultrasound sector, and left out if more than `most_cut` of them is.

    Splits: about `val` of the images of each set, in whole cases, are for validation. Two images are
    near-duplicates if their perceptual hashes differ in at most `distance` bits and their details correlate
    by at least `similarity`; a split does not part them. `paper_split`: the rule of the paper instead, by
    image.
    """

    val: float = 0.05
    seed: int = 0
    paper_split: bool = False
    licence: Licence = "all"
    min_area: int = 64
    min_share: float = 0.0002
    hole: int = 16
    sector: bool = True
    most_cut: float = 0.5
    duplicates: bool = True
    distance: int = 6
    similarity: float = 0.8

    def __post_init__(self) -> None:
        for name, low, high in (
            ("val", 0, 0.9),
            ("min_area", 0, 10**9),
            ("min_share", 0, 1),
            ("hole", 0, 10**9),
            ("most_cut", 0, 1),
            ("distance", 0, 15),
            ("similarity", 0, 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UltrasamError(
                    f"--{name.replace('_', '-')} {value}: give a number from {low} to {high:,}"
                )
