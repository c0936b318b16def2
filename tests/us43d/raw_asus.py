"""ASUS: an array of images and one of masks for each sweep, from the deepest row up to the skin."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import Mask, TrueImage, TrueObject, Truth, blob, cut, ellipse, litter, save_text, scan

SIZE = (128, 128)
# Sweep: frames, in each the number of bones.
SWEEPS = {
    "q000": (1, 2, 0, 1),
    "q001": (1, 1, 1),
    "q002": (2, 1),
    "q003": (1, 1),
    "q004": (1,),
    "q005": (1, 1),
    "q010": (1, 1),
}


def bones(count: int, seed: int) -> list[Mask]:
    return [blob(SIZE, 44, 70, 14, seed), ellipse(SIZE, 96, 84, 20, 4, 0.3)][:count]


def write(root: Path) -> Truth:
    folder = root / "ASUS" / "DataArrays"
    folder.mkdir(parents=True)
    images = {}
    for start, (sweep, counts) in enumerate(SWEEPS.items()):
        shape = (len(counts), *SIZE, 1)
        levels, labels = np.zeros(shape, np.float16), np.zeros(shape, np.uint8)
        for frame, count in enumerate(counts):
            masks = bones(count, 10 * start + frame)
            pixels = scan(SIZE, 10 * start + frame, *masks)
            pixels[:6] = 250  # the skin is bright
            levels[frame, ..., 0] = pixels[::-1] / 255
            for mask in masks:
                labels[frame, ..., 0][mask[::-1]] = 1
            if (sweep, frame) == ("q000", 2):
                levels[frame] = np.nan  # black, divided by its brightest pixel
            if (sweep, frame) == ("q000", 1):
                levels[frame, :8, :8, 0] = 1.02  # as resampling overshoots
                pixels[-8:, :8] = 255
            if masks:
                images[f"{sweep}__{frame:05d}.png"] = TrueImage(
                    sweep, pixels, tuple(TrueObject("spine", mask) for mask in masks), frame=frame
                )
        if sweep == "q001":
            levels[1, 60, 60, 0] = 40
        if sweep == "q002":
            labels[1, 5:9, 5:9, 0] = 2
        if sweep == "q003":
            labels = labels[:1]
        np.save(folder / f"{sweep}_ultrasound.npy", levels)
        if sweep != "q004":
            np.save(folder / f"{sweep}_segmentation.npy", labels)
    cut(folder / "q005_segmentation.npy")
    np.save(folder / "q011_segmentation.npy", np.zeros((1, *SIZE, 1), np.uint8))
    # What the owners' exporter writes too, and something else.
    np.save(folder / "q010_indices.npy", np.arange(2))
    np.save(folder / "q010_transform.npy", np.zeros((2, 4, 4)))
    np.save(folder / "q010_depth.npy", np.zeros(2))
    lost = ("q001__00001", "q002__00001", "q003", "q004", "q005")
    images = {name: image for name, image in images.items() if not name.startswith(lost)}
    save_text(folder / "readme.txt", "Sweeps along the spine\n")
    litter(folder)
    where = "ASUS/DataArrays"
    problems = {
        f"{where}/q001_ultrasound.npy": "other values than from 0 to 1 in frame 1",
        f"{where}/q002_ultrasound.npy": "the label 2",
        f"{where}/q003_ultrasound.npy": "q003_segmentation.npy is of the shape (1, 128, 128, 1)",
        f"{where}/q004_ultrasound.npy": "has no mask",
        f"{where}/q005_ultrasound.npy": "q005_segmentation.npy is damaged",
        f"{where}/q011_segmentation.npy": "has no image",
        where: "q010_depth.npy",
    }
    left_out = frozenset(f"{where}/q010_{what}.npy" for what in ("indices", "transform"))
    return Truth(images, problems, dropped=1, left_out=left_out)
