"""STU-Hospital: masks larger than their images, with soft edges, faint noise, holes and specks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from tests.us43d.truth import Grey, TrueImage, TrueObject, Truth, cut, ellipse, save, save_text, scan

# Number: size of the image, factor of the mask's, (x, y, a, b) in pixels of the image.
LESIONS = {
    1: ((128, 128), 420 / 128, (60, 70, 30, 20)),
    2: ((128, 128), 4, (40, 40, 25, 30)),
    3: ((128, 128), 1, (70, 64, 28, 18)),
    10: ((67, 101), 3, (50, 30, 26, 14)),
    11: ((128, 128), 500 / 128, (20, 64, 40, 22)),  # cut by the border
}


def soft_mask(size: tuple[int, int], factor: float, lesion: tuple[float, ...], seed: int) -> Grey:
    """The lesion on its own grid with a hole and a speck, smoothed, and noise of value 1 around it."""
    height, width = round(size[0] * factor), round(size[1] * factor)
    x, y, a, b = (factor * value for value in lesion)
    inside = ellipse((height, width), x, y, a, b)
    inside[int(y) : int(y + 2 * factor), int(x) : int(x + 2 * factor)] = False
    inside[-int(6 * factor) : -int(3 * factor), -int(6 * factor) : -int(3 * factor)] = True
    grey = ndimage.gaussian_filter(inside * 255.0, 0.7)
    noise = np.random.default_rng(seed).random((height, width)) < 0.02
    return np.where((grey < 1) & noise, 1, np.rint(grey)).astype(np.uint8)


def write(root: Path) -> Truth:
    folder = root / "STU-Hospital-master" / "Hospital"
    images = {}
    for number, (size, factor, lesion) in LESIONS.items():
        true = ellipse(size, *lesion)
        pixels = scan(size, number, true)
        save(folder / f"Test_Image_{number}.png", pixels)
        save(folder / f"mask_{number}.png", soft_mask(size, factor, lesion, number))
        images[f"{number}.png"] = TrueImage(str(number), pixels, (TrueObject("breast_lesion", true, edge=1),))
    for number in (4, 5, 6):
        save(folder / f"Test_Image_{number}.png", scan((128, 128), number))
        save(folder / f"mask_{number}.png", np.zeros((420, 420), np.uint8))
    cut(folder / "mask_5.png")
    (folder / "mask_6.png").unlink()
    save_text(root / "STU-Hospital-master" / "README.md", "# STU-Hospital\n")
    save_text(folder / ".DS_Store")
    where = "STU-Hospital-master/Hospital"
    problems = {
        f"{where}/Test_Image_5.png": "mask_5.png is damaged",
        f"{where}/Test_Image_6.png": "has no mask",
    }
    return Truth(images, problems, dropped=1)
