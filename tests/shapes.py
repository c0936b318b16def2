"""Made-up data with classes: bright discs and dark squares on noise, in COCO form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.core.masks import box_of, encode_rle

CLASSES = ("disc", "square")


def draw_shapes(
    rng: np.random.Generator, width: int, height: int, labels: tuple[int, ...]
) -> tuple[ByteArray, list[BoolArray]]:
    """An image (H, W) and the mask of a shape for each label, beside each other."""
    ys, xs = np.mgrid[:height, :width] + 0.5
    pixels = rng.normal(100, 12, (height, width))
    masks = []
    for number, label in enumerate(labels):
        cell = width / len(labels)
        radius = rng.uniform(0.25, 0.4) * min(cell, height)
        cx = cell * (number + 0.5) + rng.uniform(-0.05, 0.05) * cell
        cy = rng.uniform(radius, height - radius)
        dx, dy = np.abs(xs - cx), np.abs(ys - cy)
        mask = (dx**2 + dy**2 < radius**2) if label == 0 else np.maximum(dx, dy) < 0.85 * radius
        pixels[mask] += 90 if label == 0 else -70
        masks.append(mask)
    return np.clip(pixels, 0, 255).astype(np.uint8), masks


def write_shapes(folder: Path, images: int = 24, size: tuple[int, int] = (96, 72), seed: int = 0) -> Path:
    """`folder`/annotations.json and `folder`/images: two data sets, two images a case, a disc or a square or
    both in each. The last category has no object.
    """
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(images):
        labels = ((0,), (1,), (0, 1))[number % 3]
        pixels, masks = draw_shapes(rng, *size, labels)
        dataset = "ab"[number * 2 // images]
        name = f"{number:03}.png"
        Image.fromarray(pixels).save(folder / "images" / name)
        about = {"id": number + 1, "file_name": name, "width": size[0], "height": size[1]}
        entries.append({**about, "dataset": dataset, "case_id": f"{dataset}/{number // 2}"})
        annotations += [
            annotation(len(annotations) + place, number + 1, label + 1, mask)
            for place, (label, mask) in enumerate(zip(labels, masks, strict=True), start=1)
        ]
    names = (*CLASSES, "star")
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    return write_json(folder / "annotations.json", entries, annotations, categories)


def annotation(number: int, image: int, category: int, mask: BoolArray) -> dict[str, Any]:
    x0, y0, x1, y1 = box_of(mask)
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": encode_rle(mask),
    }


def write_json(path: Path, images: Any, annotations: Any, categories: Any) -> Path:
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
