"""Images and masks of a COCO file at training size, memory-mapped: no step waits for decoding."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from tqdm import tqdm

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write_text, ensure_writable_dir, reason, sha256_of, shown
from ultrasam.core.geometry import BoolArray, ByteArray, Frame, as_rgb, letterbox
from ultrasam.core.workplace import try_lock
from ultrasam.datasets.splits import group_of
from ultrasam.evaluation.samples import Sample
from ultrasam.io.coco import read_coco

_VERSION = 1


@dataclass(frozen=True)
class CachedImage:
    """One image: its place in the cache, its own size in pixels, where it comes from and the rows of its
    masks.
    """

    row: int
    id: int
    width: int
    height: int
    dataset: str
    case_id: str
    mask_rows: tuple[int, ...]


class TrainingImages(Protocol):
    """Images of a training run with their masks at the size of the model's input, `size` pixels a side."""

    @property
    def size(self) -> int: ...

    @property
    def index(self) -> Sequence[CachedImage]: ...

    def pixels(self, image: CachedImage) -> ByteArray:
        """(h, w, 3) uint8, resized so that the longer side is `size`."""

    def mask(self, image: CachedImage, number: int) -> ByteArray:
        """(h, w) uint8 of the object `number`: 0 to 255 is the covered share of a pixel."""


@dataclass(frozen=True)
class TrainingCache:
    """`images` (N, S, S, 3) uint8 letterboxed; `masks` (M, S, S) uint8, 0 to 255 is the covered share of a
    pixel.
    """

    size: int
    index: tuple[CachedImage, ...]
    images: ByteArray
    masks: ByteArray

    def pixels(self, image: CachedImage) -> ByteArray:
        width, height = Frame(image.width, image.height, self.size).resized
        return np.asarray(self.images[image.row][:height, :width])

    def mask(self, image: CachedImage, number: int) -> ByteArray:
        width, height = Frame(image.width, image.height, self.size).resized
        return np.asarray(self.masks[image.mask_rows[number]][:height, :width])


def open_cache(annotations: Path, images: Path, size: int, root: Path) -> TrainingCache:
    """Open the cache of a COCO file at `size` pixels below `root`, built first where it is missing.

    A cache belongs to the content of the COCO file and to the folder `images`; image files that change in
    place are not noticed. Every annotated image has its place in the index, so that the split by case is that
    of the evaluation; those with boxes or crowds alone have no masks. Raises UltrasamError for unusable data,
    a damaged cache and a folder that cannot be written.
    """
    digest = hashlib.sha256(f"{sha256_of(annotations)} {images.resolve()}".encode()).hexdigest()
    folder = root / f"{annotations.stem}-{digest[:12]}-{size}-v{_VERSION}"
    if not (folder / "index.json").is_file():
        samples = annotated(annotations, images)
        with _alone(folder):
            # Another process of the run may have been the first.
            if not (folder / "index.json").is_file():
                _build(samples, size, folder)
    try:
        index = json.loads((folder / "index.json").read_text())
        return TrainingCache(
            size,
            tuple(CachedImage(**{**entry, "mask_rows": tuple(entry["mask_rows"])}) for entry in index),
            np.load(folder / "images.npy", mmap_mode="r"),
            np.load(folder / "masks.npy", mmap_mode="r"),
        )
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise UltrasamError(
            f"the training cache {shown(folder)} is damaged ({reason(error)}): delete it, it is built again"
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time builds a cache; the others wait. Windows locks no folders and lets them all."""
    root = ensure_writable_dir(folder.parent)
    descriptor = None if os.name == "nt" else os.open(root, os.O_RDONLY)
    try:
        while descriptor is not None and not try_lock(descriptor):
            time.sleep(0.2)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _build(samples: list[Sample], size: int, folder: Path) -> None:
    root = ensure_writable_dir(folder.parent)
    shape = (len(samples), size, size, 3)
    count = sum(len(sample.annotations) for sample in samples)
    needed, free = math.prod(shape) + count * size**2, shutil.disk_usage(root).free
    if needed > free:  # writing to a map of a full disk would end the process
        raise UltrasamError(
            f"the training cache needs {needed / 1e9:.1f} GB, {shown(root)} has {free / 1e9:.1f} GB free: "
            "choose another folder with --data.cache DIR"
        )
    partial = folder.with_name(f"{folder.name}.part{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process with the same number
    try:
        partial.mkdir()
        pixels = np.lib.format.open_memmap(partial / "images.npy", "w+", np.uint8, shape)
        masks = np.lib.format.open_memmap(partial / "masks.npy", "w+", np.uint8, (count, size, size))
        index: list[dict[str, object]] = []
        rows = 0
        for number, sample in enumerate(tqdm(samples, desc="caching images", unit="image")):
            truths = sample.truths().values()
            if truths:
                pixels[number] = letterbox(as_rgb(sample.pixels()), size)
            for row, mask in enumerate(truths, rows):
                small = shrink_mask(mask, size)
                masks[row, : small.shape[0], : small.shape[1]] = small
            index.append(
                {
                    "row": number,
                    "id": sample.image.id,
                    "width": sample.image.width,
                    "height": sample.image.height,
                    "dataset": sample.dataset,
                    "case_id": sample.case_id,
                    "mask_rows": list(range(rows, rows + len(truths))),
                }
            )
            rows += len(truths)
        pixels.flush()
        masks.flush()
        atomic_write_text(partial / "index.json", json.dumps(index))
        # One without an index, or of another process that was quicker.
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except OSError as error:
        raise UltrasamError(
            f"the training cache {shown(folder)} cannot be written ({reason(error)}): "
            "choose another folder with --data.cache DIR"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def annotated(annotations: Path, image_folder: Path) -> list[Sample]:
    """The images of a COCO file that have annotations, by id. UltrasamError where a file is missing."""
    coco = read_coco(annotations)
    objects = coco.by_image()
    samples = [
        Sample(image, image_folder / image.file_name, *group_of(image, annotations), tuple(objects[image.id]))
        for image in sorted(coco.images, key=lambda image: image.id)
        if objects[image.id]
    ]
    missing = [sample.path for sample in samples if not sample.path.is_file()]
    if missing:
        raise UltrasamError(
            f"{len(missing)} of {len(samples)} images are missing, the first is {shown(missing[0])}: "
            "name their folder with --data.images DIR"
        )
    return samples


def shrink_mask(mask: BoolArray, size: int) -> ByteArray:
    """(H, W) -> (h, w) uint8 whose longer side is `size`; area-averaged, so that the edge keeps its sub-pixel
    place.
    """
    frame = Frame(mask.shape[1], mask.shape[0], size)
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    filter_ = Image.Resampling.BOX if frame.scale < 1 else Image.Resampling.BILINEAR
    return np.asarray(grey.resize(frame.resized, filter_))
