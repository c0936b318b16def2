"""TN-SCUI 2020 in both its forms: image, mask and a table; and the folders of Pascal VOC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.us43d.truth import (
    TrueImage,
    TrueObject,
    Truth,
    blob,
    cut,
    litter,
    save,
    save_jpeg,
    save_text,
    scan,
    white,
)

SIZE = (88, 120)
# Number: size, class in the table, how many nodules.
IMAGES = {
    "00002": (SIZE, "1", 1),
    "00003": ((67, 101), "0", 2),
    "00010": (SIZE, "0", 0),
    "00011": (SIZE, "1", 1),
    "00012": (SIZE, "0", 1),
    "00013": (SIZE, "", 1),
    "00014": (SIZE, "2", 1),
    "03644": (SIZE, "1", 1),
}


def write(root: Path) -> Truth:
    top = root / "TNSCUI2020_train"
    images = {}
    rows = ["ID,CATE"]
    for seed, (number, (size, cate, count)) in enumerate(IMAGES.items()):
        masks = [blob(size, 35, 30, 15, seed), blob(size, 85, 55, 10, 50)][:count]
        pixels = scan(size, seed, *masks)
        save(top / "image" / f"{number}.PNG", pixels)
        painted = white(np.any([np.zeros(size, np.bool_), *masks], axis=0))
        save(top / "mask" / f"{number}.PNG", painted)
        if cate:
            rows.append(f"{int(number)}.PNG,{cate}")
        images[f"{number}.png"] = TrueImage(
            number,
            pixels,
            tuple(TrueObject("thyroid_nodule", mask) for mask in masks),
            split="train",
            attributes={"cate": cate} if cate in ("0", "1") else {},
        )
    cut(top / "image" / "00011.PNG")
    (top / "mask" / "00012.PNG").unlink()
    # The numbers of the other edition.
    save(top / "mask" / "03644.PNG", blob(SIZE, 35, 30, 15, 3).astype(np.uint8))
    for name in ("00010", "00011", "00012", "03644"):
        del images[f"{name}.png"]
    save_text(top / "train.csv", "\n".join([*rows, ""]))
    save(root / "tnscui2020_testset" / "image" / "test_1.PNG", scan(SIZE, 40))
    litter(top / "image")
    litter(root)
    where = "TNSCUI2020_train/image"
    problems = {
        f"{where}/00011.PNG": "damaged",
        f"{where}/00012.PNG": "has no mask",
        f"{where}/00013.PNG": "has no row",
        f"{where}/00014.PNG": "the class '2'",
        f"{where}/03644.PNG": "values up to 1 only",
    }
    return Truth(images, problems, dropped=1, left_out=frozenset({"tnscui2020_testset"}))


def write_repacked(root: Path) -> Truth:
    top = root / "tnscui"
    images = {}
    for seed, (number, (size, _, count)) in enumerate(IMAGES.items()):
        masks = [blob(size, 35, 30, 15, seed), blob(size, 85, 55, 10, 50)][:count]
        name = str(int(number))
        pixels = save_jpeg(top / "JPEGImages" / f"{name}.jpg", scan(size, seed, *masks))
        labels = np.any([np.zeros(size, np.bool_), *masks], axis=0).astype(np.uint8)
        path = top / "SegmentationClass" / f"{name}.png"
        save(path, labels * 255 if name == "13" else labels)
        if name == "2":
            # The usual colours of this layout: black and dark red.
            picture = Image.fromarray(labels).convert("P")
            picture.putpalette([0, 0, 0, 128, 0, 0])
            picture.save(path)
        images[f"{name}.png"] = TrueImage(
            name, pixels, tuple(TrueObject("thyroid_nodule", mask) for mask in masks), split="train"
        )
    folder = top / "SegmentationClass"
    cut(top / "JPEGImages" / "11.jpg", 0.8)
    (folder / "12.png").unlink()
    save(folder / "14.png", np.where(blob(SIZE, 35, 30, 15, 3), np.uint8(2), np.uint8(0)))
    void = np.where(blob(SIZE, 35, 30, 20, 3), np.uint8(255), np.uint8(0))
    void[blob(SIZE, 35, 30, 15, 3)] = 1
    save(folder / "3644.png", void)
    for name in ("10", "11", "12", "14", "3644"):
        del images[f"{name}.png"]
    litter(top / "JPEGImages")
    problems = {
        "tnscui/JPEGImages/11.jpg": "damaged",
        "tnscui/JPEGImages/12.jpg": "has no mask",
        "tnscui/JPEGImages/14.jpg": "the label 2",
        "tnscui/JPEGImages/3644.jpg": "1 and 255",
    }
    return Truth(images, problems, dropped=1)
