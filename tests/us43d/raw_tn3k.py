"""TN3K: masks as JPEG files with frayed edges; tables without a header; other sets in the same archive."""

from __future__ import annotations

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

SIZE = (88, 120)
# Part and number: size, malignant, how many nodules. The same number in the other part is another image.
IMAGES = {
    ("trainval", 0): (SIZE, "1", 1),
    ("trainval", 1): (SIZE, "0", 2),
    ("trainval", 2): ((67, 101), "0", 1),
    ("trainval", 3): (SIZE, "0", 0),
    ("trainval", 4): (SIZE, "1", 1),
    ("test", 0): (SIZE, "0", 1),
    ("test", 1): (SIZE, "", 1),
    ("test", 2): (SIZE, "1", 1),
}


def write(root: Path) -> Truth:
    top = root / "Thyroid Dataset" / "tn3k"
    images = {}
    rows: dict[str, list[str]] = {"trainval": [], "test": []}
    for seed, ((part, number), (size, malignant, count)) in enumerate(IMAGES.items()):
        masks = [blob(size, 35, 30, 15, seed), blob(size, 90, 58, 12, 50)][:count]
        pixels = save_jpeg(top / f"{part}-image" / f"{number:04d}.jpg", scan(size, seed, *masks))
        painted = white(np.any([np.zeros(size, np.bool_), *masks], axis=0))
        if masks:
            painted[4:6, 4:6] = 255  # a speck, as frayed edges leave them
        save_jpeg(top / f"{part}-mask" / f"{number:04d}.jpg", painted, quality=75)
        if malignant:
            rows[part].append(f"{number:04d}.jpg,{malignant}\n")
        images[f"{part}-{number:04d}.png"] = TrueImage(
            f"{part}-{number:04d}",
            pixels,
            tuple(TrueObject("thyroid_nodule", mask, edge=2) for mask in masks),
            split="train" if part == "trainval" else "test",
            attributes={"malignant": malignant == "1"} if malignant else {},
        )
    cut(top / "trainval-image" / "0004.jpg", 0.8)
    (top / "test-mask" / "0002.jpg").unlink()
    for name in ("trainval-0003", "trainval-0004", "test-0002"):
        del images[f"{name}.png"]
    for part, lines in rows.items():
        save_text(top / f"label4{part}.csv", "".join(lines))
    for fold in range(5):
        save_text(top / f"tn3k-trainval-fold{fold}.json", '{"train": [0, 1], "val": [2]}')
    save_jpeg(root / "Thyroid Dataset" / "tg3k" / "thyroid-image" / "0000.jpg", scan(SIZE, 90))
    save_jpeg(
        root / "Thyroid Dataset" / "tg3k" / "thyroid-mask" / "0000.jpg", white(blob(SIZE, 60, 40, 20, 9))
    )
    litter(top / "trainval-image")
    litter(top)
    where = "Thyroid Dataset/tn3k"
    problems = {
        f"{where}/trainval-image/0004.jpg": "damaged",
        f"{where}/test-image/0001.jpg": "no row",
        f"{where}/test-image/0002.jpg": "has no mask",
    }
    return Truth(images, problems, dropped=1)
