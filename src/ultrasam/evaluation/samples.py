"""Which images and objects of a COCO file are evaluated."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ultrasam.config import DataConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, shown
from ultrasam.core.geometry import BoolArray
from ultrasam.core.masks import decode_segmentation
from ultrasam.datasets.splits import group_of, held_out_groups
from ultrasam.io.coco import CocoAnnotation, CocoImage, read_coco
from ultrasam.io.scan import read_scan


@dataclass(frozen=True)
class Selection:
    """What of a COCO file counts.

    `only` is "all", "validation" (the cases that training with the same `share` and `split_seed` holds out)
    or "training" (the others). `datasets` names data sets, none for all; `limit` is the largest number of
    images of a data set.
    """

    only: str = "all"
    share: float = DataConfig.validation_share
    split_seed: int = DataConfig.split_seed
    datasets: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True)
class Sample:
    """One image with its objects; a `case_id` holds all images of a patient, exam or group of
    near-duplicates.
    """

    image: CocoImage
    path: Path
    dataset: str
    case_id: str
    annotations: tuple[CocoAnnotation, ...]

    def pixels(self) -> NDArray[np.uint8]:
        """The image, (H, W) or (H, W, 3) uint8. UltrasamError if its size is not that of the COCO file."""
        pixels = read_scan(self.path).frames[0]
        if pixels.shape[:2] != (self.image.height, self.image.width):
            raise UltrasamError(
                f"{shown(self.path)} has {pixels.shape[1]} x {pixels.shape[0]} pixels, the COCO file says "
                f"{self.image.width} x {self.image.height}: correct it there"
            )
        return pixels

    def truths(self) -> dict[int, BoolArray]:
        """The ground-truth mask (H, W) by annotation id of each object that counts.

        Boxes without a mask, empty masks and crowds do not.
        """
        masks = {
            annotation.id: decode_segmentation(annotation.segmentation, self.image.height, self.image.width)
            for annotation in filter(_has_mask, self.annotations)
        }
        return {key: mask for key, mask in masks.items() if mask.any()}


def select_samples(
    data: AnyPath, images: AnyPath | None = None, selection: Selection | None = None
) -> list[Sample]:
    """The images of the COCO file `data` to evaluate, sorted by data set and image id, and their objects.

    `images` is the folder of the image files; default: `images` beside the COCO file, or else its own folder.
    Images without any mask are left out. Raises UltrasamError if the file cannot be used, image files are
    missing, or nothing is left.
    """
    selection = selection or Selection()
    coco = read_coco(data)
    data = Path(data)
    folder = image_folder(data, images)
    objects = coco.by_image()
    # Training splits the cases of all images that have annotations: the split is made before any filter.
    grouped = [(image, group_of(image, data)) for image in coco.images if objects[image.id]]
    if selection.only != "all":
        held_out = held_out_groups((g for _, g in grouped), selection.share, selection.split_seed)
        wanted = selection.only == "validation"
        grouped = [(image, group) for image, group in grouped if (group in held_out) == wanted]
    samples = []
    for image, (dataset, case_id) in grouped:
        if selection.datasets and dataset not in selection.datasets:
            continue
        annotations = tuple(objects[image.id])
        if any(map(_has_mask, annotations)):
            samples.append(Sample(image, folder / image.file_name, dataset, case_id, annotations))
    _check_names(selection.datasets, {group_of(image, data)[0] for image in coco.images}, data)
    if not samples:
        raise UltrasamError(
            f"{shown(data)} has no object with a mask {_filters(selection)}: nothing to evaluate"
        )
    samples = limited(samples, selection.limit)
    _check_files(samples)
    return samples


def _has_mask(annotation: CocoAnnotation) -> bool:
    return bool(annotation.segmentation) and not annotation.iscrowd


def image_folder(data: Path, images: AnyPath | None = None) -> Path:
    """Where the names of files in a COCO file lead from: `images` if it is given, else the folder `images`
    beside the file if there is one, else its own. Raises UltrasamError if `images` is no folder.
    """
    if images is None:
        beside = data.parent / "images"
        return beside if beside.is_dir() else data.parent
    if not os.path.isdir(images):
        raise UltrasamError(f"{shown(images)} is no folder: name that of the images with --images DIR")
    return Path(images)


def limited(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """At most `limit` images of each data set, drawn by a hash so that a larger limit only adds some."""
    chosen: list[Sample] = []
    for dataset in sorted({sample.dataset for sample in samples}):
        members = [sample for sample in samples if sample.dataset == dataset]
        members.sort(key=lambda sample: hashlib.sha256(str(sample.image.id).encode()).digest())
        chosen += sorted(members[:limit], key=lambda sample: sample.image.id)
    return chosen


def _check_names(wanted: Sequence[str], known: set[str], data: Path) -> None:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        names = ", ".join(sorted(known)) or "another file"
        raise UltrasamError(f"there is no data set {unknown[0]!r} in {shown(data)}: use {names}")


def _check_files(samples: Sequence[Sample]) -> None:
    missing = [sample.path for sample in samples if not os.path.isfile(sample.path)]
    if missing:
        raise UltrasamError(
            f"{len(missing)} of {len(samples)} images are missing, the first is {shown(missing[0])}: "
            "name their folder with --images DIR"
        )


def _filters(selection: Selection) -> str:
    parts = [] if selection.only == "all" else [f"among the {selection.only} cases"]
    parts += ["in " + ", ".join(selection.datasets)] if selection.datasets else []
    return " ".join(parts) or "in it"
