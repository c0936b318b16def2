"""The COCO files, the report and the manifest of a set that is built."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from ultrasam import __version__
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write_text, reason, sha256_of, shown
from ultrasam.core.workplace import HIDDEN
from ultrasam.datasets.catalogue import Dataset
from ultrasam.datasets.convert import BuildStopped, Json
from ultrasam.datasets.journal import Journal, relative
from ultrasam.datasets.plan import Plan, first_of
from ultrasam.datasets.stream import CocoStream

Status = Literal["complete", "incomplete", "failed"]

ANNOTATIONS, REPORT, MANIFEST = "annotations.json", "report.json", "manifest.json"
STATE = f"{HIDDEN}/state"
MADE_BY = "ultrasam"
# How far the number of images may be from the catalogue's, which editions of a set and other ways of counting
# change.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Outcome:
    """What became of a set.

    "complete": every file was used or left out on purpose; "incomplete": `problems` name what was not;
    "failed": nothing was written but the report. `counts` holds images, objects, cases, negatives, images
    that another set has too, images without objects that were dropped, and objects by category. `unchanged`:
    an earlier run had done it all.
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
    problems = _problems(dataset, plan, journal.all_of(keys), None if partial else counts)
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
    pictures = {
        entry["image"]["file_name"]: (entry["bytes"], entry["sha256"])
        for group in journal.all_of(keys)
        for entry in group["entries"]
    }
    stale = earlier_images(folder)
    others = set(journal) - set(keys)
    stale |= {e["image"]["file_name"] for group in journal.all_of(others) for e in group["entries"]}
    try:
        for annotator in annotators:
            _write_coco(folder / annotation_file(annotator), dataset, annotator, journal.all_of(keys))
        _remove_stale(folder, annotators, stale - pictures.keys())
        _write_json(folder / REPORT, report)
        manifest = {
            "ultrasam": __version__,
            "dataset": dataset.id,
            "name": dataset.name,
            "licence": dataset.licence,
            "terms": dataset.terms,
            "citation": dataset.paper,
            "url": dataset.url,
            "cases": dataset.cases,
            "status": status,
            "partial": partial,
            "counts": counts,
            "expected images": dataset.images,
            "results": {name: sha256_of(folder / name) for name in map(annotation_file, annotators)},
            "images": {
                "files": len(pictures),
                "bytes": sum(size for size, _ in pictures.values()),
                "sha256": digest_of({name: sha for name, (_, sha) in pictures.items()}),
            },
            "inputs": _inputs(plan, journal.all_of(keys)),
        }
        _write_json(folder / MANIFEST, manifest)
        atomic_write_text(folder / STATE, f"{state}\n")
    except UltrasamError as error:
        raise BuildStopped(str(error)) from None
    return Outcome(dataset.id, status, counts, tuple(problems))


def _problems(
    dataset: Dataset, plan: Plan, groups: Iterator[Json], counts: Json | None
) -> list[tuple[str, str]]:
    """(file, reason) of all that could not be used; with `counts` also of what the set should have."""
    found = [[relative(problem.path, plan.root), problem.reason] for problem in plan.problems]
    found += [problem for group in groups for problem in group["problems"]]
    problems = [_shortened(problem, plan.root) for problem in found]
    if counts is None:
        return problems
    for one in plan.missing:
        text = f"lists {len(one.names)} files that are missing: {first_of(one.names)}"
        problems.append((relative(one.table, plan.root), text))
    tests = counts["images by split"].get("test", 0)
    # The catalogue does not count images that another set has too.
    own = counts["images"] - counts["duplicates"]
    differences = count_differences(dataset, own, tests, counts["cases"])
    return [*problems, *(("", text) for text in differences)]


def _inputs(plan: Plan, groups: Iterator[Json]) -> list[Json]:
    """Every file that was read, with its size and SHA-256, by name."""
    inputs = {file: (size, sha) for group in groups for file, size, sha in group["inputs"]}
    for table in plan.tables:
        with contextlib.suppress(UltrasamError, OSError):  # one that cannot be read has its own problem
            inputs[relative(table, plan.root)] = (table.stat().st_size, sha256_of(table))
    return [{"file": file, "bytes": size, "sha256": sha} for file, (size, sha) in sorted(inputs.items())]


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
        names: set[str] = set()
        for name, sha in manifest["results"].items():
            if sha256_of(folder / name) != sha:
                return None
            names |= _listed(json.loads((folder / name).read_bytes()))
        if sum(size_of(folder / "images" / name) for name in names) != manifest["images"]["bytes"]:
            return None
        problems = tuple((entry["file"], entry["reason"]) for entry in report["problems"])
        return Outcome(report["dataset"], report["status"], report["counts"], problems)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, UltrasamError):
        return None


def _counted(dataset: Dataset, groups: Iterable[Json]) -> tuple[Json, list[str]]:
    """The counts of the main annotator, and every annotator's name, the main one ("") first."""
    images = objects = negatives = duplicates = empty = 0
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
            duplicates += "duplicate_of" in (entry["image"]["attributes"] or {})
            objects += len(own)
            cases.add(entry["image"]["case_id"])
            by_split[entry["image"]["split"] or ""] += 1
            by_category.update(dataset.category_names[one["category_id"] - 1] for one in own)
    counts = {
        "images": images,
        "objects": objects,
        "cases": len(cases),
        "negatives": negatives,
        "duplicates": duplicates,
        "dropped without objects": empty,
        "objects by category": {name: by_category[name] for name in dataset.category_names},
        "images by split": dict(sorted(by_split.items())),
    }
    return counts, sorted(annotators)


def count_differences(dataset: Dataset, images: int, tests: int, cases: int) -> list[str]:
    """What is to be said if a set has far fewer or more images, or images for tests, than the catalogue.

    Where the number of images is not known, that of the patients is compared with `cases`.
    """
    pairs = [("images", images, dataset.images), ("images for tests", tests, dataset.tests)]
    if dataset.images is None:
        pairs.append(("patients", cases, dataset.patients))
    return [
        f"{found:,} {what} where the catalogue has {expected:,}: the download is not complete, or this is "
        "another "
        "edition (a part is built without complaint with --partial)"
        for what, found, expected in pairs
        if expected is not None and abs(found - expected) > TOLERANCE * expected
    ]


def _write_coco(path: Path, dataset: Dataset, annotator: str, groups: Iterable[Json]) -> None:
    """The images that an annotator has drawn in, as the groups come."""
    info = {
        "description": dataset.name,
        "url": dataset.url,
        "licence": dataset.licence,
        "terms": dataset.terms,
        "citation": dataset.paper,
        "made_by": f"{MADE_BY} {__version__}: data build",
        **({"annotator": annotator} if annotator else {}),
    }
    categories = [
        {"id": number, "name": category.name, "supercategory": category.kind}
        for number, category in enumerate(dataset.categories, 1)
    ]

    with CocoStream(path, info, categories) as file:
        for group in groups:
            for entry in group["entries"]:
                own = entry["annotations"].get(annotator)
                if own is None and (annotator or not dataset.keep_negatives):
                    continue
                image = entry["image"] | ({"negative": True} if own is None else {})
                known = {key: value for key, value in image.items() if value is not None}
                file.add(known, (one | {"iscrowd": 0} for one in own or []))


def _remove_stale(folder: Path, annotators: list[str], stale: set[str]) -> None:
    """Remove images and annotations of earlier runs that this one has not written, and nothing else."""
    for name in sorted(stale):
        remove(folder / "images" / name)
    for path in folder.glob("annotations.*.json"):
        if path.name not in map(annotation_file, annotators):
            remove(path)


def earlier_images(folder: Path) -> set[str]:
    """The images that COCO files of earlier runs list. Raises UltrasamError for one of somebody else."""
    names: set[str] = set()
    for path in folder.glob("annotations*.json"):
        try:
            content = json.loads(path.read_bytes())
            ours = str(content["info"].get("made_by", "")).startswith(MADE_BY)
            names |= _listed(content) if ours else set()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue  # what is damaged is written again
        if not ours:
            raise UltrasamError(
                f"{shown(path)} is not from `ultrasam data build` and would be replaced: choose another "
                "folder with --out"
            )
    return names


def _listed(coco: Json) -> set[str]:
    """The images that a COCO file lists, by plain names of PNG files; others are left out."""
    names = (image["file_name"] for image in coco["images"])
    return {name for name in names if re.fullmatch(r"[\w.-]+\.png", name)}


def digest_of(shas: Mapping[str, str]) -> str:
    """One SHA-256 of the SHA-256 of many files by name, whatever their order."""
    lines = "".join(f"{name} {sha}\n" for name, sha in sorted(shas.items()))
    return sha256(lines.encode()).hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, -1 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def remove(path: Path) -> None:
    """Remove a file that may be there. Raises BuildStopped if it cannot be."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BuildStopped(
            f"{shown(path)} cannot be removed ({reason(error)}): remove it yourself"
        ) from error


def _shortened(problem: list[str], root: Path) -> tuple[str, str]:
    """A problem in whose reason the raw folder is not spelled out, which differs from machine to machine."""
    file, why = problem
    for text in (f"{shown(root / file)} ", f"{root / file} ", f"{root}{os.sep}"):
        why = why.replace(text, "")
    return file, why


def _write_json(path: Path, content: Any) -> None:
    atomic_write_text(path, json.dumps(content, indent=1) + "\n")
