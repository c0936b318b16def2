"""CCAUI: slices of examinations and masks of the same name."""

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
    save,
    save_text,
    scan,
    white,
)

SIZE = (90, 84)
EXAMS = ("202201121748100022VAS", "202202071359200051-2VAS")
# Examination, slice: size and number of arteries (the carotid forks).
SLICES = {
    (0, 9): (SIZE, 1),
    (0, 10): (SIZE, 2),
    (0, 1069): ((67, 101), 1),
    (1, 9): (SIZE, 1),
    (1, 10): (SIZE, 0),
    (1, 11): (SIZE, 1),  # cut off
    (1, 12): (SIZE, 1),  # no mask
    (1, 13): (SIZE, 1),  # a mask of another size
    (1, 14): (SIZE, 1),  # no image
}


def write(root: Path) -> Truth:
    top = root / "Common Carotid Artery Ultrasound Images"
    images = {}
    for seed, ((exam, number), (size, count)) in enumerate(SLICES.items()):
        masks = [blob(size, 25 + 36 * i, 34 + 12 * i, 12, 9 * seed + i) for i in range(count)]
        name = f"{EXAMS[exam]}_slice_{number}.png"
        pixels = scan(size, seed, *masks)
        save(top / "US images" / name, pixels)
        # A smooth border, some of which is no longer 255.
        drawn = white(np.any([np.zeros(size, np.bool_), *masks], axis=0))
        drawn[(drawn > 0) & ~np.roll(drawn > 0, 1, axis=1)] = 180
        save(top / "Expert mask images" / name, drawn)
        images[f"{EXAMS[exam]}__{number:05d}.png"] = TrueImage(
            EXAMS[exam], pixels, tuple(TrueObject("carotid_artery", mask) for mask in masks), frame=number
        )
    where = "Common Carotid Artery Ultrasound Images"
    name = f"{EXAMS[1]}_slice_{{}}.png"
    cut(top / "US images" / name.format(11))
    (top / "Expert mask images" / name.format(12)).unlink()
    save(top / "Expert mask images" / name.format(13), white(blob((90, 83), 25, 34, 12, 1)))
    (top / "US images" / name.format(14)).unlink()
    for number in (10, 11, 12, 13, 14):
        del images[f"{EXAMS[1]}__{number:05d}.png"]
    save(top / "US images" / "0001.png", scan(SIZE, 99))
    save_text(top / "readme.txt", "Common carotid artery\n")
    litter(top / "US images")
    litter(root)
    problems = {
        f"{where}/US images/{name.format(11)}": "damaged",
        f"{where}/US images/{name.format(12)}": "no mask",
        f"{where}/US images/{name.format(13)}": "83 x 90",
        f"{where}/Expert mask images/{name.format(14)}": "no image",
        f"{where}/US images": "belongs to no image: 0001.png",
    }
    return Truth(images, problems, dropped=1)
