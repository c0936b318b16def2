"""`ultrasam segment --auto`: objects without prompts in a file, a folder and a clip, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ultrasam.cli.segment import AUTO
from ultrasam.core.masks import decode_segmentation
from ultrasam.predict.automatic import Automatic

Segment = Callable[..., int]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with two grey images of 160 x 120 pixels: the tiny model sees discs wherever it is asked."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("L", (160, 120), 127).save(folder / name)
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_one_file(segment: Segment, scans: Path, out: Path, capsys: Any) -> None:
    assert segment(scans / "a.png", "--auto", "--auto-grid=3", "--auto-most=4") == 0
    assert sorted(path.name for path in out.iterdir()) == ["a_coco.json", "a_mask.png", "a_overlay.png"]
    annotations = read(out / "a_coco.json")["annotations"]
    assert [annotation["id"] for annotation in annotations] == [1, 2, 3, 4]
    scores = [annotation["score"] for annotation in annotations]
    assert scores == sorted(scores, reverse=True) and min(scores) >= Automatic().score
    assert all(annotation["stability"] >= Automatic().stability for annotation in annotations)
    assert all(len(annotation["prompts"]["points"]) == 1 for annotation in annotations)
    masks = [decode_segmentation(annotation["segmentation"], 120, 160) for annotation in annotations]
    assert (np.logical_or.reduce(masks) == (np.asarray(Image.open(out / "a_mask.png")) > 0)).all()
    assert "object 4: " in capsys.readouterr().out


def test_one_file_for_each_object(segment: Segment, scans: Path, out: Path, capsys: Any) -> None:
    words = ("--auto", "--auto-grid=3", "--masks=objects", "--no-overlay", "--json")
    assert segment(scans / "a.png", *words) == 0
    report = json.loads(capsys.readouterr().out)
    names = [f"a_mask{number}.png" for number in range(1, len(report["objects"]) + 1)]
    assert len(names) > 4
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "a_coco.json"])


def test_a_folder_that_is_done_is_kept(segment: Segment, scans: Path, out: Path, capsys: Any) -> None:
    words = (scans, "--auto", "--auto-grid=3", "--masks=objects")
    assert segment(*words) == 0
    report, predictions = read(out / "report.json"), read(out / "predictions.json")
    count = report["totals"]["objects"]
    assert count > 8 and len(predictions["annotations"]) == count
    assert [entry["id"] for entry in predictions["annotations"]] == list(range(1, count + 1))
    assert {entry["category_id"] for entry in predictions["annotations"]} == {1}
    assert {entry["image_id"] for entry in predictions["annotations"]} == {1, 2}
    assert len(list(out.glob("*_mask*.png"))) == count
    assert report["settings"]["automatic"]["grid"] == 3
    assert segment(*words) == 0
    assert read(out / "report.json")["totals"]["kept"] == 2
    # Fewer objects: the pictures of those that are gone go with them.
    assert segment(*words, "--auto-most=2") == 0
    totals = read(out / "report.json")["totals"]
    assert (totals["done"], totals["objects"], len(list(out.glob("*_mask*.png")))) == (2, 4, 4)


def test_a_picture_that_is_not_ours_is_not_replaced(segment: Segment, scans: Path, out: Path) -> None:
    out.mkdir()
    (out / "a_mask3.png").write_bytes(b"mine")
    assert segment(scans, "--auto", "--auto-grid=3", "--masks=objects") == 1
    assert (out / "a_mask3.png").read_bytes() == b"mine"
    assert read(out / "report.json")["totals"]["failed"] == 1


def test_nothing_found_is_said(segment: Segment, scans: Path, out: Path, capsys: Any) -> None:
    words = ("--auto", "--auto-grid=2", "--auto-score=0.99")
    assert segment(scans / "a.png", *words) == 0
    error = capsys.readouterr().err
    assert "nothing found in" in error and "0.99" in error and "--auto-score" in error
    assert not np.asarray(Image.open(out / "a_mask.png")).any()
    assert read(out / "a_coco.json")["annotations"] == []
    assert segment(scans, *words, "--overwrite") == 0
    output = capsys.readouterr()
    assert output.err.count("nothing found in") == 2
    assert "0 objects" in output.out


def test_frames_of_a_clip(segment: Segment, tmp_path: Path, out: Path) -> None:
    frames = [Image.new("L", (80, 60), 127) for _ in range(3)]
    path = tmp_path / "clip.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    code = segment(path, "--auto", "--auto-grid=2", "--frames=1:3")
    assert code == 0
    assert sorted(path.name for path in out.glob("*_mask.png")) == [
        "clip_frame1_mask.png",
        "clip_frame2_mask.png",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--auto", "--box=1,1,9,9"], "--auto takes no prompts"),
        (["--auto", "--point=1,1"], "--auto takes no prompts"),
        (["--auto", "--not=1,1"], "--auto takes no prompts"),
        (["--auto", "--protocol=paper"], "leave out --auto"),
        (["--auto-grid=3", "--box=1,1,9,9"], "--auto-grid goes with --auto"),
        (["--auto", "--auto-grid=0"], "use 1 to 64"),
        (["--auto", "--auto-score=2"], "score 2"),
        (["--auto", "--auto-most=0"], "use 1 or more"),
        ([], "or --auto"),
    ],
)
def test_what_does_not_go_together(
    segment: Segment, scans: Path, out: Path, words: list[str], message: str, capsys: Any
) -> None:
    for place in (scans, scans / "a.png"):
        assert segment(place, *words) == 2
        error = capsys.readouterr().err.strip()
        assert message in error and "\n" not in error
    assert not out.exists()


def test_a_coco_file_brings_its_own_prompts(segment: Segment, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "boxes.json"
    path.write_text("{}")
    assert segment(path, "--auto") == 2
    assert "leave out --auto" in capsys.readouterr().err


def test_the_help_names_the_defaults() -> None:
    assert asdict(Automatic()).items() >= AUTO.items()
