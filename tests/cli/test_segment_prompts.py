"""`ultrasam segment` with a COCO file of prompts, and the forms in which masks are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ultrasam
from ultrasam.core.files import sha256_of
from ultrasam.core.masks import decode_segmentation, encode_rle

Segment = Callable[..., int]

BLOB = np.zeros((60, 80), bool)
BLOB[20:41, 30:51] = True  # its middle pixel is (40, 30)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A COCO file beside a folder of images: two objects in one, one in another, none in a third."""
    (tmp_path / "images" / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "sub/b.png", "c.png")):
        Image.new("L", (80, 60), 100 + number).save(tmp_path / "images" / name)
    size = {"width": 80, "height": 60}
    content = {
        "images": [
            {"id": 30, "file_name": "a.png", "case_id": "p1", **size},
            {"id": 20, "file_name": "sub/b.png", **size},
            {"id": 10, "file_name": "c.png", **size},
        ],
        "annotations": [
            {"id": 5, "image_id": 20, "category_id": 7, "bbox": [10, 10, 20, 30]},
            {"id": 3, "image_id": 30, "category_id": 9, "bbox": [5, 5, 20, 20], "point": [40, 50]},
            {
                "id": 4,
                "image_id": 30,
                "category_id": 7,
                "bbox": [30, 20, 21, 21],
                "segmentation": encode_rle(BLOB),
            },
        ],
        "categories": [{"id": 9, "name": "vein"}, {"id": 7, "name": "nerve", "supercategory": "x"}],
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    return path


def predictions_of(out: Path) -> Any:
    return json.loads((out / "predictions.json").read_text())


def report_of(out: Path) -> Any:
    return json.loads((out / "report.json").read_text())


def test_boxes_of_a_coco_file(segment: Segment, prompts: Path, out: Path, tiny_model: ultrasam.Model) -> None:
    from pycocotools.coco import COCO

    assert segment(prompts) == 0
    given, predictions = json.loads(prompts.read_text()), predictions_of(out)
    assert predictions["categories"] == given["categories"]
    assert predictions["images"] == given["images"][:2]
    ids = [(a["id"], a["image_id"], a["category_id"]) for a in predictions["annotations"]]
    assert ids == [(3, 30, 9), (4, 30, 7), (5, 20, 7)]
    boxes = [a["prompts"]["box"] for a in predictions["annotations"]]
    assert boxes == [[5, 5, 25, 25], [30, 20, 51, 41], [10, 10, 30, 40]]
    assert all(a["prompts"]["points"] == [] for a in predictions["annotations"])
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.png")) == [
        *("a_mask.png", "a_overlay.png", "sub/b_mask.png", "sub/b_overlay.png")
    ]
    assert report_of(out)["totals"]["images_without_objects"] == 1
    assert report_of(out)["prompts"] == {"file": str(prompts), "sha256": sha256_of(prompts), "taken": "box"}

    ((one, two),) = tiny_model.predict([prompts.parent / "images" / "a.png"], boxes=[boxes[:2]])
    coco = COCO(str(out / "predictions.json"))
    assert (coco.annToMask(coco.anns[3]) == one.mask).all() and (
        coco.annToMask(coco.anns[4]) == two.mask
    ).all()
    assert (np.asarray(Image.open(out / "a_mask.png")) == 255 * (one.mask | two.mask)).all()


def test_points_of_a_coco_file(segment: Segment, prompts: Path, out: Path, capsys: Any) -> None:
    assert segment(prompts, "--prompts=point") == 1
    assert "sub/b.png: annotation 5: it has no point" in capsys.readouterr().err
    asked = [a["prompts"] for a in predictions_of(out)["annotations"]]
    assert asked == [
        {"box": None, "points": [[40, 50]], "labels": [1]},
        {"box": None, "points": [[40.5, 30.5]], "labels": [1]},
    ]
    (out / "predictions.json").unlink()
    assert segment(prompts, "--prompts=both") == 1
    asked = [a["prompts"] for a in predictions_of(out)["annotations"]]
    assert asked[1] == {"box": [30, 20, 51, 41], "points": [[40.5, 30.5]], "labels": [1]}


def test_what_a_coco_run_has_finished_is_kept(segment: Segment, prompts: Path, out: Path) -> None:
    assert segment(prompts) == 0
    first = predictions_of(out)
    content = json.loads(prompts.read_text())
    content["annotations"][0]["bbox"] = [10, 10, 20, 31]
    prompts.write_text(json.dumps(content))
    assert segment(prompts) == 0
    assert [item["status"] for item in report_of(out)["items"]] == ["kept", "done"]
    assert predictions_of(out)["annotations"][:2] == first["annotations"][:2]
    assert predictions_of(out)["annotations"][2]["prompts"]["box"] == [10, 10, 30, 41]


def test_predictions_are_prompts_again(segment: Segment, prompts: Path, out: Path, tmp_path: Path) -> None:
    Image.new("L", (80, 60)).save(tmp_path / "page.png")
    pages = [Image.new("L", (80, 60), grey) for grey in (10, 200)]
    pages[0].save(tmp_path / "clip.tiff", save_all=True, append_images=pages[1:])
    assert segment(tmp_path / "clip.tiff", tmp_path / "page.png", "--frames=all", "--point=20,20") == 0
    first = predictions_of(out)
    again = tmp_path / "again.json"
    again.write_text(json.dumps(first))
    for path in out.glob("clip_*.png"):
        path.unlink()
    assert segment(again, f"--images={tmp_path}", "--prompts=point", "--overwrite") == 0
    second = predictions_of(out)
    assert second["images"] == first["images"]
    assert [a["segmentation"] for a in second["annotations"]] == [
        a["segmentation"] for a in first["annotations"]
    ]
    assert (out / "clip_frame0_mask.png").exists() and (out / "clip_frame1_mask.png").exists()
    assert (out / "page_mask.png").exists()


def test_a_size_that_does_not_fit_and_a_missing_image(
    segment: Segment, prompts: Path, out: Path, capsys: Any
) -> None:
    Image.new("L", (81, 60)).save(prompts.parent / "images" / "a.png")
    assert segment(prompts) == 1
    assert "a.png has 81 x 60 pixels, the COCO file says 80 x 60" in capsys.readouterr().err
    (prompts.parent / "images" / "a.png").unlink()
    assert segment(prompts) == 1
    assert "a.png does not exist" in capsys.readouterr().err
    assert [item["status"] for item in report_of(out)["items"]] == ["failed", "kept"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--box=1,1,9,9"], "brings its own prompts"),
        (["--frame=1"], "key `frame`"),
        (["--frames=all"], "key `frame`"),
        (["--images=nowhere"], "is no folder"),
        (["--prompts=all"], "--prompts"),
    ],
)
def test_a_coco_file_with_options_that_do_not_fit(
    segment: Segment, prompts: Path, out: Path, capsys: Any, words: list[str], message: str
) -> None:
    assert segment(prompts, *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not out.exists()


def test_a_json_file_that_is_no_coco(segment: Segment, prompts: Path, out: Path, capsys: Any) -> None:
    prompts.write_text("{}")
    assert segment(prompts) == 2
    assert "'images' list is missing" in capsys.readouterr().err and not out.exists()


TWO = ("--box=10,10,40,40", "--box=25,25,70,55")


def masks_in(out: Path, name: str) -> list[np.ndarray[Any, Any]]:
    document = json.loads((out / name).read_text())
    return [decode_segmentation(a["segmentation"], 60, 80) for a in document["annotations"]]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "scan.png"
    Image.new("L", (80, 60), 127).save(path)
    return path


def test_a_label_map(segment: Segment, image: Path, out: Path, capsys: Any) -> None:
    assert segment(image, *TWO, "--masks=labels", "--json") == 0
    one, two = masks_in(out, "scan_coco.json")
    assert (one & two).any()
    labels = np.asarray(Image.open(out / "scan_labels.png"))
    assert (labels == np.where(two, 2, np.where(one, 1, 0))).all()
    written = json.loads(capsys.readouterr().out)["written"]
    assert {name: Path(path).name for name, path in written.items()} == {
        "labels": "scan_labels.png",
        "overlay": "scan_overlay.png",
        "coco": "scan_coco.json",
    }


def test_a_label_map_of_many_objects_has_16_bits() -> None:
    from ultrasam.core.prompts import Prompts
    from ultrasam.predict.decode import Result
    from ultrasam.predict.frames import Settings, pictures

    results = []
    for number in range(300):
        mask = np.zeros((20, 20), bool)
        mask.flat[number] = True
        results.append(Result(mask, 0.5, np.zeros((4, 4), np.float32), Prompts()))
    settings = Settings(masks="labels", overlay=False)
    (content,) = pictures(np.zeros((20, 20, 3), np.uint8), results, settings).values()
    import io

    labels = np.asarray(Image.open(io.BytesIO(content)))
    assert (labels.ravel()[:300] == np.arange(1, 301)).all() and not labels.ravel()[300:].any()


def test_a_mask_for_each_object(segment: Segment, image: Path, out: Path) -> None:
    assert segment(image, *TWO, "--masks=objects", "--no-overlay") == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *("scan_coco.json", "scan_mask1.png", "scan_mask2.png")
    ]
    for number, mask in enumerate(masks_in(out, "scan_coco.json"), start=1):
        assert (np.asarray(Image.open(out / f"scan_mask{number}.png")) == 255 * mask).all()


def test_polygons_are_the_same_masks(segment: Segment, image: Path, out: Path) -> None:
    words = (image, "--box=10,10,40,40", "--not=25,25", "--masks=none", "--no-overlay")
    assert segment(*words) == 0
    (mask,) = masks_in(out, "scan_coco.json")
    assert not mask[25, 25] and mask[12, 12]  # a ring
    assert segment(*words, "--coco=polygons") == 0
    document = json.loads((out / "scan_coco.json").read_text())
    assert len(document["annotations"][0]["segmentation"]) == 2
    assert (masks_in(out, "scan_coco.json")[0] == mask).all()


def test_a_file_of_ones_own_beside_the_results_stays(segment: Segment, image: Path, out: Path) -> None:
    out.mkdir()
    (out / "scan.json").write_text("mine")
    assert segment(image, "--point=20,20") == 0
    assert (out / "scan.json").read_text() == "mine"


def test_the_printed_report_says_with_what_it_was_made(segment: Segment, image: Path, capsys: Any) -> None:
    assert segment(image, "--point=20,20", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sha256"] == sha256_of(image) and len(report["model_sha256"]["decoder.onnx"]) == 64
    assert report["versions"]["ultrasam"] == ultrasam.__version__


def test_objects_are_measured(segment: Segment, image: Path, out: Path, capsys: Any) -> None:
    assert segment(image, "--box=10,10,40,40", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["objects"]
    measured = found["measurements"]
    assert measured["unit"] == "px" and measured["area"] == found["area_px"]
    assert measured["box"] == found["box"]
    assert segment(image, "--box=60,50,60.2,50.2", "--not=60,50", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["objects"]
    assert found["area_px"] == 0 and found["measurements"] is None


def test_lengths_are_in_mm_where_the_spacing_is_known(
    segment: Segment, image: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from ultrasam.io import scan

    def with_region(path: Any, axis: str) -> scan.Scan:
        found = read_scan(path, axis)
        return scan.Scan(found.path, found.frames, (scan.Region("2D", (0, 0, 80, 60), (0.5, 0.25)),))

    read_scan = scan.read_scan
    assert segment(image, "--box=10,10,40,30") == 0
    assert "mm" not in capsys.readouterr().out.splitlines()[0]
    monkeypatch.setattr(scan, "read_scan", with_region)
    assert segment(image, "--box=10,10,40,30", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["objects"]
    assert found["measurements"]["unit"] == "mm"
    assert found["measurements"]["area"] == pytest.approx(found["area_px"] * 0.5 * 0.25)
    assert segment(image, "--box=10,10,40,30") == 0
    long = found["measurements"]["long_diameter"]["length"]
    assert f", {long:.1f} x " in capsys.readouterr().out
