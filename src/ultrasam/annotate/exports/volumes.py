"""Class numbers as NIfTI or NRRD volumes on the grid of the scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ultrasam.annotate.document import AnnotatedScan
from ultrasam.annotate.exports.base import Work, whole_spacing
from ultrasam.annotate.exports.pictures import LABELS
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.io.mask_volumes import write_like, write_stack
from ultrasam.io.scan import Scan


def write_nifti(work: Work) -> None:
    """NAME_labels.nii.gz for each scan, and labels.json."""
    _write(work, "_labels.nii.gz")


def write_nrrd(work: Work) -> None:
    """NAME_labels.nrrd for each scan, and labels.json."""
    _write(work, "_labels.nrrd")


def _write(work: Work, ending: str) -> None:
    written = False
    for scan, name in zip(work.scans, work.names, strict=True):
        # A finished scan without an object is a volume of zeros.
        opened = work.opened(scan) if work.present(scan) or scan.done else None
        if opened is None:
            continue
        try:
            _one(work, scan, opened, name + ending)
            written = True
        except UltrasamError as error:
            work.stage.withdraw(name + ending)
            work.remark_on(scan, "left out", error)
    if written:
        work.stage.write_json(LABELS, work.label_table())


def _one(work: Work, scan: AnnotatedScan, opened: Scan, name: str) -> None:
    path = work.stage.path(name)
    if opened.meta.get("format") == "volume":
        write_like(path, scan.path, scan.axis or "z", work.labels(scan), work.label_type)
        return
    width, height = _size(work, scan, opened)
    spacing = whole_spacing(opened, width, height)
    if spacing is None:
        work.remark(
            f"{shown(scan.place)}: the whole frame has no spacing in mm, the volume says 1 for each axis"
        )
    size = width, height, len(opened.frames)
    write_stack(path, size, spacing or (1.0, 1.0), work.labels(scan), work.label_type)


def _size(work: Work, scan: AnnotatedScan, opened: Scan) -> tuple[int, int]:
    """Width and height of the frames that have masks, else of the first frame."""
    sizes: Sequence[tuple[int, int]] = sorted({tuple(a.rle["size"]) for a in work.present(scan)})
    if len(sizes) > 1:
        raise UltrasamError("its frames have different sizes, which make no volume")
    height, width = sizes[0] if sizes else np.shape(opened.frames[0])[:2]
    return width, height
