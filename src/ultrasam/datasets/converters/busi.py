"""BUSI: breast lesions. The folder tells benign from malignant; each lesion of an image has a mask of its
own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder
from ultrasam.datasets.readers.masks import read_binary, read_pixels
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample, Skipped


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "benign", "malignant")
    if (root / "normal").exists():
        yield Skipped(root / "normal", "normal breasts: their masks are empty")
    for pathology in ("benign", "malignant"):
        images: dict[str, Path] = {}
        masks: dict[str, list[Path]] = defaultdict(list)
        for path in files(root / pathology, ".png"):
            match = re.fullmatch(rf"{pathology} \((\d+)\)(_mask(_\d+)?)?\.png", path.name, re.IGNORECASE)
            if match and match[2]:
                masks[match[1]].append(path)
            elif match:
                images[match[1]] = path
        for number, image in images.items():
            if number not in masks:
                yield Problem(image, "has no mask")
                continue
            drawn = tuple(masks.pop(number))
            yield Record(
                case=f"{pathology}-{number}",
                files=(image, *drawn),
                load=partial(_load, image, drawn, f"breast_lesion_{pathology}"),
                attributes={"pathology": pathology},
            )
        yield from (Problem(path, "has no image") for left in masks.values() for path in left)


def _load(image: Path, masks: tuple[Path, ...], category: str) -> Sample:
    pixels = read_pixels(image)
    lesions = (Object(category, read_binary(mask, pixels.shape), instance=True) for mask in masks)
    return Sample(pixels, tuple(lesions))
