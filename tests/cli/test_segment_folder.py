"""`ultrasam segment` over folders, patterns and clips: what it writes, keeps, and says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ultrasam.cli.main import main
from ultrasam.core import files
from ultrasam.core.masks import decode_segmentation

Segment = Callable[..., int]
BOX = "--box=10,10,60,50"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with four scans of 80 x 60 pixels, two of the same stem, and a file that is none."""
    folder = tmp_path / "scans"
    (folder / "deep er").mkdir(parents=True)
    for number, name in enumerate(("a.png", "a.bmp", "b ü\n.png", "deep er/a.png")):
        Image.new("L", (80, 60), 100 + number).save(folder / name)
    (folder / "notes.txt").write_text("no scan")
    return folder


NAMES = ["a.bmp", "a.png", "b ü\n", "deep er/a"]


def written(out: Path) -> list[str]:
    """All files in the folder of the results but those of the journal."""
    paths = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if path.parts[0] != ".ultrasam")


def report_of(out: Path) -> Any:
    return json.loads((out / "report.json").read_text())


def predictions_of(out: Path) -> Any:
    return json.loads((out / "predictions.json").read_text())


def statuses(out: Path) -> dict[str, str]:
    return {item["file"].rsplit("scans/")[-1]: item["status"] for item in report_of(out)["items"]}


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in written(out) if name != "report.json"}


def test_a_folder(segment: Segment, scans: Path, out: Path, capsys: Any) -> None:
    assert segment(scans, BOX) == 0
    pictures = [f"{name}_{kind}.png" for name in NAMES for kind in ("mask", "overlay")]
    assert written(out) == sorted([*pictures, "predictions.json", "report.json"])

    predictions = predictions_of(out)
    assert [image["file_name"] for image in predictions["images"]] == [
        *("a.bmp", "a.png", "b ü\n.png", "deep er/a.png")
    ]
    assert [image["id"] for image in predictions["images"]] == [1, 2, 3, 4]
    assert [(a["id"], a["image_id"]) for a in predictions["annotations"]] == [(i, i) for i in range(1, 5)]
    for name, annotation in zip(NAMES, predictions["annotations"], strict=True):
        mask = np.asarray(Image.open(out / f"{name}_mask.png"))
        assert (decode_segmentation(annotation["segmentation"], 60, 80) == (mask == 255)).all()
        assert annotation["area"] == (mask == 255).sum() > 1000

    report = report_of(out)
    assert set(report["versions"]) == {"ultrasam", "onnxruntime", "python"}
    assert report["model"]["id"] == "tiny" and len(report["model"]["sha256"]["encoder.onnx"]) == 64
    totals = {"items": 4, "done": 4, "kept": 0, "failed": 0, "left": 0, "objects": 4, "empty": 0}
    assert report["totals"].items() >= (totals | {"other_files": 1}).items()
    item = report["items"][3]
    assert item["sha256"] == files.sha256_of(scans / "deep er" / "a.png")
    assert item["written"] == ["deep er/a_mask.png", "deep er/a_overlay.png"]
    (found,) = item["objects"]
    assert found["area_px"] == predictions["annotations"][3]["area"] and found["score"] == 0.8

    output = capsys.readouterr()
    assert "segmented 4 of 4 frames: 4 objects" in output.out
    assert output.err.count("\n") <= 1  # the licence: no progress where nobody looks


def test_what_is_finished_is_kept(segment: Segment, scans: Path, out: Path, capsys: Any) -> None:
    assert segment(scans, BOX) == 0
    before = contents(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    (out / "a.png_mask.png").write_bytes(b"corrected by hand")
    (out / "deep er" / "a_overlay.png").unlink()
    assert segment(scans, BOX) == 0
    assert statuses(out) == {
        "a.bmp": "kept",
        "a.png": "kept",
        "b ü\n.png": "kept",
        "deep er/a.png": "done",
    }
    assert "(3 kept from an earlier run)" in capsys.readouterr().out
    assert contents(out) == before | {"a.png_mask.png": b"corrected by hand"}
    assert times[out / "a.bmp_mask.png"] == (out / "a.bmp_mask.png").stat().st_mtime_ns
    assert segment(scans, BOX, "--overwrite") == 0
    assert set(statuses(out).values()) == {"done"} and contents(out) == before


def test_what_has_changed_is_done_again(
    segment: Segment, scans: Path, out: Path, make_model: Any, tmp_path: Path
) -> None:
    assert segment(scans, BOX) == 0
    Image.new("L", (80, 60), 7).save(scans / "a.png")
    assert segment(scans, BOX) == 0
    assert [name for name, status in statuses(out).items() if status == "done"] == ["a.png"]
    for words in (
        ["--box=10,10,60,49"],
        [BOX, "--point=30,30"],
        [BOX, "--coco=polygons"],
        [BOX, "--protocol=paper"],
        [BOX, "--postprocess=original"],
        [BOX, "--no-overlay"],
    ):
        assert segment(scans, *words) == 0
        assert set(statuses(out).values()) == {"done"}
        assert segment(scans, *words) == 0
        assert set(statuses(out).values()) == {"kept"}
    other = make_model(tmp_path / "other", "other")
    command = ["segment", str(scans), BOX, "--no-overlay", f"--out={out}", f"--model={other}"]
    assert main(command) == 0
    assert set(statuses(out).values()) == {"done"} and report_of(out)["model"]["id"] == "other"


def test_files_of_other_settings_do_not_stay_behind(segment: Segment, scans: Path, out: Path) -> None:
    words = [scans / "a.png", scans / "a.bmp", BOX, "--box=60,50,70,58"]
    assert segment(*words, "--masks=objects") == 0
    pictures = {name for name in written(out) if name.startswith("a.png")}
    assert pictures == {"a.png_mask1.png", "a.png_mask2.png", "a.png_overlay.png"}
    assert segment(*words, "--masks=labels", "--no-overlay") == 0
    assert [name for name in written(out) if name.startswith("a.png")] == ["a.png_labels.png"]
    assert segment(*words, "--masks=none", "--no-overlay") == 0
    assert written(out) == ["predictions.json", "report.json"]
    assert len(predictions_of(out)["annotations"]) == 4
    assert segment(*words, "--masks=none", "--no-overlay") == 0
    assert set(statuses(out).values()) == {"kept"}


def test_some_items_fail(segment: Segment, scans: Path, out: Path, capsys: Any) -> None:
    (scans / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    Image.new("L", (20, 20)).save(scans / "small.png")
    assert segment(scans, BOX) == 1
    error = capsys.readouterr().err
    assert "a.png is damaged" in error and "small.png: the box (10, 10, 60, 50) is not inside" in error
    assert error.count("\n") <= 3
    assert [name for name, status in statuses(out).items() if status == "failed"] == ["a.png", "small.png"]
    failed = [item for item in report_of(out)["items"] if item["status"] == "failed"]
    assert "damaged" in failed[0]["error"] and "not inside" in failed[1]["error"]
    assert len(predictions_of(out)["images"]) == 3 and not (out / "small_mask.png").exists()


def test_nothing_done(segment: Segment, scans: Path, out: Path, capsys: Any) -> None:
    assert segment(scans, "--point=500,500") == 2
    assert report_of(out)["totals"]["failed"] == 4
    (scans.parent / "empty").mkdir()
    assert segment(scans.parent / "empty", BOX) == 2
    assert "there is no scan in" in capsys.readouterr().err


def test_an_empty_mask_is_counted(segment: Segment, scans: Path, out: Path, capsys: Any) -> None:
    assert segment(scans, "--box=30,30,30.2,30.2", "--not=30,30") == 0
    assert "4 objects, 4 of them with an empty mask" in capsys.readouterr().out
    assert report_of(out)["totals"]["empty"] == 4


def test_several_jobs_write_the_same(segment: Segment, scans: Path, out: Path) -> None:
    assert segment(scans, BOX, "--point=20,20") == 0
    alone = contents(out)
    assert segment(scans, BOX, "--point=20,20", "--jobs=3", "--overwrite") == 0
    assert contents(out) == alone


def test_results_inside_the_folder_are_not_segmented(
    segment: Segment, scans: Path, tiny_folder: Path
) -> None:
    for out in (scans, scans / "results"):
        words = ["segment", str(scans), BOX, f"--out={out}", f"--model={tiny_folder}"]
        assert main(words) == 0
        assert main(words) == 0
        assert report_of(out)["totals"]["items"] == report_of(out)["totals"]["kept"] == 4


def test_files_of_somebody_else_are_not_replaced(
    segment: Segment, scans: Path, out: Path, capsys: Any
) -> None:
    out.mkdir()
    (out / "a.png_mask.png").write_bytes(b"the truth")
    assert segment(scans, BOX) == 1
    assert "a.png_mask.png is there and not from an earlier run" in capsys.readouterr().err
    assert (out / "a.png_mask.png").read_bytes() == b"the truth"
    assert not (out / "a.png_overlay.png").exists()
    assert segment(scans, BOX, "--overwrite") == 0
    assert (out / "a.png_mask.png").read_bytes() != b"the truth"


def test_a_report_of_somebody_else_is_not_replaced(
    segment: Segment, scans: Path, out: Path, capsys: Any
) -> None:
    out.mkdir()
    (out / "report.json").write_text("mine")
    assert segment(scans, BOX) == 2
    assert "report.json is there and not from an earlier run" in capsys.readouterr().err
    assert written(out) == ["report.json"] and (out / "report.json").read_text() == "mine"


def test_two_runs_do_not_share_a_folder(segment: Segment, scans: Path, out: Path, capsys: Any) -> None:
    from ultrasam.predict.journal import Journal

    with Journal(out):
        assert segment(scans, BOX) == 2
        assert "another run" in capsys.readouterr().err
    assert segment(scans, BOX) == 0


def test_all_frames_of_a_clip(segment: Segment, tmp_path: Path, out: Path, capsys: Any) -> None:
    pages = [Image.new("L", (80, 60), grey) for grey in (10, 90, 170, 250)]
    pages[0].save(tmp_path / "clip.tiff", save_all=True, append_images=pages[1:])
    assert segment(tmp_path / "clip.tiff", BOX, "--frames=1:3", "--json") == 0
    assert json.loads(capsys.readouterr().out) == report_of(out)
    for number, grey in ((1, 90), (2, 170)):
        assert np.asarray(Image.open(out / f"clip_frame{number}_overlay.png"))[59, 79, 0] == grey
    assert [image["frame"] for image in predictions_of(out)["images"]] == [1, 2]
    assert len(written(out)) == 6
    assert segment(tmp_path / "clip.tiff", BOX, "--frames=all") == 0
    assert [(i["frame"], i["status"]) for i in report_of(out)["items"]] == [
        *((0, "done"), (1, "kept"), (2, "kept"), (3, "done"))
    ]
    Image.new("L", (80, 60)).save(tmp_path / "still.png")
    assert segment(tmp_path / "still.png", tmp_path / "clip.tiff", BOX, "--frames=2:") == 1
    assert "still.png has 1 frame: none of those" in capsys.readouterr().err
    assert segment(tmp_path / "*.*", BOX, "--frame=-1") == 0
    assert [(image["file_name"], image["frame"]) for image in predictions_of(out)["images"]] == [
        *(("clip.tiff", 3), ("still.png", 0))
    ]
    capsys.readouterr()
    assert segment(tmp_path / "*.*", BOX) == 0
    assert "of 1 clips only frame 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        ([BOX, "--frames=x"], "write all or A:B"),
        ([BOX, "--frames=3"], "write all or A:B"),
        ([BOX, "--frames=0:9:0"], "write all or A:B"),
        ([BOX, "--frames=all", "--frame=1"], "exclude each other"),
        ([BOX, "--jobs=0"], "from 1 to 64"),
        ([BOX, "--threads=0"], "from 1 to"),
        ([BOX, "--images=."], "goes with a COCO file"),
        (["boxes.json", BOX], "only input"),
        ([BOX, "--model=nothing"], "no model"),
        (["nothing.png", BOX], "does not exist"),
        ([], "nothing to segment"),
    ],
)
def test_refused_before_anything_is_written(
    scans: Path, out: Path, tiny_folder: Path, capsys: Any, words: list[str], message: str
) -> None:
    assert main(["segment", f"--out={out}", f"--model={tiny_folder}", str(scans), *words]) == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.count("\n") == 1 and output.out == ""
    assert not out.exists()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("number", range(10))
def test_a_run_stopped_at_any_rename_goes_on(
    segment: Segment, scans: Path, out: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    replace, count = os.replace, 0

    def stopping(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count > number:
            raise Killed
        replace(source, target)

    words = [scans / "a.png", scans / "deep er" / "a.png"]
    assert segment(*words, "--box=5,5,70,50") == 0
    old = contents(out)
    assert segment(*words, BOX, "--overwrite") == 0
    new = contents(out)
    assert segment(*words, "--box=5,5,70,50") == 0 and contents(out) == old
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files.os, "replace", stopping)
        segment(*words, BOX)
    for name, content in contents(out).items():
        assert content in (old[name], new[name])
    # With the old settings again: no mixture of both runs may count as finished.
    assert segment(*words, "--box=5,5,70,50") == 0
    assert contents(out) == old


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing kills like that here")
def test_a_killed_run_goes_on(scans: Path, out: Path, tiny_folder: Path) -> None:
    for number in range(60):
        Image.new("L", (80, 60), number).save(scans / f"more{number}.png")
    words = ["segment", str(scans), BOX, f"--out={out}", f"--model={tiny_folder}", "--threads=1", "--jobs=2"]
    command = [sys.executable, "-m", "ultrasam", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len([*out.rglob("*_mask.png")]) < 5:
            time.sleep(0.01)
        process.kill()
    assert not (out / "report.json").exists(), "it was finished before it could be killed"
    for path in out.rglob("*.png"):
        Image.open(path).load()
    (out / "deep er").mkdir(exist_ok=True)
    for folder in (out, out / ".ultrasam"):
        (folder / ".0123456789abcdef.tmp").write_bytes(b"half")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    totals = report_of(out)["totals"]
    assert totals["kept"] >= 1 and totals["done"] >= 1 and totals["kept"] + totals["done"] == 64
    assert len(written(out)) == 2 * 64 + 2 and not [*out.rglob("*.tmp")]


def test_a_full_disk_ends_the_run(
    segment: Segment, scans: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(descriptor: int) -> None:
        if [*out.rglob("*_mask.png")]:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        assert segment(scans, BOX) == 1
    output = capsys.readouterr()
    assert "free some space" in output.err and "Traceback" not in output.err
    assert "1 of 4 frames, 1 failed, 2 not begun" in output.out and "wrote" not in output.out
    assert not [*out.rglob("*.tmp")]
    assert segment(scans, BOX) == 0
    assert report_of(out)["totals"]["kept"] == 1


def test_progress_is_for_a_terminal(
    segment: Segment, scans: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert segment(scans, BOX) == 0
    error = capsys.readouterr().err
    assert "4 of 4 frames" in error and error.endswith("\r\x1b[K")


def test_a_folder_that_cannot_be_looked_into(
    segment: Segment, scans: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    listdir = os.listdir

    def closed(folder: Any) -> list[str]:
        if Path(folder).name == "deep er" and "scans" in str(folder):
            raise PermissionError(13, "Permission denied")
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", closed)
    assert segment(scans, BOX) == 1
    assert "deep er cannot be looked into (Permission denied)" in capsys.readouterr().err
    report = report_of(out)
    assert report["totals"]["unreadable_folders"] == 1 and report["totals"]["done"] == 3
    assert "Permission denied" in report["problems"][0]["error"]


def test_a_remark_on_a_clip_is_made_once(out: Path, tiny_folder: Path) -> None:
    from pydicom.data import get_testdata_file

    path = get_testdata_file("examples_ybr_color.dcm", download=False)
    if path is None:
        pytest.skip("this pydicom does not carry examples_ybr_color.dcm")
    words = ["segment", str(path), "--box=150,100,200,160", "--frames=:3", f"--out={out}"]
    command = [sys.executable, "-m", "ultrasam", *words, f"--model={tiny_folder}", "--threads=1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and report_of(out)["totals"]["done"] == 3
    assert done.stderr.count("regions reach beyond") == 1
