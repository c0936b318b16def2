"""DICOM segmentation objects (PS3.3 A.51) of ultrasound images and clips through highdicom."""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.core.masks import BoolArray

if TYPE_CHECKING:
    from pydicom import Dataset

# What a segmentation keeps of its source: whose it is, of which study, and which image it is about. Nothing
# else of the header is read.
_PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_IMAGE = ("SOPClassUID", "Rows", "Columns", "NumberOfFrames")
_KEYWORDS = ["SpecificCharacterSet", *_PATIENT, *_STUDY, *_UIDS, *_IMAGE]

# Nobody asks a user for codes, so all segments say the same that 3D Slicer says by default; the label has the
# name of the class.
_TISSUE = ("85756007", "SCT", "Tissue")
_LONGEST_TEXT = 64  # of the value representation LO
_LEAST_SALT = 16


@dataclass(frozen=True)
class Segment:
    """One object: its label, and how its masks were made."""

    label: str
    algorithm: Literal["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"]


Plane = tuple[int, int, BoolArray]
"""The mask (H, W) of a segment on a frame: (place of the segment in their order, frame, mask)."""


@dataclass(frozen=True)
class Pseudonyms:
    """Pseudonyms made from a secret: the same secret gives the same ones, without it there is no way back.

    Raises UltrasamError for a `salt` of less than 16 bytes, whose pseudonyms could be found by trying.
    """

    salt: bytes

    def __post_init__(self) -> None:
        if len(self.salt) < _LEAST_SALT:
            raise UltrasamError(f"pseudonyms need a secret of at least {_LEAST_SALT} random bytes")

    def uid(self, uid: str) -> str:
        """A UID in place of `uid`, of the form that a UUID has (PS3.5 B.2)."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def patient(self, name: str, number: str, issuer: str = "") -> str:
        """What a patient is called, by number if there is one, else by name: P- and 16 hex digits."""
        known = f"number\0{number}\0{issuer}" if number else f"name\0{name}"
        return "P-" + self._digest("patient", known).hex()[:16]

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.digest(self.salt, f"{kind}\0{text}".encode(errors="surrogateescape"), hashlib.sha256)


def segmentation_bytes(
    source: Path,
    segments: Sequence[Segment],
    planes: Iterable[Plane],
    *,
    model: str = "",
    spacing: tuple[float, float] | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> bytes:
    """A DICOM file with one binary segment for each of `segments`, about the DICOM image or clip `source`.

    `planes` are in order of segment, then of frame, and none is empty. Each becomes a frame that refers to
    the one of the source. `spacing` is mm per pixel in (x, y) if the whole frame has one; `model` is what
    segments that were not drawn by hand were made with.

    An ultrasound clip has no place in the patient, so nothing is said of one: frames are told apart by their
    segment and by the number of the frame in the clip, which is their Temporal Position Index. The
    segmentation says whose it is and of which study as the source does. With `pseudonyms` it has a pseudonym,
    no dates, nothing else of patient and study, and other UIDs, also where it refers to the source. Each call
    gives the segmentation itself new UIDs. Raises UltrasamError for a source that a segmentation cannot refer
    to, for a plane that does not fit, and where there is none.
    """
    header = _header(source, pseudonyms)
    height, width = int(header.Rows), int(header.Columns)
    frames = int(header.get("NumberOfFrames") or 1)
    bits, covered = _Bits(), _Covered()
    items = []
    for place, frame, mask in planes:
        if mask.shape != (height, width) or not 0 <= frame < frames:
            raise UltrasamError(
                f"the mask of frame {frame} has {mask.shape[1]} x {mask.shape[0]} pixels, the scan has "
                f"{frames} frames of {width} x {height}: it was drawn on another file"
            )
        bits.add(mask)
        covered.add(frame, mask)
        items.append(_frame_item(header, place + 1, frame + 1))
    if not items:
        raise UltrasamError("there is no mask that is not empty")
    dataset = _without_frames(header, segments, model)
    dataset.Rows, dataset.Columns = height, width
    dataset.NumberOfFrames = len(items)
    dataset.PerFrameFunctionalGroupsSequence = items
    dataset.PixelData = bits.packed()
    dataset.SegmentsOverlap = "YES" if covered.twice else "NO"
    dataset.PatientOrientation = ""  # not known, and nothing else tells it
    # What each frame has may not be shared as well, as highdicom writes it of a single segment.
    shared = dataset.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        del shared.SegmentIdentificationSequence
    if spacing is not None:
        shared.PixelMeasuresSequence = _measures(spacing)
    if pseudonyms is not None:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "ultrasam: pseudonym, no dates, other UIDs"
        dataset.LongitudinalTemporalInformationModified = "REMOVED"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _header(source: Path, pseudonyms: Pseudonyms | None) -> Dataset:
    """What the segmentation keeps of its source; every field of patient and study is there, if only empty."""
    from pydicom import Dataset, dcmread

    header = Dataset()
    try:
        with source.open("rb") as file:
            read = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_KEYWORDS))
        for keyword in _KEYWORDS:
            if keyword in read:
                header[keyword] = read[keyword]
            elif keyword in _PATIENT + _STUDY:
                setattr(header, keyword, "")
        for keyword in ("SOPInstanceUID", "SOPClassUID"):
            if not header.get(keyword):
                setattr(header, keyword, read.file_meta.get(f"MediaStorage{keyword}"))
        texts = {key: str(header.get(key) or "") for key in (*_PATIENT, *_UIDS, "SOPClassUID")}
    except Exception as error:  # damaged headers make pydicom raise nearly anything
        raise UltrasamError(f"{shown(source)} cannot be read ({reason(error)}): copy it again") from error
    for keyword in (*_UIDS, "SOPClassUID"):
        if not texts[keyword]:
            raise UltrasamError(f"its header has no {keyword}, so no segmentation can refer to it")
    if pseudonyms is not None:
        for keyword in (*_PATIENT, *_STUDY):
            setattr(header, keyword, "")
        known = (texts[keyword] for keyword in _PATIENT[:3])
        header.PatientName = header.PatientID = pseudonyms.patient(*known)
        for keyword in _UIDS:
            setattr(header, keyword, pseudonyms.uid(texts[keyword]))
    if not header.IssuerOfPatientID:  # the others have to be there
        del header.IssuerOfPatientID
    return header


def _without_frames(header: Dataset, segments: Sequence[Segment], model: str) -> Any:
    """A segmentation as highdicom makes it, but for the frames.

    It takes several frames only of sources with a place in space, so it is shown a still of one pixel.
    """
    import highdicom as hd
    from pydicom import Dataset
    from pydicom.uid import UltrasoundImageStorage, generate_uid

    from ultrasam import __version__

    still = Dataset()
    still.Rows = still.Columns = 1
    still.SOPClassUID, still.Modality = UltrasoundImageStorage, "US"
    for keyword in (*_PATIENT, *_STUDY):
        setattr(still, keyword, "")
    for keyword in _UIDS:
        setattr(still, keyword, header[keyword].value)
    dataset: Any = hd.seg.Segmentation(
        [still],
        np.ones((1, 1, 1, len(segments)), np.uint8),
        hd.seg.SegmentationTypeValues.BINARY,
        [_description(number, segment, model) for number, segment in enumerate(segments, start=1)],
        series_instance_uid=generate_uid(None),
        series_number=1,
        sop_instance_uid=generate_uid(None),
        instance_number=1,
        manufacturer="ultrasam",
        manufacturer_model_name="ultrasam annotate",
        software_versions=__version__,
        device_serial_number="0",  # has to be there, and software has none
        content_label="ULTRASAM",
        content_description="Annotated with ultrasam annotate",
        series_description="ultrasam annotate",
        specific_character_set="ISO_IR 192",
    )
    for keyword in (*_PATIENT, *_STUDY):
        if keyword in header:
            dataset[keyword] = header[keyword]
        elif keyword in dataset:
            del dataset[keyword]
    dataset.DimensionIndexSequence.append(_temporal_index(dataset))
    instance = Dataset()
    instance.ReferencedSOPClassUID = header.SOPClassUID
    instance.ReferencedSOPInstanceUID = header.SOPInstanceUID
    series = Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ReferencedInstanceSequence = [instance]
    dataset.ReferencedSeriesSequence = [series]
    dataset.SourceImageSequence = [instance]
    return dataset


def _description(number: int, segment: Segment, model: str) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    from ultrasam import __version__

    tissue = hd.sr.CodedConcept(*_TISSUE)
    algorithm = None
    if segment.algorithm != "MANUAL":
        name = _text(f"ultrasam {model}".strip())
        family = codes.cid7162.ArtificialIntelligence
        algorithm = hd.AlgorithmIdentificationSequence(name, family, __version__)
    label = _text(segment.label) or f"object {number}"
    return hd.seg.SegmentDescription(number, label, tissue, tissue, segment.algorithm, algorithm)


def _text(text: str) -> str:
    """As a value of the representation LO: one line, at most 64 characters, no backslash."""
    line = "".join(letter if letter.isprintable() else " " for letter in text.replace("\\", "/"))
    return " ".join(line.split())[:_LONGEST_TEXT].rstrip()


def _temporal_index(dataset: Any) -> Dataset:
    from pydicom import Dataset
    from pydicom.datadict import tag_for_keyword

    index = Dataset()
    index.DimensionIndexPointer = tag_for_keyword("TemporalPositionIndex")
    index.FunctionalGroupPointer = tag_for_keyword("FrameContentSequence")
    index.DimensionOrganizationUID = dataset.DimensionIndexSequence[0].DimensionOrganizationUID
    index.DimensionDescriptionLabel = "Frame of the clip"
    return index


def _frame_item(header: Dataset, segment: int, frame: int) -> Dataset:
    """The functional groups of one frame; both numbers count from 1."""
    from pydicom import Dataset

    content = Dataset()
    content.DimensionIndexValues = [segment, frame]
    content.TemporalPositionIndex = frame
    image = Dataset()
    image.ReferencedSOPClassUID = header.SOPClassUID
    image.ReferencedSOPInstanceUID = header.SOPInstanceUID
    if "NumberOfFrames" in header:
        image.ReferencedFrameNumber = frame
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = [
        _code("121322", "DCM", "Source Image for Image Processing Operation")
    ]
    derivation = Dataset()
    derivation.DerivationCodeSequence = [_code("113076", "DCM", "Segmentation")]
    derivation.SourceImageSequence = [image]
    identification = Dataset()
    identification.ReferencedSegmentNumber = segment
    item = Dataset()
    item.FrameContentSequence = [content]
    item.DerivationImageSequence = [derivation]
    item.SegmentIdentificationSequence = [identification]
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    from pydicom import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _measures(spacing: tuple[float, float]) -> Any:
    import highdicom as hd

    # Readers want a thickness beside the spacing. Ultrasound knows none, and without a place in space no
    # volume can be made of it.
    return hd.PixelMeasuresSequence(spacing[::-1], slice_thickness=1.0)


class _Bits:
    """Masks packed one bit a pixel, from the lowest bit on; a frame begins where the one before ends, also
    within a byte (PS3.5 8.1.1).
    """

    def __init__(self) -> None:
        self._whole = bytearray()
        self._rest: BoolArray = np.zeros(0, np.bool_)

    def add(self, mask: BoolArray) -> None:
        bits = np.concatenate([self._rest, mask.ravel()])
        whole = len(bits) // 8 * 8
        self._whole += np.packbits(bits[:whole], bitorder="little").tobytes()
        self._rest = bits[whole:]

    def packed(self) -> bytes:
        """All of them, filled up to an even number of bytes."""
        packed = bytes(self._whole) + np.packbits(self._rest, bitorder="little").tobytes()
        return packed + b"\0" * (len(packed) % 2)


class _Covered:
    """Whether a pixel of a frame belongs to two segments. What is covered is kept packed."""

    def __init__(self) -> None:
        self.twice = False
        self._frames: dict[int, NDArray[np.uint8]] = {}

    def add(self, frame: int, mask: BoolArray) -> None:
        packed = np.packbits(mask)
        before = self._frames.get(frame)
        if before is not None:
            self.twice = self.twice or bool((before & packed).any())
            packed = before | packed
        self._frames[frame] = packed
