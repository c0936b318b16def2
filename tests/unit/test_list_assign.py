"""Which part an image goes to: cases and near-duplicates stay together, tests are held out."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.us43d.truth import blob, scan

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.likeness import perceptual_hash
from ultrasam.datasets.lists import groups as groups_module
from ultrasam.datasets.lists.assign import Part, assign
from ultrasam.datasets.lists.groups import Groups, Item, duplicate_groups
from ultrasam.datasets.lists.options import ListOptions

OPTIONS = ListOptions()


def item(number: int, case: str, dataset: str = "hc18", part: str = "train", category: int = 1) -> Item:
    return Item(
        number, dataset, f"{dataset}/{case}", Path(f"{number}.png"), part, number, frozenset({category})
    )


def alone(case: str) -> str:
    return case


def parts_of(items: list[Item], parts: list[Part]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one, part in zip(items, parts, strict=True):
        found[one.dataset][part] += 1
    return dict(found)


cases = st.lists(
    st.tuples(
        st.sampled_from(["hc18", "tn3k", "bus_bra", "reg_pro"]),
        st.integers(0, 25),
        st.sampled_from(["train", "test", "val", ""]),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=150,
)


@settings(max_examples=150, deadline=None)
@given(cases, st.integers(0, 3), st.lists(st.tuples(st.integers(0, 149), st.integers(0, 149)), max_size=10))
def test_no_group_is_parted_and_nothing_for_tests_is_trained_on(
    rows: list[tuple[str, int, str, int]], seed: int, alike: list[tuple[int, int]]
) -> None:
    items = [
        item(n, str(case), dataset, part, category) for n, (dataset, case, part, category) in enumerate(rows)
    ]
    groups = Groups()
    for one, other in alike:
        groups.join(items[one % len(items)].case, items[other % len(items)].case)
    options = replace(OPTIONS, seed=seed)
    parts, _ = assign(items, groups.of, options)
    together: dict[str, set[str]] = defaultdict(set)
    held = {one.id for one in items if one.part == ("val" if one.dataset == "reg_pro" else "test")}
    # Where all there is is called a test, it is trained on.
    held &= {
        one.id
        for one in items
        if one.dataset == "bus_bra" or any(o.dataset == one.dataset and o.id not in held for o in items)
    }
    for one, part in zip(items, parts, strict=True):
        together[groups.of(one.case)].add(part)
        if one.id in held:
            assert part == ("test" if one.dataset == "bus_bra" else "test_extra")
        else:
            assert part in ("train", "val", "near a test")
    for found in together.values():
        assert len(found & {"train", "val"}) <= 1
        if found & {"test", "test_extra"}:
            assert not found & {"train", "val"}
        else:
            assert "near a test" not in found
    # The order in which the images come makes no difference.
    backwards, _ = assign(items[::-1], groups.of, options)
    assert backwards[::-1] == parts


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 400), st.integers(1, 9), st.integers(0, 5))
def test_validation_has_about_its_share(count: int, size: int, seed: int) -> None:
    items = [item(number, f"case{number // size}") for number in range(count)]
    parts, _ = assign(items, alone, replace(OPTIONS, seed=seed))
    found = Counter(parts)
    if count > size:
        assert 1 <= found["val"] < count
        assert found["val"] <= max(1.4 * 0.05 * count + 1, size)
        # It is reached, or no further case fits.
        assert 0.05 * count - size < found["val"]
    else:
        assert found["val"] == 0


def test_another_seed_draws_others_and_a_new_case_moves_few() -> None:
    items = [item(number, f"case{number}") for number in range(400)]
    first, _ = assign(items, alone, OPTIONS)
    other, _ = assign(items, alone, replace(OPTIONS, seed=1))
    assert first != other
    more, _ = assign([*items, item(400, "case400")], alone, OPTIONS)
    assert sum(one != two for one, two in zip(first, more, strict=False)) <= 2


def test_a_large_case_is_not_drawn_where_it_would_be_too_much() -> None:
    items = [item(number, "video" if number < 300 else f"case{number}") for number in range(400)]
    for seed in range(8):
        parts, _ = assign(items, alone, replace(OPTIONS, seed=seed))
        assert "val" not in parts[:300] and 20 <= parts.count("val") <= 28


def test_validation_has_each_category_that_training_keeps_too() -> None:
    items = [item(number, f"case{number}", category=2 if number in (7, 90) else 1) for number in range(200)]
    items.append(item(200, "case200", category=3))
    for seed in range(6):
        parts, _ = assign(items, alone, replace(OPTIONS, seed=seed))
        rare = [parts[7], parts[90]]
        assert "val" in rare and ("train" in rare or parts.count("val") == 11)


def test_a_category_that_one_case_has_is_trained_on() -> None:
    items = [
        item(number, f"case{number}", category=1 + (number % 50 == 0) * (number + 1)) for number in range(200)
    ]
    items += [item(200, "pair", category=900), item(201, "other", category=900)]
    for seed in range(30):
        parts, _ = assign(items, alone, replace(OPTIONS, seed=seed))
        assert [parts[number] for number in (0, 50, 100, 150)] == ["train"] * 4
        assert sorted(parts[200:]) == ["train", "val"]


def test_of_categories_that_share_cases_training_keeps_each() -> None:
    """One more case is held out for each of 2 and 3, but not both cases of 2."""
    shared = [{2}, {2, 3}, {3}]
    items = [item(number, f"case{number}") for number in range(100)]
    items += [replace(item(100 + n, f"rare{n}"), categories=frozenset(own)) for n, own in enumerate(shared)]
    for seed in range(20):
        parts, _ = assign(items, alone, replace(OPTIONS, seed=seed))
        for category in (2, 3):
            found = {part for part, one in zip(parts, items, strict=True) if category in one.categories}
            assert found == {"train", "val"}


def test_a_case_whose_name_is_no_text_is_drawn_too() -> None:
    """As names of files can be on Linux."""
    parts, _ = assign([item(number, f"\udcff{number}") for number in range(60)], alone, OPTIONS)
    assert set(parts) == {"train", "val"}


def test_one_case_is_all_for_training_and_that_is_told() -> None:
    parts, remarks = assign([item(number, "one") for number in range(9)], alone, OPTIONS)
    assert set(parts) == {"train"} and "none is held out" in remarks[0]


def test_without_validation_all_is_for_training() -> None:
    items = [item(number, f"case{number}") for number in range(40)]
    parts, remarks = assign(items, alone, replace(OPTIONS, val=0.0))
    assert set(parts) == {"train"} and remarks == []


def test_a_set_whose_share_cannot_be_had_is_told() -> None:
    items = [item(number, f"video{number // 50}") for number in range(150)]
    parts, remarks = assign(items, alone, OPTIONS)
    assert parts.count("val") == 50 and "50 of 150 images" in remarks[0]


def test_what_shows_the_same_as_a_test_is_left_out_with_its_case() -> None:
    groups = Groups()
    groups.join("busi/a", "bus_bra/t")
    items = [
        item(1, "t", "bus_bra", "test"),
        item(2, "a", "busi", ""),
        item(3, "a", "busi", ""),
        *[item(number, f"b{number}", "busi", "") for number in range(4, 40)],
    ]
    parts, _ = assign(items, groups.of, OPTIONS)
    assert parts[:3] == ["test", "near a test", "near a test"]
    assert set(parts[3:]) == {"train", "val"}


def test_the_rule_of_the_paper_draws_images_and_holds_out_its_three_tests_only() -> None:
    items = [item(number, "one", "camus", "test" if number < 10 else "train") for number in range(100)]
    items += [item(number, "p", "bus_bra", "test" if number < 110 else "train") for number in range(100, 150)]
    options = replace(OPTIONS, paper_split=True)
    parts, _ = assign(items, alone, options)
    assert parts_of(items, parts) == {
        "camus": {"train": 95, "val": 5},
        "bus_bra": {"test": 10, "train": 38, "val": 2},
    }
    assert assign(items, alone, options)[0] == parts
    assert assign(items, alone, replace(options, seed=4))[0] != parts


def test_groups_are_named_by_their_first_case_in_any_order() -> None:
    pairs = [("d", "c"), ("b", "e"), ("c", "e"), ("x", "y")]
    for order in (pairs, pairs[::-1]):
        groups = Groups()
        for one, other in order:
            groups.join(one, other)
        assert {case: groups.of(case) for case in "abcdexy"} == {
            **dict.fromkeys("bcde", "b"),
            "a": "a",
            **dict.fromkeys("xy", "x"),
        }


@pytest.fixture
def pictures(tmp_path: Path) -> list[Item]:
    """Three frames of a case, a smaller copy of one in another set, and pictures that are like nothing."""
    size = (120, 160)
    shown = [scan(size, seed, blob(size, 70, 60, 25, seed)) for seed in range(6)]
    small = np.asarray(Image.fromarray(shown[1]).resize((80, 60), Image.Resampling.BICUBIC))
    rows = [
        ("camus", "a", shown[0]),
        ("camus", "a", shown[1]),
        ("camus", "a", shown[1]),
        ("camus", "b", shown[2]),
        ("hc18", "c", small),
        ("hc18", "d", shown[3]),
        ("hc18", "e", shown[4]),
    ]
    found = []
    for number, (dataset, case, pixels) in enumerate(rows):
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        hashed = perceptual_hash(pixels)
        found.append(Item(number, dataset, f"{dataset}/{case}", path, "", hashed, frozenset({1})))
    return found


def test_a_copy_in_another_set_joins_the_cases_once(pictures: list[Item]) -> None:
    groups, pairs = duplicate_groups(pictures, OPTIONS)
    names = {one.case: groups.of(one.case) for one in pictures}
    assert names == {
        "camus/a": "camus/a",
        "camus/b": "camus/b",
        "hc18/c": "camus/a",
        "hc18/d": "hc18/d",
        "hc18/e": "hc18/e",
    }
    (pair,) = pairs
    assert {pictures[pair.first].case, pictures[pair.second].case} == {"camus/a", "hc18/c"}
    assert pair.distance <= 6 and pair.similarity > 0.9


def test_near_hashes_alone_do_not_join(pictures: list[Item]) -> None:
    same_hash = [replace(one, phash=77) for one in pictures]
    groups, pairs = duplicate_groups(same_hash, OPTIONS)
    assert len(pairs) <= 1
    assert groups.of("hc18/d") == "hc18/d" and groups.of("hc18/e") == "hc18/e"


@pytest.mark.parametrize("most", [2_000_000, 3])
def test_one_frame_that_two_videos_share_is_found_among_many_with_near_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """As two videos by one scanner have: other pictures with one hash, and a copy that is farther."""
    monkeypatch.setattr(groups_module, "_MOST_PAIRS", most)
    rng = np.random.default_rng(0)
    hashes = [int(one) for one in rng.integers(0, 1 << 63, 9)]
    size = (60, 80)
    videos = []
    for video in range(2):
        shown = [scan(size, 20 * video + frame, blob(size, 40, 30, 12, frame)) for frame in range(8)]
        copy = scan(size, 99, blob(size, 30, 30, 12, 9))
        small = Image.fromarray(copy).resize((80 - 20 * video, 60), Image.Resampling.BICUBIC)
        for frame, pixels in enumerate([*shown, np.asarray(small)]):
            path = tmp_path / f"{video}_{frame}.png"
            Image.fromarray(pixels).save(path)
            hashed = hashes[frame] ^ (video if frame == 8 else 0)
            videos.append(Item(len(videos), "camus", f"camus/{video}", path, "", hashed, frozenset({1})))
    groups, (pair,) = duplicate_groups(videos, OPTIONS)
    assert groups.of("camus/1") == "camus/0" and (pair.first, pair.second, pair.distance) == (8, 17, 1)


def test_without_pictures_there_are_no_groups() -> None:
    groups, pairs = duplicate_groups([], OPTIONS)
    assert pairs == [] and groups.of("x") == "x"


@pytest.mark.parametrize(
    ("name", "value"),
    [("val", -0.1), ("val", 1.0), ("val", float("nan")), ("min_area", -1), ("hole", -1), ("min_share", 1.5)]
    + [("distance", 16), ("similarity", 2.0), ("most_cut", -0.1)],
)
def test_an_option_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(UltrasamError, match=f"--{name.replace('_', '-')}"):
        ListOptions(**{name: value})
