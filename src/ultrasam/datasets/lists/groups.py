"""Near-duplicates: cases that show the same picture, in one set or several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ultrasam.datasets.likeness import detail, near_pairs
from ultrasam.datasets.lists.options import ListOptions
from ultrasam.datasets.processes import in_processes
from ultrasam.datasets.readers.masks import read_pixels

# Of two cases with many frames that may be alike so many pairs are looked at, the nearest first.
_LOOKS = 3
# Images whose details are read by one process at a time.
_CHUNK = 64


Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Item:
    """One image of a converted set, as the split sees it."""

    id: int
    dataset: str
    case: str
    file: Path
    part: str
    """The part of the source: "train", "val", "test" or ""."""
    phash: int
    categories: frozenset[int]


@dataclass(frozen=True)
class Pair:
    """Two images that look alike: their places in the list, how many bits their hashes differ in, and the
    correlation of their details.
    """

    first: int
    second: int
    distance: int
    similarity: float


class Groups:
    """Cases that belong together: sets that can be joined, each named by its first case in the alphabet."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def of(self, case: str) -> str:
        """The name of the group of a case; its own if it was never joined."""
        root = case
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while (parent := self._parent.get(case, case)) != root:
            self._parent[case] = root
            case = parent
        return root

    def join(self, one: str, other: str) -> None:
        first, second = sorted((self.of(one), self.of(other)))
        self._parent[second] = first


def duplicate_groups(
    items: Sequence[Item], options: ListOptions, jobs: int = 1, tell: Callable[[int, int], None] | None = None
) -> tuple[Groups, list[Pair]]:
    """Cases joined where images of theirs are near-duplicates, and the pairs that joined them.

    Images of one case are not compared. `tell` hears how many images of how many were read. Raises
    UltrasamError if an image cannot be read.
    """
    groups = Groups()
    candidates = _candidates(items, options.distance)
    details = _details([items[number].file for number in _places(candidates)], jobs, tell)
    row = {number: place for place, number in enumerate(_places(candidates))}
    joined = []
    for distance, first, second in candidates:
        if groups.of(items[first].case) == groups.of(items[second].case):
            continue
        similarity = float(np.dot(*details[[row[first], row[second]]].astype(np.float32)))
        if similarity >= options.similarity:
            groups.join(items[first].case, items[second].case)
            joined.append(Pair(first, second, distance, round(similarity, 4)))
    return groups, joined


def _candidates(items: Sequence[Item], distance: int) -> list[tuple[int, int, int]]:
    """(bits, place, place) of images of different cases with near hashes, the nearest first; of two cases at
    most `_LOOKS`.
    """
    hashes = np.array([item.phash for item in items], np.uint64)
    numbers: dict[str, int] = {}
    case = np.array([numbers.setdefault(item.case, len(numbers)) for item in items], np.int64)
    pairs = near_pairs(hashes, distance)
    if len(pairs) == 0:
        return []
    pairs = pairs[case[pairs[:, 0]] != case[pairs[:, 1]]]
    bits = [int(one).bit_count() for one in hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]]
    looks: dict[tuple[int, int], int] = defaultdict(int)
    found = []
    for near, first, second in sorted(zip(bits, *pairs.T.tolist(), strict=True)):
        both = (min(case[first], case[second]), max(case[first], case[second]))
        looks[both] += 1
        if looks[both] <= _LOOKS:
            found.append((near, first, second))
    return found


def _places(candidates: Iterable[tuple[int, int, int]]) -> list[int]:
    return sorted({place for _, *both in candidates for place in both})


def _details(files: Sequence[Path], jobs: int, tell: Callable[[int, int], None] | None = None) -> Halves:
    """`likeness.detail` of each file, (N, 1024) float16: there may be many."""
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    found = []
    for number, rows in enumerate(in_processes(_read_details, chunks, min(jobs, max(len(chunks), 1)))):
        found.append(rows)
        if tell:
            tell(min((number + 1) * _CHUNK, len(files)), len(files))
    return np.concatenate(found) if found else np.empty((0, 1024), np.float16)


def _read_details(files: Sequence[Path]) -> Halves:
    return np.stack([detail(read_pixels(file)) for file in files]).astype(np.float16)
