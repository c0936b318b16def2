"""Annotations as files for other programs: COCO, pictures, volumes, a table, DICOM segmentations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ultrasam.annotate.document import AnnotatedScan
from ultrasam.annotate.exports.base import Exported, ExportOptions, Work, staged, work_of
from ultrasam.annotate.exports.coco import write_coco
from ultrasam.annotate.exports.dicom_seg import write_segmentations
from ultrasam.annotate.exports.pictures import write_pictures
from ultrasam.annotate.exports.table import write_table
from ultrasam.annotate.exports.volumes import write_nifti, write_nrrd
from ultrasam.core.errors import UltrasamError

__all__ = ["Exported", "ExportOptions", "Format", "export", "formats"]


@dataclass(frozen=True)
class Format:
    """A format as a user chooses it. Where it is not `available`, `why` says what to install."""

    id: str
    name: str
    note: str
    available: bool
    why: str | None


@dataclass(frozen=True)
class _Kind:
    name: str
    note: str
    write: Callable[[Work], None]
    package: str = ""
    extra: str = ""


_KINDS = {
    "coco": _Kind(
        "COCO", "one annotations.json: masks, classes, scores, prompts and measurements", write_coco
    ),
    "png": _Kind(
        "PNG masks", "a picture of class numbers for each annotated frame, and labels.json", write_pictures
    ),
    "nifti": _Kind(
        "NIfTI",
        "a volume of class numbers on the voxels of each scan",
        write_nifti,
        "SimpleITK",
        "data",
    ),
    "nrrd": _Kind(
        "NRRD",
        "a volume of class numbers on the voxels of each scan",
        write_nrrd,
        "SimpleITK",
        "data",
    ),
    "csv": _Kind("CSV", "a table of measurements, one row for each mask", write_table),
    "dicom-seg": _Kind(
        "DICOM-SEG",
        "a segmentation object for each DICOM scan; it keeps the patient's name and number and the study of "
        "the scan unless it is pseudonymised",
        write_segmentations,
        "highdicom",
        "annotate",
    ),
}


def formats() -> tuple[Format, ...]:
    """All formats, in the order in which they are offered."""
    found = []
    for id, kind in _KINDS.items():
        missing = kind.package and find_spec(kind.package) is None
        why = f"needs the package {kind.package}: pip install 'ultrasam[{kind.extra}]'" if missing else None
        found.append(Format(id, kind.name, kind.note, why is None, why))
    return tuple(found)


def export(
    format: str,
    scans: Sequence[AnnotatedScan],
    out: Path,
    options: ExportOptions,
    classes: Sequence[str],
    model: Mapping[str, Any] | None = None,
) -> Exported:
    """Write the annotations of `scans` as `format` (the id of one of `formats`) into the folder `out`.

    `classes` are the names in order: they are numbered from 1. `model` says what the masks were made with
    (`ultrasam.predict.frames.model_entry`). Files of the same names are replaced. They appear in `out` when
    all are whole; after an error there is none. Raises UltrasamError for an unknown format, a missing
    package, where nothing could be exported, and if the files cannot be written.
    """
    chosen = next((known for known in formats() if known.id == format), None)
    if chosen is None:
        raise UltrasamError(f"there is no format {format!r:.40}: use one of {', '.join(_KINDS)}")
    if chosen.why:
        raise UltrasamError(f"the format {chosen.name} {chosen.why}")
    if not any(scan.annotations or scan.done for scan in scans):
        raise UltrasamError("nothing is annotated yet: draw an object, or call a scan finished")
    with staged(out) as stage:
        work = work_of(scans, options, classes, model, stage)
        _KINDS[format].write(work)
        files = stage.publish()
    if not files:
        why = f": {work.remarks[0]}" if work.remarks else ""
        raise UltrasamError(f"there is nothing to export as {chosen.name}{why}")
    return Exported(files, tuple(work.remarks))
