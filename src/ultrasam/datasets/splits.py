"""Splits by case: all frames of a patient, exam or group of near-duplicates go to the same side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultrasam.io.coco import CocoImage


def held_out_cases(cases: Iterable[str], share: float, seed: int) -> frozenset[str]:
    """The cases to hold out: `share` of the distinct `cases`, rounded; of two or more at least 1, never all.

    Cases are ordered by a hash of (seed, case), so the choice does not depend on the order of the files,
    and a case added later moves few others. ValueError for a share that is not at least 0 and less than 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share to hold out is at least 0 and less than 1, not {share:g}")
    distinct = sorted(set(cases), key=lambda case: hashlib.sha256(f"{seed}/{case}".encode()).digest())
    count = round(share * len(distinct))
    if share > 0 and len(distinct) > 1:
        count = min(max(count, 1), len(distinct) - 1)
    return frozenset(distinct[:count])


def group_of(image: CocoImage, annotations: Path) -> tuple[str, str]:
    """(data set, case) of an image of the COCO file `annotations`.

    Without the keys `dataset` and `case_id` the whole file is one data set and each image file a case.
    """
    return image.dataset or annotations.stem, image.case_id or image.file_name


def held_out_groups(groups: Iterable[tuple[str, str]], share: float, seed: int) -> frozenset[tuple[str, str]]:
    """The (data set, case) pairs among `groups` to hold out: `held_out_cases` within each data set."""
    cases: dict[str, set[str]] = {}
    for dataset, case in groups:
        cases.setdefault(dataset, set()).add(case)
    return frozenset(
        (dataset, case) for dataset, members in cases.items() for case in held_out_cases(members, share, seed)
    )
