"""105US: liver metastases. An image and its mask share the number at the beginning of their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.folders import files, files_below, keyed, pairs
from ultrasam.datasets.readers.masks import read_binary, read_pixels, resize_mask, same_field
from ultrasam.datasets.record import Found, Object, Record, Sample

# "007.png" and "7 ... .png" have one number.
NAME = r"0*(\d+)(?: .*)?\.png"


def records(raw: Path) -> Iterator[Found]:
    images, masks = _folders(raw)
    matched, problems = pairs(files(images), files(masks), NAME, NAME)
    yield from problems
    for number, image, mask in matched:
        yield Record(case=number, files=(image, mask), load=partial(_load, image, mask))


def _folders(raw: Path) -> tuple[Path, Path]:
    """The folder of images and that of masks, which is named after them."""
    numbered = [path for path in files_below(raw, ".png") if keyed([path], NAME)[0]]
    folders = sorted({path.parent for path in numbered})
    if not folders:
        raise UltrasamError(
            f"{shown(raw)} holds no PNG files whose names are a number or begin with one and a blank: the "
            "download is not complete, or its layout has changed"
        )
    # What lies above both may be called after masks too.
    top = Path(os.path.commonpath(folders))
    masks = [folder for folder in folders if "mask" in folder.relative_to(top).as_posix().lower()]
    images = [folder for folder in folders if folder not in masks]
    if len(images) != 1 or len(masks) != 1:
        raise UltrasamError(
            f"{shown(raw)} has {len(masks)} folders named after Masks with numbered PNG files in them, and "
            f"{len(images)} others (the first is {shown(folders[0])}): one of each was expected"
        )
    return images[0], masks[0]


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    drawn = same_field(read_binary(mask), pixels.shape, mask)
    return Sample(pixels, (Object("liver_metastasis", resize_mask(drawn, pixels.shape)),))
