"""io/dicom.py: modality and VOI tables, the sigmoid window, compressions of the extra `dicom`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from tests.dicoms import Array, by_gdcm, compressed, dataset, saved

from ultrasam.core.errors import UltrasamError
from ultrasam.io.scan import read_scan

STORED = np.arange(0, 4096, 21, dtype=np.uint16)[None]


def table(entries: Array, first: int, bits: int, as_bytes: bool = False) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTExplanation = "made"
    if as_bytes:
        item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    else:
        item.add_new("LUTData", "US", entries.tolist())
    return Sequence([item])


def shown(folder: Path, pixels: Array, photometric: str = "MONOCHROME2", **elements: Any) -> Array:
    return read_scan(saved(folder, dataset(pixels, photometric, **elements))).frames[0]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_voi_table(tmp_path: Path, as_bytes: bool) -> None:
    """Below the first value mapped its first entry, behind the last one the last (PS3.3 C.11.2.1.1)."""
    entries = np.linspace(1023, 0, 2000).astype(np.uint16)
    voi = table(entries, 1000, 10, as_bytes)
    wanted = np.rint(entries[np.clip(STORED.astype(int) - 1000, 0, 1999)] / 1023 * 255)
    window = {"WindowCenter": 5, "WindowWidth": 5}  # a viewer may choose; the table comes first here
    frame = shown(tmp_path, STORED, BitsStored=12, VOILUTSequence=voi, **window)
    np.testing.assert_array_equal(frame, wanted)
    inverted = shown(tmp_path, STORED, "MONOCHROME1", BitsStored=12, VOILUTSequence=voi)
    np.testing.assert_array_equal(inverted, 255 - wanted)


def test_a_voi_table_of_eight_bits_with_many_entries(tmp_path: Path) -> None:
    entries = (np.arange(4096) // 16).astype(np.uint16)
    frame = shown(tmp_path, STORED, BitsStored=12, VOILUTSequence=table(entries, 0, 8))
    np.testing.assert_array_equal(frame, STORED // 16)


def test_a_voi_table_after_the_rescale(tmp_path: Path) -> None:
    entries = np.arange(256, dtype=np.uint16)
    rescale = {"RescaleSlope": 0.5, "RescaleIntercept": 10}
    stored = np.arange(0, 256, 2, dtype=np.uint8)[None]
    frame = shown(tmp_path, stored, VOILUTSequence=table(entries, 0, 8), **rescale)
    np.testing.assert_array_equal(frame, stored // 2 + 10)


def test_a_modality_table_before_the_window(tmp_path: Path) -> None:
    entries = (np.arange(4096) * 4).astype(np.uint16)
    window = {"WindowCenter": 8000, "WindowWidth": 4001}
    frame = shown(tmp_path, STORED, BitsStored=12, ModalityLUTSequence=table(entries, 0, 16), **window)
    wanted = np.clip(((4.0 * STORED - 7999.5) / 4000 + 0.5) * 255, 0, 255)
    np.testing.assert_array_equal(frame, np.rint(wanted))


def test_a_sigmoid_window(tmp_path: Path) -> None:
    """PS3.3 C.11.2.1.3.1: y = 255 / (1 + exp(-4 (x - c) / w))."""
    window = {"WindowCenter": 2000, "WindowWidth": 800, "VOILUTFunction": "SIGMOID"}
    frame = shown(tmp_path, STORED, BitsStored=12, **window)
    wanted = 255 / (1 + np.exp(-4 * (STORED.astype(float) - 2000) / 800))
    assert np.abs(frame - wanted).max() <= 0.5 + 1e-6


def test_a_table_without_entries_is_damage(tmp_path: Path) -> None:
    voi = table(np.zeros(0, np.uint16), 0, 8)
    with pytest.raises(UltrasamError, match="frame 0 cannot be decoded"):
        shown(tmp_path, STORED, BitsStored=12, VOILUTSequence=voi)


# Compressed by GDCM, decoded through pydicom


@pytest.mark.parametrize(
    "syntax", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEGLSNearLossless"]
)
def test_lossless_jpeg_by_the_extra(tmp_path: Path, syntax: str) -> None:
    ramp = (np.arange(48, dtype=np.uint8)[:, None] * 5 + np.arange(64, dtype=np.uint8)).astype(np.uint8)
    frame = read_scan(by_gdcm(tmp_path, ramp, syntax)).frames[0]
    assert np.abs(frame.astype(int) - ramp).max() <= (3 if "Near" in syntax else 0)


def test_jpeg_of_twelve_bits(tmp_path: Path) -> None:
    ds = compressed(dataset(STORED, "MONOCHROME2", BitsStored=12), [b"\0" * 20], uid.JPEGExtended12Bit)
    with pytest.raises(UltrasamError, match="JPEG of 12 bits, which is not decoded: export"):
        read_scan(saved(tmp_path, ds))
