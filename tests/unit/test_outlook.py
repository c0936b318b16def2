"""What is told of a set before it is built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.us43d import raw_busi

from ultrasam.datasets import convert as converting
from ultrasam.datasets import outlook as looking
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.outlook import IMAGE_BYTES, SAMPLES, outlook

BUSI = dataset("busi")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """15 images, the most of which a sample could have taken every one."""
    folder = tmp_path / "Dataset_BUSI_with_GT" / "benign"
    folder.mkdir(parents=True)
    (folder.parent / "malignant").mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 16):
        name = f"benign ({number})"
        mask = np.zeros((40, 50), np.uint8)
        mask[10:20, 10:30] = 255
        Image.fromarray(rng.integers(0, 256, (*mask.shape, 3), np.uint8)).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
    return tmp_path


def test_no_more_images_are_converted_than_is_said(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def convert(job: converting.Job) -> converting.Converted:
        looked.extend(job.group.records)
        return converting.convert(job)

    monkeypatch.setattr(looking, "convert", convert)
    (one,) = outlook([BUSI], None, {"busi": raw})
    assert 0 < len(looked) <= SAMPLES and one.sampled and one.images == 15


def test_a_sample_in_which_nothing_is_drawn_leaves_the_numbers_of_the_catalogue(raw: Path) -> None:
    for path in raw.rglob("*_mask.png"):
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(path)
    (one,) = outlook([BUSI], None, {"busi": raw})
    assert one.problem == "" and not one.sampled and one.raw_bytes
    assert BUSI.images and (one.images, one.bytes) == (BUSI.images, BUSI.images * IMAGE_BYTES)


def test_images_that_are_all_damaged_are_a_problem(raw: Path) -> None:
    for path in raw.rglob("*).png"):
        path.write_bytes(b"\x89PNG")
    (one,) = outlook([BUSI], None, {"busi": raw})
    assert "could be converted" in one.problem and one.images is None


def test_a_folder_of_another_set_is_a_problem(tmp_path: Path) -> None:
    raw_busi.write(tmp_path)
    (one,) = outlook([dataset("camus")], None, {"camus": tmp_path})
    assert one.problem and one.path == tmp_path and one.bytes is None
