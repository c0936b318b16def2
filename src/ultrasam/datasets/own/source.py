"""Data of a user's own: what the catalogue would say of them is found in the files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from ultrasam.core.errors import UltrasamError, UltrasamWarning
from ultrasam.core.files import shown
from ultrasam.datasets.catalogue import DATASETS, Category, Dataset
from ultrasam.datasets.own.cases import Cases, cases_of, check_pattern
from ultrasam.datasets.own.classes import Classes, parse_classes
from ultrasam.datasets.own.coco import categories_of, coco_records, coco_signature, is_coco, root_of
from ultrasam.datasets.own.files import place_of
from ultrasam.datasets.own.looks import classes_of, labels_of
from ultrasam.datasets.own.masks import load_labelme, load_masks, load_volume
from ultrasam.datasets.own.pairs import Drawn, find_pairs
from ultrasam.datasets.raw import all_files, opened_raw, signature
from ultrasam.datasets.readers.archives import is_archive
from ultrasam.datasets.readers.stacks import count_slices, files_of
from ultrasam.datasets.record import Found, Problem, Record
from ultrasam.io.coco import read_coco

# Folders beside those of the sets.
_TAKEN = {
    "stats": "the folder of the statistics",
    "lists": "the folder of the lists for training",
    "fig2": "the folder of a figure",
}


@dataclass(frozen=True)
class OwnDataset(Dataset):
    """What a user says of data of their own, in the form of an entry; its categories are known later.

    `pattern` is a regular expression whose first group, in the path of an image, names its case.
    """

    classes: Classes = Classes()
    pattern: str = ""


def own_dataset(name: str, classes: str | None = None, pattern: str | None = None) -> OwnDataset:
    """The entry for data of a user's own. Raises UltrasamError if the name is taken or a text is not
    understood.
    """
    if name in DATASETS or name in _TAKEN:
        what = _TAKEN.get(name, "a set of the catalogue")
        raise UltrasamError(f"{name} is {what}: choose another name for your own data")
    if not re.fullmatch("[a-z][a-z0-9_]{0,39}", name):
        raise UltrasamError(
            f"--own {name!r:.60}: a name is up to 40 lower case letters, digits and _, a letter first"
        )
    return OwnDataset(
        id=name,
        name=name,
        paper="",
        url="",
        licence="own data",
        terms="unclear",
        access=(),
        application="",
        organs=(),
        probe="",
        categories=(),
        layout="",
        folders=(),
        cases="",
        split="",
        in_us43d=False,
        classes=parse_classes(classes),
        pattern="" if pattern is None else check_pattern(pattern),
    )


def check_own_path(path: Path) -> Path:
    """The path of own data itself. Raises UltrasamError if it is no folder, archive or JSON file."""
    if not (path.is_dir() or is_coco(path) or (path.is_file() and is_archive(path))):
        kinds = "is no folder, archive (zip, tar, rar) or COCO file (.json)"
        what = kinds if path.exists() else "does not exist"
        raise UltrasamError(f"{shown(path)}, given for own data, {what}: check --own")
    return path


def own_signature(raw: Path) -> str:
    """As `raw.signature`; of a COCO file, with its images."""
    return coco_signature(raw) if is_coco(raw) else signature(raw)


def own_records(
    dataset: OwnDataset, raw: Path, unpacked: Path, jobs: int
) -> tuple[OwnDataset, Path, list[Found]]:
    """The entry with its categories, the folder with the files, and what lies there.

    `raw` is a folder, a COCO file, or an archive, which is unpacked into the folder `unpacked`. Masks are
    looked at, in processes, unless the user has said what they hold. Warns what a case is, unless that was
    said. Raises UltrasamError, with what to say, if it is not clear what is meant.
    """
    if is_coco(raw):
        if dataset.classes:
            raise UltrasamError(f"{shown(raw)} names its categories itself: leave --classes out")
        coco = read_coco(raw)
        root, categories = root_of(raw), categories_of(raw, coco)
        found, told = coco_records(raw, coco, dataset.pattern)
    else:
        root = opened_raw(raw, unpacked)
        entries = find_pairs(root, all_files(root))
        drawn = [entry for entry in entries if isinstance(entry, Drawn)]
        classes, names = _classes(dataset.classes, drawn, root, jobs)
        categories = tuple(Category(name, "other") for name in names)
        cases = cases_of([place_of(one.image, root) for one in drawn], dataset.pattern)
        told = cases.told
        found = []
        for entry in entries:
            found += _records(entry, root, cases, classes) if isinstance(entry, Drawn) else [entry]
    if "--case-pattern" in told:
        warnings.warn(f"{dataset.id}: {told}", UltrasamWarning, stacklevel=2)
    return replace(dataset, categories=categories, cases=told), root, found


def _classes(said: Classes, drawn: Sequence[Drawn], root: Path, jobs: int) -> tuple[Classes, tuple[str, ...]]:
    """How masks are read, and the names of the categories."""
    outlines = [one.masks[0] for one in drawn if one.labelme]
    masks = [path for one in drawn if not one.labelme for path in one.masks]
    if outlines and masks:
        raise UltrasamError(
            f"{shown(root)} has masks ({masks[0].name}) and files of labelme ({outlines[0].name}): give one "
            "kind at a time"
        )
    if not outlines:
        classes = said or classes_of(masks, root, jobs)
        return classes, classes.categories
    if said:
        raise UltrasamError("files of labelme name their categories themselves: leave --classes out")
    names = labels_of(outlines)
    if not names:
        raise UltrasamError(f"nothing is drawn in the files of labelme, such as {shown(outlines[0])}")
    return said, names


def _records(drawn: Drawn, root: Path, cases: Cases, classes: Classes) -> Iterator[Found]:
    """The record of an image, or those of the slices of a volume."""
    image, masks = drawn.image, drawn.masks
    try:
        named = cases.named(place_of(image, root), PurePosixPath(image.relative_to(root).as_posix()))
        count = count_slices(image, *masks) if drawn.volume else 1
    except UltrasamError as error:
        yield Problem.of(image, error, masks)
        return
    if drawn.volume:
        used = tuple(path for volume in (image, *masks) for path in files_of(volume))
        for index in range(count):
            load = partial(load_volume, image, masks[0], classes, index)
            yield Record(named.case, used, load, named.view, index, named.split)
    else:
        read = partial(load_labelme, image, masks[0])
        if not drawn.labelme:
            read = partial(load_masks, image, masks, classes)
        yield Record(named.case, (image, *masks), read, named.view, split=named.split)
