"""Splits by case: all frames of a patient, exam or group of near-duplicates go to the same side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def held_out_cases(cases: Iterable[str], share: float, seed: int) -> frozenset[str]:
    """The cases to hold out: `share` of the distinct `cases`, rounded, at least one of two or more.

    Cases are ordered by a hash of (seed, case), so the choice does not depend on the order of the files, and a case
    added later moves few others.
    """
    distinct = sorted(set(cases), key=lambda case: hashlib.sha256(f"{seed}/{case}".encode()).digest())
    count = round(share * len(distinct))
    if share > 0 and len(distinct) > 1:
        count = min(max(count, 1), len(distinct) - 1)
    return frozenset(distinct[:count])
