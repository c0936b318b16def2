"""TG3K: frames of three sweeps by number, which differ in size; masks as JPEG files; the authors' parts in a
list.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    TrueImage,
    TrueObject,
    Truth,
    blob,
    cut,
    litter,
    save_jpeg,
    save_text,
    scan,
    white,
)

SIZE = (97, 129)
# Number: size, how many parts of the gland, part of the authors.
FRAMES = {
    0: (SIZE, 1, "train"),
    1: (SIZE, 2, "val"),
    199: (SIZE, 1, "train"),
    200: ((67, 101), 1, "val"),
    201: (SIZE, 0, "train"),
    3584: (SIZE, 1, ""),
    3001: (SIZE, 1, "train"),
    3002: (SIZE, 1, "train"),
    3003: (SIZE, 1, "train"),
}
# The first frame of its sweep.
CASES = {0: "0000", 1: "0000", 199: "0000", 200: "0200", 3584: "0201"}


def write(root: Path, listed: bool = True) -> Truth:
    top = root / "Thyroid Dataset" / "tg3k"
    images = {}
    for seed, (number, (size, count, part)) in enumerate(FRAMES.items()):
        masks = [blob(size, 35, 30, 17, seed), blob(size, 95, 55, 14, 50)][:count]
        pixels = save_jpeg(top / "thyroid-image" / f"{number:04d}.jpg", scan(size, seed, *masks))
        painted = white(np.any([np.zeros(size, np.bool_), *masks], axis=0))
        if masks:
            painted[4:6, 4:6] = 255  # a speck, as frayed edges leave them
        save_jpeg(top / "thyroid-mask" / f"{number:04d}.jpg", painted, quality=75)
        if count and number in CASES:
            images[f"{CASES[number]}__{number:05d}.png"] = TrueImage(
                CASES[number],
                pixels,
                tuple(TrueObject("thyroid_gland", mask, edge=2) for mask in masks),
                frame=number,
                attributes={"authors_part": part} if part and listed else {},
            )
    cut(top / "thyroid-image" / "3001.jpg", 0.8)
    (top / "thyroid-mask" / "3002.jpg").unlink()
    save_jpeg(top / "thyroid-mask" / "3003.jpg", white(np.ones((97, 128), np.bool_)))
    save_jpeg(top / "thyroid-mask" / "3004.jpg", white(blob(SIZE, 60, 40, 20, 9)))
    if listed:
        parts = {name: [n for n, (_, _, part) in FRAMES.items() if part == name] for name in ("train", "val")}
        save_text(top / "tg3k-trainval.json", json.dumps(parts))
    save_jpeg(root / "Thyroid Dataset" / "tn3k" / "test-image" / "0000.jpg", scan(SIZE, 90))
    litter(top / "thyroid-image")
    litter(top)
    where = "Thyroid Dataset/tg3k"
    problems = {
        f"{where}/thyroid-image/3001.jpg": "damaged",
        f"{where}/thyroid-image/3002.jpg": "has no mask",
        f"{where}/thyroid-image/3003.jpg": "128 x 97",
        f"{where}/thyroid-mask/3004.jpg": "has no image",
    }
    if listed:
        problems[f"{where}/thyroid-image/3584.jpg"] = "in no part"
    return Truth(images, problems, dropped=1)


def write_unlisted(root: Path) -> Truth:
    """Without the list of the authors' parts, which not every copy has."""
    return write(root, listed=False)
