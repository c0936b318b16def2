"""Lists of sets that are odd, damaged or in strange places: what is wrong is told in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.us43d.truth import blob, scan

from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import box_of, encode_rle
from ultrasam.datasets.index import images_of, open_index
from ultrasam.datasets.likeness import perceptual_hash
from ultrasam.datasets.lists.make import make_lists
from ultrasam.datasets.lists.options import ListOptions

SIZE = (60, 80)
OPTIONS = ListOptions(val=0.2)


def write(folder: Path, content: dict[str, Any], **manifest: Any) -> Path:
    """The COCO file and manifest of a set, as `data build` writes them; what is None is left out."""
    text = json.dumps(content)
    (folder / "annotations.json").write_text(text)
    about = dict.fromkeys(("name", "licence", "citation", "url"), "x") | {
        "dataset": folder.name,
        "terms": "open",
        "status": "complete",
        "results": {"annotations.json": sha256(text.encode()).hexdigest()},
    }
    kept = {key: value for key, value in (about | manifest).items() if value is not None}
    (folder / "manifest.json").write_text(json.dumps(kept))
    (folder / "report.json").write_text("{}")
    return folder


def converted(out: Path, name: str, cases: Sequence[str] = ("a", "b", "c", "d"), drawn: bool = True) -> Path:
    """A set with an image of each case, and an object in it."""
    folder = out / name
    (folder / "images").mkdir(parents=True)
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "lesion"}]}
    for number, case in enumerate(cases):
        seed = number + 50 * len(name)
        mask = blob(SIZE, 40, 30, 12, seed)
        pixels = scan(SIZE, seed, mask)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        key = int.from_bytes(sha256(f"{name}/{number}".encode()).digest()[:7], "big")
        entry = {
            "id": key,
            "file_name": f"{number}.png",
            "height": SIZE[0],
            "width": SIZE[1],
            "dataset": name,
        }
        phash = f"{perceptual_hash(pixels):016x}"
        content["images"].append(entry | {"case_id": f"{name}/{case}", "phash": phash})
        if drawn:
            x0, y0, x1, y1 = box_of(mask)
            box, area = [x0, y0, x1 - x0, y1 - y0], float(np.count_nonzero(mask))
            one = {"id": key + 1, "image_id": key, "category_id": 1, "bbox": box, "area": area}
            content["annotations"].append(one | {"segmentation": encode_rle(mask), "iscrowd": 0})
    return write(folder, content)


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def images_in(lists: Path) -> list[Path]:
    """Where the class-agnostic training list says its images are; the index says the same."""
    path = lists / "agnostic" / "train.json"
    found = [path.parent / image["file_name"] for image in load(path)["images"]]
    index = open_index(path.with_suffix(""))
    assert [image.file.resolve() for image, _ in images_of(index)] == [file.resolve() for file in found]
    return found


@pytest.mark.parametrize("name", ["mine", "us_nerve"])
def test_a_set_in_which_nothing_is_drawn_gives_empty_lists(tmp_path: Path, name: str) -> None:
    folder = converted(tmp_path / "built", name, drawn=False)
    if name == "us_nerve":
        content = load(folder / "annotations.json")
        content["images"] = [image | {"negative": True} for image in content["images"]]
        write(folder, content)
    how = make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)
    found = sum(own["images"] for own in how["counts"][name].values())
    assert found == (4 if name == "us_nerve" else 0)
    assert load(tmp_path / "lists" / "agnostic" / "train.json")["images"] == []
    assert len(open_index(tmp_path / "lists" / "agnostic" / "train")) == 0


def test_one_image_is_trained_on(tmp_path: Path) -> None:
    converted(tmp_path / "built", "mine", cases=["a"])
    how = make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)
    assert how["counts"] == {"mine": {"train": {"images": 1, "objects": 1}}}


def test_a_copy_of_a_set_under_another_name_is_left_out(tmp_path: Path) -> None:
    folder = converted(tmp_path / "built", "mine")
    shutil.copytree(folder, tmp_path / "built" / "mine_old")
    how = make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)
    assert list(how["sets"]) == ["mine"]
    assert any("mine_old holds the set mine: give the folder that name" in text for text in how["remarks"])
    numbers = [image["id"] for image in load(tmp_path / "lists" / "agnostic" / "train.json")["images"]]
    assert len(numbers) == len(set(numbers)) == 3
    with pytest.raises(UltrasamError, match="mine_old holds the set mine"):
        make_lists(tmp_path / "built", tmp_path / "other", OPTIONS, only=["mine_old"])


@pytest.mark.parametrize("key", ["dataset", "terms", "status", "citation", "results"])
def test_a_manifest_that_lacks_something_is_no_finished_set(tmp_path: Path, key: str) -> None:
    folder = converted(tmp_path / "built", "mine")
    write(folder, load(folder / "annotations.json"), **{key: None})
    with pytest.raises(UltrasamError, match=f"mine is no finished set .*lacks '{key}'.*data build"):
        make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS, only=["mine"])
    write(folder, load(folder / "annotations.json"), results={})
    with pytest.raises(UltrasamError, match="lacks 'annotations.json'"):
        make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)


@pytest.mark.parametrize("key", ["case_id", "phash"])
def test_an_image_without_a_case_or_a_hash_is_of_an_older_version(tmp_path: Path, key: str) -> None:
    folder = converted(tmp_path / "built", "mine")
    content = load(folder / "annotations.json")
    del content["images"][2][key]
    write(folder, content)
    with pytest.raises(UltrasamError, match="mine was built by an older version"):
        make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)


def test_two_images_with_one_id_are_told(tmp_path: Path) -> None:
    folder = converted(tmp_path / "built", "mine")
    content = load(folder / "annotations.json")
    content["images"][0]["id"] = content["images"][1]["id"]
    write(folder, content)
    with pytest.raises(UltrasamError, match="two images have one id: `ultrasam data verify`"):
        make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)


def test_what_further_annotators_drew_stays_out(tmp_path: Path) -> None:
    folder = converted(tmp_path / "built", "mine")
    shutil.copy(folder / "annotations.json", folder / "annotations.second.json")
    make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)
    assert len(load(tmp_path / "lists" / "agnostic" / "train.json")["annotations"]) == 3


def test_an_image_of_another_size_than_its_set_says_is_named(tmp_path: Path) -> None:
    folder = converted(tmp_path / "built", "camus")
    Image.fromarray(np.full((10, 20), 9, np.uint8)).save(folder / "images" / "1.png")
    with pytest.raises(
        UltrasamError, match=r"1\.png is 20 x 10 pixels, its set says 80 x 60: build it again"
    ):
        make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)


def test_names_that_are_no_text_lead_to_the_images(tmp_path: Path) -> None:
    """A folder and cases whose names are bytes that are no UTF-8, as Linux allows."""
    built = Path(os.fsdecode(os.fsencode(tmp_path / "x") + b"\xff"))
    try:
        converted(built, "mmotu_2d", cases=[f"{n}\udcff" for n in range(4)])
    except OSError:
        pytest.skip("this disk has no such names")
    make_lists(built, tmp_path / "lists", OPTIONS)
    assert all(path.is_file() for path in images_in(tmp_path / "lists"))
    folder = tmp_path / "lists" / "classification" / "mmotu_2d"
    lines = (folder / "train.txt").read_bytes().splitlines()
    assert lines and all((folder / os.fsdecode(line.rsplit(b" ", 1)[0])).is_file() for line in lines)
    assert "mmotu_2d/0\\udcff" in (tmp_path / "lists" / "cases.csv").read_text(encoding="utf-8")


def test_lists_on_another_drive_have_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted(tmp_path / "built", "mmotu_2d")

    def relpath(path: Path, start: Path) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)
    assert images_in(tmp_path / "lists")[0].parent == tmp_path / "built" / "mmotu_2d" / "images"
    text = (tmp_path / "lists" / "classification" / "mmotu_2d" / "train.txt").read_text()
    assert text.startswith(f"{tmp_path.as_posix()}/built/mmotu_2d/images/")


@pytest.mark.parametrize("content", ["[1, 2]", "7", '{"made_by": 3}', "nonsense"])
def test_a_file_how_json_of_somebody_else_stays(tmp_path: Path, content: str) -> None:
    converted(tmp_path / "built", "mine")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "how.json").write_text(content)
    with pytest.raises(UltrasamError, match="is not empty and holds no lists: choose another folder"):
        make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)


@pytest.mark.parametrize("name", ["built", "lists"])
def test_a_folder_that_may_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    converted(tmp_path / "built", "mine")
    (tmp_path / "lists").mkdir()
    listed = os.listdir

    def listdir(path: Any = ".") -> list[str]:
        if path == tmp_path / name:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(UltrasamError, match=rf"/{name} cannot be read \(Permission denied\): "):
        make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)


@pytest.mark.parametrize("name", ["built/mine", "results"])
def test_a_folder_that_another_verb_has_filled_stays(tmp_path: Path, name: str) -> None:
    """A converted set, and results of `segment`: they have a hidden folder of ours too."""
    converted(tmp_path / "built", "mine")
    out = tmp_path / name
    (out / ".ultrasam").mkdir(parents=True)
    (out / "sets").mkdir()
    (out / "report.json").write_text("{}")
    with pytest.raises(UltrasamError, match="is not empty and holds no lists"):
        make_lists(tmp_path / "built", out, OPTIONS)
    assert (out / "sets").is_dir() and not (out / "agnostic").exists()


def test_what_somebody_puts_beside_the_lists_is_not_taken_for_one(tmp_path: Path) -> None:
    converted(tmp_path / "built", "mine")
    make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)
    (tmp_path / "lists" / "notes.txt").write_text("mine")
    (tmp_path / "lists" / "cases.csv").unlink()  # so that they are made again
    how = make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)
    assert not how["unchanged"] and "notes.txt" not in how["files"]
    (tmp_path / "lists" / "notes.txt").unlink()
    assert make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)["unchanged"]


def test_a_set_whose_organ_nothing_tells_is_in_lists_without_an_organ_and_that_is_told(
    tmp_path: Path,
) -> None:
    converted(tmp_path / "built", "mine")
    alone = make_lists(tmp_path / "built", tmp_path / "alone", OPTIONS)
    assert alone["remarks"] == []
    converted(tmp_path / "built", "busi")
    how = make_lists(tmp_path / "built", tmp_path / "lists", OPTIONS)
    assert any("mine" in text and "without an organ" in text for text in how["remarks"])
    content = load(tmp_path / "lists" / "agnostic" / "train.without-breast_lesion.json")
    assert {image["dataset"] for image in content["images"]} == {"mine"}
