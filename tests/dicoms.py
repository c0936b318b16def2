"""DICOM files made for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

Array = np.ndarray[Any, Any]


def dataset(pixels: Array, photometric: str, **elements: Any) -> Dataset:
    """An ultrasound data set of `pixels` ([N,] H, W[, 3]), uncompressed, with further elements by keyword."""
    samples = 1 if photometric in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") else 3
    clip = pixels if pixels.ndim == (3 if samples == 1 else 4) else pixels[None]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = uid.UltrasoundImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid.generate_uid()
    ds.Modality, ds.PatientName, ds.PatientID = "US", "Doe^Jane", "4711"
    ds.StudyDate, ds.InstitutionName, ds.Manufacturer = "20200102", "St. Elsewhere", "Maker"
    ds.Rows, ds.Columns = clip.shape[1:3]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = samples, photometric
    if samples == 3:
        ds.PlanarConfiguration = 0
    if len(clip) > 1:
        ds.NumberOfFrames = len(clip)
    ds.BitsAllocated = ds.BitsStored = 8 * clip.dtype.itemsize
    ds.PixelRepresentation = int(clip.dtype.kind == "i")
    ds.PixelData = clip.tobytes()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.HighBit = (ds.BitsStored or 8) - 1
    return ds


def saved(folder: Path, ds: Dataset, name: str = "scan.dcm", **options: Any) -> Path:
    ds.save_as(folder / name, **{"enforce_file_format": True, **options})
    return folder / name


def compressed(ds: Dataset, frames: list[bytes], syntax: str, with_offsets: bool = True) -> Dataset:
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(frames, has_bot=with_offsets)
    ds["PixelData"].is_undefined_length = True
    return ds


def ultrasound_region(
    *corners: int, delta: Any = 0.025, units: tuple[int, int] = (3, 3), kind: int = 1
) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = kind, 1
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = (
        corners
    )
    item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = (delta, 2 * delta if delta else delta)
    return item


def by_gdcm(folder: Path, pixels: Array, syntax: str, name: str = "scan.dcm", **elements: Any) -> Path:
    """A file compressed by GDCM as `syntax`, one of its names; skips the test without the extra `dicom`."""
    gdcm = pytest.importorskip("gdcm", reason="needs the extra dicom")
    plain = saved(folder, dataset(pixels, "MONOCHROME2", **elements), "plain.dcm")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(folder / name))
    assert writer.Write()
    plain.unlink()
    return folder / name
