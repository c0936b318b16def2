"""Small made-up data for the training tests: an ellipse; bright ellipses on noise, in COCO form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ultrasam.core.geometry import BoolArray
from ultrasam.core.masks import encode_rle


def ellipse(
    size: int = 64, cx: float = 30.0, cy: float = 34.0, a: float = 20.0, b: float = 8.0, angle: float = 0.0
) -> BoolArray:
    """(size, size), half axes a and b, turned by `angle`."""
    ys, xs = np.mgrid[:size, :size] + 0.5
    u = (xs - cx) * np.cos(angle) + (ys - cy) * np.sin(angle)
    v = -(xs - cx) * np.sin(angle) + (ys - cy) * np.cos(angle)
    inside: BoolArray = (u / a) ** 2 + (v / b) ** 2 < 1
    return inside


def write_coco(folder: Path, cases: int = 6, per_case: int = 2, size: tuple[int, int] = (96, 72)) -> Path:
    """`folder`/annotations.json and `folder`/images: two data sets, `cases` cases each, 1 or 2 objects an
    image.
    """
    rng = np.random.default_rng(0)
    width, height = size
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    ys, xs = np.mgrid[:height, :width] + 0.5
    for dataset in ("a", "b"):
        for number in range(cases * per_case):
            pixels = rng.integers(0, 60, (height, width)).astype(np.uint8)
            masks = []
            for k in range(1 + number % 2):
                cx, cy = rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height
                rx, ry = rng.uniform(0.1, 0.2, 2) * width
                mask = ((xs - cx) / rx) ** 2 + ((ys - cy) / ry) ** 2 < 1
                pixels[mask] = 180 + 40 * k
                masks.append(mask)
            image_id = len(images) + 1
            name = f"{dataset}_{number}.png"
            Image.fromarray(pixels).save(folder / "images" / name)
            images.append(
                {
                    "id": image_id,
                    "file_name": name,
                    "width": width,
                    "height": height,
                    "dataset": dataset,
                    "case_id": f"{dataset}/{number // per_case}",
                }
            )
            for mask in masks:
                columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
                x, y = int(columns[0]), int(rows[0])
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": 1,
                        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
                        "area": int(mask.sum()),
                        "iscrowd": 0,
                        "segmentation": encode_rle(mask),
                    }
                )
    path = folder / "annotations.json"
    path.write_text(
        json.dumps(
            {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ellipse"}]}
        )
    )
    return path
