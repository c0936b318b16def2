"""BUS-UC: breast lesions, a folder for each class; some masks are of another size than their image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import read_binary, read_pixels, resize_mask, same_field
from ultrasam.datasets.record import Found, Object, Record, Sample, Skipped


def records(raw: Path) -> Iterator[Found]:
    classes = ("Benign", "Malignant")
    root = find_folder(raw, *(f"{name}/{part}" for name in classes for part in ("images", "masks")))
    if (root / "All").exists():
        yield Skipped(root / "All", "the images of both classes again")
    for name in classes:
        images, masks = files(root / name / "images"), files(root / name / "masks")
        matched, problems = pairs(images, masks, r"(.+)\.png", r"(.+)\.png")
        yield from problems
        pathology = name.lower()
        for stem, image, mask in matched:
            yield Record(
                case=f"{pathology}-{stem}",
                files=(image, mask),
                load=partial(_load, image, mask, f"breast_lesion_{pathology}"),
                attributes={"pathology": pathology},
            )


def _load(image: Path, mask: Path, category: str) -> Sample:
    pixels = read_pixels(image)
    drawn = same_field(read_binary(mask), pixels.shape, mask)
    return Sample(pixels, (Object(category, resize_mask(drawn, pixels.shape)),))
