"""Images with one class each, from every form that is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.labelled import class_counts, read_labelled
from ultrasam.datasets.lists.write import write_classes


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(path)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """a: benign; b: malignant twice; c: both; d: nothing; e: of another set."""
    for name in "abcde":
        picture(tmp_path / "images" / f"{name}.png")
    objects = {"a": [1], "b": [2, 2], "c": [1, 2], "d": [], "e": [3]}
    content = {
        "images": [
            {"id": n, "file_name": f"{name}.png", "height": 8, "width": 9, "case_id": f"case-{n // 2}"}
            | {"dataset": "hc18" if name == "e" else "busi"}
            for n, name in enumerate(objects)
        ],
        "annotations": [
            {"id": 10 * n + k, "image_id": n, "category_id": category, "bbox": [0, 0, 4, 4]}
            for n, own in enumerate(objects.values())
            for k, category in enumerate(own)
        ],
        "categories": [
            {"id": 2, "name": "malignant"},
            {"id": 1, "name": "benign"},
            {"id": 3, "name": "head"},
            {"id": 4, "name": "nobody"},
        ],
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    return path


def test_a_coco_file_gives_images_of_one_class(coco: Path) -> None:
    found = read_labelled(coco)
    assert found.classes == ("malignant", "benign", "head")  # in the order of the file, those that occur
    assert [(one.name, found.classes[one.label], one.case) for one in found.images] == [
        ("a.png", "benign", "case-0"),
        ("b.png", "malignant", "case-0"),
        ("e.png", "head", "case-2"),
    ]
    assert found.remarks == (
        "left out: 1 images with objects of several classes, the first is c.png",
        "left out: 1 images without an object, the first is d.png",
    )


def test_sets_and_classes_are_chosen(coco: Path) -> None:
    busi = read_labelled(coco, datasets=("busi",))
    assert busi.classes == ("malignant", "benign")
    # Of the classes that are asked for an image may have but one.
    benign = read_labelled(coco, classes=("head", "benign"))
    assert [(one.name, one.label) for one in benign.images] == [("a.png", 1), ("c.png", 1), ("e.png", 0)]
    assert class_counts(benign) == {"head": 1, "benign": 2}
    with pytest.raises(UltrasamError, match="no data set 'us3m'"):
        read_labelled(coco, datasets=("us3m",))
    with pytest.raises(UltrasamError, match="no class 'cyst'"):
        read_labelled(coco, classes=("cyst", "benign"))


def test_the_lists_of_a_split_read_back(tmp_path: Path) -> None:
    for name in ("a b.png", "c.png"):
        picture(tmp_path / "built" / "bus_bra" / "images" / name)
    rows = {
        "train": [("bus_bra/images/a b.png", 1, "case 7")],
        "test": [("bus_bra/images/c.png", 0, "case 8")],
    }
    write_classes(tmp_path / "lists" / "bus_bra", tmp_path / "built", ["benign", "malignant"], rows)
    (train,) = read_labelled(tmp_path / "lists" / "bus_bra" / "train.txt").images
    assert (train.label, train.case, train.dataset) == (1, "case 7", "bus_bra")
    assert train.path.is_file()
    test = read_labelled(tmp_path / "lists" / "bus_bra" / "test.txt")
    # Also a class that this part has no image of: its number means it.
    assert test.classes == ("benign", "malignant") and test.images[0].label == 0


def test_a_csv_file_has_labels_cases_and_gaps(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    path = tmp_path / "labels.csv"
    path.write_text("image;Label;case\na.png;cyst;p1\nb.png;;p1\nc.png;solid;\n")
    found = read_labelled(path)
    assert [(one.name, found.classes[one.label], one.case) for one in found.images] == [
        ("a.png", "cyst", "p1"),
        ("c.png", "solid", "c.png"),
    ]
    assert found.remarks == ("left out: 1 images without a label, the first is b.png",)


def test_folders_are_classes(tmp_path: Path) -> None:
    for name in ("solid/x/1.png", "cyst/2.png", "cyst/.hidden.png"):
        picture(tmp_path / name)
    (tmp_path / "cyst" / "notes.txt").write_text("nothing")
    (tmp_path / "empty").mkdir()
    found = read_labelled(tmp_path)
    assert found.classes == ("cyst", "solid")
    assert [(one.name, one.label) for one in found.images] == [("cyst/2.png", 0), ("solid/x/1.png", 1)]


def test_what_cannot_be_used_is_one_line(tmp_path: Path, coco: Path) -> None:
    with pytest.raises(UltrasamError, match="does not exist"):
        read_labelled(tmp_path / "nowhere.csv")
    (tmp_path / "labels.xlsx").write_text("")
    with pytest.raises(UltrasamError, match=r"from files \.json, \.txt, \.csv, \.tsv"):
        read_labelled(tmp_path / "labels.xlsx")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UltrasamError, match="no folder with images"):
        read_labelled(tmp_path / "bare")
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(UltrasamError, match="1 of the 3 images"):
        read_labelled(coco)
    (tmp_path / "classes.txt").write_text("benign\n")
    (tmp_path / "train.txt").write_text("images/a.png 0\nimages/a.png 7\n")
    with pytest.raises(UltrasamError, match="line 2 of"):
        read_labelled(tmp_path / "train.txt")
    (tmp_path / "none.csv").write_text("image,label\na.png,\n")
    with pytest.raises(UltrasamError, match="no image with a class; left out: 1 images without a label"):
        read_labelled(tmp_path / "none.csv", tmp_path / "images")


def test_an_image_is_of_one_class_and_one_case(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    path = tmp_path / "labels.csv"
    path.write_text("image,label,case\na.png,cyst,p1\n./a.png,cyst,p1\n")
    assert len(read_labelled(path).images) == 1
    for second, what in (("./a.png,solid,p1", "the class cyst and solid"), ("a.png,cyst,p2", "the case")):
        path.write_text(f"image,label,case\na.png,cyst,p1\n{second}\n")
        with pytest.raises(UltrasamError, match=f"twice, with {what}"):
            read_labelled(path)


def test_cases_beside_a_list_are_whole_or_told_to_be_missing(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "classes.txt").write_text("benign\n")
    (tmp_path / "test.txt").write_text("a.png 0\n")
    assert "no cases.tsv" in read_labelled(tmp_path / "test.txt").remarks[0]
    (tmp_path / "cases.tsv").write_text("a.png\tp1\n")
    found = read_labelled(tmp_path / "test.txt")
    assert found.images[0].case == "p1" and not found.remarks
    (tmp_path / "cases.tsv").write_text("garbage\n")
    with pytest.raises(UltrasamError, match="line 1 of .* is not 'path<tab>case'"):
        read_labelled(tmp_path / "test.txt")
    (tmp_path / "cases.tsv").write_text("b.png\tp1\n")
    with pytest.raises(UltrasamError, match=r"has no case of a\.png"):
        read_labelled(tmp_path / "test.txt")
