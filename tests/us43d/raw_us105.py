"""105US: folders of images and of masks, whose names share a number; soft edges, one mask twice as large."""

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
    scan,
    white,
)

SIZE = (84, 110)


def write(
    root: Path,
    pictures: str = "105US/US Images",
    drawings: str = "105US/Masks",
    name: str = "{:03d} Liver, B-mode.png",
) -> Truth:
    top = root / pictures
    images: dict[str, TrueImage] = {}

    def add(number: int, *lesions: Mask, size: tuple[int, int] = SIZE) -> None:
        pixels = scan(size, number, *lesions)
        if number == 2:
            pixels = colour(pixels)
        save(top / name.format(number), pixels)
        # The masks have the same numbers, spelled otherwise.
        save(root / drawings / f"{number} mask {number + 7}.png", white(np.any(lesions, axis=0)))
        objects = tuple(TrueObject("liver_metastasis", lesion) for lesion in lesions)
        images[f"{number}.png"] = TrueImage(str(number), pixels, objects)

    def replace(number: int, drawn: np.ndarray) -> None:
        save(root / drawings / f"{number} mask {number + 7}.png", drawn)

    add(1, blob(SIZE, 40, 30, 14, 1))
    add(2, blob(SIZE, 30, 30, 12, 2), blob(SIZE, 80, 55, 15, 3))
    add(10, blob((67, 101), 50, 30, 16, 4), size=(67, 101))
    add(11, np.zeros(SIZE, np.bool_))
    large = blob(SIZE, 60, 40, 20, 5)
    add(12, large)
    replace(12, white(large.repeat(2, axis=0).repeat(2, axis=1)))
    soft = ndimage.gaussian_filter(white(blob(SIZE, 60, 40, 22, 6)).astype(float), 1.2).astype(np.uint8)
    add(13, soft > 127)
    replace(13, soft)
    # Cut off, of another field, a picture in the place of a mask, and a mask of numbers.
    for number in (14, 15, 16, 17):
        add(number, blob(SIZE, 60, 40, 20, number))
    cut(top / name.format(14))
    replace(15, white(blob((84, 90), 40, 40, 20, 15)))
    replace(16, scan(SIZE, 16))
    replace(17, blob(SIZE, 60, 40, 20, 17).astype(np.uint8))
    # Without mask, without image, and a number that stands twice.
    for number in (18, 19, 20):
        add(number, blob(SIZE, 60, 40, 20, number))
    (root / drawings / "18 mask 25.png").unlink()
    (top / name.format(19)).unlink()
    save(top / "20 Liver again.png", scan(SIZE, 21))
    for number in (11, *range(14, 21)):
        del images[f"{number}.png"]
    litter(top)
    litter(root / drawings)
    problems = {
        f"{pictures}/{name.format(14)}": "damaged",
        f"{pictures}/{name.format(15)}": "do not show the same field",
        f"{pictures}/{name.format(16)}": "looks like a picture",
        f"{pictures}/{name.format(17)}": "values up to 1 only",
        f"{pictures}/{name.format(18)}": "has no mask",
        f"{drawings}/19 mask 26.png": "has no image",
        f"{pictures}/{name.format(20)}": "same name as 20 Liver again.png",
        f"{pictures}/20 Liver again.png": f"same name as {name.format(20)}",
    }
    return Truth(images, problems, dropped=1)


def write_beside(root: Path) -> Truth:
    """The images beside the folder of masks, all in a folder that has the word in its name too."""
    top = "100 2D US Images and Tumor Segmentation Masks"
    return write(root, top, f"{top}/Masks")


def write_twice(root: Path) -> Truth:
    """Each of the two folders in one of its own name, as programs unpack."""
    return write(root, "Images/Images", "Masks/Masks")


def write_numbers(root: Path) -> Truth:
    """Images named by their number alone."""
    return write(root, "105 US Images", "105 US Masks", "{:03d}.png")
