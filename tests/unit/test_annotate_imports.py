"""COCO files as annotations of the scans of a project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ultrasam.annotate.document import AnnotatedObject, AnnotatedScan, Annotation
from ultrasam.annotate.exports import ExportOptions, export
from ultrasam.annotate.imports import Imported, read_annotations
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import decode_segmentation, encode_rle
from ultrasam.core.polygons import mask_to_polygons
from ultrasam.core.prompts import Prompts

PLACES = ("a/still.png", "b/clip.dcm", "c/clip.dcm", "deep/er/one.jpg")


def size_of(place: str, frame: int, axis: str | None) -> tuple[int, int]:
    if frame > 5 or (frame and "clip" not in place):
        raise UltrasamError(f"{place} has no frame {frame}")
    return 50, 40


def blob(x: int = 10, width: int = 12) -> Any:
    mask = np.zeros((40, 50), bool)
    mask[8:20, x : x + width] = True
    mask[12:14, x + 3 : x + 5] = False
    return mask


def image(id: int, name: str, **given: Any) -> dict[str, Any]:
    return {"id": id, "file_name": name, "width": 50, "height": 40, **given}


def entry(id: int, image_id: int, category: int = 1, mask: Any = None, **given: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"id": id, "image_id": image_id, "category_id": category}
    found |= {"bbox": [10, 8, 12, 12], "iscrowd": 0}
    if mask is not None:
        found["segmentation"] = encode_rle(mask)
    return found | given


def read(images: list[Any], annotations: list[Any], **given: Any) -> Imported:
    categories = [{"id": 7, "name": "cyst"}, {"id": 1, "name": "lesion"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return read_annotations(json.dumps(content).encode(), PLACES, size_of, **given)


def same(one: Annotation, two: Annotation) -> bool:
    keys = ("object", "frame", "score", "origin", "doubt", "prompts", "calliper")
    return all(getattr(one, key) == getattr(two, key) for key in keys) and np.array_equal(one.mask, two.mask)


@pytest.mark.parametrize("segmentation", ["rle", "polygons"])
def test_what_was_exported_comes_back(segmentation: Any, tmp_path: Path) -> None:
    Image.new("L", (50, 40)).save(tmp_path / "still.png")
    Image.new("L", (50, 40)).save(
        tmp_path / "clip.tif", save_all=True, append_images=[Image.new("L", (50, 40))] * 5
    )
    prompts = Prompts(((20.5, 10.25), (2.0, 3.0)), (True, False), (5.0, 4.0, 30.5, 33.0))
    ends = ((10.0, 18.0), (30.0, 18.0), (20.0, 8.0), (20.0, 28.0))
    objects = AnnotatedObject(2, "cyst", "left", "#a1b2c3"), AnnotatedObject(5, "lesion")
    annotations = (
        Annotation(2, 0, encode_rle(blob()), 0.875, "prompt", "", prompts, ends),
        Annotation(5, 0, encode_rle(blob(20)), None, "brush"),
        Annotation(2, 3, encode_rle(blob(11)), 0.4, "tracked", "drift"),
        Annotation(5, 4, encode_rle(blob(25)), 0.9, "auto"),
    )
    scans = [
        AnnotatedScan(1, "b/clip.tif", tmp_path / "clip.tif", "", objects, annotations),
        AnnotatedScan(2, "still.png", tmp_path / "still.png", "", objects[1:], annotations[1:2]),
        AnnotatedScan(3, "none.png", tmp_path / "still.png", done=True),
    ]
    options = ExportOptions(segmentation=segmentation)
    (path,) = export("coco", scans, tmp_path / "out", options, ["lesion", "cyst"]).files
    places = [scan.place for scan in scans]
    for source in (path, path.read_bytes()):
        found = read_annotations(source, places, lambda place, frame, axis: (50, 40))
        assert (found.classes, found.skipped, found.asks) == (("lesion", "cyst"), (), ())
        assert set(found.scans) == {"b/clip.tif", "still.png"}
        for scan in scans[:2]:
            back, drawn = found.scans[scan.place]
            assert back == scan.objects
            assert len(drawn) == len(scan.annotations)
            assert all(same(*pair) for pair in zip(drawn, scan.annotations, strict=True))


def test_files_from_elsewhere_are_marked_as_imported() -> None:
    polygons = mask_to_polygons(blob())
    runs = {"size": [40, 50], "counts": [2000 - 30, 30]}
    found = read(
        [image(1, "a/still.png")],
        [
            entry(1, 1, segmentation=polygons),
            entry(2, 1, 7, segmentation=runs, score=0.25, origin="heaven", prompts="?", colour="red"),
            entry(3, 1, 7, blob(30), score=17.0, prompts={"box": [1, 2, 999, 4]}),
        ],
    )
    objects, annotations = found.scans["a/still.png"]
    assert objects == (AnnotatedObject(1, "lesion"), AnnotatedObject(2, "cyst"), AnnotatedObject(3, "cyst"))
    assert [(a.origin, a.score, a.prompts, a.doubt) for a in annotations] == [
        ("imported", None, Prompts(), ""),
        ("imported", 0.25, Prompts(), ""),
        ("imported", None, Prompts(), ""),
    ]
    assert np.array_equal(annotations[0].mask, blob())
    assert np.array_equal(annotations[1].mask, decode_segmentation(runs, 40, 50))
    assert (found.classes, found.skipped) == (("cyst", "lesion"), ())


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a/still.png", "a/still.png"),
        ("./a/still.png", "a/still.png"),
        ("a\\still.png", "a/still.png"),
        ("still.png", "a/still.png"),
        ("/elsewhere/images/one.jpg", "deep/er/one.jpg"),
        ("c/clip.dcm", "c/clip.dcm"),
        ("clip.dcm", None),
        ("nothing.png", None),
        ("still", None),
    ],
)
def test_an_image_belongs_to_the_scan_that_is_clearly_meant(name: str, place: str | None) -> None:
    found = read([image(1, name)], [entry(1, 1, mask=blob())])
    assert list(found.scans) == ([] if place is None else [place])
    if place is None:
        (reason,) = found.skipped
        assert name in reason and ("2 scans" in reason or "no scan of this name" in reason)


@pytest.mark.parametrize("key", ["object", "track_id", "instance_id"])
def test_an_object_is_the_same_through_its_frames(key: str) -> None:
    found = read(
        [image(frame + 1, "b/clip.dcm", frame=frame) for frame in range(3)],
        [
            entry(1, 3, mask=blob(), **{key: 9}),
            entry(2, 1, mask=blob(), **{key: 9}),
            entry(3, 1, mask=blob(20), **{key: "b"}),
            entry(4, 2, mask=blob(20), **{key: "b"}),
            entry(5, 2, 7, blob(), **{key: 9}),  # another class
            entry(6, 1, mask=blob(), **{key: 9}),  # a second time on its frame
            entry(7, 2, mask=blob()),
        ],
    )
    objects, annotations = found.scans["b/clip.dcm"]
    frames: dict[int, list[int]] = {}
    for annotation in annotations:
        frames.setdefault(annotation.object, []).append(annotation.frame)
    assert sorted(frames.values()) == [[0], [0, 1], [0, 2], [1], [1]]
    assert [known.id for known in objects] == sorted(frames)
    assert len(set(frames)) == 5
    assert ({known.id for known in objects} == {1, 2, 3, 4, 9}) == (key == "object")
    assert [(a.frame, a.object) for a in annotations] == sorted((a.frame, a.object) for a in annotations)


def test_boxes_and_points_are_asked_of_the_model() -> None:
    found = read(
        [image(1, "b/clip.dcm", frame=2), image(2, "a/still.png")],
        [
            entry(1, 1, 7),
            entry(2, 1, bbox=[-5, 30, 20, 30], prompts={"box": None, "points": [[3, 35.5]], "labels": [1]}),
            entry(3, 1, bbox=[0, 0, 0, 0], keypoints=[4, 5, 2, 9, 9, 0]),
            entry(4, 1, mask=blob()),
            entry(5, 2, bbox=[0, 0, 0, 0]),
            entry(6, 2, bbox=[60, 3, 5, 5]),
        ],
    )
    asked = [(ask.place, ask.frame, ask.label, ask.prompts) for ask in found.asks]
    assert asked == [
        ("b/clip.dcm", 2, "cyst", Prompts(box=(10, 8, 22, 20))),
        ("b/clip.dcm", 2, "lesion", Prompts(((3, 35.5),), (True,), (0, 30, 15, 40))),
        ("b/clip.dcm", 2, "lesion", Prompts(((4, 5),), (True,))),
    ]
    objects, _ = found.scans["b/clip.dcm"]
    assert [ask.object.id for ask in found.asks] + [known.id for known in objects] == [1, 2, 3, 4]
    assert [ask.object.label for ask in found.asks] == ["cyst", "lesion", "lesion"]
    assert ["annotation 5" in found.skipped[0], "annotation 6" in found.skipped[1]] == [True, True]


def test_what_does_not_fit_is_skipped_and_named() -> None:
    small = {"width": 25, "height": 20}
    found = read(
        [
            image(1, "a/still.png") | small,
            image(2, "b/clip.dcm", frame=6),
            image(3, "b/clip.dcm", frame=-1),
            image(4, "c/clip.dcm", frame=1),
        ],
        [
            *(entry(number, number, mask=blob()) for number in (1, 2, 3)),
            entry(4, 4, mask=np.zeros((40, 50), bool)),
            entry(5, 4, segmentation={"size": [40, 50], "counts": [5]}),
            entry(6, 4, segmentation={"size": [50, 40], "counts": [2000]}),
            entry(7, 4, mask=blob(), iscrowd=1),
            entry(8, 4, mask=blob()),
        ],
    )
    words = ["25 x 20", "no frame 6", "no such frame", "empty", "do not add up", "has size", "crowd"]
    assert len(found.skipped) == len(words)
    for word, reason in zip(words, found.skipped, strict=True):
        assert word in reason
    assert [len(annotations) for _, annotations in found.scans.values()] == [1]


def test_the_axis_of_a_volume_is_that_of_the_file_unless_it_is_annotated_along_another() -> None:
    images = [image(1, "a/still.png", axis="y"), image(2, "c/clip.dcm", axis="z")]
    masks = [entry(1, 1, mask=blob()), entry(2, 2, mask=blob())]
    found = read(images, masks)
    assert list(found.scans) == ["a/still.png", "c/clip.dcm"]
    assert found.axes == {"a/still.png": "y", "c/clip.dcm": "z"}
    found = read(images, masks, axes={"a/still.png": "x"})
    assert list(found.scans) == ["c/clip.dcm"]
    assert "axis y" in found.skipped[0] and "along x" in found.skipped[0]
    images = [image(1, "c/clip.dcm", axis="y"), image(2, "c/clip.dcm", axis="x", frame=1)]
    found = read(images, masks)
    assert len(found.skipped) == 1 and "axis x" in found.skipped[0]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not JSON"),
        (b"[]", "no COCO file"),
        (b'{"images": []}', "'annotations' list is missing"),
        (b'{"images": [{"id": 1}], "annotations": [], "categories": []}', r"images\[0\]"),
        (b"\xff\xfe{", "not JSON"),
    ],
)
def test_a_malformed_file_is_one_sentence(content: bytes, complaint: str) -> None:
    with pytest.raises(UltrasamError, match=complaint) as raised:
        read_annotations(content, PLACES, size_of)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UltrasamError, match=r"gone\.json does not exist"):
        read_annotations(tmp_path / "gone.json", PLACES, size_of)


@pytest.mark.parametrize("frame", ["3", 1.5, float("nan"), 1e308, True, [1], -1])
def test_an_odd_number_of_a_frame_is_no_frame_0(frame: Any) -> None:
    found = read([image(1, "b/clip.dcm", frame=frame)], [entry(1, 1, mask=blob())])
    assert found.scans == {} and "no such frame" in found.skipped[0]


def test_a_whole_number_with_a_point_is_a_frame() -> None:
    found = read([image(1, "b/clip.dcm", frame=3.0)], [entry(1, 1, mask=blob())])
    ((_, (annotation,)),) = found.scans.values()
    assert annotation.frame == 3
