"""From records to PNG files and COCO entries: the work that processes share."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write, reason, sha256_of, shown
from ultrasam.core.geometry import ByteArray
from ultrasam.core.masks import box_of, encode_rle
from ultrasam.datasets.likeness import perceptual_hash
from ultrasam.datasets.raw import file_state
from ultrasam.datasets.readers.masks import parts
from ultrasam.datasets.record import Problem, Record, Sample

# Images that are not frames of one file go in groups of so many: less waiting for each other, fewer lines in
# the journal.
GROUP = 16
# Many readers of PNG take no more.
LONGEST_SIDE = 65_535

Json = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Records that one process converts together: all of one file, or a few single images."""

    records: tuple[Record, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is read, once, in the order of the records."""
        return tuple(dict.fromkeys(file for record in self.records for file in record.files))


@dataclass(frozen=True)
class Job:
    """A group and what it becomes: PNG files in the folder `images`, categories of the set `dataset`."""

    group: Group
    dataset: str
    categories: tuple[str, ...]
    images: Path
    keep_negatives: bool


@dataclass(frozen=True)
class Converted:
    """What became of a group.

    `entries` are images for a COCO file, each with its annotations by annotator. `inputs` are (file, bytes,
    SHA-256). `empty` counts the images that were left out because nothing is drawn in them.
    """

    entries: tuple[Json, ...]
    problems: tuple[Problem, ...]
    inputs: tuple[tuple[str, int, str], ...]
    empty: int


class BuildStopped(UltrasamError):
    """The build cannot go on, through no fault of the data: the disk is full, the memory is short."""


def grouped(records: Iterable[Record]) -> Iterator[Group]:
    """Records in their order, those of one file together."""
    waiting: list[Record] = []
    for _, same in groupby(records, key=lambda record: record.files[0]):
        frames = list(same)
        if len(frames) > 1:
            if waiting:
                yield Group(tuple(waiting))
                waiting = []
            yield Group(tuple(frames))
            continue
        waiting += frames
        if len(waiting) == GROUP:
            yield Group(tuple(waiting))
            waiting = []
    if waiting:
        yield Group(tuple(waiting))


def fingerprint(group: Group, code: str, root: Path) -> str:
    """Equal as long as the code, what the converter says of the records and their files stay."""
    digest = sha256(code.encode())
    for record in group.records:
        load = record.load
        # The text of a function holds its address, which differs from run to run.
        how = f"{load.args} {load.keywords}" if isinstance(load, partial) else ""
        attributes = json.dumps(dict(record.attributes), sort_keys=True)
        digest.update(os.fsencode(f"{record.name}\0{record.split}\0{attributes}\0{how}\n"))
    for file in group.files:
        digest.update(os.fsencode(f"{os.path.relpath(file, root)}\0{file_state(file)}\n"))
    return digest.hexdigest()


def convert(job: Job) -> Converted:
    """Read the pixels of a group, write its images, and say what is drawn in them.

    A record that cannot be read becomes a problem. Raises BuildStopped if an image cannot be written or
    the memory is short.
    """
    entries: list[Json] = []
    problems: list[Problem] = []
    empty = 0
    for record in job.group.records:
        try:
            sample = _loaded(record, job.categories)
            if not sample.objects and not job.keep_negatives:
                empty += 1
                continue
            data = encode_png(sample.image)
        except UltrasamError as error:
            problems.append(Problem(record.files[0], str(error)))
            continue
        except MemoryError:
            raise BuildStopped(
                f"{shown(record.files[0])} does not fit the memory: use fewer --jobs"
            ) from None
        except Exception as error:  # whatever a library makes of damaged or odd files costs one image
            text = f"cannot be converted ({type(error).__name__}: {reason(error)})"
            problems.append(Problem(record.files[0], text))
            continue
        try:
            atomic_write(job.images / f"{record.name}.png", data)
        except UltrasamError as error:
            raise BuildStopped(str(error)) from None
        entries.append(_entry(record, sample, job, data))
    inputs = []
    for file in job.group.files:
        try:
            inputs.append((str(file), file.stat().st_size, sha256_of(file)))
        except (UltrasamError, OSError):  # it is missing or unreadable, which its record has told
            continue
    # What is wrong with a volume is the same for each of its slices.
    return Converted(tuple(entries), tuple(dict.fromkeys(problems)), tuple(inputs), empty)


def encode_png(image: ByteArray) -> bytes:
    """`image` (H, W) or (H, W, 3) uint8, RGB, as the bytes of a PNG file; equal pixels give equal bytes."""
    import cv2

    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # On ultrasound, runs of filtered rows are as small as the search of higher levels, in a third of the
    # time.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, data = cv2.imencode(".png", pixels, options)
    if not done:
        raise UltrasamError("an image could not be written as PNG: report it with the name of the set")
    return bytes(data)


def image_id(dataset: str, record: Record) -> int:
    """63 bits of the SHA-256 of DATASET/CASE/VIEW/FRAME: the same in every run and on every machine."""
    frame = "" if record.frame is None else str(record.frame)
    # A / within a part is spelled otherwise, so that no two keys are one text.
    parts = (part.replace("%", "%25").replace("/", "%2F") for part in (record.case, record.view, frame))
    return _hash63("/".join((dataset, *parts)))


def _hash63(text: str) -> int:
    return int.from_bytes(sha256(os.fsencode(text)).digest()[:8], "big") >> 1


def _loaded(record: Record, categories: Sequence[str]) -> Sample:
    """The pixels of a record, without empty masks. Raises UltrasamError if they break the contract of a
    sample.
    """
    sample = record.load()
    image = sample.image
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise UltrasamError(f"{shown(record.files[0])} gave an image of {image.dtype}, {image.shape}")
    if max(image.shape) > LONGEST_SIDE:
        raise UltrasamError(
            f"{shown(record.files[0])} is {image.shape[1]} x {image.shape[0]} pixels: no side may be longer "
            f"than {LONGEST_SIDE:,}"
        )
    if sample.spacing is not None and not all(math.isfinite(step) and step > 0 for step in sample.spacing):
        raise UltrasamError(f"{shown(record.files[0])} has a pixel size of {sample.spacing} mm")
    for entry in sample.objects:
        if entry.category not in categories:
            raise UltrasamError(
                f"{shown(record.files[0])} has a {entry.category!r}, which the catalogue lacks"
            )
        if entry.mask.shape != image.shape[:2]:
            height, width = entry.mask.shape
            raise UltrasamError(
                f"{shown(record.files[0])} is {image.shape[1]} x {image.shape[0]} pixels, a mask of it "
                f"{width} x {height}"
            )
    return replace(sample, objects=tuple(entry for entry in sample.objects if entry.mask.any()))


def _entry(record: Record, sample: Sample, job: Job, png: bytes) -> Json:
    """One image of a COCO file with its annotations, ready for JSON."""
    number = image_id(job.dataset, record)
    height, width = sample.image.shape[:2]
    attributes = {**record.attributes, **sample.attributes}
    if record.duplicate_of:
        attributes["duplicate_of"] = record.duplicate_of
    image = {
        "id": number,
        "file_name": f"{record.name}.png",
        "height": height,
        "width": width,
        "dataset": job.dataset,
        "case_id": f"{job.dataset}/{record.case}",
        "view": record.view or None,
        "frame": record.frame,
        "split": record.split or None,
        "spacing": sample.spacing,
        "attributes": dict(sorted(attributes.items())) or None,
        "phash": f"{perceptual_hash(sample.image):016x}",
    }
    annotations: dict[str, list[Json]] = {}
    for entry in sample.objects:
        own = annotations.setdefault(entry.annotator, [])
        for mask in [entry.mask] if entry.instance else parts(entry.mask):
            x0, y0, x1, y1 = box_of(mask)
            own.append(
                {
                    "id": _hash63(f"{number}/{entry.annotator}/{len(own)}"),
                    "image_id": number,
                    "category_id": job.categories.index(entry.category) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": encode_rle(mask),
                    "area": float(np.count_nonzero(mask)),
                }
            )
    return {"image": image, "annotations": annotations, "bytes": len(png), "sha256": sha256(png).hexdigest()}
