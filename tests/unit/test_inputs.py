"""Which files a folder, a pattern or a list means, and what their results are called."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.io.inputs import find_scans, names_in, places_of


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name, format="PNG")


def found(folder: Path, *names: str, out: str = "out") -> list[str]:
    words = [str(folder / name) for name in names] or [str(folder)]
    scans = find_scans(words, folder / out)
    assert not scans.problems
    return [str(path.relative_to(folder)) for path in scans.files]


def test_a_folder_means_all_scans_below_it(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a.png", "deep/er/c.png", "with space/ü\n.png", ".hidden/d.png", ".e.png")
    (tmp_path / "notes.txt").write_text("no scan")
    assert found(tmp_path) == ["a.png", "b.png", "deep/er/c.png", "with space/ü\n.png"]
    assert find_scans([str(tmp_path)], tmp_path / "out").others == 1


def test_results_are_not_taken_for_scans(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "a_mask.png", "a_mask12.png", "a_labels.png", "a_OVERLAY.PNG", "amask.png")
    make(tmp_path, "out/whatever.png", "old/a_mask.png")
    assert found(tmp_path) == ["a.png", "amask.png"]
    assert found(tmp_path, out=".") == ["a.png", "amask.png", "out/whatever.png"]
    assert found(tmp_path, "a_mask.png", "a.png") == ["a_mask.png", "a.png"]
    assert found(tmp_path, "a_mask.png", "a.png", out=".") == ["a.png"]
    assert found(tmp_path, "*") == ["a.png", "amask.png"]


def test_patterns(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b[1].png", "x/c.png", "x/y/d.png", "x/y/e.jpg")
    assert found(tmp_path, "*.png") == ["a.png", "b[1].png"]
    assert found(tmp_path, "b[1].png") == ["b[1].png"]
    assert found(tmp_path, "?") == ["x/c.png", "x/y/d.png", "x/y/e.jpg"]
    assert found(tmp_path, "**/*.png") == ["a.png", "b[1].png", "x/c.png", "x/y/d.png"]
    assert found(tmp_path, "x/**") == ["x/c.png", "x/y/d.png", "x/y/e.jpg"]
    for pattern in ("*.bmp", "**/x/*.png"):
        with pytest.raises(UltrasamError, match="pattern"):
            find_scans([str(tmp_path / pattern)], tmp_path)


def test_each_file_counts_once(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "x/b.png")
    assert found(tmp_path, "a.png", "", "x/../a.png", "x", "*.png") == ["a.png", "x/b.png"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    make(tmp_path, "x/a.png")
    os.symlink(tmp_path, tmp_path / "x" / "up", target_is_directory=True)
    os.symlink(tmp_path / "x", tmp_path / "x" / "self", target_is_directory=True)
    os.symlink("nowhere", tmp_path / "x" / "broken", target_is_directory=True)
    assert found(tmp_path) == ["x/a.png"]
    assert found(tmp_path, "**/*.png") == ["x/a.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_scan_and_does_not_block(tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert found(tmp_path) == ["a.png"]


def test_a_folder_that_cannot_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.png", "closed/b.png")
    listdir = os.listdir

    def closed(folder: Path) -> list[str]:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", closed)
    scans = find_scans([str(tmp_path)], tmp_path / "out")
    assert [path.name for path in scans.files] == ["a.png"]
    ((folder, problem),) = scans.problems
    assert folder == tmp_path / "closed" and "Permission denied" in problem


@pytest.mark.parametrize(
    "name, message", [("gone.png", "does not exist"), ("empty", "no scan in .*1 other files")]
)
def test_nothing_found_is_said(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("-")
    with pytest.raises(UltrasamError, match=message):
        find_scans([str(tmp_path / name)], tmp_path / "out")


def test_a_dicom_series_comes_in_the_order_of_its_instances(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage

    for name, series, instance in (("a", 2, 1), ("b", 1, 10), ("c.dcm", 1, 9), ("d", None, None)):
        data = Dataset()
        data.SOPClassUID = UltrasoundImageStorage
        data.SOPInstanceUID = f"1.2.{ord(name[0])}"
        data.SeriesNumber, data.InstanceNumber = series, instance
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.save_as(tmp_path / name, enforce_file_format=True)
    make(tmp_path, "z.png")
    assert found(tmp_path) == ["z.png", "d", "c.dcm", "b", "a"]


def test_results_are_named_after_their_file_in_the_same_folders(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("x/a.png", "x/y/b.nii.gz", "x/c", "x/d.e.dcm")]
    assert [*map(str, places_of(names))] == ["a.png", "y/b.nii.gz", "c", "d.e.dcm"]
    assert names_in(places_of(names)) == ["a", "y/b", "c", "d.e"]
    assert names_in(places_of(names[:1])) == ["a"]


def test_no_two_files_share_the_name_of_their_results() -> None:
    places = ["a.png", "A.dcm", "b.png", "sub/a.png", "c.tiff", "c_frame2.png", "e.png", "e.png.png", "e.dcm"]
    names = names_in([PurePosixPath(place) for place in places])
    assert names[:6] == ["a.png", "A.dcm", "b", "sub/a", "c.tiff", "c_frame2.png"]
    assert len({name.casefold() for name in names}) == len(places)
    assert names_in([PurePosixPath("a.png")] * 3) == ["a.png", "a.png-2", "a.png-3"]
