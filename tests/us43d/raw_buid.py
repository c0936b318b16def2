"""BUID: BMP images with TIFF masks and pictures of the lesions; both classes count from 1."""

from __future__ import annotations

import shutil
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
    litter,
    save,
    save_text,
    scan,
    white,
)

SIZE = (88, 116)


def write(root: Path, where: str = "BUID") -> Truth:
    images: dict[str, TrueImage] = {}
    left_out = set()
    for name in ("Benign", "Malignant"):
        pathology = name.lower()
        for number in (1, 2, 3, 4, 10, 11):
            size = (67, 101) if number == 2 else SIZE
            masks = [blob(size, 45, 34, 15, number)]
            if number == 3:
                masks.append(blob(size, 95, 60, 10, 50))
            grey = scan(size, number + len(name), *masks)
            pixels = colour(grey) if number == 3 else grey
            painted = white(np.any(masks, axis=0))
            if number == 4:  # smooth edges
                painted = np.rint(ndimage.gaussian_filter(painted * 1.0, 1.2)).astype(np.uint8)
                masks = [painted > 127]
            if number == 11:
                masks, painted = [], np.zeros(size, np.uint8)
            stem = f"{where}/{name}/{number} {name}"
            save(root / f"{stem} Image.bmp", pixels)
            save(root / f"{stem} Mask.tif", painted, "1" if number == 3 else None)
            save(root / f"{stem} Lesion.bmp", np.where(painted > 127, np.uint8(255), grey))
            left_out.add(f"{stem} Lesion.bmp")
            if masks:
                case = f"{pathology}-{number}"
                objects = tuple(TrueObject(f"breast_lesion_{pathology}", mask) for mask in masks)
                images[f"{case}.png"] = TrueImage(case, pixels, objects, attributes={"pathology": pathology})
        litter(root / where / name)
    benign, malignant = root / where / "Benign", root / where / "Malignant"
    # An image in the folder of the other class, and files that are cut off, missing or of another size.
    for end in ("Image.bmp", "Mask.tif"):
        shutil.copy(malignant / f"1 Malignant {end}", benign / f"12 Malignant {end}")
    cut(benign / "10 Benign Image.bmp")
    (malignant / "2 Malignant Mask.tif").unlink()
    (malignant / "3 Malignant Image.bmp").unlink()
    save(malignant / "4 Malignant Mask.tif", white(np.ones((88, 117), np.bool_)))
    for name in ("benign-10", "malignant-2", "malignant-3", "malignant-4"):
        del images[f"{name}.png"]
    save_text(root / where / "Readme.txt", "Breast ultrasound images database\n")
    problems = {
        f"{where}/Benign/10 Benign Image.bmp": "damaged",
        f"{where}/Benign/12 Malignant Image.bmp": "is named Malignant in the folder Benign",
        f"{where}/Malignant/2 Malignant Image.bmp": "has no mask",
        f"{where}/Malignant/3 Malignant Mask.tif": "has no image",
        f"{where}/Malignant/4 Malignant Image.bmp": "117 x 88",
    }
    return Truth(images, problems, dropped=2, left_out=frozenset(left_out))


def write_twice(root: Path) -> Truth:
    """Each archive unpacked into a folder of its name: Benign/Benign and Malignant/Malignant."""
    truth = write(root)
    for name in ("Benign", "Malignant"):
        (root / "BUID" / name).rename(root / "BUID" / "inner")
        (root / "BUID" / name).mkdir()
        (root / "BUID" / "inner").rename(root / "BUID" / name / name)

    def moved(file: str) -> str:
        top, name, rest = file.split("/")
        return f"{top}/{name}/{name}/{rest}"

    return Truth(
        truth.images,
        {moved(file): words for file, words in truth.problems.items()},
        truth.dropped,
        frozenset(map(moved, truth.left_out)),
    )
