"""AbdomenUS: organs painted in colours. Few of the real images have masks; simulated ones are left out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, listing, pairs
from ultrasam.datasets.readers.masks import read_colours, read_pixels
from ultrasam.datasets.record import Found, Problem, Record, Sample, Skipped

COLOURS = {
    (100, 0, 100): "liver",
    (255, 255, 0): "kidney",
    (0, 0, 255): "pancreas",
    (255, 0, 0): "vessels",
    (0, 255, 255): "adrenals",
    (0, 255, 0): "gallbladder",
    (255, 255, 255): "bones",
    (255, 0, 255): "spleen",
}
# The liver is not far from half of a spleen's colour; black may be tinted.
TOLERANCE = 16
# The part of the real images that nobody has painted.
UNLABELLED = "train"
SPLITS = {"train": "train", "val": "val", "test": "test"}
NAME = r"(.+)\.(?:png|jpe?g)"


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "RUS/images", "RUS/annotations")
    if (root / "AUS").exists():
        yield Skipped(root / "AUS", "simulated from CT")
    images, annotations = root / "RUS" / "images", root / "RUS" / "annotations"
    below = [path.name for folder in (images, annotations) for path in listing(folder) if path.is_dir()]
    # Without folders of parts, all lies in one.
    for part in dict.fromkeys(below) or [""]:
        pictures = files(images / part) if (images / part).exists() else []
        masks = files(annotations / part) if (annotations / part).exists() else []
        drawn = {path.stem for path in masks}
        plain = [path for path in pictures if path.stem not in drawn]
        pictures = [path for path in pictures if path.stem in drawn]
        if not masks and part == UNLABELLED:
            yield Skipped(images / part, "these real images have no masks")
            continue
        if not masks:
            yield Problem(annotations / part, "has no mask")
            continue
        if not pictures:
            yield Problem(images / part, "has none of the images that have masks", tuple(masks))
            continue
        yield from (Skipped(path, "has no mask, as most real images") for path in plain)
        matched, problems = pairs(pictures, masks, NAME, NAME)
        yield from problems
        for stem, image, mask in matched:
            yield Record(
                case=f"{part}-{stem}" if part else stem,
                files=(image, mask),
                load=partial(_load, image, mask),
                split=SPLITS.get(part.lower(), ""),
            )


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    return Sample(pixels, read_colours(mask, COLOURS, pixels.shape, TOLERANCE, edges=True))
