"""One COCO file of all scans, with what COCO has no key for under keys of our own."""

from __future__ import annotations

from typing import Any

from ultrasam.annotate.document import AnnotatedObject, AnnotatedScan, Annotation
from ultrasam.annotate.exports.base import Work, by_frame, label_of, objects_of, whole_spacing
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import box_of
from ultrasam.core.polygons import mask_to_polygons
from ultrasam.io.scan import Scan
from ultrasam.measure.measurements import measure_mask
from ultrasam.predict.frames import prompts_entry

NAME = "annotations.json"


def write_coco(work: Work) -> None:
    """annotations.json; docs/reference/files.md says what its keys are."""
    from ultrasam import __version__

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for scan in work.scans:
        if not (scan.annotations or scan.done):
            continue
        opened = work.opened(scan)
        frames, objects = by_frame(work.present(scan)), objects_of(scan)
        for frame, drawn in frames.items():
            height, width = drawn[0].rle["size"]
            images.append({"id": len(images) + 1} | _image(scan, opened, frame, width, height))
            for annotation in drawn:
                ids = {"id": len(annotations) + 1, "image_id": len(images)}
                entry = _annotation(work, objects[annotation.object], opened, annotation)
                annotations.append(ids | entry)
        if not frames and scan.done and opened is not None:
            for image in _negatives(work, scan, opened):
                images.append({"id": len(images) + 1} | image)
    if images:
        info = {"description": "Annotated with ultrasam annotate", "version": f"ultrasam {__version__}"}
        content = {
            "info": info | ({} if work.model is None else {"model": dict(work.model)}),
            "images": images,
            "categories": [{"id": number, "name": name} for name, number in work.numbers.items()],
            "annotations": annotations,
        }
        work.stage.write_json(NAME, content)


def _image(scan: AnnotatedScan, opened: Scan | None, frame: int, width: int, height: int) -> dict[str, Any]:
    spacing = whole_spacing(opened, width, height)
    return {
        "file_name": scan.place,
        "frame": frame,
        "width": width,
        "height": height,
        **({"axis": scan.axis} if scan.axis else {}),
        **({} if spacing is None else {"spacing": list(spacing)}),
    }


def _negatives(work: Work, scan: AnnotatedScan, opened: Scan) -> list[dict[str, Any]]:
    """Every frame of a finished scan in which nothing is drawn."""
    try:
        height, width = opened.frames[0].shape[:2]
    except UltrasamError as error:
        work.remark_on(scan, "the scan cannot be opened", error)
        return []
    return [
        _image(scan, opened, frame, width, height) | {"negative": True} for frame in range(len(opened.frames))
    ]


def _annotation(
    work: Work, known: AnnotatedObject, opened: Scan | None, annotation: Annotation
) -> dict[str, Any]:
    mask = annotation.mask
    box = box_of(mask)
    measured = measure_mask(mask, None if opened is None else opened.spacing_of(box))
    x0, y0, x1, y1 = box
    entry: dict[str, Any] = {
        "category_id": work.numbers[label_of(known)],
        "segmentation": mask_to_polygons(mask)
        if work.options.segmentation == "polygons"
        else dict(annotation.rle),
        "area": int(mask.sum()),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "object": annotation.object,
        "origin": annotation.origin,
        "prompts": prompts_entry(annotation.prompts),
        "measurements": measured.to_json(),
    }
    optional = {
        "score": annotation.score,
        "doubt": annotation.doubt or None,
        "checked": annotation.checked or None,
        "calliper": [list(end) for end in annotation.calliper] or None,
        "name": known.name or None,
        "colour": known.colour,
    }
    return entry | {key: value for key, value in optional.items() if value is not None}
