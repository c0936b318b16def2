"""Near-duplicates: cases that show the same picture, in one set or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ultrasam.datasets.likeness import bits, detail, near_pairs
from ultrasam.datasets.lists.options import ListOptions
from ultrasam.datasets.processes import in_processes
from ultrasam.datasets.readers.masks import read_pixels

# Each image is looked at beside so many of every other case, the nearest ones: two videos by one scanner have
# near hashes all over, and what they share may be a single frame.
_LOOKS = 3
# Pairs in memory before those that are not looked at go: some 100 MB.
_MOST_PAIRS = 2_000_000
# Images whose details are read by one process at a time.
_CHUNK = 64

Halves = NDArray[np.float16]
Numbers = NDArray[np.int64]


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
    places = np.unique(candidates[:, 1:])
    details = _details([items[place].file for place in places.tolist()], jobs, tell)
    rows = np.searchsorted(places, candidates[:, 1:])
    joined = []
    for candidate, row in zip(candidates, rows, strict=True):
        distance, first, second = candidate.tolist()
        if groups.of(items[first].case) == groups.of(items[second].case):
            continue
        similarity = float(np.dot(*details[row].astype(np.float32)))
        if similarity >= options.similarity:
            groups.join(items[first].case, items[second].case)
            joined.append(Pair(first, second, distance, round(similarity, 4)))
    return groups, joined


def _candidates(items: Sequence[Item], distance: int) -> Numbers:
    """Rows (bits, place, place) of images of different cases with near hashes, the nearest first: those with
    which one of the two has at most `_LOOKS` - 1 nearer ones in the case of the other.
    """
    hashes = np.array([item.phash for item in items], np.uint64)
    numbers: dict[str, int] = {}
    case = np.array([numbers.setdefault(item.case, len(numbers)) for item in items], np.int64)
    found = np.empty((0, 3), np.int64)
    limit = _MOST_PAIRS
    for pairs in near_pairs(hashes, case, distance):
        near = bits(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])
        found = np.concatenate([found, np.column_stack([near, pairs])])
        if len(found) > limit:
            found = _nearest(found, case)
            limit = max(_MOST_PAIRS, 2 * len(found))
    return _nearest(found, case)


def _nearest(found: Numbers, case: Numbers) -> Numbers:
    """The rows that `_candidates` keeps."""
    near, first, second = found[np.lexsort(found.T[::-1])].T
    count = int(case.max(initial=0)) + 1
    kept = _before(first * count + case[second]) < _LOOKS
    kept |= _before(second * count + case[first]) < _LOOKS
    return np.stack([near[kept], first[kept], second[kept]], axis=1)


def _before(keys: Numbers) -> Numbers:
    """For each of (N,) keys how many before it are equal."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    found = np.empty_like(keys)
    found[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(starts, append=len(keys)))
    return found


def _details(files: Sequence[Path], jobs: int, tell: Callable[[int, int], None] | None = None) -> Halves:
    """`likeness.detail` of each file, (N, 1024) float16: there may be many."""
    details = np.empty((len(files), 1024), np.float16)
    starts = range(0, len(files), _CHUNK)
    chunks = [files[start : start + _CHUNK] for start in starts]
    results = in_processes(_read_details, chunks, min(jobs, max(len(chunks), 1)))
    for start, rows in zip(starts, results, strict=True):
        details[start : start + _CHUNK] = rows
        if tell:
            tell(start + len(rows), len(files))
    return details


def _read_details(files: Sequence[Path]) -> Halves:
    return np.stack([detail(read_pixels(file)) for file in files]).astype(np.float16)
