"""BUSI: colour images, a mask for each lesion in every mode that the real files have, and normal breasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import TrueImage, TrueObject, Truth, blob, colour, cut, litter, save, scan, white

SIZE = (90, 120)


def write(root: Path) -> Truth:
    top = root / "Dataset_BUSI_with_GT"
    images: dict[str, TrueImage] = {}

    def add(
        pathology: str, number: int, size: tuple[int, int], *lesions: np.ndarray, mode: str = "1"
    ) -> None:
        pixels = colour(scan(size, number, *lesions))
        stem = top / pathology / f"{pathology} ({number})"
        save(stem.with_name(f"{stem.name}.png"), pixels)
        objects = []
        for index, lesion in enumerate(lesions):
            end = f"_mask_{index}" if index else "_mask"
            # The first mask of a real image has one bit, a further one often four channels.
            save(stem.with_name(f"{stem.name}{end}.png"), white(lesion), "RGBA" if index else mode)
            if lesion.any():
                objects.append(TrueObject(f"breast_lesion_{pathology}", lesion))
        if objects:
            name = f"{pathology}-{number}"
            images[f"{name}.png"] = TrueImage(
                name, pixels, tuple(objects), attributes={"pathology": pathology}
            )

    two_parts = blob(SIZE, 30, 30, 14, 1) | blob(SIZE, 85, 60, 12, 2)
    nothing = np.zeros(SIZE, np.bool_)
    add("benign", 1, SIZE, blob(SIZE, 60, 40, 20, 3))
    # Two lesions that overlap stay two; one in two parts stays one.
    add("benign", 2, SIZE, blob(SIZE, 50, 40, 18, 4), blob(SIZE, 66, 46, 16, 5), blob(SIZE, 20, 70, 9, 6))
    add("benign", 10, (67, 101), blob((67, 101), 40, 30, 15, 7), mode="RGB")
    add("benign", 11, SIZE, nothing)
    add("malignant", 1, SIZE, two_parts, mode="L")
    add("malignant", 2, SIZE, nothing, blob(SIZE, 60, 40, 20, 8))
    add("malignant", 3, SIZE, blob(SIZE, 60, 40, 20, 9))
    add("malignant", 4, SIZE, blob(SIZE, 60, 40, 20, 9))
    add("normal", 1, SIZE, nothing)
    cut(top / "malignant" / "malignant (3).png")
    cut(top / "malignant" / "malignant (4)_mask.png", 0.7)
    for number in (3, 4):
        del images[f"malignant-{number}.png"]
    save(top / "benign" / "benign (12).png", colour(scan(SIZE, 10)))
    save(top / "malignant" / "malignant (7)_mask_1.png", white(nothing))
    litter(top)
    litter(top / "benign")
    problems = {
        "Dataset_BUSI_with_GT/malignant/malignant (3).png": "damaged",
        "Dataset_BUSI_with_GT/malignant/malignant (4).png": "malignant (4)_mask.png is damaged",
        "Dataset_BUSI_with_GT/benign/benign (12).png": "has no mask",
        "Dataset_BUSI_with_GT/malignant/malignant (7)_mask_1.png": "has no image",
    }
    return Truth(images, problems, dropped=1, left_out=frozenset({"Dataset_BUSI_with_GT/normal"}))
