"""COCO files whose boxes and points are prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import encode_rle
from ultrasam.core.prompts import Prompts
from ultrasam.io.prompted import prompts_of_annotation, read_prompt_file

MASK = np.zeros((30, 40), bool)
MASK[10:21, 5:16] = True  # its middle pixel is (10, 15)
WORDS = ["point", "prompts", "keypoints", "segmentation", "points", "labels", "box", "size", "counts"]


def annotation(**fields: Any) -> dict[str, Any]:
    return {"id": 7, "image_id": 1, "category_id": 3, "bbox": [5, 10, 11, 11]} | fields


@pytest.mark.parametrize(
    "kind, fields, expected",
    [
        ("box", {}, Prompts((), (), (5, 10, 16, 21))),
        ("box", {"bbox": [-1, -2, 50, 40]}, Prompts((), (), (0, 0, 40, 30))),
        ("box", {"point": [1, 2], "segmentation": "unused"}, Prompts((), (), (5, 10, 16, 21))),
        ("point", {"segmentation": encode_rle(MASK)}, Prompts(((10.5, 15.5),), (True,))),
        ("point", {"segmentation": [[5, 10, 16, 10, 16, 21, 5, 21]]}, Prompts(((10.5, 15.5),), (True,))),
        (
            "point",
            {"keypoints": [1, 2, 2, 0, 0, 0, 3, 4, 1], "segmentation": encode_rle(MASK)},
            Prompts(((1, 2), (3, 4)), (True, True)),
        ),
        (
            "point",
            {"prompts": {"box": None, "points": [[1, 2], [3, 4]], "labels": [1, 0]}, "keypoints": [9, 9, 2]},
            Prompts(((1, 2), (3, 4)), (True, False)),
        ),
        ("point", {"point": [8, 9], "prompts": {"points": [[1, 2]]}}, Prompts(((8, 9),), (True,))),
        ("both", {"point": [8, 9]}, Prompts(((8, 9),), (True,), (5, 10, 16, 21))),
        (
            "both",
            {"prompts": {"points": []}, "keypoints": [0, 0, 0], "segmentation": encode_rle(MASK)},
            Prompts(((10.5, 15.5),), (True,), (5, 10, 16, 21)),
        ),
    ],
)
def test_what_is_taken_as_a_prompt(kind: Any, fields: dict[str, Any], expected: Prompts) -> None:
    assert prompts_of_annotation(annotation(**fields), kind, 40, 30) == expected


@pytest.mark.parametrize(
    "kind, fields, message",
    [
        ("box", {"bbox": [5, 5, 0, 9]}, "no area"),
        ("box", {"bbox": [50, 5, 9, 9]}, "no area"),
        ("point", {}, "use --prompts box"),
        ("point", {"segmentation": encode_rle(np.zeros((30, 40), bool))}, "use --prompts box"),
        ("point", {"point": [40, 5]}, "outside the image"),
        ("point", {"point": ["a", "b"]}, "prompts are numbers"),
        ("point", {"point": [1, 2, 3]}, r"shape \(K, 2\)"),
        ("point", {"prompts": {"points": [[1, 2]], "labels": [1, 1]}}, "1 points but 2 labels"),
        ("both", {"segmentation": {"size": [3, 4], "counts": "x"}}, "size"),
    ],
)
def test_an_object_that_cannot_be_used_is_named(kind: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UltrasamError, match=f"annotation 7: .*{message}"):
        prompts_of_annotation(annotation(**fields), kind, 40, 30)


def write(folder: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Path:
    size = {"width": 40, "height": 30}
    content = {
        "images": [size | image for image in images],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "nerve", "supercategory": "neck"}],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"


def test_entries_stay_as_they_are_in_the_file(tmp_path: Path) -> None:
    names = ["a.png", "../b.png", "/c/d.png", "..\\e\\f.png", "g.png"]
    images = [{"id": 10 + i, "file_name": name, "patient": i} for i, name in enumerate(names)]
    images[0]["frame"] = 4
    objects = [annotation(id=i, image_id=10 + i, track=i) for i in range(4)]
    path = write(tmp_path, images, [*objects, annotation(id=9, image_id=14, iscrowd=1)])
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    found = read_prompt_file(path)
    assert [str(image.place) for image in found.images] == ["a.png", "b.png", "c/d.png", "e/f.png"]
    assert [image.annotations for image in found.images] == [(entry,) for entry in objects]
    assert found.images[1].entry == images[1] | {"width": 40, "height": 30}
    assert [image.frame for image in found.images] == [4, None, None, None]
    assert found.categories == ({"id": 3, "name": "nerve", "supercategory": "neck"},)
    assert found.without_objects == 1
    assert found.images[0].path == tmp_path / "a.png"
    with pytest.raises(UltrasamError, match="50 x 30 pixels, the COCO file says 40 x 30"):
        found.images[0].prompts("box", 50, 30)


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    path = write(tmp_path, [{"id": 1, "file_name": "a.png", "scale": float("nan")}], [annotation()])
    path.write_text(path.read_text().replace('"supercategory": "neck"', '"weight": 1e999'))
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    found = read_prompt_file(path)
    assert found.images[0].entry["scale"] is None and found.categories[0]["weight"] is None


def test_where_images_are_looked_for(tmp_path: Path) -> None:
    path = write(tmp_path, [{"id": 1, "file_name": "a.png"}], [annotation()])
    with pytest.raises(UltrasamError, match="none of the 1 images is there"):
        read_prompt_file(path)
    for folder in (tmp_path / "images", tmp_path / "elsewhere"):
        folder.mkdir()
        Image.new("L", (40, 30)).save(folder / "a.png")
    assert read_prompt_file(path).images[0].path == tmp_path / "images" / "a.png"
    assert read_prompt_file(path, tmp_path / "elsewhere").images[0].path == tmp_path / "elsewhere" / "a.png"
    with pytest.raises(UltrasamError, match="is no folder"):
        read_prompt_file(path, tmp_path / "nowhere")


def test_a_file_without_objects_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [{"id": 1, "file_name": "a.png"}], [])
    with pytest.raises(UltrasamError, match="has no object"):
        read_prompt_file(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


@given(
    fields=st.dictionaries(st.sampled_from(WORDS[:4]), JSON), kind=st.sampled_from(["box", "point", "both"])
)
def test_whatever_an_object_holds_gives_prompts_or_one_line(fields: dict[str, Any], kind: Any) -> None:
    try:
        prompts = prompts_of_annotation(annotation(**fields), kind, 40, 30)
    except UltrasamError as error:
        assert "\n" not in str(error)
    else:
        assert prompts == prompts.checked(40, 30) and prompts.count
