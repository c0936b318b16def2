"""DICOM segmentations of ultrasound images and clips, read back by highdicom and by pydicom."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread, examples
from pydicom.uid import UltrasoundMultiFrameImageStorage, generate_uid
from tests.dicoms import dataset, saved

from ultrasam.core.errors import UltrasamError
from ultrasam.io.dicom_seg import Pseudonyms, Segment, segmentation_bytes

hd = pytest.importorskip("highdicom", reason="needs the extra annotate")

SALT = b"0123456789abcdef"
LESION, CYST = Segment("lesion", "SEMIAUTOMATIC"), Segment("cyst left", "MANUAL")
Masks = dict[tuple[int, int], Any]


def source(folder: Path, frames: int = 4, size: tuple[int, int] = (13, 11), **elements: Any) -> Path:
    """A clip (or a still) of an odd number of pixels, so that frames begin within a byte."""
    pixels = np.zeros((frames, *size), np.uint8)
    kind = {"SOPClassUID": UltrasoundMultiFrameImageStorage} if frames > 1 else {}
    given = {"StudyInstanceUID": "1.2.777.3", "SeriesInstanceUID": "1.2.777.3.4", "AccessionNumber": "ACC-99"}
    given |= {"PatientBirthDate": "19611224", "PatientSex": "F", "StudyID": "S-17", "StudyTime": "101112"}
    given |= {"ReferringPhysicianName": "Referring^Dr", "OperatorsName": "Sono^Grapher"}
    made = dataset(pixels, "MONOCHROME2", **{**given, **kind, **elements})
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    return saved(folder, made)


def random_masks(pairs: list[tuple[int, int]], size: tuple[int, int]) -> Masks:
    rng = np.random.default_rng(0)
    return {pair: rng.random(size) < 0.4 for pair in pairs}


def planes(masks: Masks) -> list[tuple[int, int, Any]]:
    return [(segment, frame, mask) for (segment, frame), mask in sorted(masks.items())]


def read(folder: Path, content: bytes) -> Any:
    (folder / "seg.dcm").write_bytes(content)
    return hd.seg.segread(folder / "seg.dcm")


def mask_of(seg: Any, original: Dataset, segment: int, frame: int) -> Any:
    uid = original.SOPInstanceUID
    if "NumberOfFrames" in original:
        found = seg.get_pixels_by_source_frame(uid, [frame + 1], segment_numbers=[segment + 1])
    else:
        found = seg.get_pixels_by_source_instance([uid], segment_numbers=[segment + 1])
    return found[0, ..., 0].astype(bool)


def test_masks_of_a_clip_come_back_on_their_frames(tmp_path: Path) -> None:
    path = source(tmp_path)
    masks = random_masks([(0, 0), (0, 3), (1, 1), (1, 3)], (13, 11))
    seg = read(tmp_path, segmentation_bytes(path, [LESION, CYST], planes(masks), model="ultrasam-lite"))
    for (segment, frame), mask in masks.items():
        assert np.array_equal(mask_of(seg, dcmread(path), segment, frame), mask)
    plain = dcmread(tmp_path / "seg.dcm")
    assert np.array_equal(plain.pixel_array.astype(bool), [mask for _, _, mask in planes(masks)])
    assert seg.get_segment_numbers(segment_label="cyst left") == [2]
    one, two = seg.SegmentSequence
    assert (one.SegmentAlgorithmType, two.SegmentAlgorithmType) == ("SEMIAUTOMATIC", "MANUAL")
    assert "ultrasam-lite" in one.SegmentAlgorithmName
    assert (plain.SegmentationType, plain.SegmentsOverlap, plain.Modality) == ("BINARY", "YES", "SEG")
    (series,) = plain.ReferencedSeriesSequence
    (instance,) = series.ReferencedInstanceSequence
    assert series.SeriesInstanceUID == "1.2.777.3.4"
    assert instance.ReferencedSOPClassUID == UltrasoundMultiFrameImageStorage
    assert instance.ReferencedSOPInstanceUID == dcmread(path).SOPInstanceUID
    assert plain.SourceImageSequence[0].ReferencedSOPClassUID == UltrasoundMultiFrameImageStorage
    assert "PixelMeasuresSequence" not in plain.SharedFunctionalGroupsSequence[0]


@pytest.mark.parametrize("name", ["ybr_color", "rgb_color", "palette_color"])
def test_colour_sources_of_real_machines(name: str, tmp_path: Path) -> None:
    path = Path(examples.get_path(name))
    original = dcmread(path)
    size, last = (original.Rows, original.Columns), int(original.get("NumberOfFrames", 1)) - 1
    masks = random_masks([(0, 0), (1, last)], size)
    seg = read(tmp_path, segmentation_bytes(path, [LESION, CYST], planes(masks)))
    for (segment, frame), mask in masks.items():
        assert np.array_equal(mask_of(seg, original, segment, frame), mask)
    assert (seg.PatientName, seg.StudyInstanceUID) == (original.PatientName, original.StudyInstanceUID)


def test_spacing_is_rows_then_columns(tmp_path: Path) -> None:
    mask = np.ones((13, 11), bool)
    content = segmentation_bytes(source(tmp_path, 1), [CYST], [(0, 0, mask)], spacing=(0.1, 0.3))
    (measures,) = read(tmp_path, content).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert [float(step) for step in measures.PixelSpacing] == [0.3, 0.1]


def test_segments_that_do_not_overlap_say_so(tmp_path: Path) -> None:
    left, right = np.zeros((13, 11), bool), np.zeros((13, 11), bool)
    left[:, :5], right[:, 5:] = True, True
    path = source(tmp_path)
    apart = segmentation_bytes(path, [LESION, CYST], [(0, 1, left), (0, 2, left), (1, 1, right)])
    assert read(tmp_path, apart).SegmentsOverlap == "NO"
    same = segmentation_bytes(path, [LESION, CYST], [(0, 1, left), (0, 2, left), (1, 2, left)])
    assert read(tmp_path, same).SegmentsOverlap == "YES"


def test_names_and_labels_keep_their_letters(tmp_path: Path) -> None:
    path = source(tmp_path, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Åsa")
    segment = Segment("Zyste\\ 左\n" + "x" * 80, "MANUAL")
    seg = read(tmp_path, segmentation_bytes(path, [segment], [(0, 0, np.ones((13, 11), bool))]))
    assert str(seg.PatientName) == "Müller^Åsa"
    assert seg.SegmentSequence[0].SegmentLabel == ("Zyste/ 左 " + "x" * 80)[:64]


def test_what_a_segmentation_keeps_of_its_source(tmp_path: Path) -> None:
    seg = read(tmp_path, segmentation_bytes(source(tmp_path), [CYST], [(0, 0, np.ones((13, 11), bool))]))
    assert (seg.PatientName, seg.PatientID, seg.PatientBirthDate) == ("Doe^Jane", "4711", "19611224")
    assert (seg.StudyInstanceUID, seg.StudyDate, seg.AccessionNumber) == ("1.2.777.3", "20200102", "ACC-99")
    content = (tmp_path / "seg.dcm").read_bytes()
    for secret in (b"St. Elsewhere", b"Sono^Grapher", b"Maker"):
        assert secret not in content


@pytest.mark.parametrize("frames", [1, 4])
def test_nothing_of_the_patient_is_left_under_a_pseudonym(frames: int, tmp_path: Path) -> None:
    path = source(tmp_path, frames)
    original = dcmread(path)
    mask = np.eye(13, 11) > 0
    content = segmentation_bytes(path, [LESION], [(0, frames - 1, mask)], pseudonyms=Pseudonyms(SALT))
    uids = [original.SOPInstanceUID, "1.2.777.3", original.file_meta.ImplementationClassUID]
    for word in ["Doe", "Jane", "St. Elsewhere", "ACC-99", "20200102", "Referring", "Sono^", "Maker", *uids]:
        assert word.encode() not in content
    # These may be part of a UID or of the time of the export.
    for element in dcmread(io.BytesIO(content)).iterall():
        if element.VR not in ("UI", "TM", "DT", "SQ", "OB"):
            assert not any(word in str(element.value) for word in ("4711", "19611224", "101112", "S-17"))
    seg = read(tmp_path, content)
    for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        assert not seg[keyword].value
    assert seg.PatientIdentityRemoved == "YES"
    renamed = Dataset()
    renamed.SOPInstanceUID = Pseudonyms(SALT).uid(original.SOPInstanceUID)
    if frames > 1:
        renamed.NumberOfFrames = frames
    assert np.array_equal(mask_of(seg, renamed, 0, frames - 1), mask)


def test_a_patient_keeps_the_pseudonym_and_it_hangs_on_the_secret(tmp_path: Path) -> None:
    mask = np.ones((13, 11), bool)

    def made(salt: bytes, **elements: Any) -> Any:
        path = source(tmp_path, 1, **elements)
        return read(tmp_path, segmentation_bytes(path, [CYST], [(0, 0, mask)], pseudonyms=Pseudonyms(salt)))

    first, again, other = made(SALT), made(SALT, StudyInstanceUID="1.2.9"), made(SALT, PatientID="4712")
    assert first.PatientID == again.PatientID == str(first.PatientName)
    assert first.StudyInstanceUID != again.StudyInstanceUID
    assert other.PatientID != first.PatientID
    assert other.StudyInstanceUID == first.StudyInstanceUID
    assert made(b"another secret of bytes").PatientID != first.PatientID
    nameless = [made(SALT, PatientID="", PatientName=name).PatientID for name in ("Doe^Jane", "Roe^Jo")]
    assert len(set(nameless)) == 2
    with pytest.raises(UltrasamError, match="16 random bytes"):
        Pseudonyms(b"short")


def test_each_call_makes_another_instance(tmp_path: Path) -> None:
    path, mask = source(tmp_path), np.ones((13, 11), bool)
    uids = {read(tmp_path, segmentation_bytes(path, [CYST], [(0, 0, mask)])).SOPInstanceUID for _ in "ab"}
    assert len(uids) == 2


def test_a_source_without_a_study_cannot_be_referred_to(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(np.zeros((13, 11), np.uint8), "MONOCHROME2"))
    with pytest.raises(UltrasamError, match="no StudyInstanceUID"):
        segmentation_bytes(path, [CYST], [(0, 0, np.ones((13, 11), bool))])


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = source(tmp_path, StudyInstanceUID=generate_uid())
    with pytest.raises(UltrasamError, match="12 x 13 pixels"):
        segmentation_bytes(path, [CYST], [(0, 0, np.ones((13, 12), bool))])
    with pytest.raises(UltrasamError, match="frame 4"):
        segmentation_bytes(path, [CYST], [(0, 4, np.ones((13, 11), bool))])
    with pytest.raises(UltrasamError, match="no mask"):
        segmentation_bytes(path, [CYST], [])


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of Debian's dicom3tools")
@pytest.mark.parametrize("name", ["ybr_color", "rgb_color", "palette_color", "jpeg2k"])
@pytest.mark.parametrize("pseudonyms", [None, Pseudonyms(SALT)])
@pytest.mark.parametrize("segments", [[LESION], [LESION, CYST]])
def test_the_standard_s_own_checker_finds_no_error(
    tmp_path: Path, name: str, pseudonyms: Pseudonyms | None, segments: list[Segment]
) -> None:
    path = Path(examples.get_path(name))
    original = dcmread(path)
    pairs = [(number, 0) for number in range(len(segments))]
    masks = random_masks(pairs, (original.Rows, original.Columns))
    content = segmentation_bytes(path, segments, planes(masks), pseudonyms=pseudonyms, spacing=(0.2, 0.3))
    (tmp_path / "seg.dcm").write_bytes(content)
    checked = subprocess.run(["dciodvfy", tmp_path / "seg.dcm"], capture_output=True, text=True)
    lines = (checked.stdout + checked.stderr).splitlines()
    assert "Segmentation" in lines
    assert [line for line in lines if line.startswith("Error")] == []
