"""Dataset B: numbered images and masks, and a spreadsheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from tests.us43d.truth import (
    TrueImage,
    TrueObject,
    Truth,
    blob,
    cut,
    litter,
    save,
    save_text,
    scan,
    white,
)

SIZE = (90, 118)


def write(root: Path) -> Truth:
    top = root / "BUS"
    images: dict[str, TrueImage] = {}
    for number in (1, 2, 3, 5, 8, 13, 21, 34, 55):
        size = (67, 101) if number == 2 else SIZE
        masks = [blob(size, 40, 34, 16, number)]
        if number == 3:
            masks.append(blob(size, 95, 60, 10, 50))
        pixels = scan(size, number, *masks)
        painted = white(np.any(masks, axis=0))
        if number == 5:  # smooth edges
            painted = np.rint(ndimage.gaussian_filter(painted * 1.0, 1.2)).astype(np.uint8)
            masks = [painted > 127]
        elif number == 8:
            masks, painted = [], np.zeros(size, np.uint8)
        save(top / "original" / f"{number:06d}.png", pixels)
        save(top / "GT" / f"{number:06d}.png", painted, "RGB" if number == 3 else None)
        if masks:
            objects = tuple(TrueObject("breast_lesion", mask) for mask in masks)
            images[f"{number:06d}.png"] = TrueImage(f"{number:06d}", pixels, objects)
    cut(top / "original" / "000013.png")
    save(top / "GT" / "000021.png", white(np.ones((89, 118), np.bool_)))
    (top / "GT" / "000034.png").unlink()
    (top / "original" / "000055.png").unlink()
    for number in (13, 21, 34, 55):
        del images[f"{number:06d}.png"]
    save_text(top / "DatasetB.xlsx", "PK")
    litter(top)
    litter(top / "GT")
    problems = {
        "BUS/original/000013.png": "damaged",
        "BUS/original/000021.png": "118 x 89",
        "BUS/original/000034.png": "has no mask",
        "BUS/GT/000055.png": "has no image",
    }
    return Truth(images, problems, dropped=1, left_out=frozenset({"BUS/DatasetB.xlsx"}))
