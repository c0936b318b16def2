"""Measurements as a CSV file."""

from __future__ import annotations

import csv
import io
from typing import Any

from ultrasam.annotate.document import AnnotatedObject, AnnotatedScan, Annotation
from ultrasam.annotate.exports.base import Work, label_of, objects_of
from ultrasam.core.masks import box_of
from ultrasam.io.cells import safe_cell
from ultrasam.io.scan import Scan
from ultrasam.measure.measurements import measure_mask

NAME = "measurements.csv"
COLUMNS = (
    *("file", "axis", "frame", "time_ms", "object", "name", "class", "origin", "score", "doubt", "unit"),
    *("area", "perimeter", "long_diameter", "short_diameter"),
    *("ellipse_major", "ellipse_minor", "ellipse_circumference"),
    *("box_x0", "box_y0", "box_x1", "box_y1", "box_width", "box_height", "components"),
)
"""Lengths are in `unit`, the area in its square, the corners of the box always in pixels."""


def write_table(work: Work) -> None:
    """measurements.csv: one row for each mask, in order of scan, frame and object."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    rows = 0
    for scan in work.scans:
        if not scan.annotations:
            continue
        opened, objects = work.opened(scan), objects_of(scan)
        for annotation in work.present(scan):
            cells = _row(scan, objects[annotation.object], opened, annotation)
            writer.writerow({key: safe_cell(value) for key, value in cells.items()})
            rows += 1
    if rows:
        work.stage.write(NAME, text.getvalue().encode(errors="backslashreplace"))


def _row(
    scan: AnnotatedScan, known: AnnotatedObject, opened: Scan | None, annotation: Annotation
) -> dict[str, Any]:
    mask = annotation.mask
    spacing = None if opened is None else opened.spacing_of(box_of(mask))
    measured = measure_mask(mask, spacing)
    frame_time = None if opened is None else opened.meta.get("frame_time_ms")
    time = round(annotation.frame * float(frame_time), 4) if frame_time else ""
    x0, y0, x1, y1 = (int(corner) for corner in measured.box)
    sizes = {
        "area": measured.area,
        "perimeter": measured.perimeter,
        "long_diameter": measured.long_diameter.length,
        "short_diameter": measured.short_diameter.length,
        "ellipse_major": measured.ellipse.major.length,
        "ellipse_minor": measured.ellipse.minor.length,
        "ellipse_circumference": measured.ellipse.circumference,
        "box_width": measured.box_size[0],
        "box_height": measured.box_size[1],
    }
    return {
        "file": scan.place,
        "axis": scan.axis,
        "frame": annotation.frame,
        "time_ms": time,
        "object": annotation.object,
        "name": known.name,
        "class": label_of(known),
        "origin": annotation.origin,
        "score": "" if annotation.score is None else round(annotation.score, 4),
        "doubt": annotation.doubt,
        "unit": measured.unit,
        **{key: round(value, 4) for key, value in sizes.items()},
        "box_x0": x0,
        "box_y0": y0,
        "box_x1": x1,
        "box_y1": y1,
        "components": measured.components,
    }
