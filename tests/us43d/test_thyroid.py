"""What the sets of the thyroid have beyond the others: an HDF5 file, blocks of frames, two layouts."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.us43d import raw_segthy, raw_tg3k, raw_thyroid_us_cineclip, raw_tnscui
from tests.us43d.truth import Truth, save_jpeg, save_nifti, save_text, scan
from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.build import build
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.readers import hdf5
from ultrasam.datasets.readers.hdf5 import hdf5_header, hdf5_row, hdf5_texts
from ultrasam.datasets.results import Outcome


def run(name: str, raw: Path, out: Path, partial: bool = True) -> Outcome:
    return build(dataset(name), raw, out, partial=partial)


def reasons(outcome: Outcome, file: str) -> list[str]:
    return [why for path, why in outcome.problems if path.endswith(file)]


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Path, Truth]:
    """The HDF5 file of a raw folder, and what is in it."""
    truth = raw_thyroid_us_cineclip.write(tmp_path / "raw")
    return tmp_path / "raw" / "thyroidultrasoundcineclip" / "dataset.hdf5", truth


def test_a_file_without_the_package_says_which_is_needed(
    clips: tuple[Path, Truth], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    outcome = run("thyroid_us_cineclip", tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "failed" and "pip install h5py" in outcome.problems[0][1]


def test_a_file_that_is_cut_off_is_called_damaged(clips: tuple[Path, Truth], tmp_path: Path) -> None:
    path, _ = clips
    path.write_bytes(path.read_bytes()[:-5000])
    outcome = run("thyroid_us_cineclip", tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "failed" and "is damaged" in outcome.problems[0][1]
    path.write_bytes(b"no HDF5")
    outcome = run("thyroid_us_cineclip", tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "failed" and "is damaged" in outcome.problems[0][1]


def test_damage_in_one_place_costs_the_frames_there(tmp_path: Path) -> None:
    truth = raw_thyroid_us_cineclip.write_packed(tmp_path / "raw")
    (path,) = (tmp_path / "raw").rglob("dataset.hdf5")
    with h5py.File(path, "r") as file:
        # Rows 0 to 3, with the first frame of the first clip.
        place = file["image"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 200] = b"\xff" * 200
    path.write_bytes(content)
    outcome = run("thyroid_us_cineclip", tmp_path / "raw", tmp_path / "out")
    assert outcome.counts["images"] == len(truth.images) - 1
    assert any("is damaged" in why for why in reasons(outcome, "dataset.hdf5"))


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("image", np.zeros((3, 8, 8), np.uint8), "arrays of several lengths"),
        ("mask", np.zeros((33, 8, 8), np.float32), "float32 in 3 axes in 'mask'"),
        ("mask", np.zeros((33, 8, 8, 3), np.uint8), "uint8 in 4 axes in 'mask'"),
        ("image", None, "no array 'image' (it has annot_id, frame_num, mask)"),
        ("annot_id", None, "no array 'annot_id'"),
    ],
)
def test_arrays_that_are_otherwise_are_refused(
    name: str, array: np.ndarray | None, words: str, clips: tuple[Path, Truth], tmp_path: Path
) -> None:
    with h5py.File(clips[0], "a") as file:
        del file[name]
        if array is not None:
            file[name] = array
    outcome = run("thyroid_us_cineclip", tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "failed" and words in outcome.problems[0][1]


def test_frames_of_nobody_are_told_with_the_first_of_them(clips: tuple[Path, Truth], tmp_path: Path) -> None:
    path, _ = clips
    with h5py.File(path, "a") as file:
        # As in the tree, but the mask that is none is gone, so that there is one problem.
        row = file["annot_id"][()].tolist().index(b"unknown")
        file["mask"][row + 1] = 0
    outcome = run("thyroid_us_cineclip", tmp_path / "raw", tmp_path / "out")
    (why,) = reasons(outcome, "dataset.hdf5")
    assert f"1 frame of no known patient or clip: in row {row} annot_id is 'unknown'" in why


def test_a_mask_on_another_grid_is_refused(clips: tuple[Path, Truth], tmp_path: Path) -> None:
    path, truth = clips
    with h5py.File(path, "a") as file:
        masks = file["mask"][()]
        del file["mask"]
        file["mask"] = masks[:, :-1]
    outcome = run("thyroid_us_cineclip", tmp_path / "raw", tmp_path / "out")
    assert outcome.counts["images"] == 0 < len(truth.images)
    assert any("101 x 66 pixels, its image 101 x 67" in why for why in reasons(outcome, "dataset.hdf5"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is missing"),
        ("annot_id,age\n103_,45\n7_1,50\n7_2,50\n9_,61\n12_,3\n88_,1\nunknown,4\n", "no column of TI-RADS"),
        ("clip,age\n103_,45\n", "no column 'annot_id'"),
        ("annot_id,ti-rads_level\n103_,1\n103_,2\n", "two rows for '103_'"),
    ],
)
def test_a_table_that_is_otherwise_costs_what_it_tells_alone(
    text: str | None, words: str, clips: tuple[Path, Truth], tmp_path: Path
) -> None:
    path, truth = clips
    table = path.with_name("metadata.csv")
    table.unlink() if text is None else table.write_text(text)
    outcome = run("thyroid_us_cineclip", tmp_path / "raw", tmp_path / "out")
    assert outcome.counts["images"] == len(truth.images)
    assert any(words in why for why in reasons(outcome, "metadata.csv"))


def test_what_the_table_lists_and_the_file_lacks_is_told(clips: tuple[Path, Truth], tmp_path: Path) -> None:
    outcome = run("thyroid_us_cineclip", tmp_path / "raw", tmp_path / "out", partial=False)
    assert any("files that are missing" in why and "500_" in why for _, why in outcome.problems)


@pytest.mark.parametrize("packed", [False, True])
def test_rows_are_the_same_however_many_are_read_together(
    packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(0).integers(0, 256, (11, 7, 5), np.uint8)
    options = {"chunks": (4, 3, 5), "compression": "gzip"} if packed else {}
    for most, reads in ((1, 11), (70, 6), (2**27, 3)):
        monkeypatch.setattr(hdf5, "MOST_BYTES", most)
        path = tmp_path / f"{most}.hdf5"
        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=array, **options)
            file["one"] = 3
            file["words"] = "ä"
        assert hdf5_header(path, "image").shape == array.shape
        before = hdf5._block.cache_info().misses
        for index in range(11):
            assert np.array_equal(hdf5_row(path, "image", index), array[index])
        assert hdf5._block.cache_info().misses - before == (reads if packed else 11)
        assert np.array_equal(hdf5_row(path, "image", 0), array[0])
        assert hdf5_texts(path, "words") == ["ä"]
        for name, index, words in (
            ("image", 11, "no row 11"),
            ("image", -1, "no row -1"),
            ("one", 0, "rows"),
        ):
            with pytest.raises(UltrasamError, match=words):
                hdf5_row(path, name, index)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "tg3k-trainval.json"),
        ("[1, 2]", "has no lists train and val"),
        ('{"train": [0, 1], "val": 3}', "has no lists train and val"),
        ('{"train": [0, 1], "val": [1]}', "lists 1 as no number, or in two parts"),
        ('{"train": ["0000.jpg"], "val": [1]}', "lists '0000.jpg' as no number"),
    ],
)
def test_a_list_of_tg3k_that_is_otherwise_costs_the_parts_alone(
    content: str, words: str, tmp_path: Path
) -> None:
    truth = raw_tg3k.write(tmp_path / "raw")
    (table,) = (tmp_path / "raw").rglob("tg3k-trainval.json")
    table.write_text(content)
    outcome = run("tg3k", tmp_path / "raw", tmp_path / "out")
    assert outcome.counts["images"] == len(truth.images)
    assert any(words in f"{table.name} {why}" for why in reasons(outcome, table.name))
    assert not any("in no part" in why for _, why in outcome.problems)


def test_frames_that_the_list_of_tg3k_has_and_the_folder_lacks_are_told(tmp_path: Path) -> None:
    raw_tg3k.write(tmp_path / "raw")
    (table,) = (tmp_path / "raw").rglob("tg3k-trainval.json")
    table.write_text('{"train": [0, 1, 200], "val": [199, 7]}')
    outcome = run("tg3k", tmp_path / "raw", tmp_path / "out", partial=False)
    assert any("0007.jpg" in why for why in reasons(outcome, table.name))


def test_neighbours_of_tg3k_are_one_case_whatever_the_authors_part(tmp_path: Path) -> None:
    raw_tg3k.write(tmp_path / "raw")
    run("tg3k", tmp_path / "raw", tmp_path / "out")
    images = json.loads((tmp_path / "out" / "tg3k" / "annotations.json").read_bytes())["images"]
    part = {image["frame"]: image.get("attributes", {}).get("authors_part") for image in images}
    case = {image["frame"]: image["case_id"] for image in images}
    assert part[0] != part[1] and case[0] == case[1] == case[199] != case[200]
    assert not any(image.get("split") for image in images)


def test_tnscui_is_built_without_its_table(tmp_path: Path) -> None:
    truth = raw_tnscui.write(tmp_path / "raw")
    (table,) = (tmp_path / "raw").rglob("train.csv")
    table.unlink()
    outcome = run("tnscui", tmp_path / "raw", tmp_path / "out")
    assert outcome.counts["images"] == len(truth.images)
    assert any("is missing" in why for why in reasons(outcome, "train.csv"))
    assert not any("kept without class" in why for _, why in outcome.problems)


@pytest.mark.parametrize("spelled", ["{:05d}", "{:05d}.png", "{}"])
def test_the_table_of_tnscui_may_spell_its_numbers_otherwise(spelled: str, tmp_path: Path) -> None:
    raw_tnscui.write(tmp_path / "raw")
    (table,) = (tmp_path / "raw").rglob("train.csv")
    rows = (f"{spelled.format(number)},{number % 2}" for number in (2, 3, 10, 11, 12, 13, 14, 3644, 99))
    table.write_text("\n".join(["ID,CATE", *rows]))
    outcome = run("tnscui", tmp_path / "raw", tmp_path / "out", partial=False)
    images = json.loads((tmp_path / "out" / "tnscui" / "annotations.json").read_bytes())["images"]
    found = {image["case_id"]: image["attributes"]["cate"] for image in images}
    assert found["tnscui/00002"] == "0" and found["tnscui/00003"] == "1"
    (lost,) = (why for why in reasons(outcome, "train.csv") if "missing" in why)
    assert "99" in lost and "3644" not in lost


def test_a_folder_of_neither_layout_of_tnscui_is_refused(tmp_path: Path) -> None:
    save_text(tmp_path / "raw" / "JPEGImages" / "1.jpg", "x")
    outcome = run("tnscui", tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "failed" and "JPEGImages and SegmentationClass" in outcome.problems[0][1]
    save_text(tmp_path / "other" / "pictures" / "1.png", "x")
    outcome = run("tnscui", tmp_path / "other", tmp_path / "out")
    assert outcome.status == "failed" and "image and mask" in outcome.problems[0][1]


def test_both_sides_and_all_sweeps_of_a_volunteer_are_one_case(tmp_path: Path) -> None:
    raw_segthy.write(tmp_path / "raw")
    run("segthy", tmp_path / "raw", tmp_path / "out")
    images = json.loads((tmp_path / "out" / "segthy" / "annotations.json").read_bytes())["images"]
    views = {image["view"] for image in images if image["case_id"] == "segthy/001"}
    assert views == {"P1_1_left", "P1_1_right"}


def test_the_name_of_the_raw_folder_of_segthy_says_nothing(tmp_path: Path) -> None:
    truth = raw_segthy.write(tmp_path / "MR_labels")
    assert run("segthy", tmp_path / "MR_labels", tmp_path / "out").counts["images"] == len(truth.images)


def test_two_volumes_of_one_label_are_not_chosen_from(tmp_path: Path) -> None:
    raw_segthy.write(tmp_path / "raw")
    before = run("segthy", tmp_path / "raw", tmp_path / "before").counts["images"]
    (path,) = (tmp_path / "raw").rglob("003_left_US.nii.gz")
    shutil.copy(path, path.with_name("003_left.nii.gz"))
    outcome = run("segthy", tmp_path / "raw", tmp_path / "out")
    assert outcome.counts["images"] == before - 1
    assert reasons(outcome, "/003_left.nii.gz") and reasons(outcome, "/003_left_US.nii.gz")


def test_labels_on_a_turned_grid_are_refused(tmp_path: Path) -> None:
    raw_segthy.write(tmp_path / "raw")
    (path,) = (tmp_path / "raw").rglob("US_thyroid_label/002.nii")
    save_nifti(path, np.ones((3, *raw_segthy.SIZE), np.uint8), raw_segthy.SPACING, turned=True)
    outcome = run("segthy", tmp_path / "raw", tmp_path / "out")
    assert any("other directions" in why for why in reasons(outcome, "002_US.nii"))


def test_a_volume_of_no_number_is_told(tmp_path: Path) -> None:
    raw_segthy.write(tmp_path / "raw")
    (path,) = (tmp_path / "raw").rglob("002_US.nii")
    path.with_name("volunteer_US.nii").write_bytes(path.read_bytes())
    outcome = run("segthy", tmp_path / "raw", tmp_path / "out")
    assert reasons(outcome, "US/volunteer_US.nii")[0].startswith("has no number at the start of its name")


@pytest.mark.parametrize("name", ["segthy", "tg3k", "tnscui", "thyroid_us_cineclip"])
def test_a_raw_folder_of_something_else_is_refused(name: str, tmp_path: Path) -> None:
    save_jpeg(tmp_path / "raw" / "pictures" / "0001.jpg", scan((20, 30), 1))
    outcome = run(name, tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "failed" and "layout has changed" in outcome.problems[0][1]
