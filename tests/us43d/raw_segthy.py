"""SegThy: volumes of the neck in NIfTI files, labels in a folder of their own; also without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    Mask,
    TrueImage,
    TrueObject,
    Truth,
    cut,
    ellipse,
    litter,
    save_nifti,
    save_text,
    scan,
)

SIZE = (67, 101)
SPACING = (0.12, 0.15, 0.3)
EVERY = 5
NAMES = {1: "thyroid_gland", 2: "carotid_artery", 3: "jugular_vein"}
# Name of the label: volunteer, rest of the name, end of the image's name, slices, stored backwards.
VOLUMES = {
    "001_P1_1_left": ("001", "P1_1_left", "_US.nii", 12, False),
    "001_P1_1_right": ("001", "P1_1_right", "_US.nii", 6, True),
    "002": ("002", "", "_US.nii", 3, False),
    "003_left": ("003", "left", "_US.nii.gz", 3, False),
    "003_right": ("003", "right", ".nii", 3, False),
    "004_left": ("004", "left", "_US.nii", 6, False),
    "005_left": ("005", "left", "_US.nii", 6, False),
    "006_left": ("006", "left", "_US.nii", 3, False),
    "007_left": ("007", "left", "_US.nii", 3, False),
    "008_left": ("008", "left", "_US.nii", 3, False),
}


def drawn(index: int) -> list[tuple[int, Mask]]:
    """Label and mask of each structure in a slice: a gland in two parts, and vessels."""
    if index == 10:
        return []
    gland = [ellipse(SIZE, 30 + index, 30, 14, 9), ellipse(SIZE, 50 + index, 50, 9, 6)]
    carotid, jugular = ellipse(SIZE, 75, 30, 7, 6, 0.3), ellipse(SIZE, 85, 50, 8, 4)
    found = [(1, gland[0]), (1, gland[1]), (2, carotid), (3, jugular)]
    return found[: 3 if index == 5 else 4]


def write(root: Path) -> Truth:
    top = root / "US_data" / "ground_truth"
    pictures, labels = top / "US", top / "US_thyroid_label"
    images = {}
    dropped = 0
    for seed, (name, (volunteer, rest, end, count, backwards)) in enumerate(VOLUMES.items()):
        stack, numbers = [], []
        for index in range(count):
            objects = drawn(index)
            stack.append(scan(SIZE, 20 * seed + index, *[mask for _, mask in objects]))
            numbers.append(sum((mask * label for label, mask in objects), np.zeros(SIZE, np.int64)))
            if index % EVERY or volunteer in ("004", "005", "006", "007", "008"):
                continue
            if not objects:
                dropped += 1
                continue
            parts = (volunteer, rest, f"{index:05d}")
            images["__".join(part for part in parts if part) + ".png"] = TrueImage(
                volunteer,
                stack[-1],
                tuple(TrueObject(NAMES[label], mask) for label, mask in objects),
                view=rest,
                frame=index,
                spacing=SPACING[:2],
            )
        save_nifti(pictures / f"{name}{end}", np.stack(stack), SPACING, backwards)
        save_nifti(labels / f"{name}.nii", np.stack(numbers).astype(np.uint8), SPACING, backwards)
    cut(pictures / "004_left_US.nii")
    odd = np.zeros((6, *SIZE), np.uint8)
    odd[0, 5:20, 5:20] = 7
    save_nifti(labels / "005_left.nii", odd, SPACING)
    (labels / "006_left.nii").unlink()
    (pictures / "007_left_US.nii").unlink()
    save_nifti(labels / "008_left.nii", np.zeros((4, *SIZE), np.uint8), SPACING)
    # Sweeps that nobody has labelled, and the other modality.
    save_nifti(
        root / "US_data" / "unlabelled" / "US" / "020_left_US.nii", np.zeros((2, *SIZE), np.uint8), SPACING
    )
    save_nifti(root / "MR_data" / "MR" / "001_P1_1_left.nii", np.zeros((2, *SIZE), np.uint8), SPACING)
    save_nifti(root / "MR_data" / "MR_label" / "001_P1_1_left.nii", np.zeros((2, *SIZE), np.uint8), SPACING)
    save_text(root / "US_data" / "readme.txt", "Labels: 1 thyroid, 2 carotid artery, 3 jugular vein\n")
    litter(pictures)
    litter(labels)
    where = "US_data/ground_truth"
    problems = {
        f"{where}/US/004_left_US.nii": "cannot be read",
        f"{where}/US/005_left_US.nii": "the label 7",
        f"{where}/US/006_left_US.nii": "has no mask",
        f"{where}/US_thyroid_label/007_left.nii": "has no image",
        f"{where}/US/008_left_US.nii": "4 slices, its image 3",
    }
    left_out = frozenset({f"{where}/US", "US_data/unlabelled/US", "MR_data"})
    # Of 005 the second slice that is taken is empty.
    return Truth(images, problems, dropped + 1, left_out)
