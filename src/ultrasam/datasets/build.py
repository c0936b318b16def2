"""From the raw files of a data set to PNG images, COCO files, a report and a manifest.

    OUT/ID/images/*.png                what is drawn in is there; `us_nerve` keeps its negatives
    OUT/ID/annotations.json            COCO with the classes of the catalogue
    OUT/ID/annotations.ANNOTATOR.json  the same of further people who have drawn
    OUT/ID/report.json                 counts, problems, what was left out and why
    OUT/ID/manifest.json               licence, citation, SHA-256 of every input and of the results
    OUT/ID/.ultrasam/                  what a later run needs to go on; may be removed

The same raw files give the same bytes, in whatever order the directory lists them and however many processes
work.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ultrasam import __version__
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import ensure_writable_dir, shown
from ultrasam.core.workplace import own_folder, remove_temporary_files
from ultrasam.datasets.catalogue import Dataset
from ultrasam.datasets.convert import BuildStopped, Group, Job, Json, convert, fingerprint
from ultrasam.datasets.journal import Journal
from ultrasam.datasets.own.source import OwnDataset, own_records, own_signature
from ultrasam.datasets.plan import Plan, make_plan
from ultrasam.datasets.processes import ProcessKilled, in_processes
from ultrasam.datasets.raw import opened_raw, signature
from ultrasam.datasets.record import Found
from ultrasam.datasets.results import (
    MANIFEST,
    Outcome,
    earlier_images,
    read_outcome,
    remove,
    size_of,
    write_failure,
    write_results,
)

JOURNAL = "journal.jsonl"
PART_OF_JOURNAL = "journal.{}.jsonl"
"""The journal of a shard, `shards.Shard.name` in the place of {}."""

Tell = Callable[[int, int], None]


def build(
    dataset: Dataset,
    raw: Path,
    out: Path,
    jobs: int = 1,
    *,
    partial: bool = False,
    duplicates: bool = False,
    tell: Tell | None = None,
) -> Outcome:
    """Convert one set into `out`/ID; what an earlier run has done for the same files is not done again.

    `raw` is a folder or archive. With `partial` a part of the set is meant: its counts are not held against
    the catalogue. With `duplicates` images that another set has too are converted again. `tell` hears how
    many images of how many are done. A file that cannot be used becomes a problem in the outcome; so does a
    set of which nothing can be used. Raises UltrasamError if the results cannot be written, another run
    writes them or a process is killed.
    """
    folder = out / dataset.id
    images = folder / "images"
    check_apart(raw, folder)
    with own_folder(folder) as hidden:
        for place in (folder, hidden, images):
            remove_temporary_files(place)
        unpacked = hidden / "raw"
        try:
            files = signature_of(dataset, raw)
            state = f"{files} {code_of(dataset)} {_form()} {partial} {duplicates}"
            before = read_outcome(folder, state)
            if before is not None:
                return replace(before, unchanged=True)
        except UltrasamError as error:
            return write_failure(dataset, folder, str(error))
        earlier_images(folder)  # of somebody else nothing is replaced, and not after hours
        try:
            # In a folder of the archive's own, so that what another one has left is never taken for it.
            dataset, plan = plan_of(dataset, raw, unpacked / files[:16], duplicates, jobs)
        except UltrasamError as error:
            shutil.rmtree(unpacked, ignore_errors=True)
            return write_failure(dataset, folder, str(error))
        ensure_writable_dir(images)
        # Until all is done nothing counts as complete.
        remove(folder / MANIFEST)
        with Journal(hidden / JOURNAL) as journal:
            for path in sorted(hidden.glob(PART_OF_JOURNAL.format("*"))):
                journal.adopt(path)
            code = code_of(dataset)
            keys = [fingerprint(group, code, plan.root) for group in plan.groups]
            groups = list(zip(keys, plan.groups, strict=True))
            convert_missing(dataset, plan.root, groups, journal, images, jobs, tell)
            outcome = write_results(dataset, folder, plan, journal, keys, partial=partial, state=state)
            journal.keep(keys)
        shutil.rmtree(unpacked, ignore_errors=True)
    return outcome


def signature_of(dataset: Dataset, raw: Path) -> str:
    """Equal as long as no raw file of the set changes its name, size or time. Raises UltrasamError."""
    return own_signature(raw) if isinstance(dataset, OwnDataset) else signature(raw)


def plan_of(
    dataset: Dataset, raw: Path, unpacked: Path, duplicates: bool = False, jobs: int = 1
) -> tuple[Dataset, Plan]:
    """What is to be converted, and the entry, which for a user's own data gets its categories now.

    An archive is unpacked into the folder `unpacked`. Raises UltrasamError if nothing can be used.
    """
    if isinstance(dataset, OwnDataset):
        own, root, found = own_records(dataset, raw, unpacked, jobs)
        return own, make_plan(lambda _: found, root, duplicates)
    return dataset, make_plan(converter(dataset.id), opened_raw(raw, unpacked), duplicates)


def convert_missing(
    dataset: Dataset,
    root: Path,
    groups: Sequence[tuple[str, Group]],
    journal: Journal,
    images: Path,
    jobs: int = 1,
    tell: Tell | None = None,
) -> None:
    """Convert those of `groups`, each with its key, that the journal lacks, or whose images are gone from the
    folder `images`, and enter them in the journal. `root` is the raw folder.

    Raises BuildStopped if something cannot be written or a process is killed.
    """
    tell = tell or (lambda done, total: None)
    waiting = {}
    done = 0
    total = sum(len(group.records) for _, group in groups)
    for key, group in groups:
        if key in journal and _is_whole(journal.read(key), images):
            done += len(group.records)
        else:
            waiting[key] = Job(group, dataset.id, dataset.category_names, images, dataset.keep_negatives)
    tell(done, total)
    results = in_processes(convert, waiting.values(), min(jobs, max(len(waiting), 1)))
    try:
        for key, result in zip(waiting, results, strict=True):
            journal.add(key, result, root)
            done += len(waiting[key].group.records)
            tell(done, total)
    except ProcessKilled as error:
        raise BuildStopped(f"{error}; what is done is kept") from None


def _is_whole(group: Json, images: Path) -> bool:
    """Whether a group of the journal need not be converted again; what had problems is tried once more."""
    entries = group["entries"]
    there = all(size_of(images / entry["image"]["file_name"]) == entry["bytes"] for entry in entries)
    return there and not group["problems"]


def converter(name: str) -> Callable[[Path], Iterable[Found]]:
    """The function `records` of a set's converter. Raises UltrasamError if the set has none."""
    try:
        module = importlib.import_module(f"ultrasam.datasets.converters.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"ultrasam.datasets.converters.{name}":
            raise
        raise UltrasamError(
            f"{name} has no converter yet: `ultrasam data list` shows which sets have"
        ) from None
    function: Callable[[Path], Iterable[Found]] = module.records
    return function


def code_of(dataset: Dataset) -> str:
    """SHA-256 of the code that the pixels and masks of a set depend on, and of its entry."""
    here = Path(__file__).parent
    shared = [
        *(here / "readers").glob("*.py"),
        *(here.parent / "io").glob("*.py"),
        *(here.parent / "core").glob("*.py"),
    ]
    own = [
        *(sorted((here / "own").glob("*.py")) if isinstance(dataset, OwnDataset) else ()),
        here / "converters" / f"{dataset.id}.py",
        here / "convert.py",
        here / "likeness.py",
        here / "record.py",
        here / "journal.py",
    ]
    return _hashed(repr(dataset), [*sorted(shared), *own])


def _form() -> str:
    """SHA-256 of the code that COCO files, reports and manifests depend on."""
    here = Path(__file__).parent
    return _hashed(__version__, [here / name for name in ("plan.py", "results.py", "stream.py")])


def _hashed(text: str, files: Iterable[Path]) -> str:
    digest = sha256(text.encode())
    for file in files:
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()


def check_apart(raw: Path, folder: Path) -> None:
    """Raises UltrasamError if the results would lie among the raw files, or these among the results."""
    one, other = raw.resolve(), folder.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise UltrasamError(
            f"{shown(folder)}, for the results, and {shown(raw)}, the raw files, lie within each other: "
            "choose another folder with --out"
        )
