"""Own images and masks: which belong together, whose they are, and what is said of those that do not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.dicoms import dataset as dicom
from tests.dicoms import saved, ultrasound_region
from tests.own_sets import BOTH, ONE, SIZE, TWO, convert, failure, hashes, image, mask, pair
from tests.us43d.truth import cut, ellipse_points, litter, save, save_mhd, save_nifti, save_text, scan

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets import build as building
from ultrasam.datasets import convert as converting
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.own import source
from ultrasam.datasets.own.source import own_dataset
from ultrasam.datasets.raw import all_files
from ultrasam.datasets.verify import built_sets, verify

Expected = dict[str, tuple[str, str | None]]
"""File name -> (case, split)."""


def siblings(raw: Path) -> Expected:
    for number in range(3):
        pair(raw / "Images" / f"{number}.png", raw / "Masks" / f"{number}.png", seed=number)
    return {f"{number}.png": (f"{number}", None) for number in range(3)}


def siblings_with_suffix(raw: Path) -> Expected:
    pair(raw / "data" / "imgs" / "a.tif", raw / "data" / "Ground_Truth" / "A_segmentation.png")
    pair(raw / "data" / "imgs" / "b.tif", raw / "data" / "Ground_Truth" / "b.bmp.png")
    (raw / "data" / "Ground_Truth" / "b.bmp.png").rename(raw / "data" / "Ground_Truth" / "B_mask.png")
    return {"data-a.png": ("data/a", None), "data-b.png": ("data/b", None)}


def parts_above(raw: Path) -> Expected:
    for part in ("Training", "valid", "test"):
        pair(raw / part / "images" / "1.png", raw / part / "labels" / "1.png")
    return {
        "Training-1.png": ("Training/1", "train"),
        "valid-1.png": ("valid/1", "val"),
        "test-1.png": ("test/1", "test"),
    }


def parts_below(raw: Path) -> Expected:
    for part in ("train", "test"):
        pair(raw / "scans" / part / "1.png", raw / "gt" / part / "1.png")
    return {"train-1.png": ("train/1", "train"), "test-1.png": ("test/1", "test")}


def patients_above(raw: Path) -> Expected:
    for number in (7, 8):
        for name in "ab":
            folder = raw / "train" / f"patient {number}"
            pair(folder / "image" / f"{name}.png", folder / "mask" / f"{name}.png")
    return {f"patient-{n}__train-{name}.png": (f"patient {n}", "train") for n in (7, 8) for name in "ab"}


def patients_below(raw: Path) -> Expected:
    for number in (7, 8):
        pair(
            raw / "images" / "site1" / f"p{number}" / "x.png",
            raw / "masks" / "site1" / f"p{number}" / "x.png",
        )
    return {f"site1-p{number}__x.png": (f"site1/p{number}", None) for number in (7, 8)}


def suffixes(raw: Path) -> Expected:
    ends = ("_mask", "-seg", " label", "_GT", ".annotation", "_groundtruth")
    for number, end in enumerate(ends):
        pair(raw / "benign" / f"x{number}.png", raw / "benign" / f"x{number}{end}.png")
    return {f"benign-x{number}.png": (f"benign/x{number}", None) for number in range(len(ends))}


def words_alone(raw: Path) -> Expected:
    for number in (1, 2):
        pair(raw / f"{number}" / "image.png", raw / f"{number}" / "mask.png")
    return {f"{number}__image.png": (f"{number}", None) for number in (1, 2)}


def prefixes(raw: Path) -> Expected:
    pair(raw / "img_001.png", raw / "mask_001.png")
    pair(raw / "img002.png", raw / "label_002.png")
    return {"img_001.png": ("img_001", None), "img002.png": ("img002", None)}


def names_like_masks(raw: Path) -> Expected:
    for number in (1, 2):
        pair(raw / f"seg_{number}.png", raw / f"seg_{number}_mask.png")
    return {f"seg_{number}.png": (f"seg_{number}", None) for number in (1, 2)}


LAYOUTS = [
    siblings,
    siblings_with_suffix,
    parts_above,
    parts_below,
    patients_above,
    patients_below,
    suffixes,
    words_alone,
    prefixes,
    names_like_masks,
]


@pytest.mark.parametrize("write", LAYOUTS, ids=lambda write: write.__name__)
def test_images_and_masks_are_found(write: Callable[[Path], Expected], tmp_path: Path) -> None:
    expected = write(tmp_path / "raw")
    litter(tmp_path / "raw")
    result = convert(tmp_path / "raw", tmp_path / "out")
    assert result.outcome.problems == () and result.outcome.status == "complete"
    found = {name: (one["case_id"], one.get("split")) for name, one in result.names.items()}
    assert found == {name: (f"mine/{case}", split) for name, (case, split) in expected.items()}
    assert result.categories == ["object"]
    for name in expected:
        assert np.array_equal(result.region(name, "object"), ONE), name
    (checked,) = verify(built_sets(tmp_path / "out"))
    assert checked.findings == ()


def test_pixels_and_what_is_known_of_the_set_are_kept(tmp_path: Path) -> None:
    pixels = image(tmp_path / "raw" / "images" / "a.png", 3)
    colours = np.stack([pixels, pixels[::-1], pixels], axis=2)
    save(tmp_path / "raw" / "images" / "b.png", colours)
    for name in "ab":
        mask(tmp_path / "raw" / "masks" / f"{name}.png", BOTH)
    result = convert(tmp_path / "raw", tmp_path / "out")
    assert np.array_equal(result.pixels("a.png"), pixels)
    assert np.array_equal(result.pixels("b.png"), colours)
    assert [category for category, _ in result.objects("a.png")] == ["object", "object"]
    manifest = json.loads((result.folder / "manifest.json").read_bytes())
    assert manifest["licence"] == "own data" and manifest["terms"] == "unclear"
    assert manifest["cases"] in result.told and "each file is a case" in result.told
    assert sorted(entry["file"] for entry in manifest["inputs"]) == [
        *("images/a.png", "images/b.png", "masks/a.png", "masks/b.png")
    ]


def test_numbered_masks_are_one_object_each(tmp_path: Path) -> None:
    image(tmp_path / "raw" / "x.png")
    for name, region in (("x_mask", ONE), ("x_mask_1", BOTH), ("x_mask_2", TWO)):
        mask(tmp_path / "raw" / f"{name}.png", region)
    result = convert(tmp_path / "raw", tmp_path / "out")
    found = [region for _, region in result.objects("x.png")]
    assert len(found) == 3
    assert all(np.array_equal(one, other) for one, other in zip(found, (ONE, BOTH, TWO), strict=True))


def labelme(path: Path, shapes: list[dict[str, Any]], size: tuple[int, int] = SIZE) -> None:
    content = {"version": "5", "shapes": shapes, "imageHeight": size[0], "imageWidth": size[1]}
    save_text(path, json.dumps(content))


def shape(label: str, x: float, y: float, group: int | None = None) -> dict[str, Any]:
    return {
        "label": label,
        "points": [list(point) for point in ellipse_points(x, y, 6, 5)],
        "group_id": group,
        "shape_type": "polygon",
    }


@pytest.mark.parametrize("folder", ["", "labels/"])
def test_files_of_labelme_beside_the_images_or_in_a_folder(folder: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    images = "images/" if folder else ""
    for name in ("a", "b", "c"):
        image(raw / f"{images}{name}.png")
    labelme(
        raw / f"{folder}a.json", [shape("liver", 15, 20, 1), shape("liver", 40, 20, 1), shape("cyst", 15, 30)]
    )
    labelme(raw / f"{folder}b.json", [shape("liver", 15, 20), shape("liver", 40, 20)])
    labelme(raw / f"{folder}c.json", [shape("cyst", 15, 20)], (57, 40))
    save_text(raw / "settings.json", "{}")
    result = convert(raw, tmp_path / "out")
    assert result.categories == ["cyst", "liver"]
    assert sorted(category for category, _ in result.objects("a.png")) == ["cyst", "liver"]
    assert [category for category, _ in result.objects("b.png")] == ["liver", "liver"]
    assert (
        list(result.problems) == [f"{images}c.png"]
        and "c.json says 40 x 57" in result.problems[f"{images}c.png"]
    )
    assert "leave --classes out" in failure(raw, tmp_path / "new", "liver")


@pytest.mark.parametrize("end", ["nii.gz", "nii", "mhd"])
def test_volumes_with_volumes_of_labels(end: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    stack = np.stack([scan(SIZE, number) for number in range(4)])
    labels = np.zeros((4, *SIZE), np.uint8)
    labels[1][ONE], labels[2][TWO] = 1, 3
    spacing = (0.4, 0.3, 2.0)
    for name in ("p1", "p2"):
        for path, values in ((raw / f"{name}.{end}", stack), (raw / f"{name}_seg.{end}", labels)):
            save_mhd(path, values, spacing) if end == "mhd" else save_nifti(path, values, spacing)
    result = convert(raw, tmp_path / "out")
    assert result.outcome.status == "complete" and result.categories == ["class_1", "class_3"]
    assert sorted(result.names) == [f"{name}__{index:05d}.png" for name in ("p1", "p2") for index in (1, 2)]
    assert result.outcome.counts["dropped without objects"] == 4
    entry = result.names["p2__00002.png"]
    assert (entry["case_id"], entry["frame"]) == ("mine/p2", 2)
    assert entry["spacing"] == pytest.approx([0.4, 0.3])
    assert np.array_equal(result.region("p2__00002.png", "class_3"), TWO)
    assert np.array_equal(result.pixels("p1__00001.png"), stack[1])
    named = convert(raw, tmp_path / "named", "1=liver,3=background")
    assert sorted(named.names) == ["p1__00001.png", "p2__00001.png"] and named.categories == ["liver"]


def test_dicom_files_with_masks_that_are_images(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "images").mkdir(parents=True)
    pixels = scan(SIZE, 1)
    region = ultrasound_region(0, 0, SIZE[1] - 1, SIZE[0] - 1)
    saved(raw / "images", dicom(pixels, "MONOCHROME2", SequenceOfUltrasoundRegions=[region]), "a.dcm")
    saved(raw / "images", dicom(np.stack([pixels, pixels]), "MONOCHROME2"), "b.dcm")
    for name in "ab":
        mask(raw / "masks" / f"{name}.png")
    result = convert(raw, tmp_path / "out")
    assert list(result.names) == ["a.png"] and np.array_equal(result.pixels("a.png"), pixels)
    assert result.names["a.png"]["spacing"] == pytest.approx([0.25, 0.5])
    assert "has 2 frames" in result.problems["images/b.dcm"]


def test_an_archive_is_read_as_its_folder(tmp_path: Path) -> None:
    siblings(tmp_path / "raw")
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path / "raw")
    convert(tmp_path / "raw", tmp_path / "one")
    convert(Path(archive), tmp_path / "two")
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


@pytest.mark.parametrize(
    ("pattern", "cases"),
    [
        (r"p(\d+)", {"12", "3"}),
        (r"/(p\d+_v\d)_", {"p12_v1", "p12_v2", "p3_v1"}),
        (r"(images)", {"images"}),
    ],
)
def test_a_pattern_names_the_case(pattern: str, cases: set[str], tmp_path: Path) -> None:
    for name in ("p12_v1_a", "p12_v1_b", "p12_v2_a", "p3_v1_a"):
        pair(tmp_path / "raw" / "images" / f"{name}.png", tmp_path / "raw" / "masks" / f"{name}.png")
    result = convert(tmp_path / "raw", tmp_path / "out", pattern=pattern)
    assert {one["case_id"] for one in result.names.values()} == {f"mine/{case}" for case in cases}
    assert result.outcome.counts["images"] == 4 and result.told == ""


def test_a_path_in_which_the_pattern_finds_nothing_is_a_problem(tmp_path: Path) -> None:
    for name in ("p1", "p2", "other"):
        pair(tmp_path / "raw" / "images" / f"{name}.png", tmp_path / "raw" / "masks" / f"{name}.png")
    result = convert(tmp_path / "raw", tmp_path / "out", pattern=r"(p\d)\.png")
    assert list(result.problems) == ["images/other.png"] and len(result.names) == 2
    assert "finds no case in" in result.problems["images/other.png"]


def test_folders_of_classes_and_folds_are_no_patients(tmp_path: Path) -> None:
    for folder in ("fold1/benign", "fold2/malignant"):
        for name in "ab":
            pair(tmp_path / "raw" / folder / f"{name}.png", tmp_path / "raw" / folder / f"{name}_mask.png")
    result = convert(tmp_path / "raw", tmp_path / "out")
    assert result.outcome.counts["cases"] == 4 and "--case-pattern" in result.told


def test_a_patient_in_two_parts_is_told_by_verify(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for patient in ("p1", f"p2{part}"):
            folder = tmp_path / "raw" / part / patient
            pair(folder / "a.png", folder / "a_mask.png")
    result = convert(tmp_path / "raw", tmp_path / "out")
    assert result.outcome.counts["cases"] == 3
    (checked,) = verify(built_sets(tmp_path / "out"))
    assert [(one.kind, "mine/p1" in one.reason) for one in checked.findings] == [("split", True)]


def test_what_does_not_fit_is_a_problem_and_the_rest_goes_on(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(9):
        pair(raw / "images" / f"{number}.png", raw / "masks" / f"{number}.png", seed=number)
    cut(raw / "images" / "1.png", 0.7)
    (raw / "masks" / "2.png").write_bytes(b"no image")
    (raw / "masks" / "3.png").unlink()
    (raw / "images" / "4.png").unlink()
    mask(raw / "masks" / "5.png", ONE.T)
    image(raw / "images" / "6.tif")
    save(raw / "masks" / "7.png", scan(SIZE, 7))
    mask(raw / "masks" / "8.png", np.zeros(SIZE, bool))
    save_text(raw / "images" / "notes.csv", "a,b")
    result = convert(raw, tmp_path / "out")
    assert list(result.names) == ["0.png"] and result.outcome.status == "incomplete"
    expected = {
        "images/1.png": "is damaged",
        "images/2.png": "masks/2.png is not an image",
        "images/3.png": "has no mask",
        "masks/4.png": "has no image",
        "images/5.png": "masks/5.png is 40 x 57 pixels, its image 57 x 40",
        "images/6.png": "has the same name as 6.tif",
        "images/6.tif": "has the same name as 6.png",
        "images/7.png": "masks/7.png looks like a picture",
    }
    assert result.problems.keys() == expected.keys()
    assert {name: words in result.problems[name] for name, words in expected.items()} == dict.fromkeys(
        expected, True
    )
    assert result.outcome.counts["dropped without objects"] == 1
    report = json.loads((result.folder / "report.json").read_bytes())
    assert {"file": "images/notes.csv", "reason": "is no image"} in report["left out"]


def test_masks_of_which_either_could_be_meant_are_a_problem(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in "abcd":
        pair(raw / f"{name}.png", raw / f"{name}_mask.png")
    mask(raw / "b_seg.png")
    labelme(raw / "c.json", [shape("liver", 15, 20)])
    save_nifti(raw / "d_seg.nii", np.ones((1, *SIZE), np.uint8))
    pair(raw / "e.png", raw / "e_mask_1.png")
    save_nifti(raw / "e_mask_2.nii", np.ones((1, *SIZE), np.uint8))
    image(raw / "f.png")
    save_nifti(raw / "f_mask.nii", np.ones((1, *SIZE), np.uint8))
    result = convert(raw, tmp_path / "out")
    assert list(result.names) == ["a.png"]
    assert "b_mask.png and b_seg.png" in result.problems["b.png"]
    assert "c_mask.png and c.json" in result.problems["c.png"]
    assert "d_mask.png and d_seg.nii" in result.problems["d.png"]
    assert "several kinds" in result.problems["e.png"]
    assert "f_mask.nii do not fit together" in result.problems["f.png"]


@pytest.mark.parametrize("part", ["holdout", "test"])
def test_a_folder_of_images_without_masks_is_told(part: str, tmp_path: Path) -> None:
    siblings(tmp_path / "raw")
    for number in range(2):
        image(tmp_path / "raw" / part / "images" / f"{number}.png")
    result = convert(tmp_path / "raw", tmp_path / "out")
    report = json.loads((result.folder / "report.json").read_bytes())
    told = (
        result.problems if part == "holdout" else {one["file"]: one["reason"] for one in report["left out"]}
    )
    assert "2 images" in told[f"{part}/images"]
    assert (result.outcome.status == "complete") == (part == "test")


def test_nothing_that_can_be_used_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no image that can be read" in failure(tmp_path / "empty", tmp_path / "out")
    image(tmp_path / "raw" / "a.png")
    assert "none with a mask" in failure(tmp_path / "raw", tmp_path / "out")
    save_text(tmp_path / "raw" / "all.json", '{"images": [], "annotations": [], "categories": []}')
    assert "if all.json is a COCO file, give that file" in failure(tmp_path / "raw", tmp_path / "out")


def test_names_that_say_nothing_new_do_not_mislead(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    pair(raw / "image_1.png", raw / "image_1_mask.png", ONE)
    pair(raw / "1.png", raw / "mask_1.png", TWO)
    pair(raw / "a b.png", raw / "a b_mask.png")
    pair(raw / "a-b.png", raw / "a-b_mask.png")
    pair(raw / "train" / "test" / "x.png", raw / "train" / "test" / "x_mask.png")
    result = convert(raw, tmp_path / "out")
    assert np.array_equal(result.region("image_1.png", "object"), ONE)
    assert np.array_equal(result.region("1.png", "object"), TWO)
    assert "would both become a-b.png" in result.problems["a b.png"]
    assert "lies in folders for train and test" in result.problems["train/test/x.png"]


def test_long_and_foreign_names_become_names_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / ("long" * 40) / "über"
    for name in ("längs", "quer" * 40):
        pair(folder / f"{name}.png", folder / f"{name}_mask.png")
    result = convert(tmp_path / "raw", tmp_path / "out", pattern=r"(long.*)/")
    assert result.outcome.problems == () and len(result.names) == 2
    assert result.outcome.counts["cases"] == 1
    assert max(map(len, result.names)) < 200


def test_two_folders_of_masks_are_refused(tmp_path: Path) -> None:
    siblings(tmp_path / "raw")
    mask(tmp_path / "raw" / "labels" / "0.png")
    assert "Masks and labels" in failure(tmp_path / "raw", tmp_path / "out")


def test_results_do_not_go_among_the_files(tmp_path: Path) -> None:
    siblings(tmp_path)
    with pytest.raises(UltrasamError, match="lie within each other"):
        convert(tmp_path, tmp_path / "out")


def test_the_bytes_are_the_same_with_processes_and_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    for number in range(70):
        pair(
            raw / f"p{number % 9}" / f"{number}.png",
            raw / f"p{number % 9}" / f"{number}_mask.png",
            seed=number,
        )
    first = convert(raw, tmp_path / "one")
    convert(raw, tmp_path / "two", jobs=2)
    monkeypatch.setattr(source, "all_files", lambda path: all_files(path)[::-1])
    convert(Path(shutil.move(raw, tmp_path / "moved")), tmp_path / "three")
    assert first.outcome.counts["cases"] == 9
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two") == hashes(tmp_path / "three")


def test_a_second_run_does_nothing_unless_something_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    siblings(raw)
    convert(raw, tmp_path / "out")
    calls: list[converting.Job] = []

    def counted(job: converting.Job) -> converting.Converted:
        calls.append(job)
        return converting.convert(job)

    monkeypatch.setattr(building, "convert", counted)
    assert convert(raw, tmp_path / "out").outcome.unchanged and calls == []
    assert convert(raw, tmp_path / "out", "cyst").categories == ["cyst"] and len(calls) == 1
    result = convert(raw, tmp_path / "out", "cyst", r"(\d)\.")
    assert result.outcome.counts["cases"] == 3 and len(calls) == 2


def test_categories_that_come_later_leave_no_old_numbers(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(20):
        image(raw / "images" / f"{number:02d}.png", number)
        mask(raw / "masks" / f"{number:02d}.png", ONE, 3)
    assert convert(raw, tmp_path / "out").categories == ["class_3"]
    mask(raw / "masks" / "19.png", TWO, 2)
    result = convert(raw, tmp_path / "out")
    assert result.categories == ["class_2", "class_3"]
    assert [category for category, _ in result.objects("00.png")] == ["class_3"]
    convert(raw, tmp_path / "fresh")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "fresh")


def test_labels_that_come_later_leave_no_old_numbers(tmp_path: Path) -> None:
    for number in range(20):
        image(tmp_path / "raw" / f"{number:02d}.png", number)
        labelme(tmp_path / "raw" / f"{number:02d}.json", [shape("liver", 15, 20)])
    assert convert(tmp_path / "raw", tmp_path / "out").categories == ["liver"]
    labelme(tmp_path / "raw" / "19.json", [shape("cyst", 15, 20)])
    result = convert(tmp_path / "raw", tmp_path / "out")
    assert result.categories == ["cyst", "liver"]
    assert [category for category, _ in result.objects("00.png")] == ["liver"]


def test_the_code_that_reads_own_data_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr(building, "_hashed", lambda text, files: str(hashed.extend(files)))
    building.code_of(own_dataset("mine"))
    own = sorted(Path(source.__file__).parent.glob("*.py"))
    assert set(own) <= set(hashed) and len(own) > 5
    hashed.clear()
    building.code_of(dataset("busi"))
    assert not set(own) & set(hashed)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("busi", "a set of the catalogue"),
        ("stats", "the folder of the statistics"),
        ("lists", "the folder of the lists for training"),
        ("fig2", "the folder of a figure"),
        ("My-Data", "lower case letters"),
        ("../x", "lower case letters"),
        ("", "lower case letters"),
        ("x" * 41, "up to 40"),
    ],
)
def test_names_that_cannot_be(name: str, words: str) -> None:
    with pytest.raises(UltrasamError, match=words):
        own_dataset(name)


@pytest.mark.parametrize(("pattern", "words"), [("(", "no regular expression"), ("p1", "has no group")])
def test_patterns_that_cannot_be(pattern: str, words: str) -> None:
    with pytest.raises(UltrasamError, match=words):
        own_dataset("mine", None, pattern)
