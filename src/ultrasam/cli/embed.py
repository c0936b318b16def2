"""Turn images into vectors, to find alike ones or to train a probe on: one row for each image or frame.

A vector is the mean of the encoder's embedding over the part that shows the image. The ending of --out says
the form: .csv and .npz need nothing further, .parquet the extra eval. The columns are file, frame, width and
height (in pixels), with --data also dataset, case_id and categories (with ; between them), and the numbers
f0000, f0001, ...; in npz they are one array, `features`. The model's id and SHA-256 are in the metadata
(`ultrasam`, JSON), in CSV in the first two columns.

--nearest draws a picture: images in the first column, beside each the most similar ones of other cases with
their cosine similarity. Without --data each file is a case.
Exit codes: 0 all done, 1 some failed, 2 nothing done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.options import add_axis, add_images, add_keep_embeddings, add_runner, add_threads
from ultrasam.cli.terminal import StatusLine, remark
from ultrasam.core.errors import UltrasamError
from ultrasam.zoo.store import DEFAULT_MODEL

if TYPE_CHECKING:
    from ultrasam.core.geometry import ByteArray, FloatArray
    from ultrasam.io.features import Features
    from ultrasam.io.scan import Scan
    from ultrasam.predict.model import Model
    from ultrasam.predict.nearest import Tile


@dataclass(frozen=True)
class _Source:
    """A file, the name it has in the table and, of an image of a COCO file, what stands there."""

    path: Path
    name: str
    about: dict[str, str] = field(default_factory=dict)
    frame: int | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class _Row:
    source: _Source
    frame: int
    width: int
    height: int
    vector: FloatArray

    @property
    def case(self) -> str:
        about = self.source.about
        return f"{about['dataset']}/{about['case_id']}" if about else str(self.source.path)

    @property
    def kind(self) -> str:
        about = self.source.about
        return f"{about['dataset']}: {about['categories']}" if about else ""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="*", default=[], metavar="INPUT", help="image or DICOM files, folders, patterns"
    )
    parser.add_argument("--data", metavar="COCO.json", help="the images of a COCO file instead")
    add_images(parser)
    parser.add_argument("--out", metavar="FILE", help="the table to write: .parquet, .csv or .npz (required)")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="of a clip or volume only each Nth frame"
    )
    add_axis(parser)
    parser.add_argument(
        "--nearest", metavar="SHEET.png", help="write a picture of some images and the most similar ones"
    )
    parser.add_argument(
        "--query", metavar="IMAGE", help="with --nearest: the image to compare with (of a clip: frame 0)"
    )
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="name or folder of a model; see `ultrasam info`"
    )
    add_threads(parser)
    add_runner(parser)
    add_keep_embeddings(parser)
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")


def run(args: Namespace) -> int:
    from ultrasam.core.files import ensure_writable_dir, shown
    from ultrasam.engines.threads import checked_threads
    from ultrasam.io.features import write_features
    from ultrasam.predict.model import prepare
    from ultrasam.zoo.store import find

    # Whatever can be refused is looked at before anything is encoded, the cheap before the slow.
    start = time.perf_counter()
    _check(args)
    threads = checked_threads(args.threads)
    query = None if args.query is None else _query_of(args)
    sources, problems = _coco_sources(args) if args.data else _file_sources(args)
    weights = find(args.model)
    for path in filter(None, (args.out, args.nearest)):
        ensure_writable_dir(Path(path).parent)
    model = prepare(
        weights, threads=threads, keep_embeddings=args.keep_embeddings, engine=args.engine, device=args.device
    )
    failures = [{"file": str(folder), "error": error} for folder, error in problems]
    for failure in failures:
        remark(failure["error"])
    rows = list(_rows(model, sources, args, failures))
    written: list[str] = []
    if rows:
        write_features(args.out, _features_of(model, rows))
        written.append(args.out)
        try:
            if args.nearest:
                _write_sheet(model, rows, query, args)
                written.append(args.nearest)
        except UltrasamError as error:  # the table stands
            failures.append({"file": args.nearest, "error": str(error)})
            remark(str(error))
    report = {
        "model": model.card.id,
        "model_sha256": dict(model.card.sha256),
        "rows": len(rows),
        "dimensions": model.card.embedding[0],
        "failed": failures,
        "written": written,
        "seconds": round(time.perf_counter() - start, 3),
    }
    if args.json:
        print(json.dumps(report))
    else:
        failed = f", {len(failures)} failed" if failures else ""
        print(f"embedded {len(rows)} images or frames{failed}: {report['dimensions']} numbers each, ", end="")
        print(f"in {report['seconds']:.1f} s")
        if written:
            print(f"wrote {', '.join(map(shown, written))}")
    return 2 if not rows else 1 if failures else 0


def _check(args: Namespace) -> None:
    """Raises UltrasamError for options that do not go together, and for files that cannot be written."""
    from ultrasam.core.files import check_output, shown
    from ultrasam.io.features import check_features

    if not args.out:
        raise UltrasamError("no file for the vectors: add --out FILE.csv, FILE.npz or FILE.parquet")
    check_features(args.out)
    if args.inputs and args.data:
        raise UltrasamError("files and --data at once: give one of them")
    if not args.inputs and not args.data:
        raise UltrasamError("nothing to embed: name images or folders, or a COCO file with --data")
    if args.images is not None and not args.data:
        raise UltrasamError("--images DIR goes with --data: name the folder itself as the input")
    if args.every < 1:
        raise UltrasamError(f"--every {args.every}: give a whole number from 1 on")
    if args.query is not None and not args.nearest:
        raise UltrasamError("--query says whose neighbours to draw: add --nearest SHEET.png")
    check_output(args.out)
    if args.nearest:
        check_output(args.nearest)
        if Path(args.nearest).suffix.lower() != ".png":
            raise UltrasamError(f"--nearest {shown(args.nearest)}: it is a PNG, end its name in .png")


def _query_of(args: Namespace) -> ByteArray:
    from ultrasam.core.geometry import as_rgb
    from ultrasam.io.scan import read_scan

    return as_rgb(read_scan(args.query, args.axis).frames[0])


def _file_sources(args: Namespace) -> tuple[list[_Source], tuple[tuple[Path, str], ...]]:
    import os

    from ultrasam.io.inputs import find_scans

    # No folder holds results here but one picture, which must not become an input of the next run.
    sheet = os.path.realpath(args.nearest) if args.nearest else ""
    found = find_scans(args.inputs, Path(args.out))
    files = [path for path in found.files if os.path.realpath(path) != sheet]
    return [_Source(path, path.as_posix()) for path in files], found.problems


def _coco_sources(args: Namespace) -> tuple[list[_Source], tuple[tuple[Path, str], ...]]:
    """All images of the COCO file in its order, also those without objects."""
    from ultrasam.core.files import shown
    from ultrasam.datasets.splits import group_of
    from ultrasam.evaluation.samples import image_folder
    from ultrasam.io.coco import read_coco

    coco = read_coco(args.data)
    folder = image_folder(Path(args.data), args.images)
    names = {category.id: category.name for category in coco.categories}
    objects = coco.by_image()
    sources = []
    for image in coco.images:
        dataset, case = group_of(image, Path(args.data))
        shown_ones = sorted({names[one.category_id] for one in objects[image.id]})
        about = {"dataset": dataset, "case_id": case, "categories": ";".join(shown_ones)}
        size = image.width, image.height
        sources.append(_Source(folder / image.file_name, image.file_name, about, image.frame or 0, size))
    if not sources:
        raise UltrasamError(f"{shown(args.data)} has no image: give a COCO file with some")
    if not any(source.path.is_file() for source in sources):
        raise UltrasamError(
            f"none of the {len(sources)} images is there, the first is {shown(sources[0].path)}: "
            "name their folder with --images DIR"
        )
    return sources, ()


def _rows(
    model: Model, sources: list[_Source], args: Namespace, failures: list[dict[str, Any]]
) -> Iterator[_Row]:
    """A row for each frame that can be read, one frame in memory at a time; the others go to `failures`."""
    status, start, frames = StatusLine(), time.perf_counter(), 0
    for done, source in enumerate(sources):
        for found in _frames_of(source, args):
            if status.shown:
                spent = time.perf_counter() - start
                left = f", about {spent / done * (len(sources) - done):.0f} s to go" if done else ""
                failed = f", {len(failures)} failed" if failures else ""
                status.write(f"{done} of {len(sources)} files, {frames} frames{failed}{left}")
            try:
                if isinstance(found, UltrasamError):
                    raise found
                yield _row(model, source, *found)
                frames += 1
            except UltrasamError as error:
                frame = None if isinstance(found, UltrasamError) else found[1]
                failures.append({"file": source.name, "frame": frame, "error": str(error)})
                status.write("")
                remark(_named(source, frame, str(error)))
    status.write("")


def _frames_of(source: _Source, args: Namespace) -> Iterator[tuple[Scan, int] | UltrasamError]:
    """The frames to take of a file, or what is wrong with it."""
    from ultrasam.io.scan import read_scan

    try:
        scan = read_scan(source.path, args.axis)
    except UltrasamError as error:
        yield error
        return
    if source.frame is not None:
        # A built set says which frame of a clip an image once was; its own file is a still.
        yield scan, source.frame if len(scan.frames) > 1 else 0
        return
    for number in range(0, len(scan.frames), args.every):
        yield scan, number


def _row(model: Model, source: _Source, scan: Scan, number: int) -> _Row:
    from ultrasam.core.files import shown

    image = scan.frames[number]
    height, width = image.shape[:2]
    if source.size not in (None, (width, height)):
        raise UltrasamError(
            f"{shown(source.path)} has {width} x {height} pixels, "
            f"the COCO file says {source.size[0]} x {source.size[1]}: correct it there"
        )
    return _Row(source, number, width, height, model.embed(image))


def _named(source: _Source, frame: int | None, error: str) -> str:
    """The error in one line, with the file and the frame before it unless it names the file itself."""
    from ultrasam.core.files import shown

    name, text = shown(source.path), " ".join(error.split())
    text = text if text.startswith(name) else f"{name}: {text}"
    return f"frame {frame} of {text}" if frame else text


def _features_of(model: Model, rows: list[_Row]) -> Features:
    import numpy as np

    from ultrasam import __version__
    from ultrasam.io.features import Features
    from ultrasam.predict.frames import model_entry

    columns: dict[str, Any] = {
        "file": [row.source.name for row in rows],
        "frame": [row.frame for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
    }
    for name in rows[0].source.about:
        columns[name] = [row.source.about[name] for row in rows]
    about = {"model": model_entry(model), "vector": "mean over image cells", "version": __version__}
    return Features(columns, np.stack([row.vector for row in rows]), about)


def _write_sheet(model: Model, rows: list[_Row], query: ByteArray | None, args: Namespace) -> None:
    import os

    import numpy as np

    from ultrasam.core.files import atomic_write
    from ultrasam.predict.nearest import Tile, chosen_queries, nearest, nearest_sheet

    vectors, cases = np.stack([row.vector for row in rows]), [row.case for row in rows]
    kinds = [row.kind for row in rows]
    if query is None:
        names = [f"{row.source.name} {row.frame}" for row in rows]
        firsts = [
            (vectors[row], cases[row], _tile(rows[row], args, "query"))
            for row in chosen_queries(names, cases, kinds)
        ]
    else:
        # If it is one of the images itself, its own case does not count.
        real = os.path.realpath(args.query)
        own = next((row.case for row in rows if os.path.realpath(row.source.path) == real), "")
        firsts = [(model.embed(query), own, Tile(("query", Path(args.query).name), lambda: query))]
    lines = []
    for vector, own, tile in firsts:
        found = nearest(vector, vectors, cases, own)
        lines.append([tile, *(_tile(rows[row], args, f"{similar:.3f}") for row, similar in found)])
    title = f"{model.card.name}: most similar images of other cases, by cosine similarity"
    atomic_write(args.nearest, nearest_sheet(title, lines))


def _tile(row: _Row, args: Namespace, head: str) -> Tile:
    from ultrasam.core.geometry import as_rgb
    from ultrasam.io.scan import read_scan
    from ultrasam.predict.nearest import Tile

    name = row.source.path.name + (f" frame {row.frame}" if row.frame else "")
    lines = (head, name, row.kind)
    return Tile(lines, lambda: as_rgb(read_scan(row.source.path, args.axis).frames[row.frame]))
