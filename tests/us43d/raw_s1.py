"""S1: grey and white lesions; equal names in both parts; labels twice; masks as PNG and JPEG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from tests.us43d.truth import (
    Grey,
    Mask,
    TrueImage,
    TrueObject,
    Truth,
    blob,
    cut,
    ellipse,
    litter,
    save,
    save_jpeg,
    save_text,
    scan,
)

SIZE = (90, 120)
LEVELS = {"benign": 127, "malignant": 255}
PARTS = {"train": "TrainingDataSet", "test": "TestingDataSet"}


def grey(size: tuple[int, int], *lesions: tuple[str, Mask]) -> Grey:
    picture = np.zeros(size, np.uint8)
    for pathology, mask in lesions:
        picture[mask] = LEVELS[pathology]
    return picture


def smooth(picture: Grey) -> Grey:
    return np.asarray(np.rint(ndimage.gaussian_filter(picture * 1.0, 1.2)), np.uint8)


def write(root: Path) -> Truth:
    images: dict[str, TrueImage] = {}
    for seed, (split, part) in enumerate(PARTS.items()):
        top = root / "S1" / "Data" / part
        for number in (1, 2, 3, 4, 5, 6, 7):
            size = (67, 101) if number == 2 else SIZE
            pathology = "malignant" if (number + seed) % 2 else "benign"
            lesions = [(pathology, blob(size, 40, 34, 15, number + 20 * seed))]
            if number == 3:
                lesions = [("benign", blob(size, 35, 30, 13, 3)), ("malignant", blob(size, 92, 62, 13, 4))]
            if number == 7:
                lesions = []
            pixels = scan(size, number + 20 * seed, *(mask for _, mask in lesions))
            painted, edge, end = grey(size, *lesions), 0, "png"
            if number == 4:  # smooth edges
                painted = smooth(painted)
                lesions = [(pathology, painted > LEVELS[pathology] / 2)]
            elif number == 5:  # a compressed mask
                lesions, edge, end = [(pathology, ellipse(size, 50, 45, 30, 22))], 2, "jpg"
                painted = grey(size, *lesions)
                painted[4:6, 4:6] = 255  # a speck, as frayed edges leave them
            elif number == 6:  # nearly the levels of the classes, and stray pixels that are nearly black
                painted = np.where(painted > 0, painted - 3, 0).astype(np.uint8)
                painted[5, 5:9] = (1, 2, 2, 1)
            pixels = save_jpeg(top / "Images" / f"{number}.jpg", pixels)
            for folder in ("Labels", "General Labels"):
                if end == "jpg":
                    save_jpeg(top / folder / f"{number}.jpg", painted, quality=75)
                else:
                    save(top / folder / f"{number}.png", painted)
            case = f"{split}-{number}"
            objects = (TrueObject(f"breast_lesion_{one}", mask, edge=edge) for one, mask in lesions)
            images[f"{case}.png"] = TrueImage(case, pixels, tuple(objects), split=split)
        litter(top / "Images")
    train, test = (root / "S1" / "Data" / part for part in PARTS.values())
    both = np.arange(SIZE[1]) < 40
    lesion = blob(SIZE, 40, 34, 15, 1)
    broken = {
        11: grey(SIZE, ("benign", lesion & both), ("malignant", lesion & ~both)),
        12: np.where(lesion, np.uint8(200), np.uint8(0)),
        13: np.where(lesion, np.uint8(2), np.uint8(0)),
        14: np.zeros((91, 120), np.uint8),
        15: scan(SIZE, 15),
        16: grey(SIZE, ("benign", lesion)),
    }
    for number, painted in broken.items():
        save_jpeg(train / "Images" / f"{number}.jpg", scan(SIZE, number))
        save(train / "Labels" / f"{number}.png", painted)
    cut(train / "Images" / "16.jpg", 0.8)
    save_jpeg(train / "Images" / "17.jpg", scan(SIZE, 17))
    save(test / "Labels" / "18.png", grey(SIZE, ("benign", lesion)))
    for name in ("train-7", "test-7"):
        del images[f"{name}.png"]
    save_text(root / "S1" / "Readme.txt", "Supplement\n")
    where = "S1/Data/TrainingDataSet"
    problems = {
        f"{where}/Images/11.jpg": "grey and white",
        f"{where}/Images/12.jpg": "grey level 200",
        f"{where}/Images/13.jpg": "grey level 2,",
        f"{where}/Images/14.jpg": "120 x 91",
        f"{where}/Images/15.jpg": "grey level",
        f"{where}/Images/16.jpg": "damaged",
        f"{where}/Images/17.jpg": "has no mask",
        "S1/Data/TestingDataSet/Labels/18.png": "has no image",
    }
    left_out = {f"S1/Data/{part}/General Labels" for part in PARTS.values()}
    return Truth(images, problems, dropped=2, left_out=frozenset(left_out))
