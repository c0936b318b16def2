"""GIST514-DB: COCO polygons in five folds; some objects have two polygons, the classes another order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.us43d.truth import (
    Points,
    TrueImage,
    TrueObject,
    Truth,
    cut,
    ellipse,
    ellipse_points,
    litter,
    save_jpeg,
    save_text,
    scan,
)

SIZE = (96, 96)
CATEGORIES = [
    {"id": 1, "name": "GIST", "supercategory": "tumor"},
    {"id": 2, "name": "lmym", "supercategory": "tumor"},
]
IDS = {"gist": 1, "leiomyoma": 2}
# File: part, size and objects: class and ellipses, which together are one object.
IMAGES: dict[str, tuple[str, tuple[int, int], list[tuple[str, list[tuple[float, ...]]]]]] = {
    "gist_0007": ("train", SIZE, [("gist", [(40, 40, 20, 14, 0.4)])]),
    "gist_0012": ("train", SIZE, [("gist", [(30, 30, 12, 9), (66, 60, 14, 10)])]),
    "lmym_0003": ("train", (67, 101), [("leiomyoma", [(50, 33, 30, 20)])]),
    "lmym_0004": ("val", SIZE, [("leiomyoma", [(30, 60, 15, 20)]), ("leiomyoma", [(70, 30, 12, 9)])]),
    "gist_0009": ("val", SIZE, [("gist", [(90, 50, 20, 14)])]),  # reaches the border
    "gist_0020": ("val", SIZE, [("gist", [(40, 50, 20, 14)])]),  # cut off
    "gist_0021": ("train", SIZE, [("gist", [(40, 50, 20, 14)])]),  # not there
    "gist_0022": ("train", (96, 90), [("gist", [(40, 50, 20, 14)])]),  # of another size than the table says
    "gist_0023": ("train", SIZE, []),
}


def flat(points: Points, size: tuple[int, int]) -> list[float]:
    """x, y, x, y, ... with the points kept within the image, as tools do."""
    return [
        round(value, 2) for x, y in points for value in (min(max(x, 0), size[1]), min(max(y, 0), size[0]))
    ]


def write(root: Path) -> Truth:
    top = root / "GIST514-DB" / "usd514_jpeg_roi"
    images = {}
    tables: dict[str, dict[str, list[Any]]] = {
        part: {"images": [], "annotations": [], "categories": CATEGORIES} for part in ("train", "val")
    }
    for seed, (name, (part, size, objects)) in enumerate(IMAGES.items()):
        masks = [
            sum((ellipse(size, *one) for one in shapes[1:]), ellipse(size, *shapes[0]))
            for _, shapes in objects
        ]
        pixels = save_jpeg(top / "images" / f"{name}.jpg", scan(size, seed, *masks))
        table = tables[part]
        number = 100 - seed
        entry = {"id": number, "file_name": f"{name}.jpg", "height": size[0], "width": size[1]}
        table["images"].append(entry | {"height": SIZE[0]} if name == "gist_0022" else entry)
        if name == "gist_0022":
            table["images"][-1]["width"] = SIZE[1]
        for (category, shapes), mask in zip(objects, masks, strict=True):
            table["annotations"].append(
                {
                    "id": 1 + len(table["annotations"]),
                    "image_id": number,
                    "category_id": IDS[category],
                    "segmentation": [flat(ellipse_points(*one), size) for one in shapes],
                    "bbox": [10, 10, 20, 20],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                }
            )
        if objects:
            images[f"{name}.png"] = TrueImage(
                name,
                pixels,
                tuple(
                    TrueObject(category, mask, edge=1)
                    for (category, _), mask in zip(objects, masks, strict=True)
                ),
                split="test" if part == "val" else "train",
                attributes={"pathology": objects[0][0]},
            )
    cut(top / "images" / "gist_0020.jpg", 0.8)
    (top / "images" / "gist_0021.jpg").unlink()
    for name in ("gist_0020", "gist_0021", "gist_0022"):
        del images[f"{name}.png"]
    left_out = set()
    for fold in range(5):
        for part, table in tables.items():
            path = top / "annotations" / f"{part}_anno_crop_split_{fold}.json"
            save_text(path, json.dumps(table))
            if fold:
                left_out.add(path.relative_to(root).as_posix())
    litter(top / "images")
    litter(top)
    where = "GIST514-DB/usd514_jpeg_roi/images"
    problems = {
        f"{where}/gist_0020.jpg": "damaged",
        f"{where}/gist_0021.jpg": "is missing",
        f"{where}/gist_0022.jpg": "its image 90 x 96",
        f"{where}/gist_0023.jpg": "no outline",
    }
    return Truth(images, problems, left_out=frozenset(left_out))
