"""`ultrasam segment` over many frames: what is to be done, its progress, and what is written about it all."""

from __future__ import annotations

import json
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from ultrasam.cli.head import load_head
from ultrasam.cli.segment import nothing_found, settings_of, summary_of, versions
from ultrasam.cli.terminal import StatusLine, check_jobs, remark
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.io.prompted import PromptedImage, PromptKind
    from ultrasam.predict.batch import Item, Outcome
    from ultrasam.predict.frames import Ask
    from ultrasam.predict.model import Model

PREDICTIONS = "predictions.json"
REPORT = "report.json"
CATEGORY = {"id": 1, "name": "object"}


@dataclass(frozen=True)
class _Plan:
    """What is to be done, and for the report: the prompts, what cannot be read, what is left out."""

    items: Sequence[Item]
    prompts: Any
    problems: Sequence[tuple[Path, str]] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    categories: Sequence[Mapping[str, Any]] = (CATEGORY,)


def run_scans(args: Namespace, asks: list[Ask]) -> int:
    """The same prompts on each frame of files, folders and patterns."""
    from ultrasam.io.inputs import find_scans, names_in, places_of

    wanted = _frame_slice(args.frames)
    if wanted is not None and args.frame is not None:
        raise UltrasamError("--frame and --frames exclude each other: leave one out")
    found = find_scans(args.inputs, Path(args.out))
    places = places_of(found.files)
    items: list[Item] = []
    for path, place, name in zip(found.files, places, names_in(places), strict=True):
        which = args.frame if wanted is None else wanted
        items += _items_of(path, str(place), name, which, asks, args.axis)
    left_out = {"other_files": found.others}
    return _run(args, _Plan(items, [asdict(ask) for ask in asks], found.problems, left_out))


def run_coco(args: Namespace) -> int:
    """The objects of a COCO file."""
    from ultrasam.core.files import sha256_of
    from ultrasam.io.inputs import names_in, numbered
    from ultrasam.io.prompted import read_prompt_file
    from ultrasam.predict.batch import Item

    file = read_prompt_file(args.inputs[0], args.images)
    places = list(dict.fromkeys(image.place for image in file.images))
    name_of = dict(zip(places, names_in(places), strict=True))
    times = Counter(image.place for image in file.images)
    names = numbered(
        _frame_name(name_of[image.place], image.frame if image.frame or times[image.place] > 1 else None)
        for image in file.images
    )
    items = [
        Item(
            image.path,
            name,
            image.frame or 0,
            args.axis,
            question=[args.prompts, list(image.annotations)],
            asks=_asks_of_image(image, args.prompts),
            image=image.entry,
            objects=[_kept_keys(annotation) for annotation in image.annotations],
        )
        for image, name in zip(file.images, names, strict=True)
    ]
    left_out = {"images_without_objects": file.without_objects}
    source = {"file": args.inputs[0], "sha256": sha256_of(args.inputs[0]), "taken": args.prompts}
    return _run(args, _Plan(items, source, left_out=left_out, categories=file.categories))


def _run(args: Namespace, plan: _Plan) -> int:
    from ultrasam.core.files import ensure_writable_dir, shown
    from ultrasam.predict.batch import run_batch
    from ultrasam.predict.frames import categories_of
    from ultrasam.predict.journal import Journal
    from ultrasam.predict.model import prepare
    from ultrasam.zoo.store import find

    start = time.perf_counter()
    jobs = check_jobs(1 if args.jobs is None else args.jobs)
    threads = _threads(args.threads, jobs)
    settings = settings_of(args)
    categories = plan.categories if settings.head is None else categories_of(settings)
    weights = find(args.model)
    out = ensure_writable_dir(args.out)
    for name in (PREDICTIONS, REPORT):
        _check_replaceable(out / name, args.overwrite)
    for _, problem in plan.problems:
        remark(problem)
    with Journal(out, overwrite=args.overwrite) as journal:
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
        with _Progress(len(plan.items)) as progress:
            outcomes = run_batch(
                model, plan.items, settings, journal, summarise=summary_of, jobs=jobs, tell=progress
            )
        if settings.automatic is not None:
            for outcome in outcomes:
                if outcome.record and not outcome.record["objects"]:
                    remark(nothing_found(outcome.item.path, settings))
        report = _report(plan, model, outcomes, asdict(settings) | {"inputs": list(args.inputs)})
        report["totals"]["seconds"] = round(time.perf_counter() - start, 3)
        written = _write(out, report, _predictions(model, outcomes, categories))
    if args.json:
        print(json.dumps(report))
    else:
        _print_summary(report["totals"], outcomes, shown(out) if written else "")
    finished = report["totals"]["done"] + report["totals"]["kept"]
    if not finished:
        return 2
    return 0 if finished == len(plan.items) and not plan.problems and written else 1


def _items_of(
    path: Path, place: str, name: str, which: int | slice | None, asks: Sequence[Ask], axis: str
) -> list[Item]:
    """One item for each frame that is wanted, or one that fails if there is none."""
    from ultrasam.io.scan import read_scan
    from ultrasam.predict.batch import Item

    item = Item(
        path,
        name,
        axis=axis,
        question=[asdict(ask) for ask in asks],
        asks=lambda width, height: asks,
        # Without prompts one entry for all objects that will be found.
        objects=[{"category_id": CATEGORY["id"]}] * max(1, len(asks)),
    )
    if which is None:
        return [replace(item, image={"file_name": place, "frame": 0})]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is opened again for each frame, with its remarks
            frames = range(len(read_scan(path, axis).frames))
        numbers = frames[which] if isinstance(which, slice) else [frames[which]]
        if not numbers:
            raise IndexError
    except UltrasamError as error:
        return [replace(item, problem=str(error))]
    except IndexError:
        from ultrasam.core.files import shown

        count = "1 frame" if len(frames) == 1 else f"{len(frames)} frames"
        return [replace(item, problem=f"{shown(path)} has {count}: none of those that were asked for")]
    return [
        replace(
            item,
            name=_frame_name(name, number),
            frame=number,
            image={"file_name": place, "frame": number},
        )
        for number in numbers
    ]


def _frame_name(name: str, frame: int | None) -> str:
    return name if frame is None else f"{name}_frame{frame}"


def _frame_slice(text: str | None) -> slice | None:
    from ultrasam.core.files import shown

    if text is None or text == "all":
        return None if text is None else slice(None)
    try:
        numbers = [int(part) if part.strip() else None for part in text.split(":")]
        if not 2 <= len(numbers) <= 3:
            raise ValueError
        chosen = slice(*numbers)
        range(1)[chosen]
    except ValueError:
        raise UltrasamError(f"--frames {shown(text)}: write all or A:B, such as 0:10 or 5:") from None
    return chosen


def _asks_of_image(image: PromptedImage, kind: PromptKind) -> Any:
    from ultrasam.predict.frames import Ask

    return lambda width, height: [Ask(prompts) for prompts in image.prompts(kind, width, height)]


def _kept_keys(annotation: Mapping[str, Any]) -> dict[str, Any]:
    return {key: annotation[key] for key in ("id", "image_id", "category_id")}


def _threads(threads: int | None, jobs: int) -> int:
    from ultrasam.engines.threads import MOST_USEFUL, checked_threads, usable_cores

    if threads is not None:
        return checked_threads(threads)
    return max(1, min(usable_cores() // jobs, MOST_USEFUL))


def _check_replaceable(path: Path, overwrite: bool) -> None:
    """Raises UltrasamError for a file of this name that is not from an earlier run."""
    from ultrasam.core.files import check_output
    from ultrasam.core.workplace import HIDDEN
    from ultrasam.predict.journal import not_ours

    check_output(path)
    if path.exists() and not overwrite and not (path.parent / HIDDEN).is_dir():
        raise not_ours(path)


def _predictions(
    model: Model, outcomes: Sequence[Outcome], categories: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """COCO with the ids of the prompts' file, or else numbered from 1."""
    from ultrasam.predict.frames import coco_document, model_entry

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for outcome in outcomes:
        if outcome.status in ("done", "kept"):
            image = {"id": len(images) + 1, **outcome.record["image"]}
            images.append(image)
            for entry in outcome.record["annotations"]:
                annotations.append({"id": len(annotations) + 1, "image_id": image["id"], **entry})
    return coco_document(model_entry(model), images, annotations, categories)


def _report(
    plan: _Plan, model: Model, outcomes: Sequence[Outcome], settings: Mapping[str, Any]
) -> dict[str, Any]:
    from ultrasam.predict.frames import model_entry

    totals: dict[str, float] = dict.fromkeys(("items", "done", "kept", "failed", "left"), 0)
    totals |= {"objects": 0, "empty": 0, "unreadable_folders": len(plan.problems), **plan.left_out}
    entries = []
    for outcome in outcomes:
        totals["items"] += 1
        totals[outcome.status] += 1
        entry: dict[str, Any] = {"file": str(outcome.item.path), "frame": outcome.item.frame}
        entry["status"] = outcome.status
        if outcome.error:
            entry["error"] = outcome.error
        if outcome.record:
            objects = outcome.record["objects"]
            totals["objects"] += len(objects)
            totals["empty"] += sum(not found["area_px"] for found in objects)
            entry |= {key: outcome.record[key] for key in ("sha256", "frames", "objects", "seconds")}
            entry["written"] = [outcome.item.name + ending for ending in outcome.record["endings"]]
        entries.append(entry)
    return {
        "versions": versions(),
        "model": model_entry(model),
        "settings": settings,
        "prompts": plan.prompts,
        "totals": totals,
        "items": entries,
        "problems": [{"folder": str(folder), "error": error} for folder, error in plan.problems],
    }


def _write(out: Path, report: Mapping[str, Any], predictions: Mapping[str, Any]) -> bool:
    from ultrasam.core.files import atomic_write_all

    contents = {REPORT: json.dumps(report, indent=1), PREDICTIONS: json.dumps(predictions, allow_nan=False)}
    try:
        atomic_write_all({out / name: (text + "\n").encode() for name, text in contents.items()})
    except UltrasamError as error:  # the results of each item stand, and the next run keeps them
        remark(str(error))
        return False
    return True


def _print_summary(totals: Mapping[str, float], outcomes: Sequence[Outcome], place: str) -> None:
    kept = f" ({totals['kept']} kept from an earlier run)" if totals["kept"] else ""
    print(f"segmented {totals['done'] + totals['kept']} of {totals['items']} frames{kept}", end="")
    for status, words in (("failed", "failed"), ("left", "not begun")):
        if totals[status]:
            print(f", {totals[status]} {words}", end="")
    empty = f", {totals['empty']} of them with an empty mask" if totals["empty"] else ""
    print(f": {totals['objects']} objects{empty}, in {totals['seconds']:.1f} s")
    clips = sum("frame" not in _name(outcome) and outcome.record.get("frames", 1) > 1 for outcome in outcomes)
    if clips:
        print(f"of {clips} clips only frame 0: choose with --frame N or --frames all")
    if place:
        print(f"wrote {PREDICTIONS} and {REPORT} to {place}")


def _name(outcome: Outcome) -> str:
    return outcome.item.name.rpartition("/")[2]


class _Progress:
    """A line for each item that failed, and on a terminal one that is rewritten, both on stderr."""

    def __init__(self, total: int) -> None:
        self._start = time.perf_counter()
        self._total = total
        self._status = StatusLine()
        self._counts = dict.fromkeys(("done", "kept", "failed", "left"), 0)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._status.write("")

    def __call__(self, outcome: Outcome) -> None:
        self._counts[outcome.status] += 1
        if outcome.error:
            self._status.write("")
            remark(_named(outcome))
        if self._status.shown:
            worked = self._counts["done"] + self._counts["failed"]
            finished = sum(self._counts.values())
            left = (time.perf_counter() - self._start) / max(1, worked) * (self._total - finished)
            failed = f", {self._counts['failed']} failed" if self._counts["failed"] else ""
            self._status.write(f"{finished} of {self._total} frames{failed}, about {left:.0f} s to go")


def _named(outcome: Outcome) -> str:
    """The error in one line, with the file's name before it unless it says it itself."""
    from ultrasam.core.files import shown

    name = shown(outcome.item.path)
    text = " ".join(outcome.error.split())
    return text if text.startswith(name) else f"{name}: {text}"
