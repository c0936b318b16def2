"""Images and masks of a COCO file at training size, memory-mapped: no step waits for decoding."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ultrasam.core.files import sha256_of
from ultrasam.core.geometry import ByteArray, Frame, as_rgb, letterbox
from ultrasam.core.masks import decode_segmentation
from ultrasam.datasets.splits import group_of
from ultrasam.io.coco import read_coco
from ultrasam.io.scan import read_scan

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


@dataclass(frozen=True)
class TrainingCache:
    """`images` (N, S, S, 3) uint8 letterboxed; `masks` (M, S, S) uint8, 0 to 255 is the covered share of a
    pixel.
    """

    size: int
    index: tuple[CachedImage, ...]
    images: ByteArray
    masks: ByteArray

    def frame(self, image: CachedImage) -> Frame:
        return Frame(image.width, image.height, self.size)


def open_cache(annotations: Path, images: Path, size: int, root: Path) -> TrainingCache:
    """Open the cache of a COCO file at `size` pixels, building it first where it is missing or the file has
    changed.
    """
    digest = sha256_of(annotations)
    folder = root / f"{annotations.stem}-{digest[:12]}-{size}-v{_VERSION}"
    if not (folder / "index.json").is_file():
        _build(annotations, images, size, folder)
    index = json.loads((folder / "index.json").read_text())
    return TrainingCache(
        size,
        tuple(CachedImage(**{**entry, "mask_rows": tuple(entry["mask_rows"])}) for entry in index),
        np.load(folder / "images.npy", mmap_mode="r"),
        np.load(folder / "masks.npy", mmap_mode="r"),
    )


def _build(annotations: Path, image_folder: Path, size: int, folder: Path) -> None:
    coco = read_coco(annotations)
    objects: dict[int, list[object]] = {}
    for annotation in coco.annotations:
        objects.setdefault(annotation.image_id, []).append(annotation.segmentation)
    used = [image for image in sorted(coco.images, key=lambda i: i.id) if image.id in objects]
    count = sum(len(objects[image.id]) for image in used)
    partial = folder.with_name(f"{folder.name}.part{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        shape = (len(used), size, size, 3)
        pixels = np.lib.format.open_memmap(partial / "images.npy", "w+", np.uint8, shape)
        masks = np.lib.format.open_memmap(partial / "masks.npy", "w+", np.uint8, (count, size, size))
        index, row = [], 0
        for number, image in enumerate(tqdm(used, desc="caching images", unit="image")):
            pixels[number] = letterbox(as_rgb(read_scan(image_folder / image.file_name).frames[0]), size)
            rows = []
            for segmentation in objects[image.id]:
                mask = decode_segmentation(segmentation, image.height, image.width)
                masks[row] = _shrink_mask(mask, size)
                rows.append(row)
                row += 1
            dataset, case = group_of(image, annotations)
            index.append(
                {
                    "row": number,
                    "id": image.id,
                    "width": image.width,
                    "height": image.height,
                    "dataset": dataset,
                    "case_id": case,
                    "mask_rows": rows,
                }
            )
        pixels.flush()
        masks.flush()
        (partial / "index.json").write_text(json.dumps(index))
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _shrink_mask(mask: np.ndarray, size: int) -> ByteArray:
    """Area-averaged, so that the edge keeps its sub-pixel place."""
    frame = Frame(mask.shape[1], mask.shape[0], size)
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    filter_ = Image.Resampling.BOX if frame.scale < 1 else Image.Resampling.BILINEAR
    resized = np.asarray(grey.resize(frame.resized, filter_))
    padded = np.zeros((size, size), np.uint8)
    padded[: resized.shape[0], : resized.shape[1]] = resized
    return padded
