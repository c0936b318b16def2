"""Segment objects in one image, or in one frame of a clip, from clicks, boxes or callipers.

Each --box and each --calliper is one object. Clicks (--point on the object, --not on what must be left out)
refine the one box or calliper, or without any they make one object together, the --point clicks first; for
clicks on several boxes run once per object. Coordinates are pixels from the top left corner of the image.
Written to the output folder: STEM_mask.png (0 and 255; all objects in one), STEM_overlay.png and STEM.json
(COCO: one annotation per object with mask, box, area, score and prompts). STEM is the file's name without its
ending, with _frameN where --frame was given.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.core.geometry import ByteArray
    from ultrasam.predict.decode import Result
    from ultrasam.predict.session import Session


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", help="an image (PNG, JPEG, TIFF, ...) or DICOM file")
    parser.add_argument(
        "--point", action="append", metavar="X,Y", help="a click on the object; may be repeated"
    )
    parser.add_argument(
        *("--not",), dest="negative", action="append", metavar="X,Y", help="a click on what must be left out"
    )
    parser.add_argument("--box", action="append", metavar="X0,Y0,X1,Y1", help="a box around an object")
    parser.add_argument(
        "--calliper",
        action="append",
        metavar="X0,Y0,X1,Y1,X2,Y2,X3,Y3",
        help="two diameters of an object: both ends of the long, then of the short axis",
    )
    parser.add_argument(
        "--frame", type=int, metavar="N", help="frame of a clip, from 0; negative from its end"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results, made if missing (required)")
    parser.add_argument(
        "--model", default="ultrasam-lite", help="name or folder of a model; see `ultrasam info`"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads (default: physical cores, at most 8)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: Namespace) -> int:
    from ultrasam.core.files import atomic_write_all, check_output, ensure_writable_dir, shown
    from ultrasam.core.geometry import as_rgb
    from ultrasam.engines.threads import checked_threads
    from ultrasam.io.scan import read_scan
    from ultrasam.predict.model import prepare
    from ultrasam.zoo.store import find

    # Whatever can be refused is looked at before anything is written, the cheap before the slow.
    start = time.perf_counter()
    asked = _Asked.parse(args)
    if not args.out:
        raise UltrasamError("no folder for the results: add --out DIR")
    threads = checked_threads(args.threads)
    scan = read_scan(args.file)
    image = as_rgb(scan.frames[args.frame or 0])
    asked.check(image.shape[1], image.shape[0])
    weights = find(args.model)
    folder = ensure_writable_dir(args.out)
    number = (args.frame or 0) % len(scan.frames)
    stem = Path(args.file).stem + ("" if args.frame is None else f"_frame{number}")
    endings = {"mask": "_mask.png", "overlay": "_overlay.png", "coco": ".json"}
    paths = {name: folder / f"{stem}{ending}" for name, ending in endings.items()}
    for path in paths.values():
        check_output(path)
    if args.frame is None and len(scan.frames) > 1:
        _remark(f"{shown(args.file)} has {len(scan.frames)} frames: took frame 0, choose with --frame N")

    model = prepare(weights, threads=threads)
    session = model.session(image)
    asked.put_to(session)
    results = list(session.results.values())
    for place, result in enumerate(results, start=1):
        if result.empty:
            _remark(f"the mask of object {place} is empty: move or add a prompt")

    document = coco_document(results, Path(args.file).name, number, image)
    document["info"]["model"] = {"id": model.card.id, "sha256": dict(model.card.sha256)}
    mask, overlay = _pictures(image, results)
    coco = json.dumps(document, indent=1, allow_nan=False).encode()
    atomic_write_all({paths["mask"]: mask, paths["overlay"]: overlay, paths["coco"]: coco})
    seconds = time.perf_counter() - start

    if args.json:
        report = {
            "file": args.file,
            "frame": number,
            "width": image.shape[1],
            "height": image.shape[0],
            "model": model.card.id,
            "objects": [_summary(result) for result in results],
            "written": {name: str(path) for name, path in paths.items()},
            "seconds": round(seconds, 3),
        }
        print(json.dumps(report))
        return 0
    for place, result in enumerate(results, start=1):
        print(f"object {place}: {_line(result)}")
    names = ", ".join(shown(path.name) for path in paths.values())
    print(f"wrote {names} to {shown(folder)} in {seconds:.2f} s")
    return 0


def coco_document(results: list[Result], file_name: str, frame: int, image: ByteArray) -> dict[str, Any]:
    """COCO with one annotation per result: `bbox` is x, y, width, height; `score` and `prompts` are ours."""
    from ultrasam import __version__
    from ultrasam.core.masks import encode_rle

    annotations = []
    for number, result in enumerate(results, start=1):
        x0, y0, x1, y1 = result.box or (0.0, 0.0, 0.0, 0.0)
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": 1,
                "segmentation": encode_rle(result.mask),
                "area": result.area,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "score": round(result.score, 4),
                "prompts": _prompts(result),
            }
        )
    height, width = image.shape[:2]
    return {
        "info": {"description": "Segmented from prompts, not reviewed", "version": f"ultrasam {__version__}"},
        "images": [{"id": 1, "file_name": file_name, "width": width, "height": height, "frame": frame}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": annotations,
    }


@dataclass(frozen=True)
class _Asked:
    """The numbers of all prompts on the command line."""

    boxes: list[tuple[float, ...]]
    callipers: list[tuple[float, ...]]
    positive: list[tuple[float, ...]]
    negative: list[tuple[float, ...]]

    @staticmethod
    def parse(args: Namespace) -> _Asked:
        """Raises UltrasamError for what is no number and for prompts that do not go together (see above)."""
        boxes = [_numbers("--box", text, 4) for text in args.box or []]
        callipers = [_numbers("--calliper", text, 8) for text in args.calliper or []]
        positive = [_numbers("--point", text, 2) for text in args.point or []]
        negative = [_numbers("--not", text, 2) for text in args.negative or []]
        outlines = len(boxes) + len(callipers)
        if not outlines + len(positive):
            missing = "--not alone does not say what to segment" if negative else "nothing to segment"
            raise UltrasamError(f"{missing}: add --point x,y or --box x0,y0,x1,y1 (in pixels)")
        if outlines > 1 and positive + negative:
            raise UltrasamError(
                "clicks with several boxes do not say which object they mean: run once per object"
            )
        return _Asked(boxes, callipers, positive, negative)

    def check(self, width: int, height: int) -> None:
        """Raises UltrasamError for the first prompt that does not fit the image: before a model is loaded."""
        from ultrasam.core.prompts import calliper_prompts, check_box, check_point

        for x0, y0, x1, y1 in self.boxes:
            check_box((x0, y0, x1, y1), width, height)
        for ends in self.callipers:
            calliper_prompts(_pairs(ends), width, height)
        for x, y in self.positive + self.negative:
            check_point(x, y, width, height)

    def put_to(self, session: Session) -> None:
        for number, (x0, y0, x1, y1) in enumerate(self.boxes, start=1):
            session.object(f"object-{number}")
            session.box(x0, y0, x1, y1)
        for number, ends in enumerate(self.callipers, start=len(self.boxes) + 1):
            session.object(f"object-{number}")
            session.calliper(*_pairs(ends))
        for x, y in self.positive:
            session.click(x, y)
        for x, y in self.negative:
            session.click(x, y, positive=False)


def _pairs(numbers: tuple[float, ...]) -> list[tuple[float, float]]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _numbers(option: str, text: str, count: int) -> tuple[float, ...]:
    from ultrasam.core.files import shown

    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise UltrasamError(
            f"{option} {shown(text)}: expected {count} numbers with commas between them, no spaces"
        )
    return values


def _prompts(result: Result) -> dict[str, Any]:
    prompts = result.prompts
    return {
        "box": None if prompts.box is None else list(prompts.box),
        "points": [list(point) for point in prompts.points],
        "labels": [int(positive) for positive in prompts.positive],
    }


def _summary(result: Result) -> dict[str, Any]:
    return {
        "area_px": result.area,
        "area_share": round(result.area / result.mask.size, 6),
        "score": round(result.score, 4),
        "box": result.box,
        "prompts": _prompts(result),
    }


def _line(result: Result) -> str:
    share = 100 * result.area / result.mask.size
    box = "none" if result.box is None else ",".join(f"{value:g}" for value in result.box)
    return f"{result.area} px ({share:.1f} % of the image), predicted IoU {result.score:.2f}, box {box}"


def _pictures(image: ByteArray, results: list[Result]) -> tuple[bytes, bytes]:
    """The mask of all objects together, and the overlay, as PNG files."""
    import numpy as np

    from ultrasam.core.overlay import draw_overlay

    masks = [result.mask for result in results]
    union = np.logical_or.reduce(masks).astype(np.uint8) * 255
    return _png(union), _png(draw_overlay(image, masks, [result.prompts for result in results]))


def _png(pixels: ByteArray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _remark(text: str) -> None:
    print(f"ultrasam: {text}", file=sys.stderr)
