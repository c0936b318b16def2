"""GIST514-DB: tumours of the gut wall in endoscopic ultrasound, as COCO polygons in five folds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.masks import decode_segmentation
from ultrasam.datasets.readers.folders import find_folder
from ultrasam.datasets.readers.masks import on_grid, read_pixels
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped, Table
from ultrasam.io.coco import CocoAnnotation, read_coco

NAMES = {"lmym": "leiomyoma", "gist": "gist"}
TEST_FOLD = 0

Drawn = tuple[tuple[str, CocoAnnotation], ...]


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "images", f"annotations/val_anno_crop_split_{TEST_FOLD}.json")
    folder = root / "annotations"
    used = {part: folder / f"{part}_anno_crop_split_{TEST_FOLD}.json" for part in ("train", "val")}
    folds = sorted(folder.glob("*_split_[0-9].json"))
    yield from (
        Skipped(path, "another fold of the same images") for path in folds if path not in used.values()
    )
    for part, table in used.items():
        yield Table(table)
        coco = read_coco(table)
        names = {category.id: NAMES.get(category.name.lower(), "") for category in coco.categories}
        drawn: dict[int, list[tuple[str, CocoAnnotation]]] = defaultdict(list)
        for annotation in coco.annotations:
            drawn[annotation.image_id].append((names[annotation.category_id], annotation))
        for image in sorted(coco.images, key=lambda image: image.file_name):
            path = root / "images" / Path(image.file_name).name
            outlines = tuple(drawn[image.id])
            if not path.exists():
                yield Problem(path, f"is missing: {table.name} has its masks")
            elif not outlines or any(not name or entry.segmentation is None for name, entry in outlines):
                yield Problem(path, f"has no outline, or one without a known class, in {table.name}")
            else:
                yield Record(
                    case=path.stem,
                    files=(path,),
                    load=partial(_load, path, outlines, (image.height, image.width), table),
                    split="test" if part == "val" else "train",
                    attributes={"pathology": outlines[0][0]},
                )


def _load(image: Path, drawn: Drawn, size: tuple[int, int], table: Path) -> Sample:
    pixels = read_pixels(image)
    objects = []
    for name, entry in drawn:
        mask = on_grid(decode_segmentation(entry.segmentation, *size), pixels.shape, table)
        objects.append(Object(name, mask, instance=True))
    return Sample(pixels, tuple(objects))
