"""Sets of the abdomen: layouts and rules that their made-up trees do not show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tests.us43d import raw_abdomen_us, raw_aul, raw_us105
from tests.us43d.truth import (
    Grey,
    blob,
    ellipse,
    ellipse_points,
    outline,
    save,
    save_jpeg,
    save_text,
    scan,
    white,
)
from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.build import converter
from ultrasam.datasets.plan import Plan, make_plan
from ultrasam.datasets.record import Record

SIZE = (90, 120)


def planned(name: str, raw: Path) -> Plan:
    return make_plan(converter(name), raw)


def records(plan: Plan) -> dict[str, Record]:
    return {record.name: record for group in plan.groups for record in group.records}


def reasons(plan: Plan) -> dict[str, str]:
    return {problem.path.name: problem.reason for problem in plan.problems}


def test_the_folder_of_masks_is_told_by_its_name_alone(tmp_path: Path) -> None:
    truth = raw_us105.write(tmp_path, "105US/Liver", "105US/tumor_masks_final")
    # The number is an integer, not the text before the blank.
    assert {f"{name}.png" for name in records(planned("us105", tmp_path))} >= truth.images.keys()


@pytest.mark.parametrize(("copy", "words"), [("Other", "2 others"), ("More masks", "2 folders named after")])
def test_a_third_folder_of_numbered_pictures_is_not_taken_by_chance(
    copy: str, words: str, tmp_path: Path
) -> None:
    raw_us105.write(tmp_path)
    save(tmp_path / "105US" / copy / "001 x.png", scan(SIZE, 1))
    with pytest.raises(UltrasamError, match=words):
        planned("us105", tmp_path)


def test_a_folder_without_numbered_pictures_says_what_was_looked_for(tmp_path: Path) -> None:
    save(tmp_path / "Images" / "liver.png", scan(SIZE, 1))
    with pytest.raises(UltrasamError, match="begin with one and a blank"):
        planned("us105", tmp_path)


def test_no_simulated_image_is_taken_for_a_real_one(tmp_path: Path) -> None:
    raw_abdomen_us.write_both(tmp_path)
    plan = planned("abdomen_us", tmp_path)
    assert all("AUS" not in path.parts for record in records(plan).values() for path in record.files)
    # Without the real images there is nothing.
    shutil.rmtree(tmp_path / "AbdomenUS" / "abdominal_US" / "RUS")
    with pytest.raises(UltrasamError, match="RUS/images"):
        planned("abdomen_us", tmp_path)


def test_a_part_for_tests_without_masks_is_a_problem_and_one_for_training_is_not(tmp_path: Path) -> None:
    raw_abdomen_us.write_both(tmp_path)
    real = tmp_path / "AbdomenUS" / "abdominal_US" / "RUS"
    shutil.rmtree(real / "annotations" / "test")
    plan = planned("abdomen_us", tmp_path)
    assert reasons(plan)["test"] == "has no mask"
    assert {record.split for record in records(plan).values()} == {"train"}
    raw_abdomen_us.write(tmp_path / "again")
    assert "train" not in reasons(planned("abdomen_us", tmp_path / "again"))


def test_real_images_in_no_folder_of_a_part_are_of_no_part(tmp_path: Path) -> None:
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[ellipse(SIZE, 60, 45, 20, 15)] = (0, 255, 0)
    save(tmp_path / "RUS" / "images" / "a.png", scan(SIZE, 1))
    save(tmp_path / "RUS" / "annotations" / "a.png", mask)
    (record,) = records(planned("abdomen_us", tmp_path)).values()
    assert (record.case, record.split) == ("a", "")
    assert [one.category for one in record.load().objects] == ["gallbladder"]


def smooth(organs: raw_abdomen_us.Organs) -> Grey:
    """Masks of four times the size, brought to SIZE, so that their edges fade."""
    painted = raw_abdomen_us.painted(organs, (4 * SIZE[0], 4 * SIZE[1]))
    return np.asarray(np.rint(painted.reshape(SIZE[0], 4, SIZE[1], 4, 3).mean(axis=(1, 3))), np.uint8)


def test_smooth_edges_are_no_organs_and_cost_no_image(tmp_path: Path) -> None:
    """The edge of a spleen passes through the colour of the liver."""
    large = (4 * SIZE[0], 4 * SIZE[1])
    spleen, vessel = ellipse(large, 200, 180, 130, 110), ellipse(large, 390, 120, 30, 40)
    save(tmp_path / "RUS" / "images" / "a.png", scan(SIZE, 1))
    mask = smooth([("spleen", spleen), ("vessels", vessel)])
    # What is not quite black is background.
    mask[:4] = (10, 0, 10)
    save(tmp_path / "RUS" / "annotations" / "a.png", mask)
    assert (np.abs(mask.astype(int) - (100, 0, 100)).max(axis=2) < 10).any()
    (record,) = records(planned("abdomen_us", tmp_path)).values()
    found = {one.category: one.mask for one in record.load().objects}
    assert found.keys() == {"spleen", "vessels"}
    for name, true in (("spleen", spleen), ("vessels", vessel)):
        half = true.reshape(SIZE[0], 4, SIZE[1], 4).mean(axis=(1, 3)) >= 0.5
        # Right but for pixels at the border.
        assert (found[name] >= ndimage.binary_erosion(half)).all()
        assert (found[name] <= ndimage.binary_dilation(half)).all()
        assert np.count_nonzero(found[name]) == pytest.approx(np.count_nonzero(half), rel=0.02)


def test_a_line_of_no_meaning_that_is_no_edge_is_refused(tmp_path: Path) -> None:
    mask = raw_abdomen_us.painted([("liver", ellipse(SIZE, 30, 45, 20, 15))])
    mask[outline(SIZE, ellipse_points(85, 45, 25, 20), 1)] = (255, 128, 0)
    save(tmp_path / "RUS" / "images" / "a.png", scan(SIZE, 1))
    save(tmp_path / "RUS" / "annotations" / "a.png", mask)
    (record,) = records(planned("abdomen_us", tmp_path)).values()
    with pytest.raises(UltrasamError, match=r"\(255, 128, 0\), which means nothing here"):
        record.load()


def add_liver(folder: Path, number: int, kind: str, radius: float) -> None:
    text = json.dumps(ellipse_points(60, 45, radius, radius / 2))
    save_text(folder / "segmentation" / kind / f"{number}.json", text)


@pytest.mark.parametrize(("number", "radius"), [(229, 30), (306, 30), (307, 50)])
def test_outline_and_liver_change_places_in_two_images_only(
    number: int, radius: float, tmp_path: Path
) -> None:
    raw_aul.write(tmp_path)
    folder = tmp_path / "AUL" / "Malignant"
    save_jpeg(folder / "image" / f"{number}.jpg", scan(SIZE, number))
    add_liver(folder, number, "liver", 50)
    add_liver(folder, number, "outline", 30)
    add_liver(folder, number, "mass", 8)
    found = records(planned("aul", tmp_path))[f"malignant-{number}"].load()
    drawn = {one.category: int(one.mask.sum()) for one in found.objects}
    assert drawn["liver"] == pytest.approx(np.pi * radius**2 / 2, rel=0.02)
    assert drawn["liver_mass"] == pytest.approx(np.pi * 32, rel=0.1)


def test_an_archive_that_is_still_packed_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    raw_aul.write(tmp_path)
    shutil.rmtree(tmp_path / "AUL" / "Normal")
    plan = planned("aul", tmp_path)
    assert "unpack its archive" in reasons(plan)["Normal"]
    assert {record.attributes["pathology"] for record in records(plan).values()} == {"benign", "malignant"}
    shutil.rmtree(tmp_path / "AUL")
    save(tmp_path / "x.png", white(blob(SIZE, 60, 45, 20, 1)))
    with pytest.raises(UltrasamError, match="Normal/image"):
        planned("aul", tmp_path)


def test_an_empty_folder_where_nothing_is_to_be_drawn_is_no_problem(tmp_path: Path) -> None:
    raw_aul.write(tmp_path)
    drawn = tmp_path / "AUL" / "Normal" / "segmentation"
    shutil.rmtree(drawn / "mass")
    (drawn / "mass").mkdir()
    plan = planned("aul", tmp_path)
    assert "mass" not in reasons(plan) and drawn / "mass" in {one.path for one in plan.skipped}
    # Elsewhere it is.
    shutil.rmtree(tmp_path / "AUL" / "Benign" / "segmentation" / "mass")
    (tmp_path / "AUL" / "Benign" / "segmentation" / "mass").mkdir()
    assert "no polygon of a mass" in reasons(planned("aul", tmp_path))["1.jpg"]


@pytest.mark.parametrize(
    "points",
    ["[]", "[[1, 2], [3, 4]]", "5", "null", '{"a": 1}', "[[1, 2, 3], [4, 5, 6], [7, 8, 9]]", '[["x", 1]]']
    + ["[[NaN, 1], [2, 3], [9, 9]]", "[[5, 5], [5, 5], [5, 5]]"],
)
def test_what_is_no_polygon_is_refused_with_its_file(points: str, tmp_path: Path) -> None:
    raw_aul.write(tmp_path)
    path = tmp_path / "AUL" / "Benign" / "segmentation" / "mass" / "1.json"
    save_text(path, points)
    record = records(planned("aul", tmp_path))["benign-1"]
    with pytest.raises(UltrasamError, match=r"mass.1\.json (is|has) "):
        record.load()
