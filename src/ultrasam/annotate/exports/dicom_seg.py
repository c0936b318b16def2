"""A DICOM segmentation for each DICOM scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from ultrasam.annotate.document import AnnotatedObject, AnnotatedScan, Annotation
from ultrasam.annotate.exports.base import Work, label_of, objects_of, whole_spacing
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.io.dicom_seg import Plane, Pseudonyms, Segment, segmentation_bytes
from ultrasam.io.scan import Scan


def write_segmentations(work: Work) -> None:
    """NAME_seg.dcm for each DICOM scan with masks: one segment for each object, with the name of its class.

    With `pseudonymise` it says nothing of the patient; its references then name other UIDs than the scan has.
    """
    pseudonyms = Pseudonyms(work.options.salt) if work.options.pseudonymise else None
    for scan, name in zip(work.scans, work.names, strict=True):
        opened = work.opened(scan) if scan.annotations else None
        if opened is None:
            continue
        if opened.meta.get("format") != "DICOM":
            work.remark(f"{shown(scan.place)}: left out: it is no DICOM file; NIfTI and NRRD take every scan")
            continue
        try:
            content = _one(work, scan, opened, pseudonyms)
        except UltrasamError as error:
            work.remark_on(scan, "left out", error)
            continue
        work.stage.write(f"{name}_seg.dcm", content)
        if pseudonyms is not None:
            work.remark(
                "the segmentations refer to scans by replaced UIDs: they fit only scans that were given the "
                "same pseudonyms; names of files, classes and objects stay as they are"
            )
            work.remark(
                "nobody looked for names that are drawn into the pictures: exports hold masks, no pixels"
            )


def _one(work: Work, scan: AnnotatedScan, opened: Scan, pseudonyms: Pseudonyms | None) -> bytes:
    present = work.present(scan)
    if not present:
        raise UltrasamError("there is no mask that is not empty")
    objects = objects_of(scan)
    used = [objects[id] for id in sorted({annotation.object for annotation in present})]
    by_object = [[a for a in present if a.object == known.id] for known in used]
    segments = [
        Segment(_label(known), _algorithm(drawn)) for known, drawn in zip(used, by_object, strict=True)
    ]
    height, width = present[0].rle["size"]
    return segmentation_bytes(
        scan.path,
        segments,
        _planes(by_object),
        model=str((work.model or {}).get("id", "")),
        spacing=whole_spacing(opened, width, height),
        pseudonyms=pseudonyms,
    )


def _planes(by_object: Sequence[Sequence[Annotation]]) -> Iterator[Plane]:
    for place, drawn in enumerate(by_object):
        for annotation in sorted(drawn, key=lambda annotation: annotation.frame):
            yield place, annotation.frame, annotation.mask


def _label(known: AnnotatedObject) -> str:
    return f"{label_of(known)} {known.name}".strip()


def _algorithm(annotations: Sequence[Annotation]) -> Literal["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"]:
    origins = {annotation.origin for annotation in annotations}
    if origins == {"brush"}:
        return "MANUAL"
    return "AUTOMATIC" if origins == {"auto"} else "SEMIAUTOMATIC"
