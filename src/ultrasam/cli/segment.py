"""Segment objects in one scan, or in a whole folder, from clicks, boxes or callipers, or without (--auto).

Each --box and each --calliper is one object. Clicks (--point on the object, --not on what must be left out)
refine the one box or calliper, or without any they make one object together, the --point clicks first; for
clicks on several boxes run once per object. Coordinates are pixels from the top left corner of the image.
--auto asks a grid of clicks instead and keeps what it finds, the best predicted IoU first: a draft to review.

One file: written to the output folder are STEM_mask.png (0 and 255; all objects in one; see --masks),
STEM_overlay.png and STEM_coco.json (COCO: one annotation per object with mask, box, area, score, prompts and
measurements). STEM is the file's name without its ending, with _frameN where --frame was given.

Several files, a folder with all below it, a pattern, or --frames: the same prompts are given to every frame.
A COCO file (FILE.json): the boxes or points of its objects are the prompts, see --prompts. The pictures are
named as above, in the same folders as the scans. predictions.json (COCO) holds all objects, report.json
versions, model, hashes, times and what failed. A run that was stopped goes on where it was: what is finished
with the same prompts, settings, model, version and file is kept. Files named like results are not read, and a
file that is not from an earlier run is not replaced.
Exit codes: 0 all done, 1 some failed, 2 nothing done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.head import add_head_arguments, head_settings, load_head
from ultrasam.cli.options import add_axis, add_engine, add_images, add_keep_embeddings
from ultrasam.cli.prompts import add_prompts, asks_of, has_prompts
from ultrasam.cli.terminal import remark
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.io.scan import Scan
    from ultrasam.predict.automatic import Automatic
    from ultrasam.predict.decode import Result
    from ultrasam.predict.frames import Ask, Settings

# The defaults of `ultrasam.predict.automatic.Automatic`, which help must not load; a test compares them.
AUTO = {"score": 0.7, "stability": 0.5, "grid": 12, "most": 20}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="image or DICOM files, folders, patterns, or one COCO file"
    )
    add_prompts(parser)
    parser.add_argument(
        "--auto", action="store_true", help="find objects without prompts, to be reviewed by a person"
    )
    parser.add_argument(
        *("--auto-score",),
        type=float,
        metavar="S",
        help=f"with --auto: the least predicted IoU of a mask (default: {AUTO['score']:g})",
    )
    parser.add_argument(
        *("--auto-stability",),
        type=float,
        metavar="S",
        help=f"with --auto: the least stability, 1 for a sharp edge (default: {AUTO['stability']:g})",
    )
    parser.add_argument(
        *("--auto-grid",),
        type=int,
        metavar="N",
        help=f"with --auto: clicks along the longer side (default: {AUTO['grid']}); more for small objects",
    )
    parser.add_argument(
        *("--auto-most",),
        type=int,
        metavar="N",
        help=f"with --auto: at most so many objects in a frame (default: {AUTO['most']})",
    )
    add_head_arguments(parser)
    parser.add_argument(
        "--prompts",
        choices=("box", "point", "both"),
        default="box",
        help="what to take of a COCO file: box is `bbox`; point is `point`, the points of our own `prompts`, "
        "labelled `keypoints`, or else a click inside the mask, the first that an object has",
    )
    add_images(parser)
    parser.add_argument(
        "--refine",
        choices=("none", "zoom", "auto"),
        default="none",
        help="a second look, enlarged: zoom at every object, auto at small ones",
    )
    parser.add_argument(
        "--crop",
        choices=("none", "auto", "region"),
        default="none",
        help="look at the ultrasound alone: region as the DICOM header says, or else what is not black; auto "
        "where much is not ultrasound",
    )
    parser.add_argument(
        "--protocol",
        choices=("clicks", "paper"),
        default="clicks",
        help="paper: one point or box for an object, answered in the two passes of the UltraSam paper",
    )
    parser.add_argument(
        "--frame", type=int, metavar="N", help="frame of a clip, from 0; negative from its end"
    )
    add_axis(parser)
    parser.add_argument(
        "--frames",
        metavar="all|A:B",
        help="all frames of each clip, or from A to before B (as in Python, also A:B:STEP): the same prompts "
        "on each, nothing is tracked",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results, made if missing (required)")
    parser.add_argument(
        "--masks",
        choices=("union", "labels", "objects", "none"),
        default="union",
        help="PNGs of the masks: all in STEM_mask.png; numbered from 1 in STEM_labels.png, a later object "
        "over an earlier; each in its own STEM_mask1.png, ...; none",
    )
    parser.add_argument("--no-overlay", action="store_true", help="write no STEM_overlay.png")
    parser.add_argument(
        "--coco",
        choices=("rle", "polygons"),
        default="rle",
        help="masks in COCO as run lengths, or as polygons along the pixels' edges (a hole is cut open)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="do again what is finished, replace what is there"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="frames at the same time (default: 1)")
    parser.add_argument(
        "--model", default="ultrasam-lite", help="name or folder of a model; see `ultrasam info`"
    )
    parser.add_argument(
        *("--threads",),
        type=int,
        metavar="N",
        help="threads of each job (default: physical cores, shared by the jobs, at most 8)",
    )
    add_engine(parser)
    add_keep_embeddings(parser)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: Namespace) -> int:
    from ultrasam.cli import segment_folder

    if not args.out:
        raise UltrasamError("no folder for the results: add --out DIR")
    is_coco = [name.lower().endswith(".json") for name in args.inputs]
    if any(is_coco):
        if len(args.inputs) > 1:
            raise UltrasamError("a COCO file is the only input: name its images' folder with --images DIR")
        if args.auto:
            raise UltrasamError("a COCO file brings its own prompts: leave out --auto, or name the images")
        if has_prompts(args):
            raise UltrasamError("a COCO file brings its own prompts: leave out --point, --box and the like")
        if args.frame is not None or args.frames is not None:
            raise UltrasamError("the key `frame` of an image in the COCO file says which: leave out --frame")
        return segment_folder.run_coco(args)
    if args.images is not None:
        raise UltrasamError("--images DIR goes with a COCO file: name the folder itself as the input")
    asks = _asks_of(args)
    if len(args.inputs) == 1 and args.frames is None and _is_one_file(args.inputs[0]):
        return _run_one(args, asks)
    return segment_folder.run_scans(args, asks)


def settings_of(args: Namespace) -> Settings:
    from ultrasam.predict.frames import Settings

    return Settings(
        masks=args.masks,
        overlay=not args.no_overlay,
        segmentation=args.coco,
        refine=args.refine,
        crop=args.crop,
        protocol=args.protocol,
        automatic=_automatic_of(args),
        head=head_settings(args),
    )


def summary_of(result: Result, scan: Scan) -> dict[str, Any]:
    """What a report says about an object of a scan; `measurements` is null for an empty mask."""
    from ultrasam.measure.measurements import measure_mask
    from ultrasam.predict.frames import prompts_entry

    measured = None if result.box is None else measure_mask(result.mask, scan.spacing_of(result.box))
    return {
        "area_px": result.area,
        "area_share": round(result.area / result.mask.size, 6),
        "score": round(result.score, 4),
        "box": result.box,
        "measurements": None if measured is None else measured.to_json(),
        "prompts": prompts_entry(result.prompts),
        **({"class": result.label, "confidence": round(result.confidence, 4)} if result.label else {}),
    }


def _is_one_file(name: str) -> bool:
    """Also for a name that leads to nothing: its message is that of a file."""
    import glob
    import os

    return not os.path.isdir(name) and (os.path.lexists(name) or not glob.has_magic(name))


def _run_one(args: Namespace, asks: list[Ask]) -> int:
    from ultrasam.core.files import atomic_write_all, ensure_writable_dir, sha256_of, shown
    from ultrasam.core.geometry import as_rgb
    from ultrasam.engines.threads import checked_threads
    from ultrasam.io.inputs import stem_of
    from ultrasam.io.scan import read_scan
    from ultrasam.predict.frames import (
        annotation_of,
        categories_of,
        coco_document,
        model_entry,
        picture_endings,
        pictures,
        segment_frame,
    )
    from ultrasam.predict.model import prepare
    from ultrasam.zoo.store import find

    # Whatever can be refused is looked at before anything is written, the cheap before the slow.
    start = time.perf_counter()
    settings, threads = settings_of(args), checked_threads(args.threads)
    (file,) = args.inputs
    scan = read_scan(file, args.axis)
    image = as_rgb(scan.frames[args.frame or 0])
    height, width = image.shape[:2]
    for ask in asks:
        ask.check(width, height)
    weights = find(args.model)
    folder = ensure_writable_dir(args.out)
    number = (args.frame or 0) % len(scan.frames)
    stem = stem_of(Path(file).name) + ("" if args.frame is None else f"_frame{number}")
    paths = _paths(folder / stem, [*picture_endings(settings, len(asks)), "_coco.json"])
    if args.frame is None and len(scan.frames) > 1:
        remark(f"{shown(file)} has {len(scan.frames)} frames: took frame 0, choose with --frame N")

    model = prepare(
        weights,
        threads=threads,
        keep_embeddings=args.keep_embeddings,
        engine=args.engine,
        postprocess=args.postprocess,
        device=args.device,
    )
    if settings.head is not None:
        model = replace(model, head=load_head(args, threads))
    results = segment_frame(model, scan, image, asks, settings)
    for place, result in enumerate(results, start=1):
        if result.empty:
            remark(f"the mask of object {place} is empty: move or add a prompt")
    if not results:
        remark(nothing_found(file, settings))
    if args.auto:  # how many there are is known only now
        paths = _paths(folder / stem, [*picture_endings(settings, len(results)), "_coco.json"])

    entry = {"id": 1, "file_name": Path(file).name, "width": width, "height": height, "frame": number}
    summaries = [summary_of(result, scan) for result in results]
    annotations = [
        {"id": place, "image_id": 1, "category_id": 1, **annotation_of(result, settings, summary)}
        for place, (result, summary) in enumerate(zip(results, summaries, strict=True), start=1)
    ]
    document = coco_document(model_entry(model), [entry], annotations, categories_of(settings))
    contents = pictures(image, results, settings)
    contents["_coco.json"] = json.dumps(document, indent=1, allow_nan=False).encode()
    atomic_write_all({paths[ending]: content for ending, content in contents.items()})
    seconds = time.perf_counter() - start

    if args.json:
        report = {
            "file": file,
            "sha256": sha256_of(file),
            "frame": number,
            "width": width,
            "height": height,
            "model": model.card.id,
            "model_sha256": dict(model.card.sha256),
            "versions": versions(),
            "objects": summaries,
            "written": {ending[1:].split(".")[0]: str(path) for ending, path in paths.items()},
            "seconds": round(seconds, 3),
        }
        print(json.dumps(report))
        return 0
    for place, summary in enumerate(summaries, start=1):
        print(f"object {place}: {_line(summary)}")
    names = ", ".join(shown(path.name) for path in paths.values())
    print(f"wrote {names} to {shown(folder)} in {seconds:.2f} s")
    return 0


def nothing_found(file: str | Path, settings: Settings) -> str:
    """What is said of a frame without an object, so that an empty file is never silent."""
    from ultrasam.core.files import shown

    assert settings.automatic is not None
    if settings.head is not None:
        return (
            f"nothing found in {shown(file)} with a score of {settings.head.score:g}: lower --head-score, or "
            "click"
        )
    score, stability = settings.automatic.score, settings.automatic.stability
    return (
        f"nothing found in {shown(file)} with a predicted IoU of {score:g} and a stability of {stability:g}: "
        "lower --auto-score or --auto-stability, or click"
    )


def _paths(stem: Path, endings: Sequence[str]) -> dict[str, Path]:
    """The files to write by how their names end; raises UltrasamError for one that cannot be written."""
    from ultrasam.core.files import check_output

    paths = {ending: stem.with_name(stem.name + ending) for ending in endings}
    for path in paths.values():
        check_output(path)
    return paths


def versions() -> dict[str, str]:
    """Of what a result depends on."""
    import platform

    import onnxruntime

    from ultrasam import __version__

    return {
        "ultrasam": __version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


def _asks_of(args: Namespace) -> list[Ask]:
    if not args.auto:
        return asks_of(args, "--auto")
    if has_prompts(args):
        raise UltrasamError("--auto takes no prompts: leave out --auto, or --point, --box and the like")
    return []


def _automatic_of(args: Namespace) -> Automatic | None:
    """What --auto keeps; None without it. Raises UltrasamError for options that do not go together."""
    from ultrasam.predict.automatic import Automatic

    given = {name: getattr(args, f"auto_{name}") for name in AUTO}
    given = {name: value for name, value in given.items() if value is not None}
    if not args.auto:
        if given:
            raise UltrasamError(f"--auto-{next(iter(given))} goes with --auto: add it, or leave this out")
        return None
    if args.protocol == "paper":
        raise UltrasamError("the protocol paper takes points and boxes: leave out --auto")
    return Automatic(**given).checked()


def _line(summary: dict[str, Any]) -> str:
    """An object in one line, with its size where the spacing of the pixels is known."""
    share, measured = 100 * summary["area_share"], summary["measurements"]
    box = "none" if summary["box"] is None else ",".join(f"{value:g}" for value in summary["box"])
    size = ""
    if measured is not None and measured["unit"] == "mm":
        long, short = measured["long_diameter"]["length"], measured["short_diameter"]["length"]
        size = f", {long:.1f} x {short:.1f} mm"
    name = f"{summary['class']} ({summary['confidence']:.2f}), " if "class" in summary else ""
    text = f"{name}{summary['area_px']} px ({share:.1f} % of the image), predicted IoU {summary['score']:.2f}"
    return f"{text}, box {box}{size}"
