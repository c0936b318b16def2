"""TN-SCUI 2020: thyroid nodules, as the challenge gives them or in the layout of Pascal VOC."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import (
    FolderNotFound,
    files,
    files_below,
    find_folder,
    listing,
    missing_from,
    pairs,
)
from ultrasam.datasets.readers.masks import load_pair, read_labels, read_pixels
from ultrasam.datasets.readers.tables import rows_by
from ultrasam.datasets.record import Attribute, Found, Object, Problem, Record, Sample, Skipped, Table

# In the layout of Pascal VOC nodules are 1, in some copies 255.
NAMES = {1: "thyroid_nodule", 255: "thyroid_nodule"}


def records(raw: Path) -> Iterator[Found]:
    try:
        root = find_folder(raw, "image", "mask")
    except FolderNotFound as error:
        try:
            root = find_folder(raw, "JPEGImages", "SegmentationClass")
        except FolderNotFound as repacked:
            half = any(path.parent.name == "JPEGImages" for path in files_below(raw, ".jpg", ".jpeg"))
            raise (repacked if half else error) from None
        yield from _repacked(root)
        return
    for folder in listing(root if root == raw else root.parent):
        if folder.is_dir() and "test" in folder.name.lower() and folder != root:
            yield Skipped(folder, "the test set has no masks")
    table = root / "train.csv"
    class_of: dict[str, str] = {}
    if table.exists():
        yield Table(table)
        try:
            class_of = {_number(name): row["CATE"] for name, row in rows_by(table, "ID", "CATE").items()}
        except UltrasamError as error:
            yield Problem.of(table, error)
    else:
        yield Problem(table, "is missing: the classes of the nodules are not known")
    images, masks = files(root / "image"), files(root / "mask")
    matched, problems = pairs(images, masks, r"(\d+)\.png", r"(\d+)\.png")
    yield from problems
    yield from missing_from(table, class_of, (_number(path.name) for path in images))
    for number, image, mask in matched:
        label = class_of.get(_number(number))
        known = label in ("0", "1")
        if class_of and not known:
            what = "has no row" if label is None else f"has the class {label!r}"
            yield Problem(image, f"{what} in {table.name}: it is kept without class")
        about: dict[str, Attribute] = {"cate": label} if label and known else {}
        load = partial(load_pair, image, mask, "thyroid_nodule")
        yield Record(case=number, files=(image, mask), load=load, split="train", attributes=about)


def _repacked(root: Path) -> Iterator[Found]:
    images, masks = files(root / "JPEGImages"), files(root / "SegmentationClass")
    matched, problems = pairs(images, masks, r"(\d+)\.jpe?g", r"(\d+)\.png")
    yield from problems
    for number, image, mask in matched:
        load = partial(_load, image, mask)
        yield Record(case=number, files=(image, mask), load=load, split="train")


def _number(name: str) -> str:
    """The number of a file as the table may spell it: 7, 00007 or 00007.png."""
    return Path(name).stem.lstrip("0") or "0"


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    labels = read_labels(mask, NAMES, pixels.shape)
    if (labels == 1).any() and (labels == 255).any():
        raise UltrasamError(f"{shown(mask)} has 1 and 255: which of them is the nodule is not known")
    return Sample(pixels, (Object("thyroid_nodule", labels > 0),))
