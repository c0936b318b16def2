"""io/coco.py: what is read, what is refused, and the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO

from ultrasam.core.errors import UltrasamError
from ultrasam.io.coco import Coco, CocoAnnotation, CocoCategory, CocoImage, read_coco, write_coco

OPEN_US = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "open-us" / "annotations.json"


def content() -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 20, "width": 30}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3.5, 4]}],
        "categories": [{"id": 3, "name": "nerve"}],
    }


def written(tmp_path: Path, value: object) -> Path:
    path = tmp_path / "boxes.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_the_least_that_a_file_may_hold(tmp_path: Path) -> None:
    coco = read_coco(written(tmp_path, content()))
    assert coco.images == (CocoImage(7, "a.png", height=20, width=30),)
    assert coco.images[0].case_id is None and coco.images[0].dataset is None
    assert coco.annotations == (CocoAnnotation(1, 7, 3, (1.0, 2.0, 3.5, 4.0), segmentation=None, area=14.0),)
    assert coco.annotations[0].box == (1.0, 2.0, 4.5, 6.0)
    assert coco.categories == (CocoCategory(3, "nerve"),)


def test_the_optional_keys(tmp_path: Path) -> None:
    value = content()
    value["images"][0] |= {"dataset": "usgra", "case_id": 12, "licence": "ignored"}
    polygon = [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0]]
    value["annotations"][0] |= {"area": 5, "segmentation": polygon, "iscrowd": 1, "score": 0.25}
    coco = read_coco(written(tmp_path, value))
    assert (coco.images[0].dataset, coco.images[0].case_id) == ("usgra", "12")
    annotation = coco.annotations[0]
    assert (annotation.area, annotation.segmentation) == (5.0, polygon)
    assert (annotation.iscrowd, annotation.score) == (True, 0.25)


def test_a_byte_order_mark_and_ids_of_63_bits(tmp_path: Path) -> None:
    value = content()
    value["images"][0]["id"] = value["annotations"][0]["image_id"] = 2**63 - 1
    path = tmp_path / "bom.json"
    path.write_text(json.dumps(value), encoding="utf-8-sig")
    assert read_coco(path).annotations[0].image_id == 2**63 - 1


@pytest.mark.parametrize("text", ["", "PNG", "{", "[" * 100_000, '{"images": [}', "\udcff"])
def test_not_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UltrasamError, match=r"boxes.json is (not JSON|empty)") as caught:
        read_coco(path)
    assert str(caught.value).isprintable()


def test_json_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UltrasamError, match="no COCO file: give a JSON object"):
        read_coco(written(tmp_path, [{"image_id": 1, "score": 0.5}]))


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_missing_list(tmp_path: Path, key: str) -> None:
    value = content()
    del value[key]
    with pytest.raises(UltrasamError, match=f"boxes.json .*its '{key}' list is missing"):
        read_coco(written(tmp_path, value))
    with pytest.raises(UltrasamError, match=f"'{key}' is not a list"):
        read_coco(written(tmp_path, value | {key: {}}))


@pytest.mark.parametrize(
    ("part", "key"),
    [
        *(("images", key) for key in ("id", "file_name", "height", "width")),
        *(("annotations", key) for key in ("id", "image_id", "category_id", "bbox")),
        *(("categories", key) for key in ("id", "name")),
    ],
)
def test_a_missing_key(tmp_path: Path, part: str, key: str) -> None:
    value = content()
    del value[part][0][key]
    with pytest.raises(UltrasamError, match=rf"boxes.json .*{part}\[0\] has no '{key}'"):
        read_coco(written(tmp_path, value))


@pytest.mark.parametrize(
    ("part", "changed", "message"),
    [
        ("images", {"id": "7"}, "'id' '7', which is not a whole number"),
        ("images", {"id": True}, "not a whole number"),
        ("images", {"width": 0}, "size of 0 x 20 pixels"),
        ("images", {"width": 10**9, "height": 10**9}, "size of 1000000000 x"),
        ("images", {"file_name": 5}, "not a text"),
        ("annotations", {"image_id": 8}, "annotation 1 has the unknown image_id 8"),
        ("annotations", {"category_id": 4}, "annotation 1 has the unknown category_id 4"),
        ("annotations", {"bbox": [1, 2, 3]}, "'bbox'.*expected .x, y, width, height"),
        ("annotations", {"bbox": [1, 2, -3, 4]}, "negative"),
        ("annotations", {"bbox": [1, float("nan"), 3, 4]}, "not a finite number"),
        ("annotations", {"bbox": [1, 10**400, 3, 4]}, "not a finite number"),
        ("annotations", {"area": "large"}, "not a finite number"),
        ("annotations", {"score": float("inf")}, "not a finite number"),
        ("annotations", {"segmentation": {"counts": "1"}}, "neither RLE"),
        ("annotations", {"segmentation": [1, 2, 3, 4, 5, 6]}, "neither RLE"),
    ],
)
def test_a_wrong_value(tmp_path: Path, part: str, changed: dict[str, Any], message: str) -> None:
    value = content()
    value[part][0] |= changed
    with pytest.raises(UltrasamError, match=f"boxes.json is not a valid COCO file: .*{message}") as caught:
        read_coco(written(tmp_path, value))
    assert str(caught.value).isprintable()


def test_an_entry_that_is_no_object(tmp_path: Path) -> None:
    with pytest.raises(UltrasamError, match=r"annotations\[1\] is not an object"):
        read_coco(written(tmp_path, content() | {"annotations": [*content()["annotations"], 5]}))


@pytest.mark.parametrize(
    ("part", "kind"), [("images", "image"), ("annotations", "annotation"), ("categories", "category")]
)
def test_an_id_that_occurs_twice(tmp_path: Path, part: str, kind: str) -> None:
    value = content()
    value[part] *= 2
    with pytest.raises(UltrasamError, match=f"two entries have the {kind} id"):
        read_coco(written(tmp_path, value))


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(UltrasamError, match="does not exist|is a folder"):
        read_coco(tmp_path / name)


def prediction(mask: np.ndarray[Any, Any]) -> Coco:
    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))  # counts are bytes
    annotation = CocoAnnotation(
        id=1,
        image_id=np.int64(7),  # type: ignore[arg-type]
        category_id=3,
        bbox=tuple(rle.toBbox(encoded)),
        segmentation=encoded,
        area=np.float32(mask.sum()),  # type: ignore[arg-type]
        score=np.float32(0.75),  # type: ignore[arg-type]
    )
    image = CocoImage(7, "grö\u00dfe.png", height=mask.shape[0], width=mask.shape[1], case_id="7")
    return Coco((image,), (annotation,), (CocoCategory(3, "nerve"),))


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of pycocotools
def test_a_prediction_is_read_by_pycocotools_and_by_us(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), bool)
    mask[4:9, 10:17] = True
    path = tmp_path / "predictions.json"
    write_coco(path, prediction(mask), info={"model": "ultrasam-lite"})
    back = read_coco(path)
    assert back.images == (CocoImage(7, "grö\u00dfe.png", height=20, width=30, case_id="7"),)
    assert back.annotations[0].box == (10.0, 4.0, 17.0, 9.0)
    assert (back.annotations[0].score, back.annotations[0].area) == (0.75, 35.0)
    assert json.loads(path.read_text())["info"] == {"model": "ultrasam-lite"}
    assert "dataset" not in json.loads(path.read_text())["images"][0]
    oracle = COCO(str(path))
    np.testing.assert_array_equal(oracle.annToMask(oracle.loadAnns([1])[0]), mask)
    assert oracle.loadAnns([1])[0]["iscrowd"] == 0


def test_writing_what_was_read_changes_nothing(tmp_path: Path) -> None:
    value = content()
    value["annotations"].append(value["annotations"][0] | {"id": 9, "iscrowd": 1, "score": 0.5})
    coco = read_coco(written(tmp_path, value))
    write_coco(tmp_path / "again.json", coco)
    assert read_coco(tmp_path / "again.json") == coco
    first = (tmp_path / "again.json").read_bytes()
    write_coco(tmp_path / "again.json", coco)
    assert (tmp_path / "again.json").read_bytes() == first


def test_nothing_invalid_is_written(tmp_path: Path) -> None:
    coco = prediction(np.ones((4, 5), bool))
    path = tmp_path / "predictions.json"
    for wrong in (
        replace(coco, images=()),
        replace(coco, annotations=coco.annotations * 2),
        replace(coco, annotations=(replace(coco.annotations[0], score=np.float32("nan")),)),
    ):
        with pytest.raises(ValueError, match="unknown image_id|two entries|not JSON compliant"):
            write_coco(path, wrong)
    assert not path.exists()
    with pytest.raises(UltrasamError, match="cannot be written"):
        write_coco(tmp_path / "missing" / "predictions.json", coco)


@pytest.mark.skipif(not OPEN_US.exists(), reason="needs the shared development data beside the repository")
def test_a_real_data_set(tmp_path: Path) -> None:
    coco = read_coco(OPEN_US)
    assert (len(coco.images), len(coco.annotations)) == (2074, 3054)
    assert {image.dataset for image in coco.images} == {"hc18", "busi", "usgra", "dltrack"}
    assert all(image.case_id for image in coco.images)
    assert all(isinstance(annotation.segmentation, dict) for annotation in coco.annotations)
    write_coco(tmp_path / "again.json", coco)
    assert read_coco(tmp_path / "again.json") == coco
