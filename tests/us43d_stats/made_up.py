"""Built sets that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultrasam.core.masks import box_of, encode_rle
from ultrasam.datasets.catalogue import DATASETS
from ultrasam.datasets.stats import CategoryStats, SetStats, Spread, Stats
from ultrasam.io.coco import Coco, CocoAnnotation, CocoCategory, CocoImage, write_coco

Mask = NDArray[np.bool_]


@dataclass
class Drawn:
    """An image of a set: its masks with the index of their category."""

    name: str
    case: str
    shape: tuple[int, int]
    objects: list[tuple[int, Mask]] = field(default_factory=list)
    spacing: tuple[float, float] | None = None


def disc(shape: tuple[int, int], x: float, y: float, radius: float) -> Mask:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask: Mask = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2
    return mask


def image(name: str, *categories: int, case: str = "", shape: tuple[int, int] = (60, 80)) -> Drawn:
    """An image with one disc for each of `categories`."""
    masks = [(category, disc(shape, 20 + 9 * n, 30, 4 + n)) for n, category in enumerate(categories)]
    return Drawn(name, case or name, shape, masks)


def build(out: Path, name: str, images: Sequence[Drawn], **manifest: object) -> Path:
    """A set as `ultrasam data build` leaves it; without anything for its manifest, it has none."""
    folder = out / name
    (folder / "images").mkdir(parents=True)
    if name in DATASETS:
        kinds = [(category.name, category.kind) for category in DATASETS[name].categories]
    else:
        kinds = [("thing", "kind"), ("other", "kind")]
    entries, annotations = [], []
    for one in images:
        number = len(entries) + 1
        height, width = one.shape
        pixels = np.full(one.shape, 60, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{one.name}.png")
        entries.append(
            CocoImage(
                number, f"{one.name}.png", height, width, name, f"{name}/{one.case}", spacing=one.spacing
            )
        )
        for category, mask in one.objects:
            x0, y0, x1, y1 = box_of(mask)
            annotations.append(
                CocoAnnotation(
                    len(annotations) + 1,
                    number,
                    category + 1,
                    (x0, y0, x1 - x0, y1 - y0),
                    encode_rle(mask),
                    float(np.count_nonzero(mask)),
                )
            )
    categories = tuple(CocoCategory(place, *kind) for place, kind in enumerate(kinds, 1))
    write_coco(folder / "annotations.json", Coco(tuple(entries), tuple(annotations), categories))
    if manifest:
        content = {"dataset": name, "status": "complete", "partial": False} | manifest
        (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def random_images(count: int, categories: int) -> list[Drawn]:
    rng = np.random.default_rng(count)
    images = []
    for number in range(count):
        shape = (int(rng.integers(40, 120)), int(rng.integers(40, 160)))
        masks = []
        for _ in range(int(rng.integers(0, 4))):
            mask = disc(shape, *rng.uniform(10, 35, 2), rng.uniform(2, 20))
            masks.append((int(rng.integers(categories)), mask))
        images.append(Drawn(f"{number:03d}", f"case{number % 5}", shape, masks))
    return images


def fake(objects: Callable[[int], int] = lambda images: images * 6 // 5) -> Stats:
    """The whole catalogue as if it were built, with its numbers of images."""
    sets = []
    for entry in DATASETS.values():
        images = entry.images or 3000
        categories = tuple(
            CategoryStats(category.name, category.kind, images, objects(images), bool(entry.duplicate_of))
            for category in entry.categories
        )
        count = sum(category.objects for category in categories)
        again = images if entry.duplicate_of else 0
        spread = Spread(1, 2, 3)
        numbers = (images, count, images, 0, again)
        sets.append(SetStats(entry.id, "complete", False, *numbers, categories, spread, None, None, None))
    return Stats(tuple(sets))
