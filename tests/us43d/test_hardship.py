"""What was found by trying to break it: odd names, damaged journals, tables and tools, links in circles."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.us43d import (
    raw_bus_bra,
    raw_busi,
    raw_camus,
    raw_ddti,
    raw_hc18,
    raw_kidney_us,
    raw_micro_seg,
    raw_mmotu_2d,
    raw_stu_hospital,
    raw_tn3k,
    raw_us_nerve,
    raw_usgra_seg,
)
from tests.us43d.truth import save_nifti, save_text
from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.build import build
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.raw import find_raw, signature
from ultrasam.datasets.results import Outcome
from ultrasam.datasets.verify import verify


def run(name: str, raw: Path, out: Path, partial: bool = True) -> Outcome:
    return build(dataset(name), raw, out, partial=partial)


def kinds(folder: Path) -> set[str]:
    (checked,) = verify([folder])
    return {finding.kind for finding in checked.findings}


@pytest.mark.parametrize("name", ["micro_seg", "kidney_us"])
def test_images_that_only_a_second_annotator_has_drawn_are_verified_too(name: str, tmp_path: Path) -> None:
    {"micro_seg": raw_micro_seg, "kidney_us": raw_kidney_us}[name].write(tmp_path / "raw")
    run(name, tmp_path / "raw", tmp_path / "out")
    folder = tmp_path / "out" / name
    assert kinds(folder) == {"incomplete"}
    main = {image["file_name"] for image in json.loads((folder / "annotations.json").read_bytes())["images"]}
    (other, *_) = sorted({path.name for path in (folder / "images").iterdir()} - main)
    (folder / "images" / other).write_bytes(b"x")
    assert {"unreadable", "changed"} <= kinds(folder)


def test_a_lost_file_of_a_second_annotator_and_files_that_nobody_lists_are_found(tmp_path: Path) -> None:
    raw_kidney_us.write(tmp_path / "raw")
    run("kidney_us", tmp_path / "raw", tmp_path / "out")
    folder = tmp_path / "out" / "kidney_us"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "images" / "mine.png")
    assert "changed" in kinds(folder)
    (folder / "annotations.second.json").unlink()
    assert "missing" in kinds(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not text")
def test_a_name_that_is_no_text_stops_nothing(tmp_path: Path) -> None:
    raw_usgra_seg.write(tmp_path / "raw")
    (folder,) = {path.parent for path in (tmp_path / "raw").rglob("images") if path.parent.name == "dataset"}
    (folder / "images" / os.fsdecode(b"f\xfcr.png")).write_bytes(b"x")
    outcome = run("usgra_seg", tmp_path / "raw", tmp_path / "out")
    assert outcome.counts["images"] > 0
    assert any("belongs to no image" in reason for _, reason in outcome.problems)


def test_an_empty_table_is_a_problem_of_its_own(tmp_path: Path) -> None:
    raw_ddti.write_source(tmp_path / "raw")
    table = sorted((tmp_path / "raw").rglob("*.xml"))[0]
    table.write_bytes(b"")
    outcome = run("ddti", tmp_path / "raw", tmp_path / "out")
    assert outcome.status == "incomplete" and outcome.counts["images"] > 0
    assert any(file.endswith(table.name) and "empty" in reason for file, reason in outcome.problems)
    raw_camus.write(tmp_path / "heart")
    info = sorted((tmp_path / "heart").rglob("Info_4CH.cfg"))[0]
    info.write_bytes(b"")
    outcome = run("camus", tmp_path / "heart", tmp_path / "out")
    assert outcome.counts["images"] > 0 and any("empty" in reason for _, reason in outcome.problems)


def test_an_image_that_is_too_wide_for_png_is_named(tmp_path: Path) -> None:
    raw_us_nerve.write(tmp_path / "raw")
    (folder,) = {path.parent for path in (tmp_path / "raw").rglob("1_1.tif")}
    for end in ("", "_mask"):
        Image.fromarray(np.full((2, 70_000), 255, np.uint8)).save(folder / f"77_1{end}.tif")
    outcome = run("us_nerve", tmp_path / "raw", tmp_path / "out")
    assert any("77_1.tif" in file and "70000 x 2" in reason for file, reason in outcome.problems)


@pytest.mark.parametrize(
    ("name", "write", "pattern", "listed"),
    [
        ("bus_bra", raw_bus_bra.write, "*0001-l.png", "5-fold-cv.csv"),
        ("tn3k", raw_tn3k.write, "0000.jpg", "label4"),
        ("mmotu_2d", raw_mmotu_2d.write, "1.*", "train_cls.txt"),
        ("hc18", raw_hc18.write, "001_HC*", "training_set_pixel_size_and_HC.csv"),
        ("camus", raw_camus.write, "patient0001", "database_split"),
    ],
)
def test_what_a_table_lists_and_is_not_there_is_told_unless_a_part_is_meant(
    name: str, write: Callable[[Path], object], pattern: str, listed: str, tmp_path: Path
) -> None:
    write(tmp_path / "raw")
    before = run(name, tmp_path / "raw", tmp_path / "before", partial=False)
    lost = list((tmp_path / "raw").rglob(pattern))
    assert lost
    for path in lost:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    after = run(name, tmp_path / "raw", tmp_path / "after", partial=False)
    new = [(file, why) for file, why in after.problems if (file, why) not in before.problems]
    assert any(listed in file and "files that are missing" in why for file, why in new), new
    partial = run(name, tmp_path / "raw", tmp_path / "partial")
    assert not any("files that are missing" in why for _, why in partial.problems)


def test_a_folder_of_masks_that_is_gone_is_told(tmp_path: Path) -> None:
    raw_kidney_us.write(tmp_path / "raw")
    (folder,) = (tmp_path / "raw").rglob("reviewed_masks_1/regions")
    shutil.rmtree(folder)
    outcome = run("kidney_us", tmp_path / "raw", tmp_path / "out")
    assert any(
        file.endswith("reviewed_masks_1/regions") and "missing" in why for file, why in outcome.problems
    )


@pytest.mark.parametrize(
    "line",
    [
        '{"group":"x","entries":[{"image":{"file_name":"../../../victim"}}],"problems":[],"inputs":[],"empty":0}',
        '{"group":["x"],"entries":[],"problems":[],"inputs":[],"empty":0}',
        '{"group":"x","entries":5,"problems":[],"inputs":[],"empty":0}',
        "[" * 200_000,
        "\x00",
    ],
)
def test_a_damaged_journal_does_no_harm(line: str, tmp_path: Path) -> None:
    raw_us_nerve.write(tmp_path / "raw")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    run("us_nerve", tmp_path / "raw", tmp_path / "out")
    before = (tmp_path / "out" / "us_nerve" / "annotations.json").read_bytes()
    with (tmp_path / "out" / "us_nerve" / ".ultrasam" / "journal.jsonl").open("a") as file:
        file.write(f"{line}\n")
    (tmp_path / "out" / "us_nerve" / "manifest.json").unlink()
    run("us_nerve", tmp_path / "raw", tmp_path / "out")
    assert victim.read_text() == "mine"
    assert (tmp_path / "out" / "us_nerve" / "annotations.json").read_bytes() == before


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A raw tree of us_nerve without damage."""
    raw_us_nerve.write(tmp_path / "raw")
    for file, _ in run("us_nerve", tmp_path / "raw", tmp_path / "first").problems:
        path = tmp_path / "raw" / file
        path.unlink(missing_ok=True)
        path.with_name(f"{path.stem}_mask.tif").unlink(missing_ok=True)
        path.with_name(path.name.replace("_mask", "")).unlink(missing_ok=True)
    assert run("us_nerve", tmp_path / "raw", tmp_path / "sound").status == "complete"
    return tmp_path / "raw"


def test_a_damaged_image_is_written_again(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sound" / "us_nerve"
    image = sorted((folder / "images").iterdir())[0]
    before = image.read_bytes()
    image.write_bytes(before[:100])
    assert not run("us_nerve", sound, tmp_path / "sound").unchanged
    assert image.read_bytes() == before and kinds(folder) == set()


def test_old_images_go_also_when_the_journal_is_gone(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sound" / "us_nerve"
    shutil.rmtree(folder / ".ultrasam")
    gone = sorted(sound.rglob("*_mask.tif"))[0]
    gone.unlink()
    gone.with_name(gone.name.replace("_mask", "")).unlink()
    run("us_nerve", sound, tmp_path / "sound")
    run("us_nerve", sound, tmp_path / "fresh")
    fresh = sorted(path.name for path in (tmp_path / "fresh" / "us_nerve" / "images").iterdir())
    assert sorted(path.name for path in (folder / "images").iterdir()) == fresh
    assert kinds(folder) == set()


def test_a_failed_build_over_an_older_one_is_told_by_verify(sound: Path, tmp_path: Path) -> None:
    shutil.rmtree(sound)
    sound.mkdir()
    assert run("us_nerve", sound, tmp_path / "sound").status == "failed"
    assert kinds(tmp_path / "sound" / "us_nerve") == {"incomplete"}


def test_a_coco_file_of_somebody_else_is_not_replaced(sound: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "us_nerve" / "annotations.json"
    other.parent.mkdir(parents=True)
    other.write_text('{"info": {}, "images": [{"file_name": "a.png"}]}')
    with pytest.raises(UltrasamError, match="is not from `ultrasam data build` and would be replaced"):
        run("us_nerve", sound, tmp_path / "other")
    assert "a.png" in other.read_text()


def test_a_pixel_size_that_is_no_size_is_told_and_not_kept(tmp_path: Path) -> None:
    raw_hc18.write(tmp_path / "raw")
    (table,) = (tmp_path / "raw").rglob("training_set_pixel_size_and_HC.csv")
    lines = table.read_text().splitlines()
    sizes = ["nan", "inf", "-1", "0"]
    for number, size in enumerate(sizes, 1):
        name, _, rest = lines[number].split(",", 2)
        lines[number] = f"{name},{size},{rest}"
    table.write_text("\n".join(lines))
    outcome = run("hc18", tmp_path / "raw", tmp_path / "out")
    assert sum("no pixel size" in why for _, why in outcome.problems) >= len(sizes)
    text = (tmp_path / "out" / "hc18" / "annotations.json").read_text()
    assert "NaN" not in text and "Infinity" not in text and "-1.0" not in text


def test_links_in_circles_end(tmp_path: Path) -> None:
    raw_busi.write(tmp_path / "raw")
    for name in ("loop", "loop2"):
        (tmp_path / "raw" / name).symlink_to(tmp_path / "raw", target_is_directory=True)
    assert len(signature(tmp_path / "raw")) == 64


def test_a_mask_of_another_field_is_refused(tmp_path: Path) -> None:
    raw_stu_hospital.write(tmp_path / "raw")
    mask = sorted((tmp_path / "raw").rglob("mask_1.png"))[0]
    with Image.open(mask) as picture:
        picture.resize((picture.width, picture.height // 2)).save(mask)
    outcome = run("stu_hospital", tmp_path / "raw", tmp_path / "out")
    assert any("do not show the same field" in why for _, why in outcome.problems)


def test_two_folders_of_one_name_are_not_chosen_from(tmp_path: Path) -> None:
    (tmp_path / "busi").mkdir()
    (tmp_path / "BUSI.zip").write_bytes(b"")
    assert find_raw(dataset("busi"), tmp_path, {}) == tmp_path / "busi"
    (tmp_path / "BUSI").mkdir()
    with pytest.raises(UltrasamError, match="could both be busi"):
        find_raw(dataset("busi"), tmp_path, {})


def test_a_key_that_stands_twice_is_told_for_both_files_and_nothing_else(tmp_path: Path) -> None:
    raw_usgra_seg.write(tmp_path / "raw")
    before = run("usgra_seg", tmp_path / "raw", tmp_path / "before").problems
    image = next(path for path in sorted((tmp_path / "raw").rglob("images/*.png")) if path.name[0] != ".")
    shutil.copy(image, image.with_suffix(".PNG"))
    after = run("usgra_seg", tmp_path / "raw", tmp_path / "after").problems
    new = [file for file, _ in after if file not in {old for old, _ in before}]
    assert sorted(Path(file).name for file in new) == sorted([image.name, image.with_suffix(".PNG").name])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the system does not list processes")
def test_no_process_outlives_a_build_that_is_killed(tmp_path: Path) -> None:
    train = tmp_path / "raw" / "train"
    train.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    for number in range(300):
        for end in ("", "_mask"):
            Image.fromarray(noise if not end else np.uint8(noise > 250) * 255).save(
                train / f"1_{number}{end}.tif"
            )
    words = [sys.executable, "-m", "ultrasam", "data", "build", "--source", f"us_nerve={tmp_path / 'raw'}"]
    process = subprocess.Popen([*words, "--out", str(tmp_path / "out"), "--jobs", "2", "--partial"])

    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("the system does not tell the children of a process")
    journal = tmp_path / "out" / "us_nerve" / ".ultrasam" / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.01)
    own = [Path("/proc") / child for child in children.read_text().split()]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(own) >= 2
    for _ in range(400):
        if not any(child.exists() for child in own):
            return
        time.sleep(0.05)
    pytest.fail("a process is left")


def test_a_mask_whose_header_says_other_directions_is_refused(tmp_path: Path) -> None:
    raw_micro_seg.write(tmp_path / "raw")
    (path,) = (tmp_path / "raw").rglob("expert_annotation_train_01.nii.gz")
    labels = np.zeros((4, 67, 101), np.uint8)
    labels[1] = 1
    save_nifti(path, labels, raw_micro_seg.SPACING, turned=True)
    outcome = run("micro_seg", tmp_path / "raw", tmp_path / "out")
    assert any("other directions" in why and "train_01" in file for file, why in outcome.problems)


@pytest.mark.parametrize("there", [True, False])
def test_camus_without_its_lists_is_not_complete_and_reads_none_outside(there: bool, tmp_path: Path) -> None:
    raw_camus.write(tmp_path / "raw")
    (lists,) = (tmp_path / "raw").rglob("database_split")
    raw = lists.parent / "database_nifti" if there else tmp_path / "raw"
    if not there:
        shutil.rmtree(lists)
    outcome = run("camus", raw, tmp_path / "out")
    assert any(
        "subgroup_testing.txt" in file and "for tests is not known" in why for file, why in outcome.problems
    )
    assert outcome.counts["images by split"].keys() == {""}


def test_folds_and_tables_of_bus_bra_that_are_otherwise_are_told(tmp_path: Path) -> None:
    raw_bus_bra.write(tmp_path / "raw")
    (folds,) = (tmp_path / "raw").rglob("5-fold-cv.csv")
    (about,) = (tmp_path / "raw").rglob("bus_data.csv")
    text = about.read_text()
    about.write_text(text.replace("BIRADS", "BI-RADS"))
    outcome = run("bus_bra", tmp_path / "raw", tmp_path / "columns")
    assert any("no column 'BIRADS'" in why for _, why in outcome.problems)
    about.unlink()
    outcome = run("bus_bra", tmp_path / "raw", tmp_path / "none")
    assert any(file.endswith("bus_data.csv") for file, _ in outcome.problems)
    folds.write_text(folds.read_text().replace(",1\n", ",1.0\n").replace(",1\r\n", ",1.0\r\n"))
    outcome = run("bus_bra", tmp_path / "raw", tmp_path / "folds")
    assert outcome.status == "failed" and "folds 1 to 5 were expected" in outcome.problems[0][1]


def test_smooth_edges_of_mmotu_make_no_second_class(tmp_path: Path) -> None:
    raw_mmotu_2d.write(tmp_path / "raw")
    before = run("mmotu_2d", tmp_path / "raw", tmp_path / "before").counts["objects by category"]
    for path in (tmp_path / "raw").rglob("annotations/*.PNG"):
        if "_" not in path.stem:
            try:
                with Image.open(path) as picture:
                    picture.convert("RGB").filter(ImageFilter.BoxBlur(1)).save(path)
            except OSError:  # the damaged one
                continue
    after = run("mmotu_2d", tmp_path / "raw", tmp_path / "after").counts["objects by category"]
    assert after == before


def test_an_image_that_is_stored_turned_is_refused(tmp_path: Path) -> None:
    raw_tn3k.write(tmp_path / "raw")
    path = sorted((tmp_path / "raw").rglob("test-image/0000.jpg"))[0]
    with Image.open(path) as picture:
        exif = picture.getexif()
        exif[0x0112] = 3
        picture.save(path, exif=exif)
    outcome = run("tn3k", tmp_path / "raw", tmp_path / "out")
    assert any("EXIF orientation 3" in why for _, why in outcome.problems)


def test_a_test_part_that_is_too_small_is_told(tmp_path: Path) -> None:
    raw_usgra_seg.write(tmp_path / "raw")
    outcome = run("usgra_seg", tmp_path / "raw", tmp_path / "out", partial=False)
    assert any("images for tests where the catalogue has 40" in why for _, why in outcome.problems)
    raw_micro_seg.write(tmp_path / "volumes")
    outcome = run("micro_seg", tmp_path / "volumes", tmp_path / "out", partial=False)
    assert any("patients where the catalogue has 75" in why for _, why in outcome.problems)


def test_a_folder_that_no_converter_knows_is_named_in_the_report(tmp_path: Path) -> None:
    raw_micro_seg.write(tmp_path / "raw")
    (folder,) = (tmp_path / "raw").rglob("train")
    save_text(folder / "notes" / "first.txt", "seen")
    (folder / "nothing").mkdir()
    outcome = run("micro_seg", tmp_path / "raw", tmp_path / "out")
    assert any(file.endswith("train/nothing") and "empty" in why for file, why in outcome.problems)
    report = json.loads((tmp_path / "out" / "micro_seg" / "report.json").read_bytes())
    assert any(one["file"].endswith("train/notes") for one in report["left out"])
