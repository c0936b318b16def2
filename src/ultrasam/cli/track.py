"""Track objects through a clip or a volume, from a prompt on one frame or from masks in a COCO file.

Each --box and each --calliper on frame --frame is one object; clicks refine the one box, or make one object
together. An object is followed forward and back, each on its own, until the guard stops it: where the
predicted IoU, the area, the overlap with the frame before or a change of the image say that it has drifted.
Such a frame is kept as a proposal, with its reason as `doubt`.

To correct it, prompt that frame again, with what was written as --from, the object's number and the frame:
the frames behind it are tracked anew. What was made by hand is never replaced: tracking ends there.

Written: STEM_coco.json (COCO: an image for each frame, of each annotation its `object`, `origin`, score,
doubt and measurements) and STEM_measurements.csv; --overlays and --masks labels give pictures of each frame.
Exit codes: 0 all done, 1 the guard stopped an object (each has a line on stderr), 2 nothing done.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.options import add_axis, add_engine, add_threads
from ultrasam.cli.prompts import add_prompts, asks_of, has_prompts
from ultrasam.cli.terminal import StatusLine, remark
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.core.masks import BoolArray
    from ultrasam.io.anchors import Anchors, LazyMasks
    from ultrasam.io.scan import Scan
    from ultrasam.predict.decode import Result
    from ultrasam.predict.frames import Ask
    from ultrasam.predict.model import Model
    from ultrasam.predict.tracking import Guard, Stop, TrackAll

# The defaults of `ultrasam.predict.tracking.Guard`, which help must not load; a test compares them.
GUARD = {"score": 0.7, "area": 1.5, "overlap": 0.2, "total": 2.0, "match": 0.6}
COLUMNS = (
    *("frame", "object", "class", "origin", "score", "doubt", "unit", "area", "perimeter"),
    *("long_diameter", "short_diameter", "components"),
)
# What a person should look at; the other stops are as wanted.
_PROBLEMS = ("drift", "lost", "unreadable")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a clip, video or volume")
    add_prompts(parser)
    parser.add_argument(
        "--frame",
        type=int,
        metavar="N",
        default=0,
        help="the frame that the prompts are on, from 0; negative from the end",
    )
    parser.add_argument(
        *("--from",),
        dest="anchors",
        metavar="FILE.json",
        help="COCO file with masks on frames of this clip, to track from; those of origin `tracked` are not "
        "taken",
    )
    parser.add_argument(
        "--object",
        type=int,
        metavar="N",
        help="with --from: the object that the prompts correct (default: a new one)",
    )
    parser.add_argument(
        "--direction",
        choices=("both", "forward", "back"),
        default="both",
        help="both: back from the first frame with a mask, forward from each",
    )
    parser.add_argument("--first", type=int, metavar="N", help="first frame to track to (default: 0)")
    parser.add_argument("--last", type=int, metavar="N", help="last frame (default: that of the clip)")
    for name, text in (
        ("score", "the least predicted IoU, 0 to 1"),
        ("area", "the largest factor by which the area may change from frame to frame"),
        ("overlap", "the least IoU with the mask of the frame before, moved with the image"),
        ("total", "the largest factor by which the area may change since the start"),
        ("match", "the least correlation of the image around the object with the frame before, -1 to 1"),
    ):
        parser.add_argument(
            f"--guard-{name}", type=float, default=GUARD[name], metavar="X", help=f"guard: {text}"
        )
    add_axis(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for the results, made if missing (required)")
    parser.add_argument(
        "--masks",
        choices=("none", "labels"),
        default="none",
        help="labels: STEM_frameN_labels.png for each frame, with the numbers of the objects",
    )
    parser.add_argument(
        "--overlays", action="store_true", help="write STEM_frameN_overlay.png for each frame"
    )
    parser.add_argument(
        "--model", default="ultrasam-lite", help="name or folder of a model; see `ultrasam info`"
    )
    add_threads(parser)
    add_engine(parser)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


@dataclass(frozen=True)
class _Task:
    """What is asked, looked at before anything slow."""

    scan: Scan
    asks: list[Ask]
    frame: int
    masks: dict[int, LazyMasks]
    labels: dict[int, str]
    numbers: list[int]
    guard: Guard
    known: Anchors | None = None


def run(args: Namespace) -> int:
    from ultrasam.core.files import atomic_write_all, check_output, ensure_writable_dir, shown
    from ultrasam.engines.threads import checked_threads
    from ultrasam.io.inputs import stem_of
    from ultrasam.predict.model import prepare
    from ultrasam.zoo.store import find

    start = time.perf_counter()
    if not args.out:
        raise UltrasamError("no folder for the results: add --out DIR")
    task = _task_of(args)
    threads, weights = checked_threads(args.threads), find(args.model)
    folder = ensure_writable_dir(args.out)
    stem = stem_of(Path(args.file).name)
    paths = {ending: folder / f"{stem}_{ending}" for ending in ("coco.json", "measurements.csv")}
    for path in paths.values():
        check_output(path)
    model = prepare(
        weights, threads=threads, engine=args.engine, postprocess=args.postprocess, device=args.device
    )
    by_hand = _by_hand(model, task)
    tracks = _tracks(args, model, task, by_hand)
    rows = _follow(task, by_hand, tracks)
    pictures = _write_pictures(args, task, rows, folder / stem)
    document = _document(args, model, task, rows)
    contents = {
        "coco.json": json.dumps(document, allow_nan=False).encode() + b"\n",
        "measurements.csv": _table(rows, task.labels).encode(errors="backslashreplace"),
    }
    atomic_write_all({paths[ending]: content for ending, content in contents.items()})

    problems = [stop for stop in tracks.stops if stop.kind in _PROBLEMS]
    for stop in problems:
        remark(_advice(args, stop, paths["coco.json"]))
    seconds = time.perf_counter() - start
    if args.json:
        print(json.dumps(_report(args, model, task, rows, tracks, [*paths.values(), *pictures], seconds)))
    else:
        for number in sorted(task.labels):
            print(_line(number, rows))
        names = ", ".join(shown(path.name) for path in paths.values())
        more = f" and {len(pictures)} pictures" if pictures else ""
        print(f"wrote {names}{more} to {shown(folder)} in {seconds:.1f} s")
    return 1 if problems else 0


def _task_of(args: Namespace) -> _Task:
    from ultrasam.core.files import shown
    from ultrasam.core.geometry import as_rgb
    from ultrasam.io.anchors import read_anchors
    from ultrasam.io.scan import read_scan
    from ultrasam.predict.tracking import Guard

    guard = Guard(**{name: getattr(args, f"guard_{name}") for name in GUARD}).checked()
    asks = [] if args.anchors and not has_prompts(args) else asks_of(args, "--from FILE.json")
    if args.object is not None and (not args.anchors or len(asks) != 1):
        raise UltrasamError(
            "--object N says which object of --from FILE.json the prompts of one object correct"
        )
    scan = read_scan(args.file, args.axis)
    count = len(scan.frames)
    if count < 2:
        raise UltrasamError(
            f"{shown(args.file)} is a single image, there is nothing to track: use `ultrasam segment`"
        )
    for option, bound in (("--first", args.first), ("--last", args.last)):
        if bound is not None and not 0 <= bound < count:
            raise UltrasamError(f"{option} {bound}: give a frame from 0 to {count - 1}")
    known: Anchors | None = None
    masks: dict[int, LazyMasks] = {}
    labels: dict[int, str] = {}
    if args.anchors:
        height, width = as_rgb(scan.frames[0]).shape[:2]
        known = read_anchors(args.anchors, Path(args.file), width, height, args.axis)
        masks, labels = dict(known.masks), dict(known.labels)
        beyond = [frame for _, frame in known.kept if frame >= count]
        if beyond:
            raise UltrasamError(
                f"there is no frame {beyond[0]}, where {shown(args.anchors)} has a mask: choose its clip"
            )
    height, width = as_rgb(scan.frames[args.frame]).shape[:2]
    for ask in asks:
        ask.check(width, height)
    if args.object is not None and args.object not in labels:
        there = ", ".join(map(str, sorted(labels)))
        raise UltrasamError(f"{shown(args.anchors)} has no object {args.object}: use one of {there}")
    first = max(labels, default=0) + 1
    numbers = [args.object] if args.object is not None else list(range(first, first + len(asks)))
    for number in numbers:
        labels.setdefault(number, "object")
    return _Task(scan, asks, args.frame % count, masks, labels, numbers, guard, known)


def _by_hand(model: Model, task: _Task) -> dict[int, Result]:
    """The prompted objects. Raises UltrasamError where nothing was found."""
    from ultrasam.core.geometry import as_rgb
    from ultrasam.predict.frames import Settings, segment_frame

    if not task.asks:
        return {}
    image = as_rgb(task.scan.frames[task.frame])
    results = segment_frame(model, task.scan, image, task.asks, Settings())
    for number, result in zip(task.numbers, results, strict=True):
        if result.empty:
            raise UltrasamError(f"the mask of object {number} is empty: move or add a prompt")
    return dict(zip(task.numbers, results, strict=True))


def _tracks(args: Namespace, model: Model, task: _Task, by_hand: Mapping[int, Result]) -> TrackAll:
    from ultrasam.io.anchors import LazyMasks
    from ultrasam.predict.tracking import TrackAll

    anchors = {str(number): masks for number, masks in task.masks.items()}
    for number, result in by_hand.items():
        known = task.masks.get(number) or LazyMasks({}, *result.mask.shape)
        anchors[str(number)] = known.with_mask(task.frame, result.mask)
    if args.anchors:  # what lies outside of the frames that are wanted is kept as it is
        first = 0 if args.first is None else args.first
        last = len(task.scan.frames) - 1 if args.last is None else args.last
        anchors = {name: known.within(first, last) for name, known in anchors.items()}
    return TrackAll(
        model,
        task.scan,
        anchors,
        direction=args.direction,
        first=args.first,
        last=args.last,
        guard=task.guard,
    )


@dataclass(frozen=True)
class _Row:
    """One object on one frame, as it is written; `entry` is its annotation without ids."""

    frame: int
    object: int
    entry: dict[str, Any]


def _follow(task: _Task, by_hand: Mapping[int, Result], tracks: TrackAll) -> list[_Row]:
    """All that is known and tracked, in order of frame and object, each mask as run lengths."""
    import numpy as np

    from ultrasam.core.prompts import Prompts
    from ultrasam.predict.decode import Result

    kept = {} if task.known is None else task.known.kept

    def known_row(number: int, frame: int, mask: BoolArray) -> _Row:
        drawn = Result(mask, math.nan, np.zeros((0, 0), np.float32), Prompts())
        return _Row(frame, number, _entry(drawn, task.scan, "imported") | dict(kept[number, frame]))

    rows = []
    for number, masks in task.masks.items():
        for frame in masks:
            if number not in by_hand or frame != task.frame:
                rows.append(known_row(number, frame, masks[frame]))
    for number, result in by_hand.items():
        rows.append(_Row(task.frame, number, _entry(result, task.scan, "prompt")))
    status, start = StatusLine(), time.perf_counter()
    for done, found in enumerate(tracks, start=1):
        for one in found:
            # The prompts are not those of a person.
            result = replace(one.result, prompts=Prompts())
            rows.append(_Row(one.frame, int(one.name), _entry(result, task.scan, "tracked", one.doubt)))
        speed = done / (time.perf_counter() - start)
        status.write(f"frame {found[0].frame} of {len(task.scan.frames)}, {speed:.1f} frames/s")
    status.write("")
    # What was tracked before and is not reached now stays.
    there = {(row.object, row.frame) for row in rows}
    for number, masks in ({} if task.known is None else task.known.tracked).items():
        rows += [known_row(number, frame, masks[frame]) for frame in masks if (number, frame) not in there]
    return sorted(rows, key=lambda row: (row.frame, row.object))


def _entry(result: Result, scan: Scan, origin: str, doubt: str = "") -> dict[str, Any]:
    from ultrasam.cli.segment import summary_of
    from ultrasam.predict.frames import Settings, annotation_of

    entry = annotation_of(result, Settings(), {} if result.empty else summary_of(result, scan))
    if math.isnan(result.score):
        del entry["score"]
    if not result.prompts.count:
        del entry["prompts"]
    return {**entry, "origin": origin, "doubt": doubt}


def _document(args: Namespace, model: Model, task: _Task, rows: list[_Row]) -> dict[str, Any]:
    from ultrasam.predict.frames import coco_document, model_entry

    names = list(dict.fromkeys(task.labels[number] for number in sorted(task.labels)))
    frames = sorted({row.frame for row in rows})
    image_of = {frame: place for place, frame in enumerate(frames, start=1)}
    sizes = {row.frame: row.entry["segmentation"]["size"] for row in rows}
    images = [
        {
            "id": image_of[frame],
            "file_name": Path(args.file).name,
            "width": sizes[frame][1],
            "height": sizes[frame][0],
            "frame": frame,
            **({"axis": task.scan.meta["axis"]} if "axis" in task.scan.meta else {}),
        }
        for frame in frames
    ]
    annotations = [
        {
            "id": place,
            "image_id": image_of[row.frame],
            "category_id": names.index(task.labels[row.object]) + 1,
            "object": row.object,
            **row.entry,
        }
        for place, row in enumerate(rows, start=1)
    ]
    categories = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
    return coco_document(model_entry(model), images, annotations, categories)


def _table(rows: list[_Row], labels: Mapping[int, str]) -> str:
    from ultrasam.io.cells import safe_cell

    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        cells = {
            "frame": row.frame,
            "object": row.object,
            "class": safe_cell(labels[row.object]),
            "origin": row.entry["origin"],
            "score": row.entry.get("score", ""),
            "doubt": row.entry["doubt"],
        }
        measured = row.entry["measurements"]
        if measured is not None:
            cells |= {key: measured[key] for key in ("unit", "area", "perimeter", "components")}
            cells |= {key: measured[key]["length"] for key in ("long_diameter", "short_diameter")}
        writer.writerow(cells)
    return text.getvalue()


def _write_pictures(args: Namespace, task: _Task, rows: list[_Row], stem: Path) -> list[Path]:
    """The pictures of each frame, one frame at a time: a clip's do not fit into memory."""
    from ultrasam.core.files import atomic_write_all

    if args.masks == "none" and not args.overlays:
        return []
    by_frame: dict[int, list[_Row]] = defaultdict(list)
    for row in rows:
        by_frame[row.frame].append(row)
    written: list[Path] = []
    for frame, members in by_frame.items():
        contents = {
            stem.with_name(f"{stem.name}_frame{frame}_{ending}.png"): content
            for ending, content in _pictures(args, task, frame, members)
        }
        atomic_write_all(contents)
        written += contents
    return written


def _pictures(args: Namespace, task: _Task, frame: int, rows: list[_Row]) -> Iterator[tuple[str, bytes]]:
    import numpy as np
    from PIL import Image

    from ultrasam.core.geometry import as_rgb
    from ultrasam.core.masks import decode_segmentation
    from ultrasam.core.overlay import draw_overlay
    from ultrasam.io.images import png_bytes

    height, width = rows[0].entry["segmentation"]["size"]
    masks = {row.object: decode_segmentation(row.entry["segmentation"], height, width) for row in rows}
    if args.masks == "labels":
        labels = np.zeros((height, width), np.uint8 if max(task.labels) < 256 else np.uint16)
        for number, mask in masks.items():
            labels[mask] = number
        yield "labels", png_bytes(Image.fromarray(labels))
    if args.overlays:
        # An object keeps its colour on frames where another one is missing.
        nothing = np.zeros((height, width), np.bool_)
        drawn = [masks.get(number, nothing) for number in sorted(task.labels)]
        image = as_rgb(task.scan.frames[frame])
        yield "overlay", png_bytes(Image.fromarray(draw_overlay(image, drawn, [])))


def _advice(args: Namespace, stop: Stop, written: Path) -> str:
    from ultrasam.core.files import shown

    if stop.kind == "unreadable":
        return f"object {stop.name} ended before frame {stop.frame}, which cannot be read: {stop.reason}"
    axis = "" if args.axis == "z" else f" --axis {args.axis}"
    return (
        f"object {stop.name} stopped on frame {stop.frame}: {stop.reason}; look at it and prompt that frame: "
        f"--from {shown(written)} --object {stop.name} --frame {stop.frame} --box X0,Y0,X1,Y1{axis}"
    )


def _report(
    args: Namespace,
    model: Model,
    task: _Task,
    rows: list[_Row],
    tracks: TrackAll,
    written: list[Path],
    seconds: float,
) -> dict[str, Any]:
    from ultrasam.cli.segment import versions
    from ultrasam.predict.frames import model_entry

    objects = []
    for number in sorted(task.labels):
        mine = [row for row in rows if row.object == number]
        objects.append(
            {
                "object": number,
                "class": task.labels[number],
                "frames": [row.frame for row in mine],
                "by_hand": [row.frame for row in mine if row.entry["origin"] != "tracked"],
                "doubtful": [row.frame for row in mine if row.entry["doubt"]],
                "stops": [
                    {"frame": stop.frame, "kind": stop.kind, "reason": stop.reason}
                    for stop in tracks.stops
                    if stop.name == str(number)
                ],
            }
        )
    return {
        "file": args.file,
        "frames": len(task.scan.frames),
        "model": model_entry(model),
        "versions": versions(),
        "guard": vars(task.guard),
        "objects": objects,
        "written": [str(path) for path in written],
        "seconds": round(seconds, 3),
    }


def _line(number: int, rows: list[_Row]) -> str:
    mine = [row for row in rows if row.object == number]
    doubtful = sum(bool(row.entry["doubt"]) for row in mine)
    text = f"object {number}: {len(mine)} frames from {mine[0].frame} to {mine[-1].frame}"
    return f"{text}, {doubtful} to look at" if doubtful else text
