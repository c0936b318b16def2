"""Fast-U-Net: the fetal abdomen, and heads that are those of HC18 again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.readers.archives import is_archive
from ultrasam.datasets.readers.folders import files, files_below, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import fill_holes, largest_part, read_binary, read_pixels
from ultrasam.datasets.readers.tables import read_list
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped, Table

# Half: category, names of images and masks, the set that has the same images.
HALVES = {
    "AC": ("fetal_abdomen", r"((?:fa_)?\d+)\.png", r"((?:fa_)?\d+)\.png", ""),
    "HC": ("fetal_head", r"(\d+_\d*HC)\.png", r"(\d+_\d*HC)_Annotation\.png", "hc18"),
}


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "AC")
    if root != raw and (root.parent / "test_data").exists():
        yield Skipped(root.parent / "test_data", "examples for the program of the authors")
    for half, (category, image_name, mask_name, again) in HALVES.items():
        folder = root / half
        images, masks = _images_and_masks(folder)
        if not images or not masks:
            if not again:
                packed = [path.name for path in files(folder) if is_archive(path)]
                advice = f"unpack {packed[0]} and the like where they lie" if packed else "download it again"
                raise UltrasamError(f"{shown(folder)} holds no images, or no masks: {advice}")
            if folder.exists():
                yield Skipped(folder, f"not all of it is unpacked: {again} has these images too")
            continue
        try:
            matched, problems = pairs(images, masks, image_name, mask_name)
        except UltrasamError as error:
            if not again:
                raise
            yield Problem.of(folder, error)
            continue
        yield from problems
        # The lists of the heads have lain a level higher.
        place = folder if (folder / "train.txt").exists() or not again else root
        splits: dict[str, str] = {}
        yield from _read_lists(place, splits)
        yield from missing_from(place / "train.txt", splits, (path.name for path in images))
        for key, image, mask in matched:
            case, _, view = key.partition("_") if again else (key, "", "")
            if splits and image.name not in splits:
                yield Problem(image, "is in no list of the split: it is kept without its part")
            yield Record(
                case=f"{half}-{case}",
                view=view,
                files=(image, mask),
                load=partial(_load, image, mask, category),
                split=splits.get(image.name, ""),
                duplicate_of=again,
            )


def _images_and_masks(folder: Path) -> tuple[list[Path], list[Path]]:
    """The PNG files below a folder; masks lie in a folder with such a name."""
    images: list[Path] = []
    masks: list[Path] = []
    for path in files_below(folder, ".png") if folder.exists() else []:
        inside = path.relative_to(folder).parts[:-1]
        (masks if any("mask" in part.lower() for part in inside) else images).append(path)
    return images, masks


def _read_lists(folder: Path, splits: dict[str, str]) -> Iterator[Found]:
    """The lists of the authors, of lines "image mask", into `splits`: {name of the image: part}."""
    for split in ("train", "val"):
        table = folder / f"{split}.txt"
        if not table.exists():
            yield Problem(table, "is missing: which images belong to this part is not known")
            continue
        yield Table(table)
        try:
            names = {PurePosixPath(path).name for path in read_list(table)}
        except UltrasamError as error:
            yield Problem.of(table, error)
            continue
        if twice := sorted(splits.keys() & names):
            yield Problem(table, f"lists {twice[0]}, which train.txt has too: it stays there")
        splits |= dict.fromkeys(names - splits.keys(), split)


def _load(image: Path, mask: Path, category: str) -> Sample:
    pixels = read_pixels(image)
    region = largest_part(read_binary(mask, pixels.shape))
    if np.count_nonzero(fill_holes(region)) > 2 * np.count_nonzero(region):
        raise UltrasamError(f"{shown(mask)} is an outline: a filled region was expected")
    return Sample(pixels, (Object(category, region),))
