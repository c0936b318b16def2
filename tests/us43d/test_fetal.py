"""What is particular to the sets of the fetus: images of another set, pickles, women, channels."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.us43d import raw_acouslic, raw_fass, raw_fast_u_net, raw_fh_ps_aop, raw_psfhs
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import decode_segmentation
from ultrasam.datasets.build import build, converter
from ultrasam.datasets.catalogue import DATASETS, dataset
from ultrasam.datasets.plan import Plan, make_plan
from ultrasam.datasets.readers.pickles import read_arrays
from ultrasam.datasets.record import Record

DATASET = "Fast-U-Net-main/Dataset"


def records(plan: Plan) -> list[Record]:
    return [record for group in plan.groups for record in group.records]


def problems(plan: Plan) -> dict[str, str]:
    return {problem.path.name: problem.reason for problem in plan.problems}


def planned(name: str, raw: Path, duplicates: bool = False) -> Plan:
    return make_plan(converter(name), raw, duplicates=duplicates)


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "annotations.json").read_bytes())
    return found


def test_heads_of_hc18_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    truth = raw_fast_u_net.write(tmp_path / "raw")
    heads = raw_fast_u_net.save_heads(tmp_path / "again")
    without = records(planned("fast_u_net", tmp_path / "raw"))
    both = records(planned("fast_u_net", tmp_path / "raw", duplicates=True))
    assert {record.case[:2] for record in without} == {"AC"}
    assert {record.name for record in both} - {record.name for record in without} == {
        name.removesuffix(".png") for name in heads
    }
    assert {record.name for record in both if record.duplicate_of == "hc18"} == {
        record.name for record in both if record.case.startswith("HC")
    }
    outcome = build(dataset("fast_u_net"), tmp_path / "raw", tmp_path, duplicates=True)
    assert outcome.counts["duplicates"] == len(heads)
    assert outcome.counts["images"] == len(heads) + len(truth.images)
    # What another set has does not count towards the 412.
    counted = [reason for _, reason in outcome.problems if "412" in reason]
    assert len(counted) == 1 and f"{len(truth.images)} " in counted[0]


def test_heads_that_are_asked_for_are_those_drawn(tmp_path: Path) -> None:
    raw_fast_u_net.write(tmp_path / "raw")
    heads = raw_fast_u_net.save_heads(tmp_path / "again")
    build(dataset("fast_u_net"), tmp_path / "raw", tmp_path, duplicates=True, partial=True)
    coco = content(tmp_path / "fast_u_net")
    images = {image["file_name"]: image for image in coco["images"]}
    assert heads.keys() < images.keys()
    for name, true in heads.items():
        image = images[name]
        assert image["attributes"] == {"duplicate_of": "hc18"}
        assert (image["case_id"], image["view"]) == (f"fast_u_net/{true.case}", true.view)
        assert image["split"] == true.split
        with Image.open(tmp_path / "fast_u_net" / "images" / name) as picture:
            assert np.array_equal(np.array(picture), true.pixels)
        (one,) = (one for one in coco["annotations"] if one["image_id"] == image["id"])
        assert one["category_id"] == 2
        mask = decode_segmentation(one["segmentation"], image["height"], image["width"])
        assert np.array_equal(mask, true.objects[0].mask)


def test_the_lists_of_the_heads_may_lie_a_level_higher(tmp_path: Path) -> None:
    raw_fast_u_net.write(tmp_path)
    before = planned("fast_u_net", tmp_path, duplicates=True)
    for part in ("train", "val"):
        shutil.move(tmp_path / DATASET / "HC" / f"{part}.txt", tmp_path / DATASET)
    after = planned("fast_u_net", tmp_path, duplicates=True)
    assert [(one.name, one.split) for one in records(after)] == [
        (one.name, one.split) for one in records(before)
    ]
    assert after.problems == before.problems


def test_archives_that_are_still_packed_are_named(tmp_path: Path) -> None:
    raw_fast_u_net.write(tmp_path)
    shutil.rmtree(tmp_path / DATASET / "AC" / "AC_mask")
    with pytest.raises(UltrasamError, match="no masks: unpack AC_image1.rar"):
        planned("fast_u_net", tmp_path)


def test_heads_of_other_names_do_not_cost_the_abdomens(tmp_path: Path) -> None:
    truth = raw_fast_u_net.write(tmp_path)
    for path in list((tmp_path / DATASET / "HC").rglob("*HC*.png")):
        path.rename(path.with_name(path.name.replace("_", "-")))
    plan = planned("fast_u_net", tmp_path, duplicates=True)
    assert {f"{record.name}.png" for record in records(plan)} > truth.images.keys()
    assert "no image in" in problems(plan)["HC"]


def test_one_name_in_two_archives_is_not_chosen_from(tmp_path: Path) -> None:
    raw_fast_u_net.write(tmp_path)
    folder = tmp_path / DATASET / "AC"
    shutil.copy(folder / "AC_image1/image/0001.png", folder / "AC_image2/image/0001.png")
    plan = planned("fast_u_net", tmp_path)
    assert "AC-0001" not in {record.case for record in records(plan)}
    assert sum("same name as 0001.png" in problem.reason for problem in plan.problems) == 2


def test_an_image_in_both_lists_is_never_for_validation(tmp_path: Path) -> None:
    raw_fast_u_net.write(tmp_path)
    table = tmp_path / DATASET / "AC" / "val.txt"
    table.write_text(table.read_text() + "image/0001.png mask/0001.png\n")
    plan = planned("fast_u_net", tmp_path)
    assert {record.case: record.split for record in records(plan)}["AC-0001"] == "train"
    assert "lists 0001.png, which train.txt has too" in problems(plan)["val.txt"]


def test_a_damaged_list_costs_the_parts_alone(tmp_path: Path) -> None:
    raw_fast_u_net.write(tmp_path)
    (tmp_path / DATASET / "AC" / "train.txt").write_text("0001.png 0001.png 0001.png\n")
    plan = planned("fast_u_net", tmp_path)
    assert "3 words" in problems(plan)["train.txt"]
    assert {record.split for record in records(plan)} == {"", "val"}


def test_no_code_in_a_pickle_is_run(tmp_path: Path) -> None:
    raw_fass.write(tmp_path / "raw")
    harm = tmp_path / "raw" / "harm"
    build(dataset("fass"), tmp_path / "raw", tmp_path, partial=True)
    assert not harm.exists()
    (file,) = (tmp_path / "raw").rglob("P03_IMG6.npy")
    np.load(file, allow_pickle=True)
    assert harm.exists(), "the fixture does no harm, so nothing was tested"


def written(path: Path, value: object) -> Path:
    array = np.empty((), dtype=object)
    array[()] = value
    np.save(path, array)
    return path


ODD: dict[str, tuple[object, str]] = {
    "list": ([1, 2], "holds a list"),
    "no key": ({"other": {}}, "no arrays by name under 'structures'"),
    "numbers for names": ({"structures": {1: np.zeros(3)}}, "no arrays by name"),
    "an array for them": ({"structures": np.zeros(3)}, "no arrays by name"),
    "objects": ({"structures": {"liver": np.array([None, 1])}}, "an array of O8"),
    "texts": ({"structures": {"liver": np.array(["a"])}}, "an array of U1"),
    "fields": ({"structures": {"liver": np.zeros(3, [("a", "O")])}}, "an array of V8"),
    "scalar": ({"structures": {"liver": np.float32(1)}}, "multiarray.scalar"),
    "a function": ({"structures": {"liver": print}}, "names builtins.print"),
}


@pytest.mark.parametrize("name", ODD)
def test_pickles_of_anything_but_arrays_are_refused(name: str, tmp_path: Path) -> None:
    value, words = ODD[name]
    with pytest.raises(UltrasamError, match=words):
        read_arrays(written(tmp_path / "a.npy", value), "structures")


@pytest.mark.parametrize("kind", ["?", "u1", ">i2", "<u4", "f8"])
def test_arrays_of_any_numbers_come_out_as_they_went_in(kind: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 2, (3, 4, 5)).astype(kind)
    arrays: dict[str, NDArray[Any]] = {"a": values, "b": np.asfortranarray(values), "c": values[:0]}
    found = read_arrays(written(tmp_path / "a.npy", {"structures": arrays}), "structures")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1)

    return changed


BINBYTES8 = pickle.BINBYTES8 + (1 << 60).to_bytes(8, "little")


@pytest.mark.parametrize(
    "damage",
    [
        replaced(b"NUMPY", b"NUMBY"),
        replaced(b"|O", b"|u1"),
        replaced(b"structures", b"structure\xff"),
        replaced(b"\x80\x04", b"\x80\x04" + BINBYTES8),  # a length that no memory holds
        replaced(b"\x80\x04", b"\x80\x7f"),
        lambda content: content[:-20],
        lambda content: content[:40],
        lambda content: b"",
    ],
)
def test_damaged_pickles_are_told(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = written(tmp_path / "a.npy", {"structures": {"liver": np.ones((9, 9), np.uint8)}})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UltrasamError, match=r"a\.npy "):
        read_arrays(path, "structures")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("subject_id", "woman", "no column 'subject_id'"),
        ("9999-zz,20,", "0a1b-11ee,8,", "has two subjects for 0a1b-11ee"),
    ],
)
def test_without_a_table_that_can_be_trusted_each_stack_is_a_case(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    raw_acouslic.write(tmp_path)
    (table,) = tmp_path.rglob("*.csv")
    table.write_text(table.read_text().replace(old, new))
    plan = planned("acouslic", tmp_path)
    assert words in problems(plan)[table.name]
    assert all(record.case == record.files[0].stem and not record.view for record in records(plan))
    assert not any("has no subject" in reason for reason in problems(plan).values())


def test_the_stacks_of_one_woman_are_one_case(tmp_path: Path) -> None:
    raw_acouslic.write(tmp_path)
    cases = {record.files[0].stem: record.case for record in records(planned("acouslic", tmp_path))}
    assert cases["0a1b-11ee"] == cases["0a1b-22ee"] != cases["0c3d-33ee"]


def test_a_mask_of_other_directions_than_its_image_is_refused(tmp_path: Path) -> None:
    raw_fh_ps_aop.write(tmp_path / "raw")
    (mask,) = (tmp_path / "raw").rglob("label_mha/00002.mha")
    mask.write_bytes(mask.read_bytes().replace(b"= 1 0 0 1\n", b"= 0 1 1 0\n"))
    outcome = build(dataset("fh_ps_aop"), tmp_path / "raw", tmp_path, partial=True)
    (reason,) = (reason for file, reason in outcome.problems if file.endswith("00002.mha"))
    assert "other directions" in reason


def test_two_sets_of_one_form_are_not_taken_for_each_other(tmp_path: Path) -> None:
    raw_fh_ps_aop.write(tmp_path)
    raw_psfhs.write(tmp_path)
    for name in ("fh_ps_aop", "psfhs"):
        with pytest.raises(UltrasamError, match="both look like the set"):
            planned(name, tmp_path)


def test_what_lies_beyond_the_43_is_built_like_any_other(tmp_path: Path) -> None:
    raw_psfhs.write(tmp_path / "raw")
    entry = DATASETS["psfhs"]
    assert not entry.in_us43d and not entry.reference
    assert entry.categories == DATASETS["fh_ps_aop"].categories
    outcome = build(entry, tmp_path / "raw", tmp_path, partial=True)
    assert outcome.counts["images"] == len(raw_fh_ps_aop.DRAWN)
