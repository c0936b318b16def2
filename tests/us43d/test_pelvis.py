"""Sets of the ovaries and the prostate: layouts and rules that their made-up trees do not show."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from tests.us43d import raw_micro_seg, raw_mmotu_2d, raw_mmotu_3d, raw_mup, raw_reg_pro
from tests.us43d.truth import litter, save_nifti, save_text
from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.build import build, converter
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.plan import Plan, make_plan
from ultrasam.datasets.readers.volumes import slice_channels, slice_labels, stored_slices
from ultrasam.datasets.record import Record

RNG = np.random.default_rng(7)


def planned(name: str, raw: Path) -> Plan:
    return make_plan(converter(name), raw)


def records(plan: Plan) -> dict[str, Record]:
    return {record.name: record for group in plan.groups for record in group.records}


def reasons(plan: Plan) -> dict[str, str]:
    return {problem.path.name: problem.reason for problem in plan.problems}


def test_otu_2d_is_not_taken_for_otu_3d(tmp_path: Path) -> None:
    raw_mmotu_2d.write(tmp_path)
    with pytest.raises(UltrasamError, match="OTU_3d/images"):
        planned("mmotu_3d", tmp_path)
    # The folder may have another name, if it is given itself.
    raw_mmotu_3d.write(tmp_path / "both")
    shutil.move(tmp_path / "both" / "MMOTU" / "OTU_3d", tmp_path / "OTU_CEUS")
    assert "1" in records(planned("mmotu_3d", tmp_path / "OTU_CEUS"))


def test_a_number_in_both_lists_is_refused(tmp_path: Path) -> None:
    raw_mmotu_3d.write(tmp_path)
    save_text(tmp_path / "MMOTU" / "OTU_3d" / "val.txt", "10\n11\n2.JPG\n")
    with pytest.raises(UltrasamError, match=r"val\.txt lists 2, which train\.txt has too"):
        planned("mmotu_3d", tmp_path)


def test_what_a_list_has_and_is_not_there_is_told(tmp_path: Path) -> None:
    raw_mmotu_3d.write(tmp_path)
    (tmp_path / "MMOTU" / "OTU_3d" / "images" / "10.JPG").unlink()
    (missing,) = planned("mmotu_3d", tmp_path).missing
    assert (missing.table.name, missing.names) == ("val.txt", ("10",))


def test_mup_and_micro_seg_make_the_same_of_one_record(tmp_path: Path) -> None:
    raw_micro_seg.write(tmp_path / "raw")
    found = [records(planned(name, tmp_path / "raw")) for name in ("mup", "micro_seg")]
    assert found[0].keys() == found[1].keys()
    for name, one in found[0].items():
        other = found[1][name]
        assert (one.case, one.frame, one.split) == (other.case, other.frame, other.split)
        assert set(one.files) == set(other.files) and not one.duplicate_of
        if one.case == "train-03":  # it is cut off
            continue
        drawn = [
            {(o.category, o.annotator): o.mask.tobytes() for o in record.load().objects}
            for record in (one, other)
        ]
        assert drawn[0] == drawn[1]


def test_a_volume_of_mup_that_is_there_twice_is_not_used(tmp_path: Path) -> None:
    raw_mup.write(tmp_path)
    again = tmp_path / "copy" / "expert_annotation_train_01.nii.gz"
    again.parent.mkdir()
    shutil.copy(tmp_path / "MUP" / again.name, again)
    plan = planned("mup", tmp_path)
    assert "same name" in reasons(plan)[again.name]
    assert not any(name.startswith("train-01") for name in records(plan))


def test_the_non_expert_of_mup_is_never_the_expert(tmp_path: Path) -> None:
    raw_mup.write(tmp_path)
    for path in (tmp_path / "MUP").glob("expert_*"):
        path.unlink()
    with pytest.raises(UltrasamError, match="no mask"):
        planned("mup", tmp_path)


def test_a_folder_without_volumes_is_not_mup(tmp_path: Path) -> None:
    litter(tmp_path)
    with pytest.raises(UltrasamError, match=r"microUS_train_01\.nii\.gz"):
        planned("mup", tmp_path)


def test_a_part_of_reg_pro_that_is_not_there_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    raw_reg_pro.write(tmp_path)
    shutil.rmtree(tmp_path / "regPro" / "val")
    plan = planned("reg_pro", tmp_path)
    assert "unpack its archive" in reasons(plan)["val"]
    assert {record.split for record in records(plan).values()} == {"train"}
    shutil.rmtree(tmp_path / "regPro")
    litter(tmp_path)
    with pytest.raises(UltrasamError, match="val/us_images"):
        planned("reg_pro", tmp_path)


def test_an_empty_part_of_reg_pro_costs_that_part_only(tmp_path: Path) -> None:
    raw_reg_pro.write(tmp_path)
    for path in (tmp_path / "regPro" / "val" / "us_images").iterdir():
        if path.is_file():
            path.unlink()
    plan = planned("reg_pro", tmp_path)
    assert reasons(plan)["val"].startswith("no image ")
    assert {record.split for record in records(plan).values()} == {"train"}


def test_a_patient_in_both_parts_of_reg_pro_is_not_used(tmp_path: Path) -> None:
    raw_reg_pro.write(tmp_path)
    for folder in ("us_images", "us_labels"):
        place = tmp_path / "regPro" / "train" / folder / "case000001.nii.gz"
        shutil.copy(place, tmp_path / "regPro" / "val" / folder / place.name)
    plan = planned("reg_pro", tmp_path)
    assert not any(name.startswith("case000001") for name in records(plan))
    assert "keep one of them" in reasons(plan)["case000001.nii.gz"]


def test_raw_folders_with_mr_in_their_name_do_not_matter(tmp_path: Path) -> None:
    raw = tmp_path / "mri_and_mr_us"
    truth = raw_reg_pro.write(raw)
    outcome = build(dataset("reg_pro"), raw, tmp_path / "out", partial=True)
    assert outcome.counts["images"] == len(truth.images)


@pytest.mark.parametrize("plane", ["acquisition", "axial", "coronal", "sagittal"])
def test_channels_are_turned_as_single_volumes_are(plane: str, tmp_path: Path) -> None:
    values = RNG.integers(0, 2, (3, 4, 5, 6), dtype=np.uint8)
    turn = np.eye(4)
    turn[:3, :3] = [[0, 0, -1], [1, 0, 0], [0, -1, 0]]
    image = sitk.GetImageFromArray(values, isVector=False)
    image.SetDirection(turn.ravel().tolist())  # type: ignore[no-untyped-call]
    sitk.WriteImage(image, str(tmp_path / "all.nii.gz"))
    for channel in range(3):
        image = sitk.GetImageFromArray(values[channel])
        image.SetDirection(turn[:3, :3].ravel().tolist())  # type: ignore[no-untyped-call]
        path = tmp_path / f"{channel}.nii.gz"
        sitk.WriteImage(image, str(path))
        count = stored_slices(path, plane)  # type: ignore[arg-type]
        assert stored_slices(tmp_path / "all.nii.gz", plane) == count  # type: ignore[arg-type]
        for index in range(count):
            together = slice_channels(tmp_path / "all.nii.gz", index, plane)  # type: ignore[arg-type]
            assert np.array_equal(together[channel], slice_labels(path, index, plane))  # type: ignore[arg-type]


def test_labels_that_are_fractions_are_refused(tmp_path: Path) -> None:
    raw_reg_pro.write(tmp_path)
    record = records(planned("reg_pro", tmp_path))["case000001__00003"]
    labels = [values.astype(np.float32) / 2 for values in raw_reg_pro.regions(1).values()]
    raw_reg_pro.save_volume(record.files[1], labels, "RAS")
    with pytest.raises(UltrasamError, match="holds fractions"):
        records(planned("reg_pro", tmp_path))["case000001__00003"].load()


def test_labels_of_one_channel_are_refused(tmp_path: Path) -> None:
    raw_reg_pro.write(tmp_path)
    folder = tmp_path / "regPro" / "val"
    save_nifti(folder / "us_images" / "flat.nii.gz", np.zeros((3, 20, 30), np.uint8))
    save_nifti(folder / "us_labels" / "flat.nii.gz", np.zeros((3, 20, 30), np.uint8))
    assert "1 channels, not 6" in reasons(planned("reg_pro", tmp_path))["flat.nii.gz"]
