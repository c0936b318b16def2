"""Label volumes lie on the voxels of their scans, whatever the axis, the direction and the format."""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.dicoms import dataset, saved, ultrasound_region

from ultrasam.annotate.document import AnnotatedObject, AnnotatedScan, Annotation
from ultrasam.annotate.exports import ExportOptions, export
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import encode_rle
from ultrasam.io.scan import read_scan

sitk: Any = pytest.importorskip("SimpleITK", reason="needs the extra data")

ENDINGS = {"nifti": "_labels.nii.gz", "nrrd": "_labels.nrrd"}


def rotation(seed: int) -> Any:
    """(3, 3), oblique, sometimes with a reflection."""
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return turned


def volume(
    path: Path, size: tuple[int, ...], seed: int = 0, spacing: tuple[float, ...] = (0.2, 0.35, 0.8)
) -> Any:
    """A volume of `size` (x, y, z[, t]) whose voxels all differ; returns the values (z, y, x)."""
    values = np.arange(np.prod(size), dtype=np.float32).reshape(size[::-1])
    image = sitk.GetImageFromArray(values, isVector=False)
    direction = np.eye(len(size))
    direction[:3, :3] = rotation(seed)
    image.SetSpacing([*spacing, 33.0][: len(size)])
    image.SetOrigin([-12.5, 7.25, 101.0, 0.0][: len(size)])
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return values


def scan_of(path: Path, masks: dict[int, Any], axis: str = "", **given: Any) -> AnnotatedScan:
    """A scan in whose frames the `masks` of one object are drawn."""
    drawn = tuple(
        Annotation(1, frame, encode_rle(mask), None, "brush") for frame, mask in sorted(masks.items())
    )
    return AnnotatedScan(1, path.name, path, axis, (AnnotatedObject(1, "cyst"),), drawn, **given)


def exported(format: str, scan: AnnotatedScan, out: Path) -> tuple[Any, tuple[str, ...]]:
    result = export(format, [scan], out, ExportOptions(), ["lesion", "cyst"])
    labels = out / scan.place.replace(".nii.gz", "").rsplit(".", 1)[0]
    path = labels.with_name(labels.name + ENDINGS[format])
    assert set(result.files) == {path, out / "labels.json"}
    return sitk.ReadImage(str(path)), result.remarks


def same_grid(labels: Any, source: Any) -> None:
    assert labels.GetSize() == source.GetSize()
    for one, two in (
        (labels.GetSpacing(), source.GetSpacing()),
        (labels.GetOrigin(), source.GetOrigin()),
        (labels.GetDirection(), source.GetDirection()),
    ):
        assert np.allclose(one, two, atol=2e-6)  # NIfTI holds them as float32


@given(
    size=st.tuples(*[st.integers(1, 6)] * 3),
    times=st.integers(0, 3),
    axis=st.sampled_from("xyz"),
    format=st.sampled_from(sorted(ENDINGS)),
    source=st.sampled_from([".nii.gz", ".nii", ".mha", ".nrrd"]),
    spacing=st.tuples(*[st.floats(0.05, 5).map(lambda step: round(step, 3))] * 3),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60)
def test_each_voxel_of_a_mask_lies_on_its_voxel_of_the_scan(
    size: tuple[int, int, int],
    times: int,
    axis: str,
    format: str,
    source: str,
    spacing: tuple[float, float, float],
    seed: int,
) -> None:
    # 4-D files of one time are 3-D files, a volume of one slice may be read as flat: leave these to ITK.
    size = (size[0] + 1, size[1] + 1, size[2] + 1)
    full = (*size, times + 1) if times else size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"scan{source}"
        values = volume(path, full, seed, spacing)
        opened = read_scan(path, axis)
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(opened.frames), size=min(3, len(opened.frames)), replace=False)
        masks = {int(frame): rng.random(opened.frames[int(frame)].shape) < 0.5 for frame in chosen}
        masks = {frame: mask for frame, mask in masks.items() if mask.any()}
        if not masks:
            return
        labels, _ = exported(format, scan_of(path, masks, axis), Path(folder) / "out")
        same_grid(labels, sitk.ReadImage(str(path)))
        found = sitk.GetArrayFromImage(labels)
        # What the frames show where the mask is, is what the volume holds where the label is.
        grey = {frame: opened.frames[frame] for frame in masks}
        low, high = float(values.min()), float(values.max())
        shown = np.rint((values - low) * (255 / (high - low))).astype(int)
        assert sorted(shown[found == 2].tolist()) == sorted(
            int(level) for frame, mask in masks.items() for level in grey[frame][mask]
        )
        # And exactly: the voxels of the mask, by their place in the file.
        along = size["xyz".index(axis)]
        expected = set()
        for frame, mask in masks.items():
            time, place = divmod(frame, along)
            for y, x in np.argwhere(mask).tolist():
                expected.add((*((time,) if times else ()), *voxel(axis, place, y, x)))
        assert {tuple(found_at) for found_at in np.argwhere(found == 2).tolist()} == expected
        assert set(np.unique(found)) <= {0, 2}


def voxel(axis: str, place: int, row: int, column: int) -> tuple[int, int, int]:
    """(z, y, x) of a pixel of a slice: of the other two axes the earlier one runs to the right."""
    return {"z": (place, row, column), "y": (row, place, column), "x": (row, column, place)}[axis]


@pytest.mark.parametrize("format", sorted(ENDINGS))
def test_a_flat_volume_stays_flat(format: str, tmp_path: Path) -> None:
    path = tmp_path / "flat.nrrd"
    image = sitk.GetImageFromArray(np.arange(12, dtype=np.float32).reshape(3, 4))
    image.SetSpacing((0.5, 0.25))
    sitk.WriteImage(image, str(path))
    mask = np.arange(12).reshape(3, 4) % 3 == 0
    labels, _ = exported(format, scan_of(path, {0: mask}, "z"), tmp_path / "out")
    same_grid(labels, image)
    assert np.array_equal(sitk.GetArrayFromImage(labels) == 2, mask)


@pytest.mark.parametrize("format", sorted(ENDINGS))
def test_a_clip_becomes_a_stack_with_the_spacing_of_its_frames(format: str, tmp_path: Path) -> None:
    pixels = np.zeros((5, 8, 10), np.uint8)
    regions = [ultrasound_region(0, 0, 9, 7, delta=0.01)]
    path = saved(tmp_path, dataset(pixels, "MONOCHROME2", SequenceOfUltrasoundRegions=regions))
    mask = np.eye(8, 10) > 0
    labels, remarks = exported(format, scan_of(path, {3: mask}), tmp_path / "out")
    assert labels.GetSize() == (10, 8, 5)
    assert np.allclose(labels.GetSpacing(), (0.1, 0.2, 1.0))
    found = sitk.GetArrayFromImage(labels)
    assert np.array_equal(found[3] == 2, mask)
    assert not found[[0, 1, 2, 4]].any()
    assert remarks == ()


def test_without_a_spacing_there_is_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    Image.new("L", (10, 8)).save(path)
    labels, remarks = exported("nifti", scan_of(path, {0: np.ones((8, 10), bool)}), tmp_path / "out")
    assert (labels.GetSize(), labels.GetSpacing()) == ((10, 8, 1), (1.0, 1.0, 1.0))
    assert len(remarks) == 1 and "no spacing" in remarks[0]


def test_values_are_class_numbers_and_a_later_object_lies_on_top(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    volume(path, (4, 3, 2))
    first, second = np.zeros((3, 4), bool), np.zeros((3, 4), bool)
    first[:, :3], second[1, :] = True, True
    objects = AnnotatedObject(1, "cyst"), AnnotatedObject(2, "lesion"), AnnotatedObject(3, "unknown")
    drawn = [Annotation(o, 0, encode_rle(m), None, "brush") for o, m in ((1, first), (2, second))]
    drawn += [Annotation(3, 1, encode_rle(first), None, "brush")]
    scan = AnnotatedScan(1, path.name, path, "z", objects, tuple(drawn))
    labels, remarks = exported("nifti", scan, tmp_path / "out")
    found = sitk.GetArrayFromImage(labels)
    assert found[0].tolist() == [[2, 2, 2, 0], [1, 1, 1, 1], [2, 2, 2, 0]]
    assert set(found[1].ravel()) == {0, 3}
    assert any("overlap" in remark for remark in remarks)
    table = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert table == {"0": "background", "1": "lesion", "2": "cyst", "3": "unknown"}


def test_a_finished_volume_without_an_object_is_a_volume_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    volume(path, (4, 3, 2))
    labels, _ = exported("nrrd", scan_of(path, {}, "x", done=True), tmp_path / "out")
    same_grid(labels, sitk.ReadImage(str(path)))
    assert not sitk.GetArrayFromImage(labels).any()


def test_masks_of_another_file_are_left_out_and_named(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.nii.gz", tmp_path / "bad.nii.gz"
    volume(good, (4, 3, 2))
    volume(bad, (4, 3, 2))
    mask = np.ones((3, 4), bool)
    scans = [scan_of(good, {0: mask}, "z"), scan_of(bad, {0: mask}, "y")]
    result = export("nifti", scans, tmp_path / "out", ExportOptions(), ["cyst"])
    assert {path.name for path in result.files} == {"good_labels.nii.gz", "labels.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good_labels.nii.gz", "labels.json"}
    (remark,) = result.remarks
    assert "bad.nii.gz" in remark and "4 x 3" in remark
    with pytest.raises(UltrasamError, match="4 x 3"):
        export("nifti", scans[1:], tmp_path / "none", ExportOptions(), ["cyst"])
    assert list((tmp_path / "none").iterdir()) == []


@pytest.mark.parametrize("format", sorted(ENDINGS))
def test_a_volume_for_which_there_is_no_room_leaves_nothing(format: str, tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    volume(path, (60, 50, 40))
    noise = np.random.default_rng(0).random((40, 50, 60)) < 0.5
    scan = scan_of(path, dict(enumerate(noise)), "z")
    resource = pytest.importorskip("resource", reason="needs limits of the size of files")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(UltrasamError, match="free some space"):
            export(format, [scan], tmp_path / "out", ExportOptions(), ["cyst"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list((tmp_path / "out").iterdir()) == []
