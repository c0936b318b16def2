"""`ultrasam track`: what it writes, what it says where an object drifts, and what it refuses."""

from __future__ import annotations

import csv
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from tests.dicoms import dataset, saved, ultrasound_region

from ultrasam.cli.main import main
from ultrasam.cli.track import COLUMNS, GUARD
from ultrasam.core.masks import decode_segmentation, encode_rle
from ultrasam.predict.tracking import Guard

Track = Callable[..., int]
SIDE = 128


def scene(seed: int) -> np.ndarray[Any, Any]:
    blocks = np.random.default_rng(seed).integers(60, 195, (SIDE // 4, SIDE // 4))
    return np.kron(blocks, np.ones((4, 4), np.int64)).astype(np.uint8)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Eight frames; from frame 5 on another scene. 0.25 x 0.5 mm per pixel."""
    pixels = np.stack([scene(1)] * 5 + [scene(2)] * 3)
    region = ultrasound_region(0, 0, SIDE - 1, SIDE - 1)
    return saved(tmp_path, dataset(pixels, "MONOCHROME2", SequenceOfUltrasoundRegions=[region]), "clip.dcm")


@pytest.fixture
def track(tiny_folder: Path, out: Path) -> Track:
    """Run the verb in this process on the tiny model, whose score is 0.65."""

    def run(*words: object) -> int:
        fixed = [f"--out={out}", f"--model={tiny_folder}", "--threads=1", "--guard-score=0.6"]
        return main(["track", *map(str, words), *fixed])

    return run


def written(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "clip_coco.json").read_text())
    return document


def frames_of(document: dict[str, Any], number: int) -> dict[int, dict[str, Any]]:
    """The annotations of an object by frame."""
    frame = {image["id"]: image["frame"] for image in document["images"]}
    mine = [entry for entry in document["annotations"] if entry["object"] == number]
    return {frame[entry["image_id"]]: entry for entry in mine}


def table(out: Path) -> list[dict[str, str]]:
    with (out / "clip_measurements.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_object_is_tracked_both_ways_and_stopped_at_the_cut(
    track: Track, clip: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert track(clip, "--frame", 2, "--box", "30,30,90,90") == 1
    document = written(out)
    assert [image["frame"] for image in document["images"]] == [0, 1, 2, 3, 4, 5]
    assert {image["file_name"] for image in document["images"]} == {"clip.dcm"}
    entries = frames_of(document, 1)
    assert {frame: entry["origin"] for frame, entry in entries.items()} == {
        **dict.fromkeys((0, 1, 3, 4, 5), "tracked"),
        2: "prompt",
    }
    assert [frame for frame, entry in entries.items() if entry["doubt"]] == [5]
    assert entries[2]["prompts"]["box"] == [30, 30, 90, 90] and "prompts" not in entries[3]
    assert entries[3]["score"] == pytest.approx(0.65, abs=0.01)
    mask = decode_segmentation(entries[3]["segmentation"], SIDE, SIDE)
    assert mask[60, 60] and mask.sum() == entries[3]["area"]

    rows = table(out)
    assert tuple(rows[0]) == COLUMNS and [int(row["frame"]) for row in rows] == [0, 1, 2, 3, 4, 5]
    assert rows[3]["unit"] == "mm"
    assert float(rows[3]["area"]) == pytest.approx(entries[3]["area"] * 0.25 * 0.5)
    assert float(rows[3]["long_diameter"]) > float(rows[3]["short_diameter"]) > 10
    assert rows[5]["doubt"] == entries[5]["doubt"] != ""

    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "object 1: 6 frames from 0 to 5, 1 to look at"
    assert "object 1 stopped on frame 5: the picture changes suddenly" in captured.err
    assert f"--from {out / 'clip_coco.json'} --object 1 --frame 5 --box" in captured.err
    assert sorted(path.name for path in out.iterdir()) == ["clip_coco.json", "clip_measurements.csv"]


def test_a_corrected_frame_is_tracked_from_and_kept(
    track: Track, clip: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert track(clip, "--frame", 2, "--box", "30,30,90,90") == 1
    before = frames_of(written(out), 1)
    again = ("--from", out / "clip_coco.json", "--object", 1, "--frame", 5)
    assert track(clip, *again, "--box", "20,20,80,80") == 0
    entries = frames_of(written(out), 1)
    assert sorted(entries) == list(range(8)) and not any(entry["doubt"] for entry in entries.values())
    assert {frame for frame, entry in entries.items() if entry["origin"] != "tracked"} == {2, 5}
    assert entries[2]["origin"] == "prompt" and entries[2]["prompts"]["box"]
    assert entries[2]["segmentation"] == before[2]["segmentation"]
    assert entries[4]["segmentation"] == before[4]["segmentation"]
    assert capsys.readouterr().out.splitlines()[-2] == "object 1: 8 frames from 0 to 7"


def test_several_objects_have_numbers_and_pictures(track: Track, clip: Path, out: Path) -> None:
    boxes = ("--box", "5,5,60,60", "--box", "62,62,122,122")
    assert track(clip, *boxes, "--last", 2, "--masks", "labels", "--overlays", "--direction=forward") == 0
    document = written(out)
    assert sorted(frames_of(document, 1)) == [0, 1, 2] == sorted(frames_of(document, 2))
    names = sorted(path.name for path in out.glob("*.png"))
    assert names == sorted(f"clip_frame{n}_{kind}.png" for n in range(3) for kind in ("labels", "overlay"))
    labels = np.asarray(Image.open(out / "clip_frame1_labels.png"))
    assert (labels[30, 30], labels[90, 90], labels[5, 120]) == (1, 2, 0)
    overlay = np.asarray(Image.open(out / "clip_frame1_overlay.png"))
    assert overlay.shape == (SIDE, SIDE, 3) and (overlay[30, 30] != scene(1)[30, 30]).any()
    assert (overlay[2, 125] == scene(1)[2, 125]).all()


def coco_file(path: Path, *entries: dict[str, Any], name: str = "elsewhere/clip.dcm", **image: Any) -> Path:
    """A file with one image for each entry's frame."""
    images = [
        {"id": n, "file_name": name, "width": SIDE, "height": SIDE, "frame": entry.pop("frame", 0), **image}
        for n, entry in enumerate(entries, start=1)
    ]
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[30:90, 30:90] = True
    annotations = [
        {"id": n, "image_id": n, "category_id": 7, "bbox": [30, 30, 60, 60], "segmentation": encode_rle(mask)}
        | entry
        for n, entry in enumerate(entries, start=1)
    ]
    categories = [{"id": 7, "name": "=cyst"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def test_masks_of_a_file_are_anchors(
    track: Track, clip: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = coco_file(
        tmp_path / "a.json",
        {"frame": 1, "track_id": 4},
        {"frame": 3, "track_id": 4, "origin": "brush"},
        {"frame": 2, "track_id": 4, "origin": "tracked"},
        {"frame": 6, "track_id": 9},
    )
    assert track(clip, "--from", file, "--json", "--last", 7) == 1
    report = json.loads(capsys.readouterr().out)
    four, nine = report["objects"]
    assert (four["object"], four["by_hand"], four["class"]) == (4, [1, 3], "=cyst")
    assert four["frames"] == [0, 1, 2, 3, 4, 5] and four["doubtful"] == [5]
    assert nine["frames"] == [4, 5, 6, 7] and nine["doubtful"] == [4]
    assert {"frame": 3, "kind": "anchor", "reason": "met a frame that was corrected by hand"} in four["stops"]
    document = written(out)
    assert document["categories"] == [{"id": 1, "name": "=cyst"}]
    entry = frames_of(document, 4)[1]
    assert entry["area"] == 3600 and "score" not in entry and entry["origin"] == "imported"
    assert {row["class"] for row in table(out)} == {"'=cyst"}


def test_objects_without_numbers_are_told_by_their_order(
    track: Track, clip: Path, out: Path, tmp_path: Path
) -> None:
    file = coco_file(tmp_path / "a.json", {"frame": 0}, {"frame": 3})
    assert track(clip, "--from", file, "--last", 4) == 0
    document = written(out)
    assert {entry["object"] for entry in document["annotations"]} == {1}
    assert sorted(frames_of(document, 1)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["missing.dcm", "--box=1,1,9,9"], "missing.dcm does not exist"),
        (
            ["{still}", "--box=1,1,9,9"],
            "is a single image, there is nothing to track: use `ultrasam segment`",
        ),
        (["{clip}", "--box=1,1,9,9", "--frame=8"], "has 8 frames, no frame 8"),
        (["{clip}", "--box=1,1,9,9", "--last=8"], "--last 8: give a frame from 0 to 7"),
        (["{clip}", "--box=1,1,9,9", "--first=-1"], "--first -1: give a frame from 0 to 7"),
        (["{clip}", "--box=1,1,9,9", "--frame=3", "--last=2"], "frame 3, where '1' is known, is not among"),
        (["{clip}", "--box=1,1,900,9"], "the box (1, 1, 900, 9) is not inside the image"),
        (["{clip}", "--point=200,5"], "the point (200, 5) is outside the image"),
        (
            ["{clip}"],
            "nothing to segment: add --point x,y or --box x0,y0,x1,y1 (in pixels), or --from FILE.json",
        ),
        (["{clip}", "--box=1,1,9,9", "--guard-area=0.5"], "the guard's area is 0.5"),
        (["{clip}", "--box=1,1,9,9", "--object=1"], "--object N says which object of --from FILE.json"),
        (["{clip}", "--from={clip}"], "is not JSON"),
        (["{clip}", "--from={other}"], "has no image of clip.dcm"),
        (["{clip}", "--from={boxes}"], "annotation 1: it has no mask, only a box"),
        (["{clip}", "--from={tracked}"], "has no mask made by hand on clip.dcm"),
        (["{clip}", "--from={far}"], "there is no frame 70"),
        (["{clip}", "--from={size}"], "says 128 x 99 pixels, the clip has 128 x 128"),
        (["{clip}", "--from={axis}"], "lie along axis x: add --axis x"),
        (["{clip}", "--from={good}", "--object=5", "--box=1,1,9,9"], "has no object 5: use one of 1"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    words: list[str],
    complaint: str,
    track: Track,
    clip: Path,
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("L", (SIDE, SIDE), 100).save(tmp_path / "still.png")
    files = {
        "clip": clip,
        "still": tmp_path / "still.png",
        "other": coco_file(tmp_path / "other.json", {}, name="other.dcm"),
        "boxes": coco_file(tmp_path / "boxes.json", {"segmentation": None}),
        "tracked": coco_file(tmp_path / "tracked.json", {"origin": "tracked"}),
        "far": coco_file(tmp_path / "far.json", {"frame": 70}),
        "size": coco_file(tmp_path / "size.json", {}, height=99),
        "axis": coco_file(tmp_path / "axis.json", {}, axis="x"),
        "good": coco_file(tmp_path / "good.json", {}),
    }
    assert track(*(word.format(**files) for word in words)) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "licence" not in line]
    assert len(lines) == 1 and complaint in lines[0]
    assert captured.out == "" and not list(out.glob("*"))


def test_it_needs_a_folder(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(clip), "--box=1,1,9,9"]) == 2
    assert "add --out DIR" in capsys.readouterr().err


def test_the_guards_defaults_are_those_of_the_package() -> None:
    assert asdict(Guard()) == GUARD
    assert list(GUARD) == list(inspect.signature(Guard).parameters)


def test_the_bundled_model_on_a_cine(tmp_path: Path) -> None:
    """The executable on 30 frames of a beating heart, whose left atrium stays where it is."""
    cine = get_testdata_file("examples_ybr_color.dcm")
    words = ["track", cine, "--box", "160,128,192,172", "--out", tmp_path / "out", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "ultrasam", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "ULTRASAM_HOME": str(tmp_path / "home")},
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["objects"]
    assert found["frames"] == list(range(30)) and found["doubtful"] == []
    document = json.loads((tmp_path / "out" / "examples_ybr_color_coco.json").read_text())
    for entry in document["annotations"]:
        x, y, width, height = entry["bbox"]
        assert 150 < x + width / 2 < 200 and 125 < y + height / 2 < 175


def test_what_a_person_called_right_is_an_anchor(
    track: Track, clip: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {"name": "left", "score": 0.5, "doubt": "look"}
    file = coco_file(
        tmp_path / "a.json",
        {"frame": 1, "object": 4, "origin": "prompt", **kept},
        {"frame": 3, "object": 4, "origin": "tracked", "checked": True},
    )
    track(clip, "--from", file, "--json", "--last", 3)
    (four,) = json.loads(capsys.readouterr().out)["objects"]
    assert {"frame": 3, "kind": "anchor", "reason": "met a frame that was corrected by hand"} in four["stops"]
    entries = frames_of(written(out), 4)
    assert entries[3]["checked"] is True and entries[3]["origin"] == "tracked"
    assert {key: entries[1][key] for key in kept} == kept and entries[1]["origin"] == "prompt"


def test_names_of_objects_may_be_texts(track: Track, clip: Path, out: Path, tmp_path: Path) -> None:
    file = coco_file(
        tmp_path / "a.json",
        {"frame": 0, "track_id": "LA"},
        {"frame": 0, "track_id": "LV"},
        {"frame": 3, "track_id": "LV"},
        {"frame": 3, "object": 10**30},
        {"frame": 3, "object": -3},
    )
    track(clip, "--from", file, "--first", 0, "--last", 3, "--masks", "labels")
    document = written(out)
    by_hand = {
        number: [f for f, entry in frames_of(document, number).items() if entry["origin"] == "imported"]
        for number in (1, 2, 3, 4)
    }
    assert by_hand == {1: [0], 2: [0, 3], 3: [3], 4: [3]}


def test_what_was_tracked_and_is_not_reached_stays(track: Track, clip: Path, out: Path) -> None:
    track(clip, "--frame", 2, "--box", "30,30,90,90")
    before = frames_of(written(out), 1)
    assert {0, 1, 4} <= set(before)
    again = ("--from", out / "clip_coco.json", "--object", 1, "--frame", 3, "--box", "30,30,92,92")
    track(clip, *again, "--direction", "forward", "--first", 3, "--last", 4)
    after = frames_of(written(out), 1)
    assert set(after) == set(before) | {3}
    for frame in (0, 1, 2):
        assert after[frame]["segmentation"] == before[frame]["segmentation"]
        assert after[frame]["origin"] == before[frame]["origin"]


def test_clips_of_the_same_name_are_told_apart_by_their_folders(
    track: Track, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = coco_file(tmp_path / "a.json", {"frame": 0, "object": 1}, {"frame": 3, "object": 1})
    content = json.loads(file.read_text())
    for image, folder in zip(content["images"], ("p1", "p2"), strict=True):
        image["file_name"] = f"{folder}/{clip.name}"
    file.write_text(json.dumps(content))
    assert track(clip, "--from", file) == 2
    assert "several clips that may be meant" in capsys.readouterr().err
    (tmp_path / "p2").mkdir()
    theirs = tmp_path / "p2" / clip.name
    theirs.write_bytes(clip.read_bytes())
    track(theirs, "--from", file, "--json", "--last", 4)
    (one,) = json.loads(capsys.readouterr().out)["objects"]
    assert one["by_hand"] == [3]


@pytest.mark.parametrize("frame", ["3", 1.5, True, -1])
def test_what_is_no_frame_is_refused(
    track: Track, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], frame: object
) -> None:
    file = coco_file(tmp_path / "a.json", {"frame": 1, "object": 1})
    content = json.loads(file.read_text())
    content["images"][0]["frame"] = frame
    file.write_text(json.dumps(content))
    assert track(clip, "--from", file) == 2
    assert "there is no such frame" in capsys.readouterr().err
