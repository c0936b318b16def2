"""USGRA-seg: masks of numbers, nerves 1 and vessels 2, and a folder of images for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import TrueImage, TrueObject, Truth, blob, colour, cut, litter, save, save_text, scan

SIZE = (90, 120)
NAMES = {1: "nerve", 2: "vessel"}
# Part, number: size and (label, x, y, radius) of each object.
IMAGES: dict[tuple[str, int], tuple[tuple[int, int], list[tuple[int, int, int, int]]]] = {
    ("train", 0): (SIZE, [(1, 40, 30, 12), (1, 90, 30, 10), (2, 60, 70, 9)]),
    ("train", 1): ((67, 101), [(2, 40, 30, 12)]),
    ("train", 3): (SIZE, []),
    ("train", 12): (SIZE, [(1, 40, 30, 12)]),
    ("train", 13): (SIZE, [(1, 40, 30, 12)]),
    ("test", 0): (SIZE, [(1, 60, 40, 15)]),
    ("test", 1): (SIZE, [(2, 0, 40, 15)]),
}


def write(root: Path) -> Truth:
    top = root / "usgra-seg-main" / "dataset"
    images = {}
    for seed, ((part, number), (size, drawn)) in enumerate(IMAGES.items()):
        labels = np.zeros(size, np.uint8)
        objects = []
        for value, x, y, radius in drawn:
            mask = blob(size, x, y, radius, seed + value)
            labels[mask] = value
            objects.append(TrueObject(NAMES[value], mask))
        pixels = colour(scan(size, seed, *(one.mask for one in objects)))
        folder = top if part == "train" else top / "test"
        save(folder / "images" / f"{number:04d}.png", pixels)
        save(folder / "masks" / f"{number:04d}.png", labels)
        images[f"{part}-{number:04d}.png"] = TrueImage(
            f"{part}-{number:04d}", pixels, tuple(objects), split=part
        )
    cut(top / "images" / "0012.png")
    save(top / "masks" / "0013.png", np.full(SIZE, 7, np.uint8))
    save(top / "images" / "0014.png", colour(scan(SIZE, 50)))
    for number in (3, 12, 13):
        del images[f"train-{number:04d}.png"]
    save_text(root / "usgra-seg-main" / "README.md", "# USGRA-seg\n")
    save_text(root / "usgra-seg-main" / "src" / "train.py", "print()\n")
    litter(top / "images")
    where = "usgra-seg-main/dataset/images"
    problems = {
        f"{where}/0012.png": "damaged",
        f"{where}/0013.png": "label 7",
        f"{where}/0014.png": "has no mask",
    }
    return Truth(images, problems, dropped=1)
