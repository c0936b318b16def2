"""The COCO files, the report and the manifest of a set that is built."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from ultrasam import __version__
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_open, atomic_write_text, sha256_of
from ultrasam.datasets.catalogue import Dataset
from ultrasam.datasets.convert import BuildStopped
from ultrasam.datasets.journal import Journal, Json, relative
from ultrasam.datasets.plan import Plan

Status = Literal["complete", "incomplete", "failed"]

ANNOTATIONS, REPORT, MANIFEST = "annotations.json", "report.json", "manifest.json"
STATE = ".ultrasam/state"
# How far the number of images may be from the catalogue's, which editions of a set and other ways of counting
# change.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Outcome:
    """What became of a set.

    "complete": every file was used or left out on purpose; "incomplete": `problems` name what was not;
    "failed": nothing was written but the report. `counts` holds images, objects, cases, negatives, images
    without objects that were dropped, and objects by category. `unchanged`: an earlier run had done it all.
    """

    dataset: str
    status: Status
    counts: Json
    problems: tuple[tuple[str, str], ...]
    unchanged: bool = False


def annotation_file(annotator: str) -> str:
    return f"annotations.{annotator}.json" if annotator else ANNOTATIONS


def write_results(
    dataset: Dataset,
    folder: Path,
    plan: Plan,
    journal: Journal,
    keys: list[str],
    *,
    partial: bool,
    state: str,
) -> Outcome:
    """Write what there is to say of the groups `keys`, all of which are done. The manifest comes last.

    Raises BuildStopped if something cannot be written.
    """
    counts, annotators = _counted(dataset, journal.all_of(keys))
    found = [[relative(problem.path, plan.root), problem.reason] for problem in plan.problems]
    found += [problem for group in journal.all_of(keys) for problem in group["problems"]]
    problems = [_shortened(problem, plan.root) for problem in found]
    difference = "" if partial else count_difference(dataset, counts["images"])
    problems += [("", difference)] if difference else []
    status: Status = "incomplete" if problems else "complete"
    report = {
        "dataset": dataset.id,
        "status": status,
        "partial": partial,
        "counts": counts,
        "problems": [{"file": file, "reason": reason} for file, reason in problems],
        "left out": [
            {"file": relative(entry.path, plan.root), "reason": entry.reason} for entry in plan.skipped
        ],
    }
    inputs = {file: (size, sha) for group in journal.all_of(keys) for file, size, sha in group["inputs"]}
    for table in plan.tables:
        if table.is_file():
            inputs[relative(table, plan.root)] = (table.stat().st_size, sha256_of(table))
    digest = sha256()
    for group in journal.all_of(keys):
        for entry in group["entries"]:
            digest.update(f"{entry['image']['file_name']} {entry['sha256']}\n".encode())
    try:
        for annotator in annotators:
            _write_coco(folder / annotation_file(annotator), dataset, annotator, lambda: journal.all_of(keys))
        _remove_stale(folder, annotators, journal, keys)
        _write_json(folder / REPORT, report)
        manifest = {
            "ultrasam": __version__,
            "dataset": dataset.id,
            "name": dataset.name,
            "licence": dataset.licence,
            "terms": dataset.terms,
            "citation": dataset.paper,
            "url": dataset.url,
            "status": status,
            "partial": partial,
            "counts": counts,
            "expected images": dataset.images,
            "results": {name: sha256_of(folder / name) for name in map(annotation_file, annotators)},
            "images sha256": digest.hexdigest(),
            "inputs": [
                {"file": file, "bytes": size, "sha256": sha} for file, (size, sha) in sorted(inputs.items())
            ],
        }
        _write_json(folder / MANIFEST, manifest)
        atomic_write_text(folder / STATE, f"{state}\n")
    except UltrasamError as error:
        raise BuildStopped(str(error)) from None
    return Outcome(dataset.id, status, counts, tuple(problems))


def write_failure(dataset: Dataset, folder: Path, reason: str) -> Outcome:
    """Report a set of which nothing can be used; what an earlier run has built stays as it is."""
    problems = [{"file": "", "reason": reason}]
    _write_json(folder / REPORT, {"dataset": dataset.id, "status": "failed", "problems": problems})
    return Outcome(dataset.id, "failed", {}, (("", reason),))


def read_outcome(folder: Path, state: str) -> Outcome | None:
    """The outcome of an earlier run with this state, if it was complete and all is still there; else None.

    What had problems is tried again: the reason may have been a disk or the memory.
    """
    try:
        if (folder / STATE).read_text() != f"{state}\n":
            return None
        report, manifest = (json.loads((folder / name).read_bytes()) for name in (REPORT, MANIFEST))
        if report["status"] != "complete" or manifest["status"] != "complete":
            return None
        there = {entry.name for entry in os.scandir(folder / "images")}
        for name, sha in manifest["results"].items():
            if sha256_of(folder / name) != sha:
                return None
            content = json.loads((folder / name).read_bytes())
            if not {image["file_name"] for image in content["images"]} <= there:
                return None
        problems = tuple((entry["file"], entry["reason"]) for entry in report["problems"])
        return Outcome(report["dataset"], report["status"], report["counts"], problems)
    except (OSError, ValueError, LookupError, TypeError, UltrasamError):
        return None


def _counted(dataset: Dataset, groups: Iterable[Json]) -> tuple[Json, list[str]]:
    """The counts of the main annotator, and every annotator's name, the main one ("") first."""
    images = objects = negatives = empty = 0
    cases: set[str] = set()
    by_category: Counter[str] = Counter()
    by_split: Counter[str] = Counter()
    annotators: set[str] = {""}
    for group in groups:
        empty += group["empty"]
        for entry in group["entries"]:
            annotators |= entry["annotations"].keys()
            own = entry["annotations"].get("", [])
            if not own and not dataset.keep_negatives:
                continue
            images += 1
            negatives += not own
            objects += len(own)
            cases.add(entry["image"]["case_id"])
            by_split[entry["image"]["split"] or ""] += 1
            by_category.update(dataset.category_names[one["category_id"] - 1] for one in own)
    counts = {
        "images": images,
        "objects": objects,
        "cases": len(cases),
        "negatives": negatives,
        "dropped without objects": empty,
        "objects by category": {name: by_category[name] for name in dataset.category_names},
        "images by split": dict(sorted(by_split.items())),
    }
    return counts, sorted(annotators)


def count_difference(dataset: Dataset, images: int) -> str:
    """What is to be said if a set has far fewer or more images than the catalogue; "" if not or not known."""
    expected = dataset.images
    if expected is None or abs(images - expected) <= TOLERANCE * expected:
        return ""
    return (
        f"{images:,} images where the catalogue has {expected:,}: the download is not complete, or this is "
        "another "
        "edition (a part is built without complaint with --partial)"
    )


def _write_coco(path: Path, dataset: Dataset, annotator: str, groups: Callable[[], Iterator[Json]]) -> None:
    """One entry in a line, written as they are read: the file may be larger than the memory."""
    info = {
        "description": dataset.name,
        "url": dataset.url,
        "licence": dataset.licence,
        "terms": dataset.terms,
        "citation": dataset.paper,
        "made_by": f"ultrasam {__version__}: data build",
        **({"annotator": annotator} if annotator else {}),
    }
    categories = [
        {"id": number, "name": category.name, "supercategory": category.kind}
        for number, category in enumerate(dataset.categories, 1)
    ]

    def images() -> Iterator[Json]:
        for group in groups():
            for entry in group["entries"]:
                drawn = annotator in entry["annotations"]
                if drawn or (dataset.keep_negatives and not annotator):
                    image = entry["image"] | ({} if drawn else {"negative": True})
                    yield {key: value for key, value in image.items() if value is not None}

    def annotations() -> Iterator[Json]:
        for group in groups():
            for entry in group["entries"]:
                for one in entry["annotations"].get(annotator, []):
                    yield one | {"iscrowd": 0}

    with atomic_open(path) as file:
        file.write(f'{{"info": {json.dumps(info)},\n"images": ['.encode())
        for part, entries in (("", images()), ('],\n"annotations": [', annotations())):
            file.write(part.encode())
            for number, entry in enumerate(entries):
                file.write(f"{',' if number else ''}\n{json.dumps(entry)}".encode())
        file.write(f'],\n"categories": {json.dumps(categories)}}}\n'.encode())


def _remove_stale(folder: Path, annotators: list[str], journal: Journal, keys: list[str]) -> None:
    """Remove images and annotations of earlier runs that this one has not written."""
    wanted = {entry["image"]["file_name"] for group in journal.all_of(keys) for entry in group["entries"]}
    known = {
        entry["image"]["file_name"] for group in journal.all_of(list(journal)) for entry in group["entries"]
    }
    for name in sorted(known - wanted):
        (folder / "images" / name).unlink(missing_ok=True)
    for path in folder.glob("annotations.*.json"):
        if path.name not in map(annotation_file, annotators):
            path.unlink()


def _shortened(problem: list[str], root: Path) -> tuple[str, str]:
    """A problem in whose reason the raw folder is not spelled out, which differs from machine to machine."""
    file, reason = problem
    return file, reason.replace(f"{root / file} ", "").replace(f"{root}{os.sep}", "")


def _write_json(path: Path, content: Any) -> None:
    atomic_write_text(path, json.dumps(content, indent=1) + "\n")
