"""Class numbers as PNG pictures, one for each annotated frame."""

from __future__ import annotations

from PIL import Image

from ultrasam.annotate.exports.base import Work
from ultrasam.core.errors import UltrasamError
from ultrasam.io.images import png_bytes

LABELS = "labels.json"


def write_pictures(work: Work) -> None:
    """NAME_labels.png, or NAME_frameN_labels.png where a scan has several frames, and labels.json.

    The pixels hold 0 or the number of a class, in 8 bits, or 16 from 256 classes on. A finished still without
    an object gets a picture of zeros.
    """
    written = False
    for scan, name in zip(work.scans, work.names, strict=True):
        if not (scan.annotations or scan.done):
            continue
        opened = work.opened(scan)
        # A scan that is gone cannot say that it is a still.
        single = opened is not None and len(opened.frames) == 1
        empty = True
        for frame, drawn in work.labels(scan):
            ending = "_labels.png" if single else f"_frame{frame}_labels.png"
            work.stage.write(name + ending, png_bytes(Image.fromarray(drawn)))
            empty = False
        if empty and scan.done and opened is not None and single:
            try:
                height, width = opened.frames[0].shape[:2]
            except UltrasamError as error:
                work.remark_on(scan, "the scan cannot be opened", error)
                continue
            work.stage.write(f"{name}_labels.png", png_bytes(Image.new("L", (width, height))))
            empty = False
        written = written or not empty
    if written:
        work.stage.write_json(LABELS, work.label_table())
