"""Sets of the breast: layouts and damage that their made-up trees do not show."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.us43d import (
    raw_breast_lesions_usg,
    raw_buid,
    raw_bus_dataset_b,
    raw_bus_uc,
    raw_bus_uclm,
    raw_s1,
)
from tests.us43d.truth import blob, ellipse, save, save_text, scan, white
from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.build import converter
from ultrasam.datasets.converters.s1 import lesions
from ultrasam.datasets.plan import Plan, make_plan
from ultrasam.datasets.record import Record, Sample

SIZE = (90, 120)


def planned(name: str, raw: Path) -> Plan:
    return make_plan(converter(name), raw)


def records(plan: Plan) -> dict[str, Record]:
    return {record.name: record for group in plan.groups for record in group.records}


def reasons(plan: Plan) -> dict[str, str]:
    return {problem.path.name: problem.reason for problem in plan.problems}


def areas(sample: Sample) -> dict[str, int]:
    return {one.category: int(one.mask.sum()) for one in sample.objects if one.mask.any()}


def test_more_images_without_masks_than_normal_breasts_are_problems(tmp_path: Path) -> None:
    raw_breast_lesions_usg.write(tmp_path)
    folder = tmp_path / raw_breast_lesions_usg.FOLDER
    for number in (20, 21, 22):
        save(folder / f"case{number:03d}.png", scan(SIZE, number))
    plan = planned("breast_lesions_usg", tmp_path)
    assert "has no mask" not in reasons(plan).values()
    assert {path.name for path in (one.path for one in plan.skipped)} >= {"case011.png", "case022.png"}
    save(folder / "case023.png", scan(SIZE, 23))
    found = reasons(planned("breast_lesions_usg", tmp_path))
    without = {name for name, reason in found.items() if reason == "has no mask"}
    assert without == {"case011.png", "case020.png", "case021.png", "case022.png", "case023.png"}


def test_an_object_with_an_unknown_kind_of_mask_takes_its_image_with_it(tmp_path: Path) -> None:
    raw_breast_lesions_usg.write(tmp_path)
    plan = planned("breast_lesions_usg", tmp_path)
    assert "012" not in records(plan)
    (problem,) = (one for one in plan.problems if one.path.name == "case012_vessel1.png")
    assert {path.name for path in problem.also} >= {"case012.png", "case012_tumor.png"}


@pytest.mark.parametrize("end", ["xlsx", "csv"])
def test_the_clinical_data_may_lie_among_the_images(end: str, tmp_path: Path) -> None:
    raw_breast_lesions_usg.write(tmp_path)
    folder = tmp_path / raw_breast_lesions_usg.FOLDER
    save_text(folder / f"BrEaST-Lesions-USG-clinical-data-Dec-15-2023.{end}", "CaseID,Classification\n")
    plan = planned("breast_lesions_usg", tmp_path)
    assert folder.name not in reasons(plan)
    assert f"clinical-data-Dec-15-2023.{end}" in " ".join(one.path.name for one in plan.skipped)


def test_the_word_in_the_name_and_the_folder_must_agree(tmp_path: Path) -> None:
    raw_buid.write(tmp_path)
    found = records(planned("buid", tmp_path))
    assert "benign-12" not in found and "malignant-12" not in found
    assert {name.partition("-")[0] for name in found} == {"benign", "malignant"}


def test_one_class_alone_is_no_complete_download(tmp_path: Path) -> None:
    raw_buid.write(tmp_path)
    shutil.rmtree(tmp_path / "BUID" / "Malignant")
    with pytest.raises(UltrasamError, match="Malignant"):
        planned("buid", tmp_path)


def test_a_mask_of_another_size_covers_the_same_share_of_its_image(tmp_path: Path) -> None:
    raw_bus_uc.write(tmp_path)
    sample = records(planned("bus_uc", tmp_path))["malignant-005"].load()
    assert sample.image.shape[:2] == raw_bus_uc.SIZE
    true = int(ellipse(raw_bus_uc.SIZE, 40, 50, 25, 18).sum())
    assert areas(sample)["breast_lesion_malignant"] == pytest.approx(true, rel=0.02)


def test_the_word_all_above_the_set_does_not_matter(tmp_path: Path) -> None:
    """Only the folder of a class tells the class: not the words in the path to it."""
    raw = tmp_path / "All Malignant" / "masks"
    truth = raw_bus_uc.write(raw)
    found = records(planned("bus_uc", raw))
    assert truth.images.keys() <= {f"{name}.png" for name in found}


def test_a_spreadsheet_is_no_problem_and_a_stray_image_is_one(tmp_path: Path) -> None:
    raw_bus_dataset_b.write(tmp_path)
    save(tmp_path / "BUS" / "original" / "overview.png", scan(SIZE, 1))
    plan = planned("bus_dataset_b", tmp_path)
    assert "overview.png" in reasons(plan)["original"]
    assert "DatasetB.xlsx" not in reasons(plan)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Image;Doppler\nALWI_000.png;maybe\n", "neither yes nor no"),
        ("Image;Doppler\nALWI_000.png;1\nALWI_000.png;0\n", "two rows"),
        ("Image;Label\nALWI_000.png;Benign\n", "no columns of images and flags"),
        ("Number;Doppler\n1;1\n", "no columns of images and flags"),
        ("Image;Remarks\nALWI_000.png;1\n", "no columns of images and flags"),
        ("Image;Doppler\nALWI_000.png\n", "1 values in row 2"),
    ],
)
def test_images_stay_without_the_flags_of_a_table_that_is_not_understood(
    text: str, words: str, tmp_path: Path
) -> None:
    raw_bus_uclm.write(tmp_path, table=False)
    save_text(tmp_path / "BUS-UCLM" / "INFO.csv", text)
    plan = planned("bus_uclm", tmp_path)
    assert words in reasons(plan)["INFO.csv"]
    assert not records(plan)["ALWI__000"].attributes


def test_images_that_the_table_lacks_and_rows_without_image_are_told(tmp_path: Path) -> None:
    raw_bus_uclm.write(tmp_path, table=False)
    text = "Image,Has_Doppler,Combined image\nALWI_000,yes,N\nZZZZ_000,no,no\n"
    save_text(tmp_path / "BUS-UCLM" / "INFO.csv", text)
    plan = planned("bus_uclm", tmp_path)
    assert records(plan)["ALWI__000"].attributes == {"doppler": True, "combined": False}
    assert [one.names for one in plan.missing] == [("ZZZZ_000",)]
    assert "no row in the table" in reasons(plan)["ALWI_001.png"]


def test_both_colours_may_stand_in_one_image(tmp_path: Path) -> None:
    raw_bus_uclm.write(tmp_path)
    sample = records(planned("bus_uclm", tmp_path))["FUHI__002"].load()
    assert areas(sample).keys() == {"breast_lesion_benign", "breast_lesion_malignant"}


def test_a_mixed_colour_and_a_black_and_white_mask_are_refused(tmp_path: Path) -> None:
    raw_bus_uclm.write(tmp_path)
    mask = tmp_path / "BUS-UCLM" / "masks" / "ALWI_000.png"
    record = records(planned("bus_uclm", tmp_path))["ALWI__000"]
    lesion = white(blob(raw_bus_uclm.SIZE, 40, 34, 15, 1))
    for channels in ((lesion, lesion, 0 * lesion), (lesion, lesion, lesion)):
        save(mask, np.stack(channels, axis=2))
        with pytest.raises(UltrasamError, match="means nothing here"):
            record.load()


def test_equal_names_in_both_parts_are_two_images(tmp_path: Path) -> None:
    raw_s1.write(tmp_path)
    found = records(planned("s1", tmp_path))
    train, test = found["train-1"], found["test-1"]
    assert (train.split, test.split) == ("train", "test")
    assert areas(train.load()).keys() == {"breast_lesion_malignant"}
    assert areas(test.load()).keys() == {"breast_lesion_benign"}


def test_a_set_without_its_part_for_tests_is_incomplete(tmp_path: Path) -> None:
    raw_s1.write(tmp_path)
    shutil.rmtree(tmp_path / "S1" / "Data" / "TestingDataSet")
    plan = planned("s1", tmp_path)
    assert "one for tests" in reasons(plan)["TestingDataSet"]
    assert {record.split for record in records(plan).values()} == {"train"}


def test_labels_without_another_version_and_folders_within_them_are_read(tmp_path: Path) -> None:
    raw_s1.write(tmp_path)
    before = records(planned("s1", tmp_path)).keys()
    for part in ("TrainingDataSet", "TestingDataSet"):
        folder = tmp_path / "S1" / "Data" / part
        shutil.rmtree(folder / "General Labels")
        (folder / "Labels").rename(folder / "PNG")
        (folder / "Labels").mkdir()
        (folder / "PNG").rename(folder / "Labels" / "PNG")
    plan = planned("s1", tmp_path)
    assert records(plan).keys() == before and not plan.skipped


def test_the_smooth_edge_of_a_malignant_lesion_is_no_benign_one() -> None:
    whole = blob(SIZE, 60, 45, 25, 1)
    grey = raw_s1.smooth(white(whole))
    found = lesions(grey, Path("mask.png"))
    assert not found[127].any()
    assert np.array_equal(found[255], grey > 127)
    assert int(found[255].sum()) == pytest.approx(int(whole.sum()), rel=0.02)


@pytest.mark.parametrize("levels", [(64, 255), (200, 0), (1, 0), (2, 1)])
def test_other_levels_than_those_of_the_classes_are_refused(levels: tuple[int, int]) -> None:
    grey = np.zeros(SIZE, np.uint8)
    grey[blob(SIZE, 30, 45, 12, 1)] = levels[0]
    grey[blob(SIZE, 90, 45, 12, 2)] = levels[1]
    with pytest.raises(UltrasamError, match="grey level"):
        lesions(grey, Path("mask.png"))
