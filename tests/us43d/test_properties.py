"""What holds for any data: ids, groups, splits, masks on the disk and filled outlines."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as mask_api
from scipy import ndimage

from tests.us43d.truth import Mask, ellipse, ellipse_points, outline
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import decode_segmentation, encode_rle
from ultrasam.datasets.convert import GROUP, Group, Job, convert, grouped, image_id
from ultrasam.datasets.plan import make_plan
from ultrasam.datasets.readers.masks import resize_mask
from ultrasam.datasets.readers.outlines import fill_outline
from ultrasam.datasets.record import Object, Record, Sample
from ultrasam.datasets.splits import held_out_groups

Key = tuple[str, str, int | None]

PLAIN = st.text("abcXYZ019._- ()", min_size=1, max_size=8)
KEYS = st.tuples(PLAIN, st.one_of(st.just(""), PLAIN), st.one_of(st.none(), st.integers(0, 100_000)))
# Keys of which some differ only in what a file's name does not tell.
ALIKE = st.tuples(
    st.sampled_from(["a", "A", "a b", "a-b", "a__00001"]),
    st.sampled_from(["", "b", "B", "00001"]),
    st.sampled_from([None, 1]),
)
MASKS = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))
FEW = np.ones((3, 3), np.bool_)


def nothing() -> Sample:
    raise NotImplementedError


def record(case: str, view: str = "", frame: int | None = None, file: str = "a.png") -> Record:
    return Record(case=case, view=view, frame=frame, files=(Path(file),), load=nothing)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("raw")


@given(st.lists(KEYS, unique=True, min_size=1, max_size=30))
def test_image_ids_are_63_bits_unique_and_the_same_in_any_order(keys: list[Key]) -> None:
    ids = {key: image_id("set", record(*key)) for key in keys}
    assert len(set(ids.values())) == len(keys)
    assert all(0 <= number < 2**63 for number in ids.values())
    assert {key: image_id("set", record(*key)) for key in reversed(keys)} == ids
    assert all(image_id("other", record(*key)) != number for key, number in ids.items())


def test_image_ids_stay_what_they_are() -> None:
    """The first 8 bytes of `printf %s camus/patient0001/2CH/3 | sha256sum`, without the lowest bit."""
    assert image_id("camus", record("patient0001", "2CH", 3)) == 0x3213E709982FD7B9 >> 1
    assert image_id("busi", record("benign-1")) == 0xF4534DF285212709 >> 1


def test_image_ids_differ_where_a_part_holds_a_slash() -> None:
    first, second = record("a/b", "c"), record("a", "b/c")
    assert first.name != second.name
    assert image_id("set", first) != image_id("set", second)


@given(st.lists(ALIKE, unique=True, min_size=2, max_size=12))
def test_records_that_would_become_one_file_are_problems(empty: Path, keys: list[Key]) -> None:
    records = [record(*key, file=str(empty / f"{number}.png")) for number, key in enumerate(keys)]
    names = [one.name.lower() for one in records]
    single = [one for one in records if names.count(one.name.lower()) == 1]
    assume(single)
    plan = make_plan(lambda raw: records, empty)
    assert [one for group in plan.groups for one in group.records] == single
    assert len(plan.problems) == len(records) - len(single)


@given(KEYS)
def test_a_name_is_fit_for_a_file(key: Key) -> None:
    name = record(*key).name
    assert set(name) <= set("abcdefXYZ0123456789._-")
    assert not name.startswith((".", "-"))


def test_a_name_is_never_empty() -> None:
    assert record("患者").name


def frames_of(counts: Iterable[int]) -> list[Record]:
    """For each count a file with so many frames, one after the other."""
    return [
        record(f"case{file}", frame=frame, file=f"{file}.nii")
        for file, count in enumerate(counts)
        for frame in range(count)
    ]


COUNTS = st.lists(st.one_of(st.just(1), st.integers(2, 40)), max_size=60)


@given(COUNTS)
def test_groups_hold_every_record_once_and_no_file_twice(counts: list[int]) -> None:
    records = frames_of(counts)
    groups = list(grouped(records))
    assert sorted(one.name for group in groups for one in group.records) == sorted(r.name for r in records)
    files = [file for group in groups for file in group.files]
    assert len(files) == len(set(files)), "the frames of one file are in two groups"
    for group in groups:
        assert list(group.records) == [one for one in records if one in group.records]
        assert len(group.files) == 1 or len(group.records) <= GROUP


@given(COUNTS)
def test_groups_keep_the_order(counts: list[int]) -> None:
    records = frames_of(counts)
    assert [one for group in grouped(records) for one in group.records] == records


def drawn(objects: list[tuple[str, int]]) -> Sample:
    """For each (annotator, parts) an object in so many parts."""
    masks = []
    for annotator, count in objects:
        mask = np.zeros((9, 9), np.bool_)
        mask.ravel()[[9 * (i // 4) * 2 + 2 * (i % 4) for i in range(count)]] = True
        masks.append(Object("nerve", mask, annotator=annotator))
    return Sample(np.zeros((9, 9), np.uint8), tuple(masks))


OBJECTS = st.lists(st.tuples(st.sampled_from(["", "second", "0"]), st.integers(0, 12)), max_size=4)


@given(st.dictionaries(KEYS, OBJECTS, min_size=1, max_size=6))
def test_annotation_ids_are_unique_and_name_their_image(
    empty: Path, content: dict[Key, list[tuple[str, int]]]
) -> None:
    records = [
        Record(key[0], (empty / "x",), partial(drawn, objects), view=key[1], frame=key[2])
        for key, objects in content.items()
    ]
    result = convert(Job(Group(tuple(records)), "set", ("nerve",), empty, True))
    ids = []
    for entry, objects in zip(result.entries, content.values(), strict=True):
        own = [one for annotations in entry["annotations"].values() for one in annotations]
        assert len(own) == sum(count for _, count in objects)
        assert all(one["image_id"] == entry["image"]["id"] for one in own)
        ids += [one["id"] for one in own]
    assert len(ids) == len(set(ids)) and all(0 <= number < 2**63 for number in ids)


IMAGES = st.lists(st.tuples(st.sampled_from("abc"), st.text("xyz01/", max_size=4)), max_size=60)


@given(IMAGES, st.floats(0, 0.99), st.integers(0, 2**31))
def test_no_case_is_on_both_sides_of_a_split(images: list[tuple[str, str]], share: float, seed: int) -> None:
    held_out = held_out_groups(images, share, seed)
    train = [image for image in images if image not in held_out]
    val = [image for image in images if image in held_out]
    assert held_out <= set(images)
    assert not set(train) & set(val)
    assert held_out_groups(reversed(images), share, seed) == held_out
    for dataset in {name for name, _ in images}:
        cases = {case for name, case in images if name == dataset}
        left = {case for name, case in train if name == dataset}
        assert left or len(cases) == 1, "a whole data set is held out"
        if share and len(cases) > 1:
            assert left != cases, "nothing of a data set is held out"
        # What other sets there are does not matter.
        alone = held_out_groups([(name, case) for name, case in images if name == dataset], share, seed)
        assert alone == {group for group in held_out if group[0] == dataset}


@given(MASKS)
def test_rle_comes_back_and_is_that_of_others(mask: Mask) -> None:
    rle = encode_rle(mask)
    assert np.array_equal(decode_segmentation(rle, *mask.shape), mask)
    assert np.array_equal(mask_api.decode(rle).astype(np.bool_), mask)
    assert mask_api.area(rle) == np.count_nonzero(mask)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_a_mask_made_smaller_is_set_where_half_of_it_is(
    height: int, width: int, down: int, across: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height * down, width * across)) < rng.uniform(0.3, 0.7)
    share = mask.reshape(height, down, width, across).mean(axis=(1, 3))
    small = resize_mask(mask, (height, width))
    assert small.shape == (height, width) and small.dtype == np.bool_
    # Pillow rounds to eight bits along each axis: what is nearly half may become either.
    clear = np.abs(share - 0.5) > 0.005
    assert np.array_equal(small[clear], share[clear] > 0.5)
    if {down, across} <= {1, 2, 4}:
        assert small[share == 0.5].all()


@given(MASKS, st.integers(1, 12), st.integers(1, 12))
def test_a_mask_made_larger_and_smaller_again_is_the_same(mask: Mask, down: int, across: int) -> None:
    large = np.repeat(np.repeat(mask, down, axis=0), across, axis=1)
    assert np.array_equal(resize_mask(large, mask.shape), mask)


@given(MASKS, st.integers(1, 90), st.integers(1, 90))
def test_a_mask_of_one_value_keeps_it_in_any_size(mask: Mask, height: int, width: int) -> None:
    assert np.array_equal(resize_mask(mask, (*mask.shape, 3)), mask)
    for value in (False, True):
        assert (resize_mask(np.full(mask.shape, value), (height, width)) == value).all()


@given(MASKS)
def test_whatever_is_drawn_belongs_to_the_filled_outline_or_is_refused(mask: Mask) -> None:
    try:
        filled = fill_outline(mask, Path("mask.png"))
    except UltrasamError as error:
        assert "mask.png" in str(error)
        return
    assert filled.shape == mask.shape and filled.dtype == np.bool_
    assert filled[mask].all()
    assert filled.any() == mask.any()


@given(st.floats(5, 30), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_the_outline_of_a_disk_fills_to_the_disk(radius: float, x: float, y: float, thin: bool) -> None:
    size = (90, 110)
    middle = radius + 2 + x * (size[1] - 2 * radius - 4), radius + 2 + y * (size[0] - 2 * radius - 4)
    disk = ellipse(size, *middle, radius, radius)
    around = ndimage.generate_binary_structure(2, 1) if thin else FEW
    line = disk & ~ndimage.binary_erosion(disk, around)
    filled = fill_outline(line, Path("mask.png"))
    assert np.array_equal(filled, disk)
    again = filled & ~ndimage.binary_erosion(filled, around)
    assert np.array_equal(fill_outline(again, Path("mask.png")), filled)


@given(
    st.floats(15, 145),
    st.floats(15, 105),
    st.floats(15, 60),
    st.floats(0.5, 1),
    st.floats(0, np.pi),
    st.integers(1, 3),
)
def test_an_ellipse_is_filled_wherever_the_border_cuts_it(
    x: float, y: float, a: float, ratio: float, angle: float, width: int
) -> None:
    size = (120, 160)
    points = ellipse_points(x, y, a, a * ratio, angle, 360)
    inside = [0 <= px < size[1] and 0 <= py < size[0] for px, py in points]
    # Much of the head is to be seen.
    assume(sum(inside) > 0.4 * len(points))
    line = outline(size, points, width)
    true = ellipse(size, x, y, a, a * ratio, angle) | line
    filled = fill_outline(line, Path("mask.png"))
    near = ndimage.binary_dilation(line, FEW, iterations=2)
    assert not ((filled != true) & ~near).any(), (
        f"{np.count_nonzero(filled != true)} pixels; cut {sum(a != b for a, b in pairwise(inside))} times"
    )


@given(
    st.floats(60, 100),
    st.floats(50, 70),
    st.floats(20, 45),
    st.floats(0.6, 1),
    st.integers(0, 359),
    st.integers(4, 60),
)
def test_an_outline_with_a_gap_becomes_its_ellipse(
    x: float, y: float, a: float, ratio: float, start: int, gap: int
) -> None:
    size = (120, 160)
    points = ellipse_points(x, y, a, a * ratio, 0.4, 360)
    points = points[start:] + points[:start]
    line = outline(size, points, 2)
    true = ellipse(size, x, y, a, a * ratio, 0.4) | line
    # What is drawn round the points of the gap is rubbed out.
    rows, columns = np.nonzero(line)
    ends = np.array(points[:gap])
    near = np.hypot(columns[:, None] + 0.5 - ends[:, 0], rows[:, None] + 0.5 - ends[:, 1]).min(axis=1) < 2.5
    line[rows[near], columns[near]] = False
    filled = fill_outline(line, Path("mask.png"))
    union = np.count_nonzero(filled | true)
    assert np.count_nonzero(filled & true) > 0.95 * union
