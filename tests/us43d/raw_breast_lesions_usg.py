"""BrEaST-Lesions_USG: a mask for each object, of either kind, in several forms; normal breasts have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from tests.us43d.truth import (
    Mask,
    TrueImage,
    TrueObject,
    Truth,
    blob,
    colour,
    cut,
    litter,
    save,
    save_text,
    scan,
    white,
)

SIZE = (90, 120)
FOLDER = "BrEaST-Lesions_USG-images_and_masks-Dec-15-2023/BrEaST-Lesions_USG-images_and_masks"


def drawn(number: int, size: tuple[int, int]) -> dict[str, Mask]:
    """The masks of a case by the end of their names."""
    lesion = blob(size, 45, 35, 15, number)
    match number:
        case 2:
            # What overlaps stays two objects, and what is in two parts one.
            two = blob(size, 95, 25, 9, 60) | blob(size, 95, 65, 9, 61)
            return {"tumor": lesion, "other1": blob(size, 55, 45, 14, 50), "other2": two}
        case 4:
            return {"other": lesion}
        case 6:
            return {"tumor": np.zeros(size, np.bool_)}
        case 10:
            return {"tumor": lesion, "other1": np.zeros(size, np.bool_)}
        case 11:
            return {}
    return {"tumor": lesion}


def write(root: Path) -> Truth:
    folder = root / FOLDER
    images = {}
    for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13):
        size = (67, 101) if number == 3 else SIZE
        masks = drawn(number, size)
        pixels = colour(scan(size, number, *masks.values()))
        name = f"case{number:03d}"
        save(folder / f"{name}.png", pixels)
        objects = []
        for kind, mask in masks.items():
            painted = white(mask)
            if number == 3:  # an object of the value 1
                painted = mask.astype(np.uint8)
            elif number == 5:  # smooth edges
                painted = np.rint(ndimage.gaussian_filter(255.0 * mask, 1.2)).astype(np.uint8)
                mask = painted > 127
            save(folder / f"{name}_{kind}.png", painted, "1" if kind == "other1" else None)
            if mask.any():
                category = "breast_lesion" if kind == "tumor" else "other_structure"
                objects.append(TrueObject(category, mask))
        if objects:
            images[f"{number:03d}.png"] = TrueImage(f"{number:03d}", pixels, tuple(objects))
    cut(folder / "case007_tumor.png", 0.8)
    save(folder / "case008_tumor.png", white(blob((90, 121), 45, 35, 15, 8)))
    (folder / "case009.png").unlink()
    save(folder / "case012_vessel1.png", white(blob(SIZE, 95, 65, 9, 3)))
    save(folder / "case013_tumor.png", scan(SIZE, 99))
    for number in (7, 8, 9, 12, 13):
        del images[f"{number:03d}.png"]
    table = "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx"
    save_text(folder.parent / table, "PK")
    litter(folder)
    problems = {
        f"{FOLDER}/case007.png": "case007_tumor.png is damaged",
        f"{FOLDER}/case008.png": "121 x 90",
        f"{FOLDER}/case009_tumor.png": "has no image",
        f"{FOLDER}/case012_vessel1.png": "of a kind",
        f"{FOLDER}/case013.png": "looks like a picture",
    }
    left_out = frozenset({f"{FOLDER}/case011.png", f"{Path(FOLDER).parent.as_posix()}/{table}"})
    return Truth(images, problems, dropped=1, left_out=left_out)
