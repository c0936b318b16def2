"""BUS-BRA: up to three views of a patient, the class and fold in one table, the rest in another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import TrueImage, TrueObject, Truth, blob, cut, litter, save, save_text, scan, white

SIZE = (84, 110)
# Number, side: size, pathology, fold, BI-RADS, histology.
VIEWS = {
    (1, "l"): (SIZE, "malignant", 1, "5", "Invasive ductal carcinoma"),
    (1, "r"): (SIZE, "benign", 1, "2", "Fibroadenoma"),
    (2, "l"): ((67, 101), "benign", 2, "3", "Cyst"),
    (2, "r"): (SIZE, "benign", 2, "3", "Cyst"),
    (2, "s"): (SIZE, "benign", 2, "3", ""),
    (3, "l"): (SIZE, "malignant", 5, "4", "Invasive lobular carcinoma"),
    (4, "l"): (SIZE, "benign", 3, "2", "Cyst"),
    (5, "l"): (SIZE, "benign", 4, "2", "Cyst"),
    (5, "r"): (SIZE, "benign", 3, "2", "Cyst"),
    (6, "l"): (SIZE, "unknown", 3, "2", "Cyst"),
    (7, "l"): (SIZE, "benign", 3, "2", "Cyst"),
}
SIDES = {"l": "left", "r": "right", "s": "left"}


def write(root: Path) -> Truth:
    top = root / "BUSBRA"
    images = {}
    folds = ["ID,Pathology,kFold"]
    about = ["ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX"]
    for seed, ((number, side), (size, pathology, fold, birads, histology)) in enumerate(VIEWS.items()):
        masks = [blob(size, 40, 30, 14, seed)]
        if (number, side) == (2, "r"):
            masks.append(blob(size, 85, 60, 9, 50))
        if (number, side) == (3, "l"):
            masks = [np.zeros(size, np.bool_)]
        name = f"{number:04d}-{side}"
        pixels = scan(size, seed, *masks)
        save(top / "Images" / f"bus_{name}.png", pixels)
        save(top / "Masks" / f"mask_{name}.png", white(np.any(masks, axis=0)))
        if number != 7:
            folds.append(f"bus_{name},{pathology},{fold}")
        row = f"{number},{histology},{pathology},{birads},GE Logiq 7,{size[1]},{size[0]},{SIDES[side]}"
        about.append(f'bus_{name},{row},"[26,16,28,28]"')
        attributes = {
            "pathology": pathology,
            "birads": birads,
            "histology": histology,
            "device": "GE Logiq 7",
            "side": SIDES[side],
        }
        images[f"{number:04d}__{side}.png"] = TrueImage(
            f"{number:04d}",
            pixels,
            tuple(TrueObject(f"breast_lesion_{pathology}", mask) for mask in masks),
            view=side,
            split="test" if fold == 1 else "train",
            attributes={key: value for key, value in attributes.items() if value},
        )
    cut(top / "Images" / "bus_0004-l.png")
    for name in ("0003__l", "0004__l", "0005__r", "0006__l", "0007__l"):
        del images[f"{name}.png"]
    save_text(top / "5-fold-cv.csv", "\n".join([*folds, ""]))
    save_text(top / "10-fold-cv.csv", "ID,Pathology,kFold\nbus_0001-l,malignant,9\n")
    save_text(top / "bus_data.csv", "\ufeff" + "\r\n".join([*about, ""]))
    litter(top / "Images")
    litter(top)
    problems = {
        "BUSBRA/Images/bus_0004-l.png": "damaged",
        "BUSBRA/Images/bus_0005-r.png": "another fold",
        "BUSBRA/Images/bus_0006-l.png": "'unknown'",
        "BUSBRA/Images/bus_0007-l.png": "no row",
    }
    return Truth(images, problems, dropped=1)
