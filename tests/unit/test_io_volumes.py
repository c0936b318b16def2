"""NIfTI, MetaImage and NRRD files as frames, written by SimpleITK."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ultrasam.core.errors import UltrasamError
from ultrasam.io import volumes
from ultrasam.io.scan import read_scan

sitk = pytest.importorskip("SimpleITK")

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (4, 5, 6), dtype=np.uint8)  # z, y, x
SPACING = (0.2, 0.3, 0.5)


def write(path: Path, values: np.ndarray[Any, Any], spacing: tuple[float, ...] | None = SPACING) -> Path:
    image = sitk.GetImageFromArray(values)
    if spacing is not None:
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path), useCompression=path.suffix in (".gz", ".nrrd"))
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.mhd", "a.nrrd"])
def test_every_format_gives_the_stored_bytes(name: str, tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path / name, BYTES))
    assert len(scan.frames) == 4
    for index, frame in enumerate(scan.frames):
        np.testing.assert_array_equal(frame, BYTES[index])
    assert scan.spacing_of((0, 0, 6, 5)) == pytest.approx((0.2, 0.3))
    assert scan.meta["format"] == "volume"


@pytest.mark.parametrize(
    ("axis", "plane", "spacing"),
    [
        ("x", lambda i: BYTES[:, :, i], (0.3, 0.5)),
        ("y", lambda i: BYTES[:, i, :], (0.2, 0.5)),
        ("z", lambda i: BYTES[i], (0.2, 0.3)),
    ],
)
def test_an_axis_is_cut_into_frames(axis: str, plane: Any, spacing: Any, tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path / "a.mha", BYTES), axis=axis)
    assert len(scan.frames) == {"x": 6, "y": 5, "z": 4}[axis]
    np.testing.assert_array_equal(scan.frames[1], plane(1))
    np.testing.assert_array_equal(scan.frames[-1], plane(len(scan.frames) - 1))
    assert scan.regions[0].spacing == pytest.approx(spacing)


def test_levels_go_from_the_lowest_to_the_highest_of_the_file(tmp_path: Path) -> None:
    values = np.linspace(-1000, 3000, 120).reshape(4, 5, 6).astype(np.int16)
    scan = read_scan(write(tmp_path / "a.nii.gz", values))
    expected = np.rint((values.astype(float) + 1000) * 255 / 4000)
    for index, frame in enumerate(scan.frames):
        np.testing.assert_array_equal(frame, expected[index])


def test_what_is_not_finite_is_black(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 120).reshape(4, 5, 6).astype(np.float32)
    values[1, 2, 3] = np.nan
    values[1, 0, 0] = np.inf
    frame = read_scan(write(tmp_path / "a.nrrd", values)).frames[1]
    assert frame[2, 3] == 0 and frame[0, 0] == 0
    assert frame[4, 5] == round(float(values[1, 4, 5]) * 255)


def test_four_axes_are_volume_after_volume(tmp_path: Path) -> None:
    values = RNG.integers(0, 256, (3, 4, 5, 6)).astype(np.uint8)
    image = sitk.JoinSeries([sitk.GetImageFromArray(volume) for volume in values])
    sitk.WriteImage(image, str(tmp_path / "a.nii"))
    scan = read_scan(tmp_path / "a.nii")
    assert len(scan.frames) == 12
    for index in (0, 5, 11, 3):
        np.testing.assert_array_equal(scan.frames[index], values[index // 4, index % 4])
    assert len(read_scan(tmp_path / "a.nii", axis="x").frames) == 18


def test_levels_are_those_of_all_times(tmp_path: Path) -> None:
    values = np.zeros((2, 2, 3, 3), np.int16)
    values[0, 0, 0, 0], values[1, 0, 0, 0] = 40, 200
    image = sitk.JoinSeries([sitk.GetImageFromArray(volume) for volume in values])
    sitk.WriteImage(image, str(tmp_path / "a.nii"))
    scan = read_scan(tmp_path / "a.nii")
    assert (scan.frames[0][0, 0], scan.frames[2][0, 0]) == (51, 255)


def test_colour_stays_colour(tmp_path: Path) -> None:
    values = RNG.integers(0, 256, (3, 5, 6, 3)).astype(np.uint8)
    image = sitk.GetImageFromArray(values, isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(read_scan(tmp_path / "a.mha").frames[2], values[2])


def test_a_flat_image_is_one_frame(tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path / "a.mha", BYTES[0], (0.2, 0.3)))
    assert len(scan.frames) == 1 and scan.spacing_of((0, 0, 2, 2)) == pytest.approx((0.2, 0.3))
    np.testing.assert_array_equal(scan.frames[0], BYTES[0])


def test_a_spacing_of_one_for_all_is_unknown(tmp_path: Path) -> None:
    assert read_scan(write(tmp_path / "a.nii", BYTES, None)).spacing_of((0, 0, 2, 2)) is None


def test_an_unknown_axis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UltrasamError, match="there is no axis 'w': use one of x, y, z"):
        read_scan(write(tmp_path / "a.mha", BYTES), axis="w")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_one_line(name: str, kept: float, tmp_path: Path, capfd: Any) -> None:
    content = write(tmp_path / name, RNG.integers(0, 256, (40, 50, 60), dtype=np.uint8)).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UltrasamError, match="cannot be read as a volume|neither a DICOM file nor") as caught:
        list(read_scan(tmp_path / name).frames)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_header_of_a_huge_volume_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 10000 10000 10000\nElementType = MET_UCHAR\n"
        "ElementSpacing = 1 1 2\nElementDataFile = LOCAL\n"
    )
    with pytest.raises(UltrasamError, match="is too large"):
        read_scan(tmp_path / "a.mha")


def test_only_one_volume_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = RNG.integers(0, 256, (3, 4, 5, 6)).astype(np.uint8)
    image = sitk.JoinSeries([sitk.GetImageFromArray(volume) for volume in values])
    sitk.WriteImage(image, str(tmp_path / "a.nii"))
    volume = volumes._Volume(tmp_path / "a.nii")
    shapes = []
    for index in range(12):
        volume.slice(2, index)
        assert volume._held is not None
        shapes.append((volume._held[0], volume._held[1].shape))
    assert shapes == [(index // 4, (4, 5, 6)) for index in range(12)]


def test_without_simpleitk_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.nii", BYTES)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UltrasamError, match=r"needs the package SimpleITK: pip install 'ultrasam\[data\]'"):
        read_scan(path)
