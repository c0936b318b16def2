"""Which part each image goes to: train, val, test, test_extra, or none."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from ultrasam.datasets.lists.groups import Item
from ultrasam.datasets.lists.options import ListOptions

Part = Literal["train", "val", "test", "test_extra", "near a test"]
PARTS: tuple[Part, ...] = ("train", "val", "test", "test_extra")
"""`test_extra` are the test parts of sources that the paper trained on; "near a test", which has no list, are
images for training that show the same as one for tests.
"""

OFFICIAL = ("bus_bra", "mmotu_2d", "gist514_db")
"""The sets whose own test parts are the tests of the paper."""

# Sets whose test part is not public: their validation part is held out in its place.
_TESTED_BY = {"reg_pro": "val"}
# Validation may have this many times its share rather than none, where cases are large.
_MOST_VAL = 1.4


@dataclass
class _Group:
    images: int = 0
    categories: set[int] = field(default_factory=set)


def assign(
    items: Sequence[Item], group_of: Callable[[str], str], options: ListOptions
) -> tuple[list[Part], list[str]]:
    """The part of each item, and remarks on what could not be had.

    `group_of` gives the group of a case: no group is parted between training, validation and tests. In the
    order of the sets, groups are drawn for validation in a random order that depends on the seed and their
    name alone, until it has its share of the set's images; then one more for each category that it lacks.
    A group without which training would lack a category is not drawn while there is another.
    With `paper_split` images are drawn instead of groups, and only the official tests are held out.
    """
    if options.paper_split:
        return _assign_images(items, options), []
    tests = [test_part(item) for item in items]
    # A set with masks in its test part only, as abdomen_us, is trained on.
    others = {item.dataset for item, test in zip(items, tests, strict=True) if test != "test_extra"}
    tests = [test if item.dataset in others else None for item, test in zip(items, tests, strict=True)]
    with_tests = {group_of(item.case) for item, test in zip(items, tests, strict=True) if test}
    pools: dict[str, dict[str, _Group]] = defaultdict(dict)
    for item in items:
        group = group_of(item.case)
        if group not in with_tests:
            entry = pools[item.dataset].setdefault(group, _Group())
            entry.images += 1
            entry.categories |= item.categories
    chosen: dict[str, bool] = {}
    remarks = []
    for dataset in sorted(pools):
        remarks += [f"{dataset}: {text}" for text in _choose(pools[dataset], chosen, options)]
    parts: list[Part] = []
    for item, test in zip(items, tests, strict=True):
        group = group_of(item.case)
        if test:
            parts.append(test)
        elif group in with_tests:
            parts.append("near a test")
        else:
            parts.append("val" if chosen[group] else "train")
    return parts, remarks


def test_part(item: Item) -> Part | None:
    """The part of an image that its source holds out for tests; None for others."""
    if item.part != _TESTED_BY.get(item.dataset, "test"):
        return None
    return "test" if item.dataset in OFFICIAL else "test_extra"


def _choose(groups: Mapping[str, _Group], chosen: dict[str, bool], options: ListOptions) -> list[str]:
    """Decide for each group of a set, in `chosen`, whether it is for validation.

    Groups that an earlier set has decided on stay as they are. Returns what is to be told.
    """
    total = sum(group.images for group in groups.values())
    wanted = options.val * total
    got = sum(group.images for name, group in groups.items() if chosen.get(name))
    free = _drawn((name for name in groups if name not in chosen), options.seed)
    kept_for_training = len(groups) - len(free) - sum(chosen.get(name, False) for name in groups)
    # In how many groups that are not for validation each category is.
    kept = Counter(one for name, group in groups.items() if not chosen.get(name) for one in group.categories)
    val: list[str] = []
    if wanted > 0:
        for name in free:
            if got >= wanted:
                break
            fits = got + groups[name].images <= math.ceil(_MOST_VAL * wanted)
            if fits and _is_spared(name, groups, kept):
                val.append(name)
                got += groups[name].images
                kept.subtract(groups[name].categories)
        if got == 0 and free and len(groups) > 1:
            val.append(min(free, key=lambda name: groups[name].images))
        if len(val) == len(free) and not kept_for_training:
            del val[-1:]
        val += _for_categories(groups, {*val, *(name for name in groups if chosen.get(name))}, free)
    for name in free:
        chosen[name] = name in val
    if wanted > 0 and not val and not any(chosen.get(name) for name in groups):
        return ["all images belong together: none is held out for validation"]
    held = sum(groups[name].images for name in groups if chosen[name])
    if wanted > 0 and not 0.6 * wanted <= held <= _MOST_VAL * wanted and abs(held - wanted) > 2:
        return [f"{held:,} of {total:,} images are for validation, since cases are not divided"]
    return []


def _is_spared(name: str, groups: Mapping[str, _Group], kept: Mapping[int, int]) -> bool:
    """Whether training has each category of a group without it too; `kept` counts its groups of each."""
    return all(kept[category] > 1 for category in groups[name].categories)


def _for_categories(groups: Mapping[str, _Group], held: set[str], free: Sequence[str]) -> list[str]:
    """One more group for each category that those `held` out lack, if training keeps all it has and the group
    is no larger than most.
    """
    more: list[str] = []
    usual = sorted(group.images for group in groups.values())[len(groups) // 2]
    for category in sorted({one for group in groups.values() for one in group.categories}):
        if any(category in groups[name].categories for name in held.union(more)):
            continue
        rest = groups.keys() - held.union(more)
        kept = Counter(one for name in rest for one in groups[name].categories)
        choice = [
            name
            for name in free
            if category in groups[name].categories
            and groups[name].images <= usual
            and _is_spared(name, groups, kept)
        ]
        more += choice[:1]
    return more


def _assign_images(items: Sequence[Item], options: ListOptions) -> list[Part]:
    """The rule of the paper: of each set, whatever its cases, a share of the images that are no official
    test.
    """
    parts: dict[int, Part] = {}
    pools: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.dataset in OFFICIAL and item.part == "test":
            parts[id(item)] = "test"
        else:
            pools[item.dataset].append(item)
    for pool in pools.values():
        by_name = {str(item.id): item for item in pool}
        count = math.floor((1 - options.val) * len(pool))
        for place, name in enumerate(_drawn(by_name, options.seed)):
            parts[id(by_name[name])] = "train" if place < count else "val"
    return [parts[id(item)] for item in items]


def _drawn(names: Iterable[str], seed: int) -> list[str]:
    """The names in a random order that does not depend on the one they come in."""
    # A name may come from that of a file, which need not be text.
    return sorted(names, key=lambda name: sha256(f"{seed}/{name}".encode(errors="surrogatepass")).digest())
