"""Sets as they lie on the disk after a download, and damage that a reader may misjudge."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.us43d import raw_busi, raw_camus, raw_hc18
from tests.us43d.truth import Truth
from ultrasam.datasets.build import build
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.results import Outcome


def zipped(folder: Path, archive: Path) -> None:
    """A zip file that holds `folder` by its name."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder.parent))


@pytest.fixture
def hc18(tmp_path: Path) -> tuple[Path, Truth]:
    """What Zenodo gives: two archives, each with a folder of its name, and two tables."""
    tree, raw = tmp_path / "tree", tmp_path / "HC18"
    truth = raw_hc18.write(tree)
    raw.mkdir()
    for part in ("training_set", "test_set"):
        zipped(tree / part, raw / f"{part}.zip")
    for table in tree.glob("*.csv"):
        shutil.copy(table, raw)
    return raw, truth


def built(identifier: str, raw: Path, tmp_path: Path) -> Outcome:
    return build(dataset(identifier), raw, tmp_path / "out", partial=True)


def test_hc18_is_built_from_the_files_of_its_page(hc18: tuple[Path, Truth], tmp_path: Path) -> None:
    raw, truth = hc18
    outcome = built("hc18", raw, tmp_path)
    assert outcome.counts["images"] == len(truth.images)
    assert "training_set_pixel_size_and_HC.csv" not in dict(outcome.problems)


def test_hc18_is_built_when_each_archive_is_unpacked_into_a_folder_of_its_name(
    hc18: tuple[Path, Truth], tmp_path: Path
) -> None:
    raw, truth = hc18
    for archive in raw.glob("*.zip"):
        with zipfile.ZipFile(archive) as file:
            file.extractall(raw / archive.stem)
        archive.unlink()
    assert built("hc18", raw, tmp_path).counts["images"] == len(truth.images)


def test_busi_is_built_from_its_archive(tmp_path: Path) -> None:
    truth = raw_busi.write(tmp_path / "tree")
    archive = tmp_path / "Dataset_BUSI.zip"
    zipped(tmp_path / "tree" / "Dataset_BUSI_with_GT", archive)
    outcome = built("busi", archive, tmp_path)
    assert outcome.counts["images"] == len(truth.images)
    assert dict(outcome.problems).keys() == truth.problems.keys()


def test_a_raw_file_that_is_cut_off_is_not_called_missing(tmp_path: Path) -> None:
    raw_camus.write_mhd(tmp_path / "raw")
    outcome = built("camus", tmp_path / "raw", tmp_path)
    assert "No such file" not in dict(outcome.problems)["training/patient0002/patient0002_4CH_ED.mhd"]


def test_a_raw_file_that_is_too_long_is_no_other_picture(tmp_path: Path) -> None:
    """Bytes after the last pixel, as some tools leave, change nothing."""
    truth = raw_camus.write_mhd(tmp_path / "raw")
    path = tmp_path / "raw" / "training" / "patient0001" / "patient0001_2CH_ED.raw"
    path.write_bytes(path.read_bytes() + b"\7" * 50)
    outcome = built("camus", tmp_path / "raw", tmp_path)
    assert outcome.counts["images"] == len(truth.images)
    with Image.open(tmp_path / "out" / "camus" / "images" / "patient0001__2CH-ED.png") as picture:
        assert np.array_equal(np.array(picture), truth.images["patient0001__2CH-ED.png"].pixels)
