"""What is annotated, as files for other programs."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pydicom.uid import UltrasoundMultiFrameImageStorage
from tests.dicoms import dataset, saved, ultrasound_region

from ultrasam.annotate import exports
from ultrasam.annotate.document import AnnotatedObject, AnnotatedScan, Annotation
from ultrasam.annotate.exports import ExportOptions, base, export, formats
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import encode_rle
from ultrasam.core.prompts import Prompts
from ultrasam.io.coco import read_coco
from ultrasam.measure.measurements import measure_mask

CLASSES = ("lesion", "cyst")
MODEL = {"id": "ultrasam-lite", "sha256": {"encoder.onnx": "0" * 64}}
SALT = b"0123456789abcdef"


def ring(height: int = 40, width: int = 50, radius: float = 12.0, hole: float = 5.0) -> Any:
    """A mask with a hole and rough edges."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(x - 20, y - 18)
    return (distance < radius) & (distance > hole)


def still(folder: Path, name: str = "a/still.png", **given: Any) -> AnnotatedScan:
    path = folder / "scans" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (50, 40)).save(path)
    return AnnotatedScan(1, name, path, **given)


def clip(folder: Path, name: str = "b/clip.dcm", **given: Any) -> AnnotatedScan:
    """Six frames with a spacing of 0.1 x 0.2 mm, whose header names a patient."""
    path = folder / "scans" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    elements = {"StudyInstanceUID": "1.2.777.3", "SeriesInstanceUID": "1.2.777.4", "FrameTime": "40"}
    made = dataset(np.zeros((6, 40, 50), np.uint8), "MONOCHROME2", **elements)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    made.SequenceOfUltrasoundRegions = [ultrasound_region(0, 0, 49, 39, delta=0.01)]
    return AnnotatedScan(2, name, saved(path.parent, made, path.name), **given)


def drawn(object: int, frame: int, mask: Any, **given: Any) -> Annotation:
    return Annotation(object, frame, encode_rle(mask), **{"score": None, "origin": "brush", **given})


def project(folder: Path) -> list[AnnotatedScan]:
    """A still with one object, a clip with two objects on three frames, a finished still without any."""
    prompts = Prompts(((20.5, 10.25), (2.0, 3.0)), (True, False), (5.0, 4.0, 30.5, 33.0))
    ends = ((10.0, 18.0), (30.0, 18.0), (20.0, 8.0), (20.0, 28.0))
    objects = AnnotatedObject(1, "cyst", "left", "#a1b2c3"), AnnotatedObject(4, "lesion")
    box = np.zeros((40, 50), bool)
    box[3:9, 30:44] = True
    annotations = (
        drawn(1, 0, ring(), score=0.875, origin="prompt", prompts=prompts),
        drawn(4, 2, box, origin="tracked", score=0.31, doubt="score 0.31 is below 0.50"),
        drawn(1, 5, ring(radius=9), calliper=ends, origin="prompt", score=0.5),
        drawn(4, 5, box),
    )
    return [
        still(folder, objects=(AnnotatedObject(1, "lesion"),), annotations=(drawn(1, 0, ring()),)),
        clip(folder, objects=objects, annotations=annotations),
        still(folder, "c/nothing.png", done=True),
    ]


def exported(format: str, folder: Path, scans: list[AnnotatedScan], **given: Any) -> exports.Exported:
    return export(format, scans, folder / "out", ExportOptions(**given), CLASSES, MODEL)


def coco_of(folder: Path, scans: list[AnnotatedScan], **given: Any) -> dict[str, Any]:
    result = exported("coco", folder, scans, **given)
    assert result.files == (folder / "out" / "annotations.json",)
    content = json.loads(result.files[0].read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("segmentation", ["rle", "polygons"])
def test_coco_has_every_mask_to_the_pixel(segmentation: Any, tmp_path: Path) -> None:
    scans = project(tmp_path)
    content = coco_of(tmp_path, scans, segmentation=segmentation)
    path = tmp_path / "out" / "annotations.json"
    read = read_coco(path)
    theirs = COCO(str(path))
    every = [annotation for scan in scans for annotation in scan.annotations]
    assert len(read.annotations) == len(every)
    for annotation, entry in zip(every, content["annotations"], strict=True):
        assert np.array_equal(theirs.annToMask(theirs.anns[entry["id"]]).astype(bool), annotation.mask)
        assert isinstance(entry["segmentation"], list if segmentation == "polygons" else dict)
        assert entry["area"] == annotation.mask.sum()
    assert content["categories"] == [{"id": 1, "name": "lesion"}, {"id": 2, "name": "cyst"}]
    assert content["info"]["model"] == MODEL


def test_coco_says_which_frame_and_which_object(tmp_path: Path) -> None:
    content = coco_of(tmp_path, project(tmp_path))
    images = [
        (image["file_name"], image["frame"], image["width"], image["height"], image.get("spacing"))
        for image in content["images"]
    ]
    assert images == [
        ("a/still.png", 0, 50, 40, None),
        *(("b/clip.dcm", frame, 50, 40, [0.1, 0.2]) for frame in (0, 2, 5)),
        ("c/nothing.png", 0, 50, 40, None),
    ]
    assert [image.get("negative") for image in content["images"]] == [None, None, None, None, True]
    keys = ("image_id", "category_id", "object", "origin", "score", "doubt", "name", "colour")
    assert [tuple(entry.get(key) for key in keys) for entry in content["annotations"]] == [
        (1, 1, 1, "brush", None, None, None, None),
        (2, 2, 1, "prompt", 0.875, None, "left", "#a1b2c3"),
        (3, 1, 4, "tracked", 0.31, "score 0.31 is below 0.50", None, None),
        (4, 2, 1, "prompt", 0.5, None, "left", "#a1b2c3"),
        (4, 1, 4, "brush", None, None, None, None),
    ]
    first = content["annotations"][1]
    assert first["prompts"] == {
        "box": [5.0, 4.0, 30.5, 33.0],
        "points": [[20.5, 10.25], [2.0, 3.0]],
        "labels": [1, 0],
    }
    assert first["bbox"] == [9.0, 7.0, 23.0, 23.0]
    assert first["measurements"] == measure_mask(ring(), (0.1, 0.2)).to_json()
    assert content["annotations"][3]["calliper"] == [[10, 18], [30, 18], [20, 8], [20, 28]]


def test_every_frame_of_a_finished_clip_without_objects_is_negative(tmp_path: Path) -> None:
    content = coco_of(tmp_path, [clip(tmp_path, done=True)])
    assert [(image["frame"], image["negative"]) for image in content["images"]] == [
        (frame, True) for frame in range(6)
    ]


def test_a_class_that_nobody_listed_comes_last(tmp_path: Path) -> None:
    objects = AnnotatedObject(1, "vessel"), AnnotatedObject(2, "")
    scan = still(tmp_path, objects=objects, annotations=(drawn(1, 0, ring()), drawn(2, 0, ring())))
    content = coco_of(tmp_path, [scan])
    assert [category["name"] for category in content["categories"]] == [*CLASSES, "vessel", "object"]
    assert [entry["category_id"] for entry in content["annotations"]] == [3, 4]


@pytest.mark.parametrize("format", ["coco", "png", "csv", "nifti", "dicom-seg"])
def test_empty_masks_are_left_out_and_named(format: str, tmp_path: Path) -> None:
    if not next(known.available for known in formats() if known.id == format):
        pytest.skip("needs the package of the format")
    objects = AnnotatedObject(1, "cyst"), AnnotatedObject(2, "cyst")
    nothing = drawn(2, 0, np.zeros((40, 50), bool))
    scan = clip(tmp_path, objects=objects, annotations=(drawn(1, 0, ring()), nothing))
    result = exported(format, tmp_path, [scan])
    assert any("b/clip.dcm: 1 empty mask was left out" in remark for remark in result.remarks)
    only = clip(tmp_path, objects=objects, annotations=(nothing,))
    with pytest.raises(UltrasamError, match="empty mask"):
        exported(format, tmp_path, [only])


def test_a_scan_that_is_gone_keeps_its_masks_and_is_named(tmp_path: Path) -> None:
    scans = project(tmp_path)
    scans[1].path.unlink()
    result = exported("coco", tmp_path, scans)
    content = json.loads(result.files[0].read_text())
    assert len(content["annotations"]) == 5
    assert "spacing" not in content["images"][1]
    assert content["annotations"][1]["measurements"]["unit"] == "px"
    (remark,) = result.remarks
    assert remark == "b/clip.dcm: the scan cannot be opened: the file does not exist: check the path"


def test_pictures_hold_class_numbers(tmp_path: Path) -> None:
    result = exported("png", tmp_path, project(tmp_path))
    names = [path.relative_to(tmp_path / "out").as_posix() for path in result.files]
    assert names == [
        "a/still_labels.png",
        *(f"b/clip_frame{frame}_labels.png" for frame in (0, 2, 5)),
        "c/nothing_labels.png",
        "labels.json",
    ]
    with Image.open(result.files[3]) as image:
        assert image.mode == "L"
        found = np.asarray(image)
    expected = np.zeros((40, 50), np.uint8)
    expected[ring(radius=9)] = 2
    expected[3:9, 30:44] = 1
    assert np.array_equal(found, expected)
    assert not np.asarray(Image.open(result.files[4])).any()
    assert json.loads(result.files[5].read_text()) == {"0": "background", "1": "lesion", "2": "cyst"}


def test_a_later_object_lies_on_top_and_many_classes_take_16_bits(tmp_path: Path) -> None:
    classes = [f"class {number}" for number in range(1, 301)]
    objects = AnnotatedObject(1, classes[299]), AnnotatedObject(2, classes[4])
    small = ring(radius=8)
    scan = still(tmp_path, objects=objects, annotations=(drawn(1, 0, ring()), drawn(2, 0, small)))
    result = export("png", [scan], tmp_path / "out", ExportOptions(), classes)
    found = np.asarray(Image.open(result.files[0]))
    assert set(found[small]) == {5}
    assert set(found[ring() & ~small]) == {300}
    assert any("overlap" in remark for remark in result.remarks)


def test_the_table_measures_in_mm_where_it_can(tmp_path: Path) -> None:
    result = exported("csv", tmp_path, project(tmp_path))
    with result.files[0].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["frame"], row["object"], row["class"], row["unit"]) for row in rows] == [
        ("a/still.png", "0", "1", "lesion", "px"),
        ("b/clip.dcm", "0", "1", "cyst", "mm"),
        ("b/clip.dcm", "2", "4", "lesion", "mm"),
        ("b/clip.dcm", "5", "1", "cyst", "mm"),
        ("b/clip.dcm", "5", "4", "lesion", "mm"),
    ]
    assert [row["time_ms"] for row in rows] == ["", "0.0", "80.0", "200.0", "200.0"]
    measured = measure_mask(ring(), (0.1, 0.2))
    assert float(rows[1]["area"]) == pytest.approx(measured.area, abs=1e-4)
    assert float(rows[1]["long_diameter"]) == pytest.approx(measured.long_diameter.length, abs=1e-4)
    assert float(rows[1]["short_diameter"]) == pytest.approx(measured.short_diameter.length, abs=1e-4)
    assert float(rows[1]["ellipse_circumference"]) == pytest.approx(measured.ellipse.circumference, abs=1e-4)
    assert [rows[1][f"box_{corner}"] for corner in ("x0", "y0", "x1", "y1")] == ["9", "7", "32", "30"]
    assert (rows[1]["score"], rows[2]["doubt"]) == ("0.875", "score 0.31 is below 0.50")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "\n@"])
def test_no_cell_is_a_formula(start: str, tmp_path: Path) -> None:
    evil = f'{start}HYPERLINK("http://x")'
    objects = (AnnotatedObject(1, evil, evil),)
    scan = still(tmp_path, objects=objects, annotations=(drawn(1, 0, ring(), doubt=evil),))
    result = exported("csv", tmp_path, [scan])
    with result.files[0].open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert [row[key] for key in ("name", "class", "doubt")] == [f"'{evil}"] * 3
    assert row["file"] == "a/still.png"


def test_segmentations_are_made_of_dicom_files_only(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom", reason="needs the extra annotate")
    result = exported("dicom-seg", tmp_path, project(tmp_path))
    assert [path.relative_to(tmp_path / "out").as_posix() for path in result.files] == ["b/clip_seg.dcm"]
    assert any("a/still.png" in remark and "no DICOM" in remark for remark in result.remarks)
    seg = highdicom.seg.segread(result.files[0])
    said = [(item.SegmentLabel, item.SegmentAlgorithmType) for item in seg.SegmentSequence]
    assert said == [("cyst left", "SEMIAUTOMATIC"), ("lesion", "SEMIAUTOMATIC")]
    uid = seg.get_source_image_uids()[0][2]
    found = seg.get_pixels_by_source_frame(uid, [6], segment_numbers=[1])[0, ..., 0]
    assert np.array_equal(found.astype(bool), ring(radius=9))
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert [float(step) for step in measures.PixelSpacing] == [0.2, 0.1]


@pytest.mark.parametrize(
    ("origins", "algorithm"),
    [(("brush",), "MANUAL"), (("brush", "prompt"), "SEMIAUTOMATIC"), (("auto",), "AUTOMATIC")],
)
def test_a_segment_says_how_it_was_drawn(origins: Any, algorithm: str, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom", reason="needs the extra annotate")
    masks = tuple(drawn(1, frame, ring(), origin=origin) for frame, origin in enumerate(origins))
    result = exported("dicom-seg", tmp_path, [clip(tmp_path, annotations=masks)])
    (segment,) = pydicom.dcmread(result.files[0]).SegmentSequence
    assert (segment.SegmentLabel, segment.SegmentAlgorithmType) == ("object", algorithm)


def test_only_a_segmentation_that_keeps_the_patient_names_one(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK", reason="needs the extra data")
    pytest.importorskip("highdicom", reason="needs the extra annotate")
    for format in (known.id for known in formats()):
        given = {"pseudonymise": True, "salt": SALT} if format == "dicom-seg" else {}
        result = exported(format, tmp_path / format, project(tmp_path / format), **given)
        assert result.files
        for path in result.files:
            content = path.read_bytes()
            content += gzip.decompress(content) if path.suffix == ".gz" else b""
            for secret in (b"Doe", b"Jane", b"St. Elsewhere", b"1.2.777", b"20200102"):
                assert secret not in content, (format, path.name)
    kept = exported("dicom-seg", tmp_path, project(tmp_path)).files[0].read_bytes()
    assert b"Doe^Jane" in kept and b"1.2.777.3" in kept and b"St. Elsewhere" not in kept


def test_a_pseudonymised_export_says_what_it_does_not_do(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="needs the extra annotate")
    scans = [clip(tmp_path, name, annotations=(drawn(1, 0, ring()),)) for name in ("a.dcm", "b.dcm")]
    result = exported("dicom-seg", tmp_path, scans, pseudonymise=True, salt=SALT)
    assert len(result.files) == 2
    assert sum("drawn into the pictures" in remark for remark in result.remarks) == 1
    assert sum("replaced UIDs" in remark for remark in result.remarks) == 1
    with pytest.raises(UltrasamError, match="16 random bytes"):
        exported("dicom-seg", tmp_path / "none", scans, pseudonymise=True)


@pytest.mark.parametrize("format", ["coco", "png", "csv"])
def test_a_full_disk_leaves_nothing(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(base.os, "fsync", full)
    with pytest.raises(UltrasamError, match="No space left on device.*free some space"):
        exported(format, tmp_path, project(tmp_path))
    assert calls
    assert list((tmp_path / "out").iterdir()) == []


def test_files_appear_together_and_replace_older_ones(tmp_path: Path) -> None:
    scans = project(tmp_path)
    exported("coco", tmp_path, scans[:1])
    exported("coco", tmp_path, scans)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["annotations.json"]
    assert len(json.loads((tmp_path / "out" / "annotations.json").read_text())["annotations"]) == 5


def test_scans_of_the_same_name_do_not_share_a_file(tmp_path: Path) -> None:
    masks = (drawn(1, 0, ring()),)
    scans = [still(tmp_path, name, annotations=masks) for name in ("x.png", "x.bmp", "X.tif")]
    result = exported("png", tmp_path, scans)
    assert len({path.name.casefold() for path in result.files}) == 4


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    scan = still(tmp_path, annotations=(drawn(1, 0, ring()),))
    bad = AnnotatedScan(1, "../../evil.png", scan.path, "", (), scan.annotations)
    with pytest.raises(UltrasamError, match="leads out"):
        exported("png", tmp_path, [bad])
    assert not list(tmp_path.rglob("*evil*"))


def test_what_cannot_be_exported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UltrasamError, match="no format 'bmp'"):
        exported("bmp", tmp_path, project(tmp_path))
    with pytest.raises(UltrasamError, match="nothing is annotated yet"):
        exported("coco", tmp_path, [still(tmp_path)])
    assert [known.id for known in formats()] == ["coco", "png", "nifti", "nrrd", "csv", "dicom-seg"]
    monkeypatch.setattr(exports, "find_spec", lambda name: None)
    missing = {known.id: known.why for known in formats() if not known.available}
    assert missing == {
        "nifti": "needs the package SimpleITK: pip install 'ultrasam[data]'",
        "nrrd": "needs the package SimpleITK: pip install 'ultrasam[data]'",
        "dicom-seg": "needs the package highdicom: pip install 'ultrasam[annotate]'",
    }
    with pytest.raises(UltrasamError, match="pip install 'ultrasam\\[data\\]'"):
        exported("nifti", tmp_path, project(tmp_path))


def test_the_command_names_the_formats_that_there_are() -> None:
    from ultrasam.cli.annotate import FORMATS

    assert tuple(found.id for found in formats()) == FORMATS
