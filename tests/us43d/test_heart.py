"""What the sets of the heart and the vessels do beyond what is checked of all sets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tests.us43d import (
    raw_cardiac_udc,
    raw_ccaui,
    raw_echocp,
    raw_echonet_dynamic,
    raw_echonet_pediatric,
)
from tests.us43d.truth import Grey, Mask, Truth, cut, ellipse, save_avi, save_nifti, scan
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import decode_segmentation
from ultrasam.datasets.build import build
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.readers.arrays import video_frames
from ultrasam.datasets.readers.outlines import fill_outlines
from ultrasam.datasets.results import Outcome

Write = Callable[[Path], Truth]
ECHONET = [("echonet_dynamic", raw_echonet_dynamic.write), ("echonet_pediatric", raw_echonet_pediatric.write)]


def run(name: str, raw: Path, out: Path, partial: bool = True) -> Outcome:
    return build(dataset(name), raw, out, partial=partial)


def masks(folder: Path) -> dict[str, list[Mask]]:
    """What is drawn, by the name of the image."""
    content = json.loads((folder / "annotations.json").read_bytes())
    found: dict[str, list[Mask]] = {}
    for image in content["images"]:
        own = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        sizes = image["height"], image["width"]
        found[image["file_name"]] = [decode_segmentation(one["segmentation"], *sizes) for one in own]
    return found


def reasons(outcome: Outcome, file: str) -> list[str]:
    return [why for name, why in outcome.problems if name.endswith(file)]


@pytest.mark.parametrize(("name", "write"), ECHONET)
def test_an_outline_lies_where_it_was_traced_to_a_fraction_of_a_pixel(
    name: str, write: Write, tmp_path: Path
) -> None:
    truth = write(tmp_path / "raw")
    run(name, tmp_path / "raw", tmp_path / "out")
    found = masks(tmp_path / "out" / name)
    assert len(found) == len(truth.images)
    away = []
    for file, image in truth.images.items():
        (mask,), (drawn,) = found[file], image.objects
        assert mask.sum() == pytest.approx(drawn.mask.sum(), rel=0.03)
        away.append(np.argwhere(mask).mean(axis=0) - np.argwhere(drawn.mask).mean(axis=0))
    assert np.abs(away).max() < 0.3 and np.abs(np.mean(away, axis=0)).max() < 0.15


@pytest.mark.parametrize(("name", "write"), ECHONET)
def test_a_video_that_the_list_names_and_that_is_not_there_is_told(
    name: str, write: Write, tmp_path: Path
) -> None:
    write(tmp_path / "raw")
    (video,) = (tmp_path / "raw").rglob("0X1002E8FBACD08477.avi" if "dynamic" in name else "plain.avi")
    video.unlink()
    outcome = run(name, tmp_path / "raw", tmp_path / "out", partial=False)
    assert any(video.stem in why for why in reasons(outcome, "FileList.csv"))


def test_two_files_of_one_video_are_both_refused(tmp_path: Path) -> None:
    truth = raw_echonet_dynamic.write(tmp_path / "raw")
    (video,) = (tmp_path / "raw").rglob("0X1002E8FBACD08477.avi")
    shutil.copy(video, video.with_suffix(".AVI"))
    outcome = run("echonet_dynamic", tmp_path / "raw", tmp_path / "out")
    assert outcome.counts["images"] == len(truth.images) - 2
    for end in ("avi", "AVI"):
        assert "same name" in reasons(outcome, f"{video.stem}.{end}")[0]


def test_a_video_with_two_rows_is_of_no_known_part(tmp_path: Path) -> None:
    raw_echonet_dynamic.write(tmp_path / "raw")
    (table,) = (tmp_path / "raw").rglob("FileList.csv")
    lines = table.read_text().splitlines()
    row = next(line for line in lines if line.startswith("0X1005D03EED19C65B"))
    table.write_text("\n".join([*lines, row.replace("TEST", "TRAIN")]))
    outcome = run("echonet_dynamic", tmp_path / "raw", tmp_path / "out")
    assert not any(name.startswith("0X1005") for name in masks(tmp_path / "out" / "echonet_dynamic"))
    assert "2 rows" in reasons(outcome, "0X1005D03EED19C65B.avi")[0]


@pytest.mark.parametrize("harm", ["table", "folder", "videos"])
def test_what_one_view_lacks_does_not_cost_the_other(harm: str, tmp_path: Path) -> None:
    truth = raw_echonet_pediatric.write(tmp_path / "raw")
    (view,) = (tmp_path / "raw").rglob("A4C")
    if harm == "table":
        cut(view / "FileList.csv", 0.9)
    else:
        shutil.rmtree(view if harm == "folder" else view / "Videos")
    outcome = run("echonet_pediatric", tmp_path / "raw", tmp_path / "out")
    found = masks(tmp_path / "out" / "echonet_pediatric")
    assert set(found) == {name for name, image in truth.images.items() if image.view.startswith("PSAX")}
    file, word = {"table": ("A4C", "FileList.csv"), "videos": ("A4C/Videos", "is missing")}.get(
        harm, ("A4C", "is missing")
    )
    assert word in reasons(outcome, file)[0]


def test_a_video_that_is_cut_off_is_refused_also_where_what_is_left_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    save_avi(path, np.stack([scan((64, 64), seed) for seed in range(20)]))
    whole = path.read_bytes()
    assert video_frames(path) == 20
    for share in (0.5, 0.9):
        path.write_bytes(whole)
        cut(path, share)
        other = path.rename(tmp_path / f"{share}.avi")
        with pytest.raises(UltrasamError, match="is cut off"):
            video_frames(other)


def test_outlines_are_found_wherever_their_part_lies(tmp_path: Path) -> None:
    """Alone, and with the sites within it."""
    truth = raw_cardiac_udc.write(tmp_path / "all")
    (part,) = (tmp_path / "all").rglob("label_all_frame")
    inner = tmp_path / "raw" / "label_all_frame" / "Site_G_20"
    shutil.copytree(part, inner)
    run("cardiac_udc", tmp_path / "raw", tmp_path / "out")
    found = masks(tmp_path / "out" / "cardiac_udc")
    assert all(name.startswith("Site_G_20-") for name in found)
    drawn = [image.objects for image in truth.images.values() if image.view.endswith("all-frames")]
    wanted = sorted(one.mask.tobytes() for objects in drawn for one in objects)
    assert sorted(mask.tobytes() for own in found.values() for mask in own) == wanted


def test_a_patient_in_two_parts_is_one_case(tmp_path: Path) -> None:
    raw_cardiac_udc.write(tmp_path / "raw")
    run("cardiac_udc", tmp_path / "raw", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "cardiac_udc" / "annotations.json").read_bytes())
    cases = {image["case_id"] for image in content["images"] if image["view"].endswith("all-frames")}
    assert cases == {
        "cardiac_udc/Site_R_52-patient1",
        "cardiac_udc/label_all_frame-patient1",
        "cardiac_udc/label_all_frame-normal-23",
    }


@pytest.mark.parametrize(("count", "kept"), [(99, 0), (100, 1)])
def test_a_few_labelled_pixels_are_an_accident(count: int, kept: int, tmp_path: Path) -> None:
    raw_cardiac_udc.write(tmp_path / "raw")
    folder = tmp_path / "raw" / "cardiacUDC_dataset" / "Site_X"
    labels = np.zeros((1, 60, 80), np.uint8)
    labels[0, 20].flat[:50] = labels[0, 21].flat[: count - 50] = 1
    save_nifti(folder / "patient1-2_image.nii.gz", scan((60, 80), 1)[None])
    save_nifti(folder / "patient1-2_label.nii.gz", labels)
    run("cardiac_udc", tmp_path / "raw", tmp_path / "out")
    names = [name for name in masks(tmp_path / "out" / "cardiac_udc") if name.startswith("Site_X")]
    assert len(names) == kept


@pytest.mark.parametrize(
    ("name", "stem"), [("cardiac_udc", "cardiacUDC_dataset"), ("echocp", "EchoCP_dataset")]
)
def test_an_archive_under_another_name_is_told(name: str, stem: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / f"{stem}.change2zip").write_bytes(b"PK")
    outcome = run(name, tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "failed"
    assert f"{stem}.change2zip is a zip" in outcome.problems[0][1]


def test_a_site_without_any_label_is_no_loss_but_a_video_without_is(tmp_path: Path) -> None:
    raw_cardiac_udc.write(tmp_path / "raw")
    before = dict(run("cardiac_udc", tmp_path / "raw", tmp_path / "before").problems)
    site = tmp_path / "raw" / "cardiacUDC_dataset" / "Site_G_20"
    (site / "patient12-4_label.nii.gz").unlink()
    one = dict(run("cardiac_udc", tmp_path / "raw", tmp_path / "one").problems)
    assert [why for file, why in one.items() if file not in before] == ["has no mask"]
    for label in site.glob("*_label.nii.gz"):
        label.unlink()
    assert dict(run("cardiac_udc", tmp_path / "raw", tmp_path / "all").problems) == before


def lines(areas: Grey) -> Grey:
    """The outermost pixels of each region."""
    found = np.zeros_like(areas)
    for value in np.unique(areas[areas > 0]):
        found[(areas == value) & ~ndimage.binary_erosion(areas == value)] = value
    return found


def test_outlines_fill_to_what_they_were_drawn_round() -> None:
    areas = np.zeros((120, 160), np.uint8)
    # The second lies in the first, the last two touch and reach the border.
    for value, place in ((1, (50, 60, 40, 35)), (2, (45, 60, 12, 15)), (3, (120, 40, 20, 45))):
        areas[ellipse((120, 160), *place)] = value
    areas[82:, 100:] = 4
    drawn = lines(areas)
    assert np.array_equal(fill_outlines(drawn, Path("a")), areas)
    assert (drawn > 0).sum() < 0.3 * (areas > 0).sum()


def test_what_lies_between_four_outlines_belongs_to_none_of_them() -> None:
    areas = np.zeros((100, 100), np.uint8)
    for value, (x, y) in enumerate(((30, 30), (69, 30), (30, 69), (69, 69)), 1):
        areas[ellipse((100, 100), x + 0.5, y + 0.5, 20, 20)] = value
    drawn = lines(areas)
    parts, _ = ndimage.label(drawn == 0)
    assert parts[50, 50] not in (0, parts[0, 0]), "the gap is closed all round"
    assert np.array_equal(fill_outlines(drawn, Path("a")), areas)


@pytest.mark.parametrize("harm", ["open", "solid"])
def test_what_is_no_outline_is_refused(harm: str) -> None:
    areas = np.zeros((80, 80), np.uint8)
    areas[ellipse((80, 80), 40, 40, 25, 20)] = 2
    drawn = areas if harm == "solid" else lines(areas)
    drawn[38:42, :30] = 0 if harm == "open" else drawn[38:42, :30]
    with pytest.raises(UltrasamError, match="lines of the label 2 that enclose nothing"):
        fill_outlines(drawn, Path("a"))


@pytest.mark.parametrize("change", ["other table", "mirrored", "uncompressed"])
def test_chambers_of_echocp_are_named_only_where_they_lie_as_they_should(change: str, tmp_path: Path) -> None:
    truth = raw_echocp.write(tmp_path / "raw")
    (folder,) = (tmp_path / "raw").rglob("EchoCP_dataset")
    labels = np.stack(
        [raw_echocp.chambers(raw_echocp.SIZE, one, i) for i, one in enumerate(((1,), (1, 2, 3, 4)))]
    )
    if change == "other table":
        labels = np.array([0, 3, 4, 2, 1], np.uint8)[labels]
    elif change == "mirrored":
        labels = labels[..., ::-1]
    end = ".nii" if change == "uncompressed" else ".nii.gz"
    pixels = np.stack([scan(raw_echocp.SIZE, seed) for seed in (1, 2)])
    for name, stack in (("image", pixels), ("label", labels)):
        save_nifti(folder / f"99_v_{name}{end}", np.ascontiguousarray(stack))
    outcome = run("echocp", tmp_path / "raw", tmp_path / "out")
    if change == "uncompressed":
        assert outcome.counts["images"] == len(truth.images) + 2
    else:
        # The frame with one chamber too.
        assert outcome.counts["images"] == len(truth.images)
        (why,) = reasons(outcome, "99_v_image.nii.gz")
        assert "which label is which chamber is not known" in why


def test_slices_of_ccaui_without_their_examination_are_refused(tmp_path: Path) -> None:
    raw_ccaui.write(tmp_path / "raw")
    for folder in ("US images", "Expert mask images"):
        (below,) = (tmp_path / "raw").rglob(folder)
        for number, path in enumerate(sorted(below.glob("2022*.png"))):
            path.rename(path.with_name(f"{number}.png"))
    outcome = run("ccaui", tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "failed"
    assert "_slice_" in outcome.problems[0][1]


def test_masks_of_camus_are_cut_at_the_sector() -> None:
    assert dataset("camus").sector
    others = ("cardiac_udc", "echonet_dynamic", "echonet_pediatric", "echocp", "ccaui")
    assert not any(dataset(name).sector for name in others)
