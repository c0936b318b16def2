"""DICOM ultrasound, still and cine, through pydicom, which is imported only when a DICOM file is read."""

from __future__ import annotations

import math
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError, UltrasamWarning
from ultrasam.core.files import reason, shown
from ultrasam.core.geometry import ByteArray
from ultrasam.io.images import grey_to_bytes, scale_to_bytes
from ultrasam.io.scan import Frames, Region, Scan, check_size

if TYPE_CHECKING:
    from pydicom import Dataset

# Everything that is read of a header: nothing here identifies a patient, so nothing can leak from it.
_KEYWORDS = [
    *("SOPClassUID", "Modality", "Manufacturer", "ManufacturerModelName", "SequenceOfUltrasoundRegions"),
    *("FrameTime", "CineRate", "RecommendedDisplayFrameRate", "NumberOfFrames"),
    *("Rows", "Columns", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPresentation", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
]
_GREY = {"MONOCHROME1", "MONOCHROME2"}
_PALETTE = "PALETTE COLOR"
_COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
# US Image, US Multi-frame Image, both retired predecessors, Enhanced US Volume.
_ULTRASOUND_CLASSES = {f"1.2.840.10008.5.1.4.1.1.{part}" for part in ("6.1", "3.1", "6", "3", "6.2")}
_REGION_KINDS = {1: "2D", 2: "M-mode", 3: "spectral", 4: "waveform", 5: "graphics"}
_CENTIMETRES = 3

_NEITHER = "{} is neither a DICOM file nor an image: give a PNG, JPEG, BMP, TIFF or DICOM file"
_WITHOUT_PIXELS = (
    "{} is a DICOM file without pixel data, or cut off before it: choose one that holds an image"
)


def read_dicom(path: Path) -> Scan:
    """Open a DICOM file with pixel data, with or without preamble; its frames are decoded when asked for.

    Colour (RGB, YBR, palette) becomes RGB; grey gets its rescale or modality table, then its VOI table or
    window, and MONOCHROME1 is inverted, so that high is bright. Raises UltrasamError; warns if it is not
    ultrasound or if its regions do not fit its frames.
    """
    try:
        header = _read_header(path)
        width, height = int(header.Columns), int(header.Rows)
        count = max(1, int(header.get("NumberOfFrames") or 1))
        regions, meta = _regions(header), _meta(header)
    except UltrasamError:
        raise
    except Exception as error:  # damaged headers make pydicom raise nearly anything
        raise UltrasamError(
            f"{shown(path)} is a damaged DICOM file ({reason(error)}): copy or export it again"
        ) from error
    modality = header.get("Modality")
    if modality not in (None, "", "US", "IVUS") and header.get("SOPClassUID") not in _ULTRASOUND_CLASSES:
        warnings.warn(
            f"{shown(path)} has modality {modality}: the models have only seen ultrasound (US)",
            UltrasamWarning,
            stacklevel=3,
        )
    # Whoever shrinks or crops pixels, as de-identification does, rarely corrects the regions. A length in mm
    # that is wrong by the factor of such a resize is worse than none.
    if any(region.box[2] > width or region.box[3] > height for region in regions):
        warnings.warn(
            f"{shown(path)}: its ultrasound regions reach beyond its {width} x {height} pixels, so it was "
            "resized or cropped afterwards and its spacing is not used: lengths are in pixels",
            UltrasamWarning,
            stacklevel=3,
        )
        regions = [Region(region.kind, region.box, None) for region in regions]
    return Scan(path, Frames(path, partial(_decode, path, header), range(count)), tuple(regions), meta)


def _read_header(path: Path) -> Dataset:
    """The elements in `_KEYWORDS` and the transfer syntax, checked to be followed by pixel data."""
    from pydicom import dcmread, uid

    with path.open("rb") as file:
        is_dicom = file.read(132)[128:] == b"DICM"
        file.seek(0)
        try:
            header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_KEYWORDS))
        except Exception:
            if is_dicom:
                raise
            raise UltrasamError(_NEITHER.format(shown(path))) from None
        syntax = header.file_meta.get("TransferSyntaxUID")
        if syntax == uid.DeflatedExplicitVRLittleEndian:  # nothing can be found in it without inflating all
            header = dcmread(path, specific_tags=[*_KEYWORDS, "PixelData"])
        elif not syntax:
            implicit, little = header.original_encoding
            explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
            header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
        if not ("PixelData" in header or _at_pixel_data(file)):
            known = is_dicom or "SOPClassUID" in header
            raise UltrasamError((_WITHOUT_PIXELS if known else _NEITHER).format(shown(path)))
        _check_pixel_data(path, file, header)
    return header


def _at_pixel_data(file: BinaryIO) -> bool:
    """Whether the file goes on with the tag (7FE0,0010) where the header ended; moves behind the tag."""
    return file.read(4) in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")


def _check_pixel_data(path: Path, file: BinaryIO, header: Dataset) -> None:
    """Raise UltrasamError if the header shows that no frame can be decoded; `file` is behind the tag."""
    from pydicom import uid
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import get_expected_length

    check_size(path, int(header.get("Columns") or 0), int(header.get("Rows") or 0))
    photometric, syntax = header.get("PhotometricInterpretation"), header.file_meta.TransferSyntaxUID
    if photometric not in {*_GREY, *_COLOUR, _PALETTE}:
        raise UltrasamError(f"{shown(path)} has the colour space {photometric}: export it as RGB or grey")
    try:
        can_decode = get_decoder(syntax).is_available
    except NotImplementedError:
        can_decode = False
    if not can_decode:
        raise UltrasamError(
            f"{shown(path)} is compressed as {shown(syntax.name)}, for which no decoder is installed: for "
            "JPEG Lossless and JPEG-LS run: pip install 'ultrasam[dicom]'; or export it "
            "as JPEG or uncompressed"
        )
    if syntax == uid.JPEGExtended12Bit and int(header.get("BitsStored") or 8) > 8:
        raise UltrasamError(
            f"{shown(path)} is compressed as JPEG of 12 bits, which is not decoded: export it as JPEG 2000 "
            "or uncompressed"
        )
    if not syntax.is_encapsulated:
        if "PixelData" in header:
            size = len(header.PixelData)
        else:  # the file goes on with 4 bytes of length, before which explicit syntaxes put VR and 2 bytes
            size = max(0, path.stat().st_size - file.tell() - (4 if syntax.is_implicit_VR else 8))
        expected = get_expected_length(header)
        if size < expected:
            raise UltrasamError(
                f"{shown(path)} is cut off ({size:,} of {expected:,} bytes of pixel data): "
                "copy or export it again"
            )


def _decode(path: Path, header: Dataset, index: int) -> ByteArray:
    """Frame `index` as (H, W) or (H, W, 3) uint8."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    photometric, syntax = header.PhotometricInterpretation, header.file_meta.TransferSyntaxUID
    try:
        source = header if "PixelData" in header else path
        # Of several decoders the same one, whatever else is installed: GDCM ends the process on some damage.
        plugin = "pillow" if "pillow" in get_decoder(syntax).available_plugins else ""
        values = pixel_array(source, index=index, transfer_syntax_uid=syntax, decoding_plugin=plugin)
        if photometric == _PALETTE:
            return _from_palette(values, header)
        if photometric in _GREY:
            return _from_grey(values, header)
        return scale_to_bytes(values, 0, 2 ** int(header.BitsStored) - 1)
    except Exception as error:  # damaged pixel data makes the decoders raise nearly anything
        raise UltrasamError(
            f"{shown(path)}: frame {index} cannot be decoded ({reason(error)}): copy or export the file again"
        ) from error


def _from_grey(values: NDArray[np.generic], header: Dataset) -> ByteArray:
    """Stored values -> rescale or modality table -> VOI table or window -> (H, W) uint8.

    PS3.3 C.11.1 and C.11.2; of several windows or tables the first, a table before a window.
    Without both up to 8 stored bits are taken as they are and more as `grey_to_bytes` takes them.
    """
    centre, width = _number(header, "WindowCenter"), _number(header, "WindowWidth") or 0.0
    slope, intercept = _number(header, "RescaleSlope") or 1.0, _number(header, "RescaleIntercept") or 0.0
    bits, is_signed = int(header.BitsStored), bool(header.get("PixelRepresentation"))
    if header.get("ModalityLUTSequence"):
        values, bits = _from_table(values, header.ModalityLUTSequence[0], header)
        is_signed, slope, intercept = False, 1.0, 0.0
    if header.get("VOILUTSequence"):
        rescaled = np.rint(values.astype(np.float64) * slope + intercept)
        values, bits = _from_table(rescaled, header.VOILUTSequence[0], header)
        grey = scale_to_bytes(values, 0, 2**bits - 1)
    elif centre is not None and width >= 1:
        values = values.astype(np.float64) * slope + intercept
        function = header.get("VOILUTFunction")
        if function == "SIGMOID":
            values, low, high = np.tanh(2 * (values - centre) / width), -1.0, 1.0  # 1 / (1 + exp(-4 ...))
        else:
            if function != "LINEAR_EXACT":
                centre, width = centre - 0.5, width - 1
            low, high = centre - width / 2, centre + width / 2
        grey = scale_to_bytes(values, low, high)
    elif bits > 8 or is_signed:
        grey = grey_to_bytes(values)
    else:
        grey = scale_to_bytes(values, 0, 2**bits - 1)
    return 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey


def _from_table(values: NDArray[Any], item: Dataset, header: Dataset) -> tuple[NDArray[np.uint16], int]:
    """The entries of a modality or VOI table for `values`, and how many bits they have."""
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        count = count or 2**16
        order = "<" if header.original_encoding[1] else ">"
        data = np.frombuffer(data, np.uint8 if len(data) < 2 * count else f"{order}u2")
    table = np.atleast_1d(np.asarray(data, np.uint16))
    return table[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)], bits


def _from_palette(values: NDArray[np.generic], header: Dataset) -> ByteArray:
    from pydicom.pixels.processing import apply_color_lut

    colours = apply_color_lut(values, header)[..., :3]
    # Tables of 16 bits hold the colour in the high byte, but some makers put 8-bit colours into them.
    if colours.dtype == np.uint16 and colours.max() > 255:
        colours = colours >> 8
    return np.ascontiguousarray(colours, np.uint8)


def _regions(header: Dataset) -> list[Region]:
    """The ultrasound regions as the header has them; one with a broken box is left out."""
    regions = []
    for item in header.get("SequenceOfUltrasoundRegions") or []:
        corners = [item.get(f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        if any(corner is None for corner in corners):
            continue
        x0, y0, x1, y1 = (int(corner) for corner in corners)
        # The corners are the first and last pixel, but some makers write the width and height as the last.
        x1, y1 = x1 + (x1 != header.Columns), y1 + (y1 != header.Rows)
        if x0 < x1 and y0 < y1:
            kind = _REGION_KINDS.get(item.get("RegionSpatialFormat"), "unknown")
            regions.append(Region(kind, (x0, y0, x1, y1), _spacing(item)))
    return regions


def _spacing(item: Dataset) -> tuple[float, float] | None:
    """mm per pixel in (x, y) of a region, None unless both axes are in cm."""
    if {item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection")} != {_CENTIMETRES}:
        return None
    x, y = (10 * abs(_number(item, f"PhysicalDelta{axis}") or 0.0) for axis in "XY")
    return (x, y) if x > 0 and y > 0 else None


def _meta(header: Dataset) -> dict[str, str | float]:
    meta: dict[str, str | float] = {
        "format": "DICOM",
        "transfer_syntax": header.file_meta.TransferSyntaxUID.name,
    }
    for name, keyword in (
        ("modality", "Modality"),
        ("manufacturer", "Manufacturer"),
        ("model", "ManufacturerModelName"),
        ("photometric", "PhotometricInterpretation"),
    ):
        if header.get(keyword):
            meta[name] = str(header.get(keyword))
    rate = _number(header, "RecommendedDisplayFrameRate") or _number(header, "CineRate")
    frame_time = _number(header, "FrameTime") or (1000.0 / rate if rate else None)
    if frame_time and frame_time > 0:
        meta["frame_time_ms"] = frame_time
    return meta


def _number(item: Dataset, keyword: str) -> float | None:
    """A numeric element, the first of several values; None if it is missing, empty or not finite."""
    value = item.get(keyword)
    if value is not None and not isinstance(value, (str, int, float)):
        value = next(iter(value), None)
    return float(value) if value not in (None, "") and math.isfinite(float(value)) else None
