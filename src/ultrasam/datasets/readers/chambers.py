"""The four chambers of the heart in apical views, and whether labels lie as these do."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ultrasam.datasets.raw import file_state
from ultrasam.datasets.readers.volumes import slice_labels

# As the authors of CardiacUDC read them.
NAMES = {1: "left_ventricle", 2: "left_atrium", 3: "right_atrium", 4: "right_ventricle"}
# Of two chambers the first lies above the second (axis 0), or further left in the picture (axis 1).
_PLACES = ((1, 2, 0), (1, 3, 0), (4, 2, 0), (4, 3, 0), (4, 1, 1), (3, 2, 1))


def doubt(mask: Path, count: int) -> str:
    """Why the labels of a video of `count` frames may not be those of `NAMES`, "" if they are.

    The ventricles lie above the atria and the right heart left of the left one, on the mean over the frames.
    Other labels do not count. Raises UltrasamError if a frame cannot be read.
    """
    return _doubt(mask, count, file_state(mask))


# Each frame asks for it.
@lru_cache(maxsize=2)
def _doubt(mask: Path, count: int, state: str) -> str:
    frames = [
        {value: np.argwhere(labels == value).mean(axis=0) for value in NAMES if (labels == value).any()}
        for labels in (slice_labels(mask, index) for index in range(count))
    ]
    seen = False
    for first, second, axis in _PLACES:
        apart = [one[second][axis] - one[first][axis] for one in frames if first in one and second in one]
        seen = seen or bool(apart)
        if apart and np.mean(apart) <= 0:
            where = ("below", "to the right of")[axis]
            names = f"{NAMES[first]} and {NAMES[second]}"
            return f"has label {first} {where} label {second}, which in an apical view are no {names}"
    return "" if seen else "has no frame with two chambers, whose places tell what they are"
