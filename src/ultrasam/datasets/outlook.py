"""What a build would do: which sets are there, which are missing, and how much disk the results take."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.build import converter
from ultrasam.datasets.catalogue import Dataset
from ultrasam.datasets.convert import Job, convert, grouped
from ultrasam.datasets.converters import converter_ids
from ultrasam.datasets.plan import Plan, make_plan
from ultrasam.datasets.raw import bytes_at, find_raw

# Bytes of a converted image, where none of the set is there to be looked at: means of hc18, busi, usgra_seg
# and dl_track lie between 99 and 143 kB.
IMAGE_BYTES = 125_000
# Images that are converted, at most, to learn how large those of a set are and in which share something is
# drawn.
SAMPLES = 8


@dataclass(frozen=True)
class Outlook:
    """What is known of a set before it is built.

    `path` is its raw folder or archive, None if it is missing; `raw_bytes` what that takes. `images` and
    `bytes` are what the results will have: estimated from a sample if `sampled`, else from the catalogue;
    None if nothing is known. `ready`: there is a converter. `problem` says why a set cannot be built.
    """

    dataset: Dataset
    path: Path | None
    ready: bool
    raw_bytes: int | None = None
    images: int | None = None
    bytes: int | None = None
    sampled: bool = False
    problem: str = ""


def outlook(
    datasets: Iterable[Dataset], raw: Path | None, sources: Mapping[str, Path], duplicates: bool = False
) -> Iterator[Outlook]:
    """Look at each set, one after the other; nothing is written but to a temporary folder.

    Of a folder the converter lists the files and up to `SAMPLES` images are converted; an archive is measured
    only.
    """
    ready = set(converter_ids())
    for dataset in datasets:
        try:
            path = find_raw(dataset, raw, sources)
        except UltrasamError as error:
            yield Outlook(dataset, None, dataset.id in ready, problem=str(error))
            continue
        known = _of_catalogue(dataset, path, dataset.id in ready)
        if path is not None and path.is_dir() and known.ready:
            yield _sampled(known, path, duplicates)
        else:
            yield known


def _of_catalogue(dataset: Dataset, path: Path | None, ready: bool) -> Outlook:
    images = dataset.images
    guess = None if images is None else images * IMAGE_BYTES
    return Outlook(dataset, path, ready, None if path is None else bytes_at(path), images, guess)


def _sampled(known: Outlook, path: Path, duplicates: bool) -> Outlook:
    """What is known with what a sample of the raw folder `path` tells instead of the catalogue."""
    unknown = replace(known, images=None, bytes=None)
    try:
        plan = make_plan(converter(known.dataset.id), path, duplicates)
    except UltrasamError as error:
        return replace(unknown, problem=str(error))
    kept, empty, size = _sample(known.dataset, plan)
    if kept:
        images = round(kept / (kept + empty) * plan.images)
        return replace(known, images=images, bytes=round(images * size / kept), sampled=True)
    # That nothing is drawn in these few says little of the others.
    return known if empty else replace(unknown, problem="none of the images looked at could be converted")


def _sample(dataset: Dataset, plan: Plan) -> tuple[int, int, int]:
    """Of records all over the plan how many become images, how many show nothing, and the images' bytes."""
    records = [record for group in plan.groups for record in group.records]
    chosen = records[:: math.ceil(len(records) / SAMPLES)]
    kept = empty = size = 0
    with TemporaryDirectory() as folder:
        for group in grouped(chosen):
            job = Job(group, dataset.id, dataset.category_names, Path(folder), dataset.keep_negatives)
            done = convert(job)
            kept += len(done.entries)
            empty += done.empty
            size += sum(entry["bytes"] for entry in done.entries)
    return kept, empty, size


def free_bytes(folder: Path) -> int:
    """Free space where a folder lies or will lie."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
