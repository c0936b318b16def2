"""`ultrasam data build --own` through the real executable, and what may be done with its results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.own_sets import BOTH, ONE, SIZE, hashes, image, mask, pair
from tests.us43d import raw_busi
from tests.us43d.truth import cut, ellipse_points, save, save_text

ULTRASAM = [sys.executable, "-m", "ultrasam"]


def ultrasam(*words: str | Path) -> tuple[int, str, str]:
    command = [*ULTRASAM, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients with two images each, in two parts."""
    root = tmp_path_factory.mktemp("own") / "scans of ours"
    for number, part in enumerate(("train", "train", "test"), 1):
        for name in ("a", "b"):
            places = [root / part / kind / f"p{number}" / f"{name}.png" for kind in ("images", "masks")]
            pair(places[0], places[1], BOTH, 10 * number)
    return root


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO file of two images."""
    root = tmp_path_factory.mktemp("coco")
    points = [value for point in ellipse_points(20, 20, 9, 8) for value in point]
    images, annotations = [], []
    for number in (1, 2):
        image(root / "images" / f"{number}.png", number)
        images.append({"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 3,
                "bbox": [11, 12, 18, 16],
                "segmentation": [points],
            }
        )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "cyst"}]}
    save_text(root / "all.json", json.dumps(content))
    return root / "all.json"


def test_a_folder_becomes_a_set_that_can_be_verified_counted_and_evaluated(
    folder: Path, tmp_path: Path
) -> None:
    code, out, err = ultrasam("data", "build", "--own", f"mine={folder}", "--out", tmp_path)
    assert code == 0
    assert out.startswith("mine ") and "6 images, 12 objects, 3 cases -> " in out
    assert (
        err.strip()
        == "ultrasam: mine: a case is the folder of an image (3: p1, p2, p3), but for --case-pattern"
    )
    assert sorted(path.name for path in (tmp_path / "mine").iterdir() if path.name[0] != ".") == [
        *("annotations.json", "images", "manifest.json", "report.json")
    ]
    code, out, err = ultrasam("data", "verify", tmp_path)
    assert (code, err) == (0, "") and out.endswith("fine\n")
    code, out, err = ultrasam("data", "verify", tmp_path, "--only", "mine")
    assert (code, err) == (0, "") and out.startswith("mine ")
    code, out, err = ultrasam("data", "stats", tmp_path)
    assert (code, err) == (0, "")
    assert "| mine |" in (tmp_path / "stats" / "stats.md").read_text()
    assert Image.open(tmp_path / "stats" / "sheets" / "mine.png").width > 1000
    code, out, err = ultrasam("evaluate", "--data", tmp_path / "mine" / "annotations.json")
    assert code == 0, err
    assert "| 12 / 6 / 3 " in out
    code, out, err = ultrasam("data", "build", "--own", f"mine={folder}", "--out", tmp_path)
    assert code == 0 and "unchanged" in out


def test_the_bytes_do_not_depend_on_the_processes_or_on_shards(folder: Path, tmp_path: Path) -> None:
    for jobs in ("1", "2"):
        words = ["--own", f"mine={folder}", "--out", str(tmp_path / jobs), "--jobs", jobs]
        assert ultrasam("data", "build", *words)[0] == 0
    words = ["--own", f"mine={folder}", "--out", str(tmp_path / "shards")]
    for shard in ("1/2", "2/2"):
        assert ultrasam("data", "build", *words, "--shard", shard)[0] == 0
    assert ultrasam("data", "build", *words)[0] == 0
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2") == hashes(tmp_path / "shards")


def test_own_data_beside_sets_of_the_catalogue_and_a_coco_file(
    folder: Path, table: Path, tmp_path: Path
) -> None:
    raw_busi.write(tmp_path / "raw")
    words = ["--raw", str(tmp_path / "raw"), "--only", "busi", "--partial", "--own", f"mine={folder}"]
    code, out, err = ultrasam(
        "data", "build", *words, "--own", f"cysts={table}", "--out", tmp_path / "out", "--json"
    )
    content = json.loads(out)
    assert [one["dataset"] for one in content["datasets"]] == ["busi", "mine", "cysts"]
    assert [one["status"] for one in content["datasets"]] == ["incomplete", "complete", "complete"]
    assert code == 1 and "cysts: each file is a case" in err
    coco = json.loads((tmp_path / "out" / "cysts" / "annotations.json").read_bytes())
    assert [category["name"] for category in coco["categories"]] == ["cyst"] and len(coco["annotations"]) == 2
    code, _, err = ultrasam(
        "evaluate", "--data", tmp_path / "out" / "cysts" / "annotations.json", "--limit", "1"
    )
    assert code == 0, err


def test_classes_and_cases_as_they_are_said(tmp_path: Path) -> None:
    numbers = np.where(ONE, 2, 0).astype(np.uint8)
    for name in ("p1_a", "p1_b", "p2_a"):
        image(tmp_path / "raw" / f"{name}.png")
        save(tmp_path / "raw" / f"{name}_seg.png", numbers)
    words = ["--own", f"mine={tmp_path / 'raw'}", "--out", str(tmp_path / "out"), "--case-pattern", r"(p\d)_"]
    code, out, err = ultrasam("data", "build", *words, "--classes", "1=liver,2=kidney")
    assert (code, err) == (0, "") and "3 images, 3 objects, 2 cases" in out
    coco = json.loads((tmp_path / "out" / "mine" / "annotations.json").read_bytes())
    assert [category["name"] for category in coco["categories"]] == ["liver", "kidney"]
    assert {annotation["category_id"] for annotation in coco["annotations"]} == {2}


def test_colours_are_asked_for_and_taken(tmp_path: Path) -> None:
    image(tmp_path / "raw" / "a.png")
    save(tmp_path / "raw" / "a_mask.png", (ONE[..., None] * np.array([250, 0, 10])).astype(np.uint8))
    words = ["data", "build", "--own", f"mine={tmp_path / 'raw'}", "--out", str(tmp_path / "out")]
    code, out, err = ultrasam(*words)
    assert code == 2 and out.split() == ["mine", "failed"]
    assert "a_mask.png has colours: say what they mean with --classes '#fa000a=NAME'" in err
    code, out, _ = ultrasam(*words, "--classes", "#fa000a=cyst")
    assert code == 0 and "1 image, 1 object" in out


def test_what_does_not_fit_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    for number in range(4):
        pair(tmp_path / "raw" / "images" / f"{number}.png", tmp_path / "raw" / "masks" / f"{number}.png")
    cut(tmp_path / "raw" / "images" / "0.png", 0.5)
    mask(tmp_path / "raw" / "masks" / "1.png", ONE.T)
    (tmp_path / "raw" / "masks" / "2.png").unlink()
    code, out, err = ultrasam("data", "build", "--own", f"mine={tmp_path / 'raw'}", "--out", tmp_path / "out")
    assert code == 1 and "1 image, 1 object, 1 case, 3 problems" in out
    assert "mine: images/0.png is damaged" in err and "mine: images/2.png has no mask" in err
    assert "masks/1.png is 40 x 57 pixels, its image 57 x 40" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--own", "busi={raw}"], "busi is a set of the catalogue: choose another name"),
        (["--own", "My-Set={raw}"], "up to 40 lower case letters"),
        (["--own", "mine"], "NAME=PATH"),
        (["--own", "mine={raw}/nowhere"], "does not exist: check --own"),
        (["--own", "mine={raw}/images/a.png"], "is no folder, archive (zip, tar, rar) or COCO file"),
        (["--own", "mine={raw}", "--own", "mine={raw}"], "--own names mine twice"),
        (["--own", "mine={raw}", "--case-pattern", "("], "is no regular expression"),
        (["--own", "mine={raw}", "--case-pattern", "p1"], "has no group"),
        (["--own", "mine={raw}", "--classes", "liver,kidney"], "give numbers (1=liver,2=kidney)"),
        (["--own", "mine={raw}", "--classes", "#zz0000=liver"], "neither a number"),
        (["--own", "mine={raw}", "--dry-run"], "leave --own out"),
        (["--own", "mine={raw}/images"], "none with a mask"),
        (["--own", "empty={raw}/empty"], "no image that can be read"),
        (["--own", "mine={raw}/bad.json"], "bad.json is not a valid COCO file"),
        (["--own", "mine={raw}/lost.json"], "x.png is missing"),
        (["--own", "taken={raw}"], "holds other files: choose another name"),
        (["--classes", "1=liver"], "are for own data"),
        (["--case-pattern", "(a)"], "are for own data"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(tmp_path: Path, words: list[str], complaint: str) -> None:
    raw = tmp_path / "raw"
    pair(raw / "images" / "a.png", raw / "masks" / "a.png")
    (raw / "empty").mkdir()
    save_text(raw / "bad.json", "{}")
    entry = {"id": 1, "file_name": "x.png", "height": 4, "width": 4}
    save_text(raw / "lost.json", json.dumps({"images": [entry], "annotations": [], "categories": []}))
    save_text(tmp_path / "out" / "taken" / "thesis.txt", "text")
    code, out, err = ultrasam(
        "data", "build", *(word.format(raw=raw) for word in words), "--out", tmp_path / "out"
    )
    assert code == 2
    assert complaint in err and len(err.strip().splitlines()) == 1, err
    assert out == "" or out.split() in (["mine", "failed"], ["empty", "failed"])
