"""`ultrasam instances predict`: the objects in images, as a COCO file and drawn on each image."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.options import add_axis, add_run
from ultrasam.cli.terminal import StatusLine, remark
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.core.geometry import ByteArray
    from ultrasam.io.coco import CocoAnnotation, CocoImage
    from ultrasam.training.instances.infer import Instance, InstanceRun

FILE = "instances.json"


@dataclass
class _Found:
    """What has been found so far, in the words of COCO, and what could not be read."""

    images: list[CocoImage] = field(default_factory=list)
    annotations: list[CocoAnnotation] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)


def loaded_run(args: Namespace) -> InstanceRun:
    """The run of `add_run`, with its model on its device. UltrasamError if it cannot be used."""
    from ultrasam.engines.threads import checked_threads
    from ultrasam.training.instances.infer import load_instances

    return load_instances(Path(args.run), checked_threads(args.threads), args.device)


def add_predict_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image or DICOM files, folders, patterns")
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help=f"folder for {FILE}, a COCO file of all objects, and a picture of each image",
    )
    parser.add_argument(
        "--score", type=float, default=0.5, metavar="S", help="leave out objects with a lower score"
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="of a clip or volume only each Nth frame"
    )
    add_axis(parser)
    add_run(parser, "instances")


def run_predict(args: Namespace) -> int:
    from ultrasam.core.files import ensure_writable_dir, shown
    from ultrasam.io.inputs import find_scans

    start = time.perf_counter()
    if not 0 <= args.score <= 1:
        raise UltrasamError(f"--score {args.score:g}: give a number from 0 to 1")
    if args.every < 1:
        raise UltrasamError(f"--every {args.every}: give a whole number from 1 on")
    out = Path(args.out)
    scans = find_scans(args.inputs, out)
    trained = loaded_run(args)
    ensure_writable_dir(out)
    found = _Found()
    for path, error in scans.problems:
        _fail(found, path, error)
    _predict_all(trained, scans.files, args, found)
    written = _write(out / FILE, trained, found) if found.images else []
    seconds = round(time.perf_counter() - start, 3)
    if args.json:
        report = {
            "run": args.run,
            "classes": list(trained.classes),
            "images": len(found.images),
            "objects": len(found.annotations),
            "failed": found.failures,
            "written": [str(path) for path in written],
            "seconds": seconds,
        }
        print(json.dumps(report))
    else:
        failed = f", {len(found.failures)} failed" if found.failures else ""
        print(
            f"found {len(found.annotations)} objects in {len(found.images)} images or frames{failed}, "
            f"in {seconds:.1f} s"
        )
        if written:
            print(f"wrote {shown(out / FILE)} and {len(written) - 1} pictures")
    return 2 if not found.images else 1 if found.failures else 0


def _predict_all(trained: InstanceRun, files: Sequence[Path], args: Namespace, found: _Found) -> None:
    """Each frame that can be read, one in memory at a time; the others go to the failures."""
    from ultrasam.io.inputs import names_in, places_of

    places = places_of(files)
    status = StatusLine()
    for number, (path, place, name) in enumerate(zip(files, places, names_in(places), strict=True)):
        status.write(f"{number} of {len(files)} files, {len(found.annotations)} objects")
        try:
            for frame, count, image in _frames(path, args):
                one = name if count == 1 else f"{name}_frame{frame}"
                _predict(trained, image, (str(place), frame if count > 1 else None, one), args, found)
        except UltrasamError as error:
            status.write("")
            _fail(found, path, str(error))
    status.write("")


def _frames(path: Path, args: Namespace) -> Iterator[tuple[int, int, ByteArray]]:
    """(number, how many there are, pixels) of the frames that are wanted."""
    from ultrasam.core.geometry import as_rgb
    from ultrasam.io.scan import read_scan

    scan = read_scan(path, args.axis)
    for number in range(0, len(scan.frames), args.every):
        yield number, len(scan.frames), as_rgb(scan.frames[number])


def _predict(
    trained: InstanceRun, image: ByteArray, names: tuple[str, int | None, str], args: Namespace, found: _Found
) -> None:
    """Find the objects of an image, draw them and note them; `names` are its place, frame and result."""
    from ultrasam.core.files import atomic_write, ensure_writable_dir
    from ultrasam.core.masks import encode_rle
    from ultrasam.io.coco import CocoAnnotation, CocoImage

    place, frame, name = names
    instances = trained.find(image, args.score)
    picture = Path(args.out) / f"{name}_overlay.png"
    ensure_writable_dir(picture.parent)
    atomic_write(picture, overlay(image, instances, trained.classes))
    found.pictures.append(str(picture))
    number = len(found.images) + 1
    found.images.append(CocoImage(number, place, image.shape[0], image.shape[1], frame=frame))
    for one in instances:
        x0, y0, x1, y1 = one.box
        found.annotations.append(
            CocoAnnotation(
                id=len(found.annotations) + 1,
                image_id=number,
                category_id=one.label + 1,
                bbox=(x0, y0, x1 - x0, y1 - y0),
                segmentation=encode_rle(one.mask),
                area=float(one.mask.sum()),
                score=round(one.score, 6),
            )
        )


def overlay(image: ByteArray, instances: Sequence[Instance], classes: Sequence[str]) -> bytes:
    """A PNG of the image (H, W, 3) with its objects, each with its class and score at the top of its box."""
    from PIL import Image, ImageDraw, ImageFont

    from ultrasam.core.overlay import COLOURS, draw_overlay
    from ultrasam.io.images import png_bytes

    picture = Image.fromarray(draw_overlay(image, [one.mask for one in instances], []))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(10, round(max(picture.size) / 50)))
    taken: list[tuple[float, float, float]] = []  # left, top and width of the texts so far
    for number, one in enumerate(instances):
        text = f"{classes[one.label]} {one.score:.2f}".encode("latin-1", "replace").decode("latin-1")
        _, top, width, bottom = draw.textbbox((0, 0), text, font=font)
        height = bottom - top + 3
        # Inside the picture, also where the object touches its edge, and below what stands there already.
        x = max(0.0, min(one.box[0], picture.width - width - 1))
        y = max(0.0, one.box[1] - height)
        while any(
            x < left + wide and left < x + width and abs(y - above) < height for left, above, wide in taken
        ):
            y += 1
        taken.append((x, y, width))
        draw.rectangle((x, y, x + width, y + height - 1), fill=(0, 0, 0))
        draw.text((x, y - top + 1), text, fill=COLOURS[number % len(COLOURS)], font=font)
    return png_bytes(picture)


def _write(path: Path, trained: InstanceRun, found: _Found) -> list[Path]:
    """The COCO file; returns all files that were written, it first."""
    from ultrasam import __version__
    from ultrasam.io.coco import Coco, CocoCategory, write_coco

    categories = tuple(CocoCategory(number, name) for number, name in enumerate(trained.classes, start=1))
    about = {"description": f"predictions of `ultrasam instances predict`, ultrasam {__version__}"}
    write_coco(path, Coco(tuple(found.images), tuple(found.annotations), categories), about)
    return [path, *map(Path, found.pictures)]


def _fail(found: _Found, path: Path, error: str) -> None:
    from ultrasam.core.files import shown

    text = error if shown(path) in error else f"{shown(path)}: {error}"
    found.failures.append({"file": str(path), "error": text})
    remark(text)
