"""Whether the sets in a folder are whole and fit for training: every file is read again."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, sha256_of, shown
from ultrasam.core.masks import box_of, decode_segmentation
from ultrasam.datasets.catalogue import DATASETS
from ultrasam.datasets.plan import first_of
from ultrasam.datasets.processes import in_processes
from ultrasam.datasets.results import ANNOTATIONS, MANIFEST, REPORT, count_differences, digest_of
from ultrasam.io.coco import Coco, CocoAnnotation, CocoImage, read_coco

CHUNK = 32
_NO_FOLDER = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True)
class Finding:
    """Something wrong with a set. `kind` is one of `KINDS`, `file` lies in its folder; "" is all of it."""

    dataset: str
    kind: str
    file: str
    reason: str


KINDS = {
    "incomplete": "no manifest, or one that tells of files that could not be used",
    "changed": "a file is not the one that was built",
    "missing": "a file that is listed is not there",
    "unreadable": "a file cannot be read",
    "outside": "a mask or box is of another size than its image, or reaches beyond it",
    "empty": "a mask without a pixel, or an image without an object that is not marked as negative",
    "full": "a mask that covers the whole image",
    "box": "a box or an area that is not that of its mask",
    "id": "two images or annotations with one id, in one set or in two",
    "split": "a case in two parts of the source's split",
    "count": "images or structures that the catalogue has and the set has not, or the other way round",
}


@dataclass(frozen=True)
class Checked:
    """A set that was looked at: how many images and objects, and what is wrong."""

    dataset: str
    images: int
    objects: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Chunk:
    """Images of a set with their annotations, for one process."""

    folder: Path
    images: tuple[CocoImage, ...]
    annotations: tuple[tuple[CocoAnnotation, ...], ...]
    unread: frozenset[str]


def built_sets(out: Path, only: Sequence[str] = ()) -> list[Path]:
    """The folders of sets in `out`, by name; with `only` those, there or not.

    Raises UltrasamError if `out` is no folder or holds no set.
    """
    try:
        os.listdir(out)
    except OSError as error:
        what = "is no folder" if isinstance(error, _NO_FOLDER) else f"cannot be read ({reason(error)})"
        raise UltrasamError(
            f"{shown(out)} {what}: give the folder that `ultrasam data build --out` has filled"
        ) from None
    if only:
        return [out / name for name in only]
    found = sorted({path.parent for name in (REPORT, ANNOTATIONS) for path in out.glob(f"*/{name}")})
    if not found:
        raise UltrasamError(f"{shown(out)} holds no data set: build one with `ultrasam data build`")
    return found


def verify(
    folders: Iterable[Path],
    jobs: int = 1,
    tell: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Iterator[Checked]:
    """Look at each set, one after the other; `tell` hears (set, images done, images).

    Ids are compared over all of them. Raises UltrasamError if a process is killed.
    """
    owner: dict[int, str] = {}
    for folder in folders:
        yield _verified(folder, jobs, tell, owner)


def _verified(
    folder: Path, jobs: int, tell: Callable[[str, int, int], None], owner: dict[int, str]
) -> Checked:
    name = folder.name
    findings: list[Finding] = []
    note = _noted(name, findings)
    manifest = _manifest(folder, note)
    images = objects = 0
    shas: dict[str, str] = {}
    for path in sorted(folder.glob("annotations*.json")) or [folder / ANNOTATIONS]:
        main = path.name == ANNOTATIONS
        try:
            coco = read_coco(path)
        except UltrasamError as error:
            note("unreadable" if path.exists() else "missing", path.name, str(error))
            continue
        done = 0
        chunks = list(_chunks(folder, coco, shas))
        results = in_processes(_check, chunks, min(jobs, max(len(chunks), 1)))
        for chunk, (wrong, found) in zip(chunks, results, strict=True):
            findings += (Finding(name, *one) for one in wrong)
            shas |= found
            done += len(chunk.images)
            tell(name, done, len(coco.images))
        ids = [one.id for one in coco.annotations] + [one.id for one in coco.images if main]
        for number in ids:
            if owner.setdefault(number, name) != name:
                note("id", path.name, f"the id {number} is also one of {owner[number]}")
        if main:
            images, objects = len(coco.images), len(coco.annotations)
            _check_splits(coco, note)
            _check_counts(coco, manifest, name, note)
    built = manifest.get("images")
    if isinstance(built, dict) and digest_of(shas) != built.get("sha256"):
        note("changed", "images", "the images are not those that were built")
    extra = sorted({path.name for path in (folder / "images").glob("*")} - shas.keys())
    if extra:
        note("changed", "images", f"{len(extra)} files are in no COCO file: {first_of(extra)}")
    return Checked(name, images, objects, tuple(findings))


_Note = Callable[[str, str, str], None]


def _noted(dataset: str, findings: list[Finding]) -> _Note:
    def note(kind: str, file: str, why: str) -> None:
        findings.append(Finding(dataset, kind, file, why))

    return note


def _manifest(folder: Path, note: _Note) -> dict[str, Any]:
    """The manifest, {} if there is none; what it tells is compared with the files."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        results = {str(name): str(sha) for name, sha in manifest["results"].items()}
        problems = manifest["status"] != "complete"
    except FileNotFoundError:
        note("incomplete", MANIFEST, "is missing: the set was not built to its end")
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        note("unreadable", MANIFEST, reason(error))
        return {}
    if problems:
        note("incomplete", REPORT, "tells of files that could not be used")
    elif _report_of(folder) == "failed":
        note("incomplete", REPORT, "tells that the last build failed: what is here is from an earlier one")
    for name, sha in results.items():
        try:
            if sha256_of(folder / name) != sha:
                note("changed", name, "is not the file that was built")
        except UltrasamError as error:
            note("unreadable" if (folder / name).exists() else "missing", name, str(error))
    return dict(manifest)


def _report_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / REPORT).read_bytes())["status"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _chunks(folder: Path, coco: Coco, seen: Collection[str]) -> Iterator[_Chunk]:
    """An image file that was `seen` with another annotator is not read again."""
    drawn = coco.by_image()
    for start in range(0, len(coco.images), CHUNK):
        images = coco.images[start : start + CHUNK]
        unread = frozenset(image.file_name for image in images if image.file_name not in seen)
        yield _Chunk(folder, images, tuple(tuple(drawn[image.id]) for image in images), unread)


def _check(chunk: _Chunk) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
    """What is wrong with the images and masks, (kind, file, reason), and the SHA-256 of each image."""
    wrong: list[tuple[str, str, str]] = []
    shas = {}
    for image, drawn in zip(chunk.images, chunk.annotations, strict=True):
        path = chunk.folder / "images" / image.file_name
        if image.file_name in chunk.unread:
            shas[image.file_name] = _check_pixels(path, image, wrong)
        if not drawn and not image.negative:
            wrong.append(("empty", image.file_name, "has no object and is not marked as negative"))
        for annotation in drawn:
            for kind, why in _check_annotation(annotation, image):
                wrong.append((kind, image.file_name, f"object {annotation.id} {why}"))
    return wrong, shas


def _check_pixels(path: Path, image: CocoImage, wrong: list[tuple[str, str, str]]) -> str:
    """The SHA-256 of an image file, after it was decoded; "" if it cannot be read."""
    if not path.is_file():
        wrong.append(("missing", image.file_name, "is not there"))
        return ""
    try:
        with Image.open(path) as picture:
            picture.load()
            if picture.size != (image.width, image.height):
                width, height = picture.size
                listed = f"{image.width} x {image.height}"
                wrong.append(
                    ("outside", image.file_name, f"is {width} x {height} pixels, listed as {listed}")
                )
        return sha256_of(path)
    except Exception as error:  # damaged files make the decoders raise nearly anything
        wrong.append(("unreadable", image.file_name, reason(error)))
        return ""


def _check_annotation(annotation: CocoAnnotation, image: CocoImage) -> Iterator[tuple[str, str]]:
    x0, y0, x1, y1 = annotation.box
    if x0 < 0 or y0 < 0 or x1 > image.width or y1 > image.height:
        yield "outside", f"has a box that reaches beyond the image: {annotation.bbox}"
    if annotation.segmentation is None:
        yield "empty", "has no mask"
        return
    try:
        mask = decode_segmentation(annotation.segmentation, image.height, image.width)
    except UltrasamError as error:
        yield "outside", f"has a mask that does not fit: {error}"
        return
    area = int(np.count_nonzero(mask))
    if area == 0:
        yield "empty", "has a mask without a pixel"
    elif area == mask.size:
        yield "full", "has a mask that covers the whole image"
    elif area != annotation.area or box_of(mask) != annotation.box:
        yield "box", "has a box or an area that is not that of its mask"


def _check_splits(coco: Coco, note: _Note) -> None:
    splits: dict[str, set[str]] = defaultdict(set)
    for image in coco.images:
        splits[image.case_id or image.file_name].add(image.split or "")
    for case, found in sorted(splits.items()):
        if len(found) > 1:
            note("split", "", f"the case {case} is in {' and '.join(sorted(found))}")


def _check_counts(coco: Coco, manifest: dict[str, Any], name: str, note: _Note) -> None:
    if name not in DATASETS or manifest.get("partial"):
        return
    tests = sum(image.split == "test" for image in coco.images)
    cases = len({image.case_id for image in coco.images})
    own = sum("duplicate_of" not in (image.attributes or {}) for image in coco.images)
    for difference in count_differences(DATASETS[name], own, tests, cases):
        note("count", "", difference)
    used = {annotation.category_id for annotation in coco.annotations}
    for category in coco.categories:
        if category.id not in used:
            note("count", "", f"no object is a {category.name}, which the catalogue has")
