"""BUID: breast lesions, a folder for each class. A mask and a picture of the lesion lie beside each image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import load_pair
from ultrasam.datasets.record import Found, Problem, Record, Skipped

NAME = r"(\d+) ([a-z]+)"


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "Benign", "Malignant")
    for pathology in ("benign", "malignant"):
        # Each class is an archive of its own, so its folder may lie in one of the same name.
        folder = find_folder(root / pathology.capitalize(), "*.[bB][mM][pP]")
        inside = files(folder)
        matched, problems = pairs(inside, inside, rf"{NAME} Image\.bmp", rf"{NAME} Mask\.tiff?")
        yield from problems
        for path in inside:
            if re.fullmatch(rf"{NAME} Lesion\.bmp", path.name, re.IGNORECASE):
                yield Skipped(path, "a picture of the lesion, which its mask shows")
        for key, image, mask in matched:
            number, word = key.split("-")
            if word.lower() != pathology:
                what = f"is named {word} in the folder {pathology.capitalize()}: its class is not known"
                yield Problem(image, what, (mask,))
                continue
            yield Record(
                case=f"{pathology}-{number}",
                files=(image, mask),
                load=partial(load_pair, image, mask, f"breast_lesion_{pathology}"),
                attributes={"pathology": pathology},
            )
