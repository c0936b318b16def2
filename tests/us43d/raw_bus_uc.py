"""BUS-UC: both classes and, once more, all; equal numbers in both classes, masks of other sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from tests.us43d.truth import (
    TrueImage,
    TrueObject,
    Truth,
    blob,
    colour,
    cut,
    ellipse,
    litter,
    save,
    scan,
    white,
)

SIZE = (96, 96)
TOP = "BUS_UC/BUS_UC"


def write(root: Path) -> Truth:
    top = root / TOP
    images: dict[str, TrueImage] = {}
    for seed, name in enumerate(("Benign", "Malignant")):
        for number in (1, 2, 3, 4, 5, 6):
            size = (67, 101) if number == 2 else SIZE
            masks = [blob(size, 35, 34, 14, 10 * number + seed)]
            if number == 3:
                masks.append(blob(size, 75, 72, 10, 50))
            pixels = scan(size, 10 * number + seed, *masks)
            painted, edge = white(np.any(masks, axis=0)), 0
            if number == 4:  # smooth edges
                painted = np.rint(ndimage.gaussian_filter(painted * 1.0, 1.2)).astype(np.uint8)
                masks = [painted > 127]
            elif number == 5:  # a mask of another size
                masks, edge = [ellipse(size, 40, 50, 25, 18)], 1
                factor = 2.5 if seed else 0.75
                painted = white(
                    ellipse(
                        (round(size[0] * factor), round(size[1] * factor)),
                        *(factor * value for value in (40, 50, 25, 18)),
                    )
                )
            elif number == 6 and seed:
                masks, painted = [], np.zeros(size, np.uint8)
            for folder in (top / name, top / "All"):
                save(folder / "images" / f"{number:03d}.png", colour(pixels))
                save(folder / "masks" / f"{number:03d}.png", painted, "1" if number == 3 else None)
            if masks:
                case = f"{name.lower()}-{number:03d}"
                category = f"breast_lesion_{name.lower()}"
                images[f"{case}.png"] = TrueImage(
                    case,
                    colour(pixels),
                    tuple(TrueObject(category, mask, edge=edge) for mask in masks),
                    attributes={"pathology": name.lower()},
                )
        litter(top / name / "images")
    save(top / "Benign" / "masks" / "001.png", white(blob((96, 120), 35, 34, 14, 3)))
    save(top / "Benign" / "masks" / "002.png", np.ones((67, 101), np.uint8))
    cut(top / "Malignant" / "images" / "001.png")
    save(top / "Malignant" / "masks" / "007.png", white(blob(SIZE, 35, 34, 14, 3)))
    save(top / "Malignant" / "images" / "008.png", scan(SIZE, 70))
    for name in ("benign-001", "benign-002", "malignant-001"):
        del images[f"{name}.png"]
    problems = {
        f"{TOP}/Benign/images/001.png": "do not show the same field",
        f"{TOP}/Benign/images/002.png": "values up to 1 only",
        f"{TOP}/Malignant/images/001.png": "damaged",
        f"{TOP}/Malignant/masks/007.png": "has no image",
        f"{TOP}/Malignant/images/008.png": "has no mask",
    }
    return Truth(images, problems, dropped=1, left_out=frozenset({f"{TOP}/All"}))
