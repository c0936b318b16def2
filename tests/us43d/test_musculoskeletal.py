"""What the sets of lung, muscles, spine and nerves need beyond what every set is checked for."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.us43d import (
    raw_asus,
    raw_brachial_plexus,
    raw_fallmud,
    raw_luss_phantom,
    raw_stmus_nda,
    raw_ubpd,
)
from tests.us43d.truth import save, save_jpeg, save_text, scan, white
from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.build import build, converter
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.converters import brachial_plexus
from ultrasam.datasets.plan import Plan, make_plan
from ultrasam.datasets.readers.arrays import open_npy
from ultrasam.datasets.readers.polygons import read_labelme
from ultrasam.datasets.readers.tables import read_text


def plan(name: str, raw: Path) -> Plan:
    return make_plan(converter(name), raw)


def names(found: Plan) -> set[str]:
    return {record.name for group in found.groups for record in group.records}


def reasons(found: Plan) -> dict[str, str]:
    return {problem.path.relative_to(found.root).as_posix(): problem.reason for problem in found.problems}


# Regional-US


def test_every_fifth_frame_is_taken_by_its_number(tmp_path: Path) -> None:
    raw_brachial_plexus.write(tmp_path)
    frames = [record.frame for group in plan("brachial_plexus", tmp_path).groups for record in group.records]
    assert brachial_plexus.EVERY == 5
    assert set(frames) == {0, 5, 10}


def test_two_masks_of_one_frame_cost_that_frame_only(tmp_path: Path) -> None:
    raw_brachial_plexus.write(tmp_path)
    data = tmp_path / "brachial_plexus-main" / "data"
    folder = data / "Sonosite" / "ac_masks" / "s071"
    shutil.copy(folder / "s071_005.jpg", folder / "s071_5.jpg")
    found = plan("brachial_plexus", tmp_path)
    assert {name for name in names(found) if name.startswith("s071")} == {"s071__00000", "s071__00010"}
    where = "brachial_plexus-main/data/Sonosite"
    assert "same name as s071_5.jpg" in reasons(found)[f"{where}/ac_masks/s071/s071_005.jpg"]
    assert "no mask of frame 5" in reasons(found)[f"{where}/videos/s071.mp4"]


def test_a_missing_machine_is_told_and_the_others_stay(tmp_path: Path) -> None:
    raw_brachial_plexus.write(tmp_path)
    shutil.rmtree(tmp_path / "brachial_plexus-main" / "data" / "eSaote")
    found = plan("brachial_plexus", tmp_path)
    assert "three machines" in reasons(found)["brachial_plexus-main/data/eSaote/videos"]
    assert {record.attributes["machine"] for group in found.groups for record in group.records} == {
        "Butterfly",
        "Sonosite",
    }


def test_the_edition_of_boxes_alone_is_refused(tmp_path: Path) -> None:
    raw_brachial_plexus.save_mp4(tmp_path / "data" / "us_videos" / "1.mp4", [scan((64, 64), 1)])
    save_text(tmp_path / "data" / "bb_annotations" / "1.txt", "{}\n")
    with pytest.raises(UltrasamError, match="ac_masks"):
        plan("brachial_plexus", tmp_path)


# ASUS


def test_the_skin_is_on_top_and_left_stays_left(tmp_path: Path) -> None:
    raw_asus.write(tmp_path)
    path = tmp_path / "ASUS" / "DataArrays" / "q010_ultrasound.npy"
    levels = np.load(path)
    levels[0] = 0
    levels[0, -1] = 1  # the last row is that of the skin
    levels[0, :, 3] = 0.6
    np.save(path, levels)
    groups = plan("asus", tmp_path).groups
    (record,) = (one for group in groups for one in group.records if one.name == "q010__00000")
    pixels = record.load().image
    assert pixels[0, 50] == 255 and pixels[-1, 50] == 0 and pixels[60, 3] == 153


@pytest.mark.parametrize("shape", [(2, 128, 128), (2, 128, 128, 3)])
def test_arrays_of_other_axes_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    raw_asus.write(tmp_path)
    np.save(tmp_path / "ASUS" / "DataArrays" / "q010_ultrasound.npy", np.zeros(shape, np.float16))
    found = plan("asus", tmp_path)
    assert "(frames, rows, columns, 1)" in reasons(found)["ASUS/DataArrays/q010_ultrasound.npy"]
    assert "q000__00000" in names(found)


def test_a_packed_archive_within_is_named(tmp_path: Path) -> None:
    (tmp_path / "ASUS").mkdir()
    (tmp_path / "ASUS" / "DataArrays.zip").write_bytes(b"PK")
    with pytest.raises(UltrasamError, match=r"unpack DataArrays\.zip"):
        plan("asus", tmp_path)


class _Runs:
    """What a hostile array would do when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("was-run",)


def test_an_array_of_objects_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("objects.npy", np.array([_Runs()], object), allow_pickle=True)
    Path("pickle.npy").write_bytes(pickle.dumps(_Runs()))
    np.savez("many.npz", one=np.zeros(3))
    np.save("words.npy", np.array(["a", "b"]))
    for name, words in (
        ("objects.npy", "damaged"),
        ("pickle.npy", "damaged"),
        ("many.npz", "no numbers"),
        ("words.npy", "no numbers"),
    ):
        with pytest.raises(UltrasamError, match=words):
            open_npy(Path(name))
    assert not Path("was-run").exists()


# FALLMUD


def test_a_missing_source_is_told_and_the_other_stays(tmp_path: Path) -> None:
    raw_fallmud.write(tmp_path)
    shutil.rmtree(tmp_path / "FALLMUD" / "NeilCronin")
    found = plan("fallmud", tmp_path)
    assert "NeilCronin" in reasons(found)["FALLMUD/NeilCronin/images"]
    assert names(found) and all(name.startswith("RyanCunningham-") for name in names(found))


def test_both_classes_are_there(tmp_path: Path) -> None:
    raw_fallmud.write(tmp_path / "raw")
    outcome = build(dataset("fallmud"), tmp_path / "raw", tmp_path / "out", partial=True)
    counts = outcome.counts["objects by category"]
    assert counts["fascicle"] == counts["aponeurosis"] == 2 * outcome.counts["images"] > 0


def test_one_image_that_misleads_does_not_turn_its_mask(tmp_path: Path) -> None:
    """Where its aponeuroses are dark and their places upside down are bright."""
    raw_fallmud.write(tmp_path / "raw")
    path = tmp_path / "raw" / "FALLMUD" / "RyanCunningham" / "images" / "r2.jpg"
    with Image.open(path) as picture:
        pixels = np.array(picture)
    deep = np.any(raw_fallmud.bands(raw_fallmud.SIZE), axis=0)
    pixels[deep], pixels[deep[::-1, ::-1]] = 20, 220
    save_jpeg(path, pixels, quality=95)
    records = [one for group in plan("fallmud", tmp_path / "raw").groups for one in group.records]
    (record,) = (one for one in records if one.case == "RyanCunningham-r2")
    found = next(one.mask for one in record.load().objects if one.category == "aponeurosis")
    assert np.count_nonzero(found != deep) < 0.1 * np.count_nonzero(deep)


def test_images_that_tell_nothing_of_the_turn_are_refused(tmp_path: Path) -> None:
    raw_fallmud.write(tmp_path / "raw")
    folder = tmp_path / "raw" / "FALLMUD" / "RyanCunningham"
    for path in (folder / "images").iterdir():
        if path.suffix == ".jpg":
            with Image.open(path) as picture:
                save_jpeg(path, np.full(picture.size[::-1], 60, np.uint8))
    outcome = build(dataset("fallmud"), tmp_path / "raw", tmp_path / "out", partial=True)
    told = {file.rpartition("/")[2] for file, reason in outcome.problems if "may be turned" in reason}
    # The mask of r5 is as wide as its image, which is no square.
    assert told == {"img_1.jpg", "r2.jpg", "r3.jpg", "r4.jpg", "r6.jpg"}


# STMUS_NDA


def test_a_missing_muscle_is_told(tmp_path: Path) -> None:
    raw_stmus_nda.write(tmp_path)
    (top,) = tmp_path.glob("*/Polito-Radboud-DeepLearningUS")
    shutil.rmtree(top / "GM")
    found = plan("stmus_nda", tmp_path)
    assert "three muscles" in reasons(found)["GM"]
    assert {name[-2:] for name in names(found)} == {"BB", "TA"}


def test_a_picture_or_several_greys_are_no_mask_of_a_muscle(tmp_path: Path) -> None:
    raw_stmus_nda.write(tmp_path / "raw")
    (folder,) = (tmp_path / "raw").glob("*/Polito-Radboud-DeepLearningUS/BB/Masks")
    save(folder / "S001.png", scan(raw_stmus_nda.SIZE, 1))
    grey = np.zeros(raw_stmus_nda.SIZE, np.uint8)
    grey[20:24, 20:24] = 2
    grey[30:34, 20:24] = 1
    save(folder / "S002.png", grey)
    outcome = build(dataset("stmus_nda"), tmp_path / "raw", tmp_path / "out", partial=True)
    told = " ".join(reason for _, reason in outcome.problems)
    assert "S001.png looks like a picture" in told and "S002.png has values up to 2 only" in told


# UBPD


def test_polygons_of_another_folder_are_not_borrowed(tmp_path: Path) -> None:
    raw_ubpd.write(tmp_path)
    (tmp_path / "UBPD" / "a" / "1.json").unlink()
    found = plan("ubpd", tmp_path)
    assert "a-1" not in names(found) and "b-1" in names(found)
    assert "no JSON file" in reasons(found)["UBPD/a/1.jpg"]


def test_a_label_of_no_known_tissue_names_those_that_are(tmp_path: Path) -> None:
    raw_ubpd.write(tmp_path / "raw")
    outcome = build(dataset("ubpd"), tmp_path / "raw", tmp_path / "out", partial=True)
    (told,) = (reason for _, reason in outcome.problems if "jirou'" in reason)
    assert "dongmai, jingmai, jirouzuzhi" in told


def test_labelme_files_are_read_in_either_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    text = raw_ubpd.labelme("a", (90, 140), [("shenjing", [(1.0, 1.0), (9.0, 1.0), (5.0, 8.0)])])
    read = []
    for encoding in ("utf-8", "utf-8-sig", "gbk"):
        path.write_bytes(text.encode(encoding))
        read.append(read_labelme(path, "gbk"))
        assert json.loads(read_text(path, "gbk"))["imagePath"].endswith("a.jpg")
    assert read[0] == read[1] == read[2]
    # Other text is told rather than read as nonsense.
    path.write_bytes(b'{"shapes": "\xff\xff"}')
    with pytest.raises(UltrasamError, match="no text in UTF-8 or gbk"):
        read_labelme(path, "gbk")


# LUSS phantom


def test_masks_in_colours_are_refused(tmp_path: Path) -> None:
    raw_luss_phantom.write(tmp_path / "raw")
    painted = np.zeros((*raw_luss_phantom.SIZE, 3), np.uint8)
    painted[10:20, 10:20] = (255, 0, 0)
    save(tmp_path / "raw" / "LUSS_phantom" / "masks" / "0001.png", painted)
    outcome = build(dataset("luss_phantom"), tmp_path / "raw", tmp_path / "out", partial=True)
    assert any("0001.png has colours" in reason for _, reason in outcome.problems)


def test_no_folder_of_masks_is_told(tmp_path: Path) -> None:
    raw_luss_phantom.write(tmp_path)
    (tmp_path / "LUSS_phantom" / "masks").rename(tmp_path / "LUSS_phantom" / "labels")
    with pytest.raises(UltrasamError, match="has no masks"):
        plan("luss_phantom", tmp_path)


def test_a_picture_of_no_part_costs_nothing_but_itself(tmp_path: Path) -> None:
    """Such as a key of the colours beside the folders of the parts."""
    raw_luss_phantom.write_parts(tmp_path)
    before = plan("luss_phantom", tmp_path)
    save(tmp_path / "LUSS_phantom" / "key.png", scan((20, 30), 1))
    found = plan("luss_phantom", tmp_path)
    assert names(found) == names(before)
    new = reasons(found).items() - reasons(before).items()
    assert new == {("LUSS_phantom/key.png", "has no mask")}


# Folders of which only a part is read


def test_a_strange_file_among_frames_that_are_left_out_is_told(tmp_path: Path) -> None:
    raw_brachial_plexus.write(tmp_path)
    folder = tmp_path / "brachial_plexus-main" / "data" / "Butterfly" / "ac_masks" / "b240"
    save_jpeg(folder / "b241_003.jpg", white(np.zeros((80, 120), np.bool_)))
    found = plan("brachial_plexus", tmp_path)
    assert "b240_NUMBER" in reasons(found)[(folder / "b241_003.jpg").relative_to(tmp_path).as_posix()]
