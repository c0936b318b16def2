"""HC18: outlines of heads, some cut by the border; one file of each kind of damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    TrueImage,
    TrueObject,
    Truth,
    cut,
    ellipse,
    ellipse_points,
    litter,
    outline,
    save,
    save_text,
    scan,
    white,
)

SIZE = (108, 160)
# Name: size, (x, y, a, b, angle) of the head, width of the line.
HEADS = {
    "000_HC": (SIZE, (80, 54, 50, 36, 0.3), 1),
    "001_HC": (SIZE, (75, 20, 48, 34, -0.2), 2),  # cut by the top
    "001_2HC": (SIZE, (85, 92, 45, 35, 0.1), 3),  # cut by the bottom
    "001_3HC": (SIZE, (18, 18, 50, 38, 0.5), 2),  # cut by a corner
    "002_HC": (SIZE, (80, 54, 96, 40, 0.05), 2),  # cut on the left and on the right
    "003_HC": ((67, 101), (50, 33, 30, 22, 1.2), 2),
    "006_HC": (SIZE, (60, 60, 30, 25, 0.0), 2),  # has no row in the table
}


def write(root: Path) -> Truth:
    folder = root / "training_set"
    images = {}
    rows = ["filename,pixel size(mm),head circumference (mm)"]
    for seed, (name, (size, head, width)) in enumerate(HEADS.items()):
        drawn = outline(size, ellipse_points(*head), width)
        filled = ellipse(size, *head) | drawn
        pixels = scan(size, seed, filled)
        save(folder / f"{name}.png", pixels)
        save(folder / f"{name}_Annotation.png", white(drawn))
        spacing = None
        if name != "006_HC":
            spacing = (0.1 + 0.01 * seed,) * 2
            rows.append(f"{name}.png,{spacing[0]},{100 + seed}")
        exam, view = name.split("_")
        images[f"{exam}__{view}.png"] = TrueImage(
            exam,
            pixels,
            (TrueObject("fetal_head", filled, edge=2),),
            view=view,
            split="train",
            spacing=spacing,
        )
    for name, size in (("004_HC", SIZE), ("005_HC", SIZE), ("007_HC", SIZE)):
        save(folder / f"{name}.png", scan(size, 7))
        rows.append(f"{name}.png,0.1,100")
    save(folder / "004_HC_Annotation.png", white(outline(SIZE, ellipse_points(80, 54, 40, 30), 2)))
    cut(folder / "004_HC.png")
    save(folder / "005_HC_Annotation.png", white(np.zeros(SIZE, np.bool_)))
    save_text(root / "training_set_pixel_size_and_HC.csv", "\n".join([*rows, ""]))
    save(root / "test_set" / "000_HC.png", scan(SIZE, 8))
    save_text(root / "test_set_pixel_size.csv", "filename,pixel size(mm)\n000_HC.png,0.2\n")
    litter(folder)
    problems = {
        "training_set/004_HC.png": "damaged",
        "training_set/005_HC.png": "005_HC_Annotation.png is empty",
        "training_set/006_HC.png": "no pixel size",
        "training_set/007_HC.png": "has no mask",
    }
    return Truth(images, problems, left_out=frozenset({"test_set", "test_set_pixel_size.csv"}))
