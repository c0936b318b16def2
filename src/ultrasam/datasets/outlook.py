"""What a build would do: which sets are there, which are missing, and how much disk the results take."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
# Images that are converted to learn how large those of a set are, and of which share something is drawn in.
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

    Of a folder the converter lists the files and `SAMPLES` images are converted; an archive is measured only.
    """
    ready = set(converter_ids())
    for dataset in datasets:
        images = dataset.images
        guess = None if images is None else images * IMAGE_BYTES
        try:
            path = find_raw(dataset, raw, sources)
        except UltrasamError as error:
            yield Outlook(dataset, None, dataset.id in ready, problem=str(error))
            continue
        if path is None:
            yield Outlook(dataset, None, dataset.id in ready, None, images, guess)
        elif path.is_file() or dataset.id not in ready:
            yield Outlook(dataset, path, dataset.id in ready, bytes_at(path), images, guess)
        else:
            yield _sampled(dataset, path, duplicates)


def _sampled(dataset: Dataset, path: Path, duplicates: bool) -> Outlook:
    size = bytes_at(path)
    try:
        plan = make_plan(converter(dataset.id), path, duplicates)
    except UltrasamError as error:
        return Outlook(dataset, path, True, size, problem=str(error))
    share, each = _sample(dataset, plan)
    if each == 0:
        return Outlook(dataset, path, True, size, problem="none of the images looked at could be converted")
    images = round(share * plan.images)
    return Outlook(dataset, path, True, size, images, round(images * each), sampled=True)


def _sample(dataset: Dataset, plan: Plan) -> tuple[float, float]:
    """The share of records that become images, and their mean bytes, from records all over the plan."""
    records = [record for group in plan.groups for record in group.records]
    chosen = records[:: max(1, len(records) // SAMPLES)]
    kept = size = looked = 0
    with TemporaryDirectory() as folder:
        for group in grouped(chosen):
            job = Job(group, dataset.id, dataset.category_names, Path(folder), dataset.keep_negatives)
            done = convert(job)
            kept += len(done.entries)
            looked += len(done.entries) + done.empty
            size += sum(entry["bytes"] for entry in done.entries)
    return kept / max(looked, 1), size / max(kept, 1)


def free_bytes(folder: Path) -> int:
    """Free space where a folder lies or will lie."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
