"""STU-Hospital: breast lesions. Masks are larger than their images, with soft edges and specks of nearly
black.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import (
    fill_holes,
    largest_part,
    read_binary,
    read_pixels,
    resize_mask,
    same_field,
)
from ultrasam.datasets.record import Found, Object, Record, Sample


def records(raw: Path) -> Iterator[Found]:
    images = files(find_folder(raw, "Hospital") / "Hospital", ".png")
    matched, problems = pairs(images, images, r"Test_Image_(\d+)\.png", r"mask_(\d+)\.png")
    yield from problems
    for number, image, mask in matched:
        yield Record(case=number, files=(image, mask), load=partial(_load, image, mask))


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    drawn = same_field(read_binary(mask), pixels.shape, mask)
    lesion = largest_part(fill_holes(resize_mask(drawn, pixels.shape)))
    return Sample(pixels, (Object("breast_lesion", lesion, instance=True),))
