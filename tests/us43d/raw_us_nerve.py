"""Ultrasound Nerve Segmentation: TIFF frames of several subjects, most without a nerve."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import TrueImage, TrueObject, Truth, blob, cut, litter, save, save_text, scan, white

SIZE = (105, 145)


def write(root: Path) -> Truth:
    top = root / "ultrasound-nerve-segmentation"
    nothing = np.zeros(SIZE, np.bool_)
    odd = (67, 101)
    drawn = {
        (1, 1): [blob(SIZE, 70, 50, 18, 1)],
        (1, 2): [blob(SIZE, 72, 52, 18, 2), blob(SIZE, 20, 20, 8, 3)],
        (1, 10): [nothing],
        (2, 1): [nothing],
        (12, 1): [blob(odd, 50, 30, 12, 4)],
        (12, 2): [blob(SIZE, 50, 30, 12, 4)],
    }
    images = {}
    for seed, ((subject, number), masks) in enumerate(drawn.items()):
        pixels = scan(masks[0].shape, seed, *masks)
        save(top / "train" / f"{subject}_{number}.tif", pixels)
        save(top / "train" / f"{subject}_{number}_mask.tif", white(np.any(masks, axis=0)))
        images[f"{subject}__{number:05d}.png"] = TrueImage(
            str(subject),
            pixels,
            tuple(TrueObject("brachial_plexus", mask) for mask in masks if mask.any()),
            frame=number,
            split="train",
        )
    cut(top / "train" / "12_2.tif")
    del images["12__00002.png"]
    save(top / "train" / "13_1.tif", scan(SIZE, 9))
    save(top / "test" / "1.tif", scan(SIZE, 9))
    save_text(top / "train_masks.csv", "subject,img,pixels\n1,1,168153 9\n")
    save_text(top / "sample_submission.csv", "img,pixels\n1,1 1\n")
    litter(top / "train")
    where = "ultrasound-nerve-segmentation"
    problems = {f"{where}/train/12_2.tif": "damaged", f"{where}/train/13_1.tif": "has no mask"}
    return Truth(images, problems, left_out=frozenset({f"{where}/test"}))
