"""MMOTU OTU_2d: masks in the colours of the classes, their black and white copies, and two lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    TrueImage,
    TrueObject,
    Truth,
    blob,
    colour,
    cut,
    litter,
    save,
    save_jpeg,
    save_text,
    scan,
    white,
)

SIZE = (90, 120)
# In the order of the numbers in the lists.
CLASSES = {
    "chocolate_cyst": (64, 0, 0),
    "serous_cystadenoma": (0, 64, 0),
    "teratoma": (0, 0, 64),
    "theca_cell_tumor": (64, 0, 64),
    "simple_cyst": (64, 64, 0),
    "normal_ovary": (64, 64, 64),
    "mucinous_cystadenoma": (0, 128, 0),
    "high_grade_serous": (0, 0, 128),
}
# Numbers of images by number of class: every class, some images with two tumours.
LISTED = {"train": [(1, 3), (2, 0), (3, 1), (4, 2), (5, 4), (9, 7)], "val": [(10, 5), (11, 6), (6, 7)]}


def write(root: Path) -> Truth:
    top = root / "MMOTU_2d" / "OTU_2d"
    images = {}
    names = list(CLASSES)
    for part, listed in LISTED.items():
        for number, label in listed:
            size = (67, 101) if number == 5 else SIZE
            masks = [blob(size, 35, 30, 14, number)]
            masks += [blob(size, 80, 45, 11, 100 + number)] if number in (2, 10) else []
            name = names[label]
            painted = np.zeros((*size, 3), np.uint8)
            painted[np.any(masks, axis=0)] = CLASSES[name]
            if number == 11:
                painted[:] = 0
            pixels = save_jpeg(top / "images" / f"{number}.JPG", colour(scan(size, number, *masks)))
            save(top / "annotations" / f"{number}.PNG", painted)
            save(top / "annotations" / f"{number}_binary.PNG", white(painted.any(axis=2)))
            images[f"{number}.png"] = TrueImage(
                str(number),
                pixels,
                tuple(TrueObject(name, mask) for mask in masks),
                split="test" if part == "val" else "train",
                attributes={"class": name},
            )
    # Painted as another class than listed; in no list; cut off; and one with a colour of no class.
    for number, tint in ((20, CLASSES["teratoma"]), (21, (64, 0, 0)), (22, (64, 0, 0)), (23, (200, 0, 200))):
        mask = blob(SIZE, 60, 45, 20, number)
        painted = np.zeros((*SIZE, 3), np.uint8)
        painted[mask] = tint
        save_jpeg(top / "images" / f"{number}.JPG", colour(scan(SIZE, number, mask)))
        save(top / "annotations" / f"{number}.PNG", painted)
    cut(top / "images" / "22.JPG", 0.8)
    del images["11.png"]
    more = {"train": [(20, 0), (22, 0)], "val": [(23, 0)]}
    for part, listed in LISTED.items():
        lines = [(number, label) for number, label in [*listed, *more[part]]]
        save_text(top / f"{part}_cls.txt", "".join(f"{number}.JPG  {label}\n" for number, label in lines))
        save_text(top / f"{part}.txt", "".join(f"{number}\n" for number, _ in lines))
    litter(top / "images")
    litter(top)
    where = "MMOTU_2d/OTU_2d/images"
    problems = {
        f"{where}/20.JPG": "painted as teratoma",
        f"{where}/21.JPG": "in neither list",
        f"{where}/22.JPG": "damaged",
        f"{where}/23.JPG": "colour (200, 0, 200)",
    }
    copies = {f"MMOTU_2d/OTU_2d/annotations/{n}_binary.PNG" for listed in LISTED.values() for n, _ in listed}
    return Truth(images, problems, dropped=1, left_out=frozenset(copies))
