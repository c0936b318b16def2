"""Volumes turned as their headers say, .mat files, videos and polygons."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.io import savemat

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers import volumes
from ultrasam.datasets.readers.arrays import read_mat, video_frame, video_frames
from ultrasam.datasets.readers.polygons import (
    fill_polygons,
    read_labelme,
    read_marks_xml,
    read_via_csv,
)
from ultrasam.datasets.readers.stacks import count_slices, load_slice
from ultrasam.datasets.readers.volumes import (
    slice_image,
    slice_labels,
    slice_spacing,
    slice_values,
    stored_slices,
)

RNG = np.random.default_rng(5)


def write(
    path: Path,
    values: np.ndarray,
    direction: tuple[float, ...] | None = None,
    spacing: tuple[float, ...] = (),
) -> Path:
    image = sitk.GetImageFromArray(values)
    if direction:
        image.SetDirection(direction)
    if spacing:
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"])
def test_slices_are_the_stored_numbers_whatever_the_format(tmp_path: Path, suffix: str) -> None:
    values = RNG.integers(0, 255, (4, 5, 7), dtype=np.uint8)
    path = write(tmp_path / f"v{suffix}", values, spacing=(0.3, 0.15, 1.5))
    assert stored_slices(path) == 4
    for index in range(4):
        assert np.array_equal(slice_image(path, index), values[index])
    assert slice_spacing(path) == pytest.approx((0.3, 0.15))
    with pytest.raises(UltrasamError, match="has 4 slices, no slice 4"):
        slice_values(path, 4)


@pytest.mark.parametrize(("x", "y"), list(product((1.0, -1.0), repeat=2)))
def test_the_picture_is_the_same_however_its_axes_run(tmp_path: Path, x: float, y: float) -> None:
    picture = RNG.integers(0, 255, (3, 5, 7), dtype=np.uint8)
    stored = picture[:, :: int(y), :: int(x)]
    path = write(tmp_path / "v.nii.gz", np.ascontiguousarray(stored), (x, 0, 0, 0, y, 0, 0, 0, 1))
    assert np.array_equal(slice_image(path, 1), picture[1])


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("orientation", ["LPS", "RAS", "ASL", "SRP", "PIR"])
def test_anatomical_planes_do_not_depend_on_the_order_of_the_axes(
    tmp_path: Path, plane: str, orientation: str
) -> None:
    """SimpleITK's own reorientation is the oracle."""
    lps = RNG.integers(0, 255, (4, 5, 6), dtype=np.uint8)
    image = sitk.GetImageFromArray(lps)
    image.SetSpacing((0.5, 0.7, 0.9))
    path = tmp_path / f"{orientation}.nii.gz"
    sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(path))
    # (superior, posterior, left) of the array; the feet below in coronal and sagittal slices.
    expected, spacing = {
        "axial": (lps, (0.5, 0.7)),
        "coronal": (lps[::-1].transpose(1, 0, 2), (0.5, 0.9)),
        "sagittal": (lps[::-1].transpose(2, 0, 1), (0.7, 0.9)),
    }[plane]
    for index in range(len(expected)):
        assert np.array_equal(slice_image(path, index, plane), expected[index])
    assert slice_spacing(path, plane) == pytest.approx(spacing)


def test_levels_of_8_bits_stay_in_any_type_and_larger_ones_are_scaled(tmp_path: Path) -> None:
    values = np.float64(RNG.integers(0, 254, (2, 5, 7)))
    values[0, 0, 0] = 254
    path = write(tmp_path / "f.nii.gz", values)
    assert np.array_equal(slice_image(path, 1), values[1])
    deep = np.array([[[0, 4095], [2048, 1]]], np.int16)
    assert slice_image(write(tmp_path / "i.nii.gz", deep), 0).tolist() == [[0, 255], [128, 0]]


def test_labels_may_be_stored_as_floats_but_not_as_fractions(tmp_path: Path) -> None:
    labels = np.zeros((2, 4, 4), np.float32)
    labels[1, 1, 1] = 2
    assert slice_labels(write(tmp_path / "l.nii.gz", labels), 1)[1, 1] == 2
    labels[1, 1, 1] = 0.5
    with pytest.raises(UltrasamError, match="holds fractions in slice 1"):
        slice_labels(write(tmp_path / "g.nii.gz", labels), 1)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mhd", ".mha"])
def test_a_cut_volume_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"v{suffix}", RNG.integers(0, 255, (4, 50, 70), dtype=np.uint8))
    pixels = path.with_suffix(".raw") if suffix == ".mhd" else path
    pixels.write_bytes(pixels.read_bytes()[: pixels.stat().st_size // 2])
    with pytest.raises(UltrasamError, match="cannot be read as a volume"):
        slice_image(path, 3)


def test_a_stack_has_the_objects_of_each_annotator(tmp_path: Path) -> None:
    scan = write(tmp_path / "s.nii.gz", RNG.integers(0, 255, (3, 8, 9), dtype=np.uint8))
    one, two = np.zeros((3, 8, 9), np.uint8), np.zeros((3, 8, 9), np.uint8)
    one[1, 2:4, 2:5], two[1, 3:6, 3:6], two[2, 0, 0] = 1, 1, 1
    masks = {"": write(tmp_path / "1.nii.gz", one), "other": write(tmp_path / "2.nii.gz", two)}
    assert count_slices(scan, *masks.values()) == 3
    sample = load_slice(scan, masks, {1: "organ"}, 1)
    assert [(entry.category, entry.annotator, int(entry.mask.sum())) for entry in sample.objects] == [
        ("organ", "", 6),
        ("organ", "other", 9),
    ]
    assert load_slice(scan, masks, {1: "organ"}, 0).objects == ()
    with pytest.raises(UltrasamError, match="has the label 1, which means nothing"):
        load_slice(scan, masks, {2: "organ"}, 1)
    short = write(tmp_path / "3.nii.gz", one[:2])
    with pytest.raises(UltrasamError, match="has 2 slices, its image 3"):
        count_slices(scan, short)


def test_an_array_of_a_mat_file(tmp_path: Path) -> None:
    array = RNG.integers(0, 255, (5, 7), dtype=np.uint8)
    savemat(tmp_path / "a.mat", {"image": array, "name": "text"})
    assert np.array_equal(read_mat(tmp_path / "a.mat", "image"), array)
    with pytest.raises(UltrasamError, match=r"no array 'mask' \(it has image, name\)"):
        read_mat(tmp_path / "a.mat", "mask")
    with pytest.raises(UltrasamError, match="holds no numbers"):
        read_mat(tmp_path / "a.mat", "name")
    (tmp_path / "b.mat").write_bytes((tmp_path / "a.mat").read_bytes()[:150])
    with pytest.raises(UltrasamError, match="is damaged"):
        read_mat(tmp_path / "b.mat", "image")
    (tmp_path / "c.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(200))
    with pytest.raises(UltrasamError, match="of version 7.3"):
        read_mat(tmp_path / "c.mat", "image")


def test_frames_of_a_video_in_any_order(tmp_path: Path) -> None:
    path = str(tmp_path / "v.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"FFV1"), 10, (64, 48))
    frames = [np.full((48, 64, 3), 20 * number, np.uint8) for number in range(8)]
    for frame in frames:
        writer.write(frame)
    writer.release()
    assert video_frames(Path(path)) == 8
    for index in (0, 5, 2):
        frame = video_frame(Path(path), index)
        assert frame.shape == (48, 64)
        assert np.abs(frame.astype(int) - 20 * index).max() <= 3


SQUARE = ((2.0, 1.0), (6.0, 1.0), (6.0, 5.0), (2.0, 5.0))


def test_polygons_are_filled_and_their_union_is_one_mask() -> None:
    mask = fill_polygons([SQUARE, ((8.0, 8.0), (10.0, 8.0), (10.0, 10.0), (8.0, 10.0))], (12, 14), Path("p"))
    expected = np.zeros((12, 14), np.bool_)
    expected[1:5, 2:6] = expected[8:10, 8:10] = True
    assert np.array_equal(mask, expected)
    assert not fill_polygons([((1.0, 1.0), (2.0, 2.0))], (12, 14), Path("p")).any()


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        (((20.0, 1.0), (22.0, 1.0), (22.0, 5.0)), r"outside its image of 14 x 12 pixels, near \(20, 1\)"),
        (((-5.0, 1.0), (-2.0, 1.0), (-2.0, 5.0)), "outside its image"),
        (((float("nan"), 1.0), (2.0, 1.0), (2.0, 5.0)), "a point that is no number"),
    ],
)
def test_a_polygon_that_is_not_of_its_image_is_refused(points: tuple, complaint: str) -> None:
    with pytest.raises(UltrasamError, match=complaint):
        fill_polygons([points], (12, 14), Path("p"))


def test_labelme_files(tmp_path: Path) -> None:
    shapes = [
        {
            "label": "nerve",
            "points": [list(point) for point in SQUARE],
            "shape_type": "polygon",
            "group_id": 3,
        },
        {"label": "vessel", "points": [[1, 2], [4, 6]], "shape_type": "rectangle", "group_id": None},
    ]
    content = {"imageHeight": 12, "imageWidth": 14, "shapes": shapes}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (nerve, vessel), size = read_labelme(tmp_path / "a.json")
    assert size == (12, 14)
    assert (nerve.label, nerve.points, nerve.attributes) == ("nerve", SQUARE, {"group": "3"})
    assert vessel.points == ((1, 2), (4, 2), (4, 6), (1, 6))
    shapes[0]["shape_type"] = "line"
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UltrasamError, match="has a line, which encloses nothing"):
        read_labelme(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UltrasamError, match="no file of labelme"):
        read_labelme(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UltrasamError, match="is not JSON"):
        read_labelme(tmp_path / "a.json")


HEAD = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"


def test_csv_files_of_the_vgg_image_annotator(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    region = '"{""name"":""polygon"",""all_points_x"":[2,6,6],""all_points_y"":[1,1,5]}"'
    path.write_text(
        f'{HEAD}a.png,1,"{{""View"":""Transverse""}}",2,0,{region},"{{""Anatomy"":""Capsule""}}"\n'
        f'a.png,1,"{{""View"":""Transverse""}}",2,1,{region},"{{}}"\nb.png,1,"{{}}",0,0,"{{}}","{{}}"\n'
    )
    found = read_via_csv(path)
    about, shapes = found["a.png"]
    assert about == {"View": "Transverse"}
    assert [shape.attributes for shape in shapes] == [{"Anatomy": "Capsule"}, {}]
    assert shapes[0].points == ((2, 1), (6, 1), (6, 5))
    assert found["b.png"] == ({}, [])
    path.write_text(f'{HEAD}a.png,1,"{{",2,0,{region},"{{}}"\n')
    with pytest.raises(UltrasamError, match=r"no CSV file of the VGG Image Annotator, at 'a\.png'"):
        read_via_csv(path)


def test_cases_of_ddti_in_xml(tmp_path: Path) -> None:
    points = [{"x": x, "y": y} for x, y in SQUARE]
    svg = json.dumps([{"points": points, "annotation": {}, "regionType": "freehand"}] * 2)
    text = f"<case><number>7</number><tirads>4a</tirads><mark><image>1</image><svg>{svg}</svg></mark></case>"
    (tmp_path / "7.xml").write_text(text)
    about, marks = read_marks_xml(tmp_path / "7.xml")
    assert about == {"number": "7", "tirads": "4a"}
    assert marks == {"1": [SQUARE, SQUARE]}
    for damaged in (text[:-9], text.replace("[{", "[", 1), f'<!DOCTYPE x [<!ENTITY a "b">]>{text}'):
        (tmp_path / "7.xml").write_text(damaged)
        with pytest.raises(UltrasamError, match="no case of DDTI, or damaged"):
            read_marks_xml(tmp_path / "7.xml")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the volumes that are read from disk from now on, with none kept from before."""
    names: list[str] = []
    original = volumes.read_values

    def read(path: Path) -> object:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(volumes, "_kept", type(volumes._kept)())
    monkeypatch.setattr(volumes, "read_values", read)
    return names


def test_each_of_several_volumes_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    paths = [write(tmp_path / f"{name}.nii", RNG.integers(0, 9, (6, 5, 4), np.uint8)) for name in "abcde"]
    for index in range(6):
        for path in paths:
            slice_labels(path, index)
    assert reads == [path.name for path in paths]


def test_large_volumes_make_room_but_for_the_last_two(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "_KEPT_BYTES", 100)
    paths = [write(tmp_path / f"{name}.nii", RNG.integers(0, 9, (6, 5, 4), np.uint8)) for name in "abc"]
    for image, mask in (paths[:2], paths[1:]):
        for index in range(6):
            slice_image(image, index), slice_labels(mask, index)
    assert reads == ["a.nii", "b.nii", "c.nii"] and len(volumes._kept) == 2


def test_a_volume_that_has_changed_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    path = write(tmp_path / "a.nii", np.zeros((2, 3, 4), np.uint8))
    assert not slice_values(path, 1).any()
    write(path, np.ones((3, 3, 4), np.uint8))
    assert slice_values(path, 2).all()


def test_a_volume_that_cannot_be_read_is_tried_once_for_all_its_slices(
    tmp_path: Path, reads: list[str]
) -> None:
    path = write(tmp_path / "a.nii.gz", RNG.integers(0, 255, (9, 50, 60), np.uint8))
    path.write_bytes(path.read_bytes()[:5000])
    told = set()
    for index in range(9):
        with pytest.raises(UltrasamError, match=r"a\.nii\.gz cannot be read") as error:
            slice_image(path, index)
        told.add(str(error.value))
    assert reads == ["a.nii.gz"] and len(told) == 1
    write(path, np.ones((9, 5, 6), np.uint8))
    assert slice_values(path, 0).all()


def test_of_many_small_volumes_the_last_few_are_kept(tmp_path: Path, reads: list[str]) -> None:
    for number in range(40):
        slice_image(write(tmp_path / f"{number}.nii", np.zeros((1, 4, 5), np.uint8)), 0)
    assert len(reads) == 40 and len(volumes._kept) <= 16


def test_a_packed_volume_that_is_cut_says_how_much_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    image = sitk.GetImageFromArray(RNG.integers(0, 255, (3, 50, 60), np.uint8))
    sitk.WriteImage(image, str(path), True)
    assert slice_values(path, 2).shape == (50, 60)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UltrasamError, match=r"4,000 of \d,\d+ bytes"):
        slice_image(path, 0)
