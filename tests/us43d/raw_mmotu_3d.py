"""MMOTU OTU_3d: masks in the colours of OTU_2d, which lies beside, and two lists of numbers."""

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
CLASSES = {
    "chocolate_cyst": (64, 0, 0),
    "serous_cystadenoma": (0, 64, 0),
    "teratoma": (0, 0, 64),
    "mucinous_cystadenoma": (0, 128, 0),
    "high_grade_serous": (0, 0, 128),
    "normal_ovary": (64, 64, 64),
    "": (255, 255, 255),
}
LISTED = {
    "train": {
        1: "chocolate_cyst",
        2: "serous_cystadenoma",
        3: "teratoma",
        9: "",
        12: "teratoma",
        13: "normal_ovary",
    },
    "val": {10: "high_grade_serous", 11: "mucinous_cystadenoma"},
}


def paint(mask: Mask, tint: tuple[int, int, int]) -> Grey:
    picture = np.zeros((*mask.shape, 3), np.uint8)
    picture[mask] = tint
    return picture


def write(root: Path, lists: tuple[str, ...] = ("train", "val")) -> Truth:
    base = "MMOTU/OTU_3d"
    top = root / base
    images = {}
    left_out = set()
    for part, listed in LISTED.items():
        for number, name in listed.items():
            size = (67, 101) if number == 3 else SIZE
            masks = [blob(size, 35, 30, 14, number)]
            masks += [blob(size, 80, 45, 11, 100 + number)] if number in (2, 10) else []
            if number == 12:
                masks = [np.zeros(size, np.bool_)]
            drawn = paint(np.any(masks, axis=0), CLASSES[name])
            if number == 11:
                # A smooth edge, which fades to black through the colour of another class.
                drawn = ndimage.gaussian_filter(drawn.astype(float), (1.2, 1.2, 0)).astype(np.uint8)
                masks = [drawn[..., 1] > 32]
            pixels = save_jpeg(top / "images" / f"{number}.JPG", colour(scan(size, number, *masks)))
            save(top / "annotations" / f"{number}.PNG", drawn)
            if number in (1, 9):
                save(top / "annotations" / f"{number}_binary.PNG", white(masks[0]))
                left_out.add(f"{base}/annotations/{number}_binary.PNG")
            images[f"{number}.png"] = TrueImage(
                str(number),
                pixels,
                tuple(TrueObject("ovarian_lesion", mask) for mask in masks),
                split=part if part in lists else "",
                attributes={"modality": "CEUS"} | ({"class": name} if name else {}),
            )
    del images["12.png"], images["13.png"]
    blobs = {number: blob(SIZE, 60, 45, 20, number) for number in range(21, 26)}
    wrong = {
        21: paint(blobs[21], (200, 0, 200)),
        22: paint(blobs[22], CLASSES["teratoma"]),
        23: blobs[23].astype(np.uint8),
        24: paint(blobs[24], CLASSES["teratoma"]),
    }
    for number, drawn in wrong.items():
        save_jpeg(top / "images" / f"{number}.JPG", colour(scan(SIZE, number, blobs[number])))
        save(top / "annotations" / f"{number}.PNG", drawn)
    cut(top / "images" / "22.JPG", 0.8)
    save_jpeg(top / "images" / "25.JPG", scan(SIZE, 25))
    save(top / "annotations" / "26.PNG", paint(blobs[25], CLASSES["teratoma"]))
    more = {"train": (21, 22, 23, 25), "val": ()}
    for part in lists:
        # One list has bare numbers, the other names of files.
        end = "" if part == "train" else ".JPG"
        save_text(top / f"{part}.txt", "".join(f"{n}{end}\n" for n in (*LISTED[part], *more[part])))
    # The other part of MMOTU, of which nothing is to be taken.
    other = root / "MMOTU" / "OTU_2d"
    save_jpeg(other / "images" / "1.JPG", scan(SIZE, 99))
    save(other / "annotations" / "1.PNG", paint(blobs[21], CLASSES["teratoma"]))
    litter(top / "images")
    litter(top)
    problems = {
        "images/21.JPG": "colour (200, 0, 200)",
        "images/22.JPG": "damaged",
        "images/23.JPG": "values up to 1 only",
        "images/24.JPG": "in neither list",
        "images/25.JPG": "has no mask",
        "annotations/26.PNG": "has no image",
    }
    if "val" not in lists:
        problems["val.txt"] = "is missing"
        # It may be one of the missing list.
        del problems["images/24.JPG"]
        pixels = save_jpeg(top / "images" / "24.JPG", colour(scan(SIZE, 24, blobs[24])))
        about = {"modality": "CEUS", "class": "teratoma"}
        images["24.png"] = TrueImage(
            "24", pixels, (TrueObject("ovarian_lesion", blobs[24]),), attributes=about
        )
    return Truth(
        images,
        {f"{base}/{file}": words for file, words in problems.items()},
        dropped=2,  # nothing is drawn, or a healthy ovary
        left_out=frozenset(left_out),
    )


def write_without_list(root: Path) -> Truth:
    """One of the two lists is lost."""
    return write(root, ("train",))
