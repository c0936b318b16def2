"""COCO files of a user's own: what of them is kept, and what is said of the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_api
from tests.own_sets import BOTH, ONE, SIZE, TWO, convert, failure, hashes, image
from tests.us43d.truth import Mask, cut, ellipse, ellipse_points, save_text

from ultrasam.datasets.verify import built_sets, verify

HEIGHT, WIDTH = SIZE


def rle(region: Mask, packed: bool = True) -> dict[str, Any]:
    encoded = mask_api.encode(np.asfortranarray(region.astype(np.uint8)))
    if packed:
        return {"size": list(SIZE), "counts": encoded["counts"].decode()}
    flat = region.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(flat, prepend=0, append=-1 if flat[-1] else 0))
    edges = [0, *changes.tolist(), *([] if changes.size and changes[-1] == flat.size else [flat.size])]
    return {"size": list(SIZE), "counts": np.diff(edges).tolist()}


def polygon(x: float, y: float, a: float, b: float) -> list[float]:
    return [round(value, 2) for point in ellipse_points(x, y, a, b) for value in point]


class Table:
    """A COCO file that grows."""

    def __init__(self, *names: str) -> None:
        self.content: dict[str, Any] = {"images": [], "annotations": []}
        self.content["categories"] = [
            {"id": 10 * number, "name": name, "supercategory": "organ"}
            for number, name in enumerate(names, 1)
        ]

    def image(self, file_name: str, **extra: Any) -> int:
        number = len(self.content["images"]) + 1
        entry = {"id": number, "file_name": file_name, "height": HEIGHT, "width": WIDTH, **extra}
        self.content["images"].append(entry)
        return number

    def draw(self, number: int, segmentation: Any, category: int = 10, **extra: Any) -> None:
        self.content["annotations"].append(
            {
                "id": len(self.content["annotations"]) + 1,
                "image_id": number,
                "category_id": category,
                "segmentation": segmentation,
                "bbox": [0, 0, 5, 5],
                "area": 25,
                **extra,
            }
        )

    def write(self, path: Path) -> Path:
        save_text(path, json.dumps(self.content))
        return path


def left_out(folder: Path) -> dict[str, str]:
    report = json.loads((folder / "report.json").read_bytes())
    return {entry["file"]: entry["reason"] for entry in report["left out"]}


def test_polygons_and_run_lengths_become_masks(tmp_path: Path) -> None:
    table = Table("kidney", "liver")
    for name in ("a", "b", "c"):
        image(tmp_path / "data" / f"{name}.png")
    table.draw(table.image("a.png"), rle(BOTH), 20)
    table.draw(table.image("b.png"), rle(BOTH, packed=False))
    number = table.image("c.png")
    table.draw(number, [polygon(15, 20, 9, 6), polygon(42, 16, 8, 10)])
    table.draw(number, rle(TWO, packed=False), 20)
    result = convert(table.write(tmp_path / "data" / "all.json"), tmp_path / "out")
    assert result.outcome.status == "complete" and result.categories == ["kidney", "liver"]
    assert {one["supercategory"] for one in result.coco["categories"]} == {"organ"}
    # An annotation is one object, whatever parts it has.
    assert [category for category, _ in result.objects("a.png")] == ["liver"]
    assert np.array_equal(result.region("a.png", "liver"), BOTH)
    assert np.array_equal(result.region("b.png", "kidney"), BOTH)
    assert np.count_nonzero(result.region("c.png", "kidney") ^ BOTH) < 0.06 * BOTH.sum()
    assert np.array_equal(result.region("c.png", "liver"), TWO)
    (checked,) = verify(built_sets(tmp_path / "out"))
    assert checked.findings == ()


def test_what_else_a_file_says_is_kept_where_it_is_valid(tmp_path: Path) -> None:
    table = Table("kidney")
    extras: list[dict[str, Any]] = [
        {"case_id": "P 1/left", "split": "training", "spacing": [0.2, 0.3], "view": "2CH", "frame": 3},
        {
            "case_id": "P 1/left",
            "split": "train",
            "spacing": [0.2, -1],
            "attributes": {"age": 61, "more": [1]},
        },
        {"case_id": "P2", "split": "fold 3", "spacing": "wide"},
    ]
    for number, extra in enumerate(extras):
        image(tmp_path / "data" / f"{number}.png", number)
        table.draw(table.image(f"{number}.png", **extra), rle(ONE))
    result = convert(table.write(tmp_path / "data" / "all.json"), tmp_path / "out")
    assert result.outcome.problems == () and result.told == ""
    one, two, three = result.names.values()
    assert [one["case_id"], two["case_id"], three["case_id"]] == ["mine/P 1/left", "mine/P 1/left", "mine/P2"]
    assert [one["split"], two["split"], three.get("split")] == ["train", "train", None]
    assert [one["spacing"], two.get("spacing"), three.get("spacing")] == [[0.2, 0.3], None, None]
    assert one["attributes"] == {"view": "2CH", "frame": 3} and two["attributes"] == {"age": 61}
    report = json.loads((result.folder / "report.json").read_bytes())
    assert [entry["reason"] for entry in report["left out"]] == [
        "images with a spacing that is not positive: 1",
        "images with a split that is none of train, val and test: 1",
    ]
    named = convert(tmp_path / "data" / "all.json", tmp_path / "new", pattern=r"(\d)\.png")
    assert [one["case_id"] for one in named.names.values()] == ["mine/0", "mine/1", "mine/2"]


def test_crowds_and_images_without_objects_are_counted(tmp_path: Path) -> None:
    table = Table("kidney")
    for name in "abcd":
        image(tmp_path / "data" / "images" / f"{name}.png")
    number = table.image("a.png")
    table.draw(number, rle(ONE))
    table.draw(number, rle(TWO), iscrowd=1)
    table.draw(table.image("b.png"), rle(TWO), iscrowd=1)
    table.image("c.png")
    result = convert(table.write(tmp_path / "data" / "all.json"), tmp_path / "out")
    assert list(result.names) == ["a.png"] and len(result.objects("a.png")) == 1
    assert result.outcome.counts["dropped without objects"] == 2 and result.outcome.status == "complete"
    told = left_out(result.folder)
    assert told["all.json"] == "crowd regions, which are no objects: 2"
    assert told["images/d.png"] == "all.json does not list it"


@pytest.mark.parametrize(
    ("table", "file", "name"),
    [
        ("all.json", "a.png", "a.png"),
        ("all.json", "images/a.png", "a.png"),
        ("all.json", "train/p1/a.png", "train/p1/a.png"),
        ("all.json", "images/train/a.png", "train\\a.png"),
        ("annotations/all.json", "images/a.png", "a.png"),
        ("annotations/all.json", "train/a.png", "train/a.png"),
    ],
)
def test_where_the_images_lie(table: str, file: str, name: str, tmp_path: Path) -> None:
    image(tmp_path / "data" / file)
    content = Table("kidney")
    content.draw(content.image(name), rle(ONE))
    result = convert(content.write(tmp_path / "data" / table), tmp_path / "out")
    assert result.outcome.problems == () and len(result.names) == 1
    (entry,) = result.names.values()
    assert entry.get("split") == ("train" if "train" in file else None)


def test_what_cannot_be_used_costs_one_image(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in "abcdefg":
        image(data / f"{name}.png")
    cut(data / "b.png", 0.6)
    image(data / "images" / "c.png")
    image(data / "d.png", size=(30, 30))
    table = Table("kidney")
    for name in "abcd":
        table.draw(table.image(f"{name}.png"), rle(ONE))
    table.draw(table.image("e.png"), [])
    table.draw(table.image("f.png"), [[1, 2, 3, 4]])
    for _ in range(2):
        table.draw(table.image("g.png"), rle(ONE))
    table.draw(table.image("h.png"), rle(ONE))
    table.draw(table.image("../i.png"), rle(ONE))
    result = convert(table.write(data / "all.json"), tmp_path / "out")
    assert list(result.names) == ["a.png"]
    expected = {
        "b.png": "is damaged",
        "c.png": "lies in images too",
        "d.png": "is 30 x 30 pixels, all.json says 57 x 40",
        "e.png": "has a box without a mask in all.json: annotation 5",
        "f.png": "annotation 6 of it cannot be drawn",
        "g.png": "is in all.json twice",
        "h.png": "is missing",
        "all.json": "lists '../i.png'",
    }
    assert {
        name: words in result.problems.get(name, "") for name, words in expected.items()
    } == dict.fromkeys(expected, True)
    assert result.problems.keys() == expected.keys()


def test_files_that_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "data" / "all.json"
    save_text(table, "{")
    assert "all.json is not JSON" in failure(table, tmp_path / "out")
    save_text(table, "{}")
    assert "is not a valid COCO file" in failure(table, tmp_path / "out")
    content = Table("kidney", "kidney")
    image(tmp_path / "data" / "a.png")
    content.draw(content.image("a.png"), rle(ONE))
    content.write(table)
    assert "two categories with the name 'kidney'" in failure(table, tmp_path / "out")
    assert "leave --classes out" in failure(table, tmp_path / "out", "1=liver")
    missing = Table("kidney")
    missing.draw(missing.image("x.png"), rle(ONE))
    why = failure(missing.write(table), tmp_path / "out")
    assert "nothing in" in why and "x.png is missing" in why


def test_a_run_does_only_what_has_changed(tmp_path: Path) -> None:
    table = Table("kidney")
    for number in range(40):
        image(tmp_path / "data" / "images" / f"{number}.png", number)
        table.draw(table.image(f"{number}.png"), rle(ellipse(SIZE, 15 + number % 9, 20, 9, 6)))
    path = table.write(tmp_path / "data" / "all.json")
    convert(path, tmp_path / "one", jobs=2)
    assert convert(path, tmp_path / "one").outcome.unchanged
    save_text(tmp_path / "data" / "notes.txt", "no part of it")
    assert convert(path, tmp_path / "one").outcome.unchanged
    image(tmp_path / "data" / "images" / "7.png", 99)
    assert not convert(path, tmp_path / "one").outcome.unchanged
    moved = Path(shutil.move(tmp_path / "data", tmp_path / "moved"))
    convert(moved / "all.json", tmp_path / "two")
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
