"""MUP: the stacks of MicroSeg, all in one folder, or in the folders of MicroSeg."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d import raw_micro_seg
from tests.us43d.raw_micro_seg import SIZE, SPACING, stack
from tests.us43d.truth import TrueImage, TrueObject, Truth, cut, litter, save_nifti, scan

# Part and number: slices with their prostates by seed (0: none), and those of the non-expert.
VOLUMES: dict[tuple[str, int], tuple[list[int], list[int]]] = {
    ("train", 1): ([0, 1, 2, 0], [20, 21, 0, 0]),
    ("train", 2): ([3, 4], []),
    ("train", 3): ([5, 6], [22, 23]),
    ("train", 4): ([7, 8], [24]),
    ("test", 1): ([9, 10], []),
    ("test", 2): ([11, 12], []),
}


def write(root: Path) -> Truth:
    top = root / "MUP"
    images: dict[str, TrueImage] = {}
    dropped = 0
    for (part, number), (seeds, others) in VOLUMES.items():
        end, case = f"{part}_{number:02d}.nii.gz", f"{part}-{number:02d}"
        expert, turned = stack(seeds), number == 2
        drawn = {"": expert}
        save_nifti(top / f"expert_annotation_{end}", expert, SPACING, turned)
        if others:
            save_nifti(top / f"nonexpert_annotation_{end}", stack(others), SPACING, turned)
            drawn["non-expert"] = stack(others)
        pixels = np.stack([scan(SIZE, 60 + 9 * number + s, m > 0) for s, m in enumerate(expert)])
        save_nifti(top / f"microUS_{end}", pixels, SPACING, turned)
        if case == "train-04":
            del drawn["non-expert"]  # it has too few slices
        for index in range(len(seeds)):
            objects = [
                TrueObject("prostate", masks[index] > 0, annotator)
                for annotator, masks in drawn.items()
                if masks[index].any()
            ]
            if objects:
                images[f"{case}__{index:05d}.png"] = TrueImage(
                    case, pixels[index], tuple(objects), frame=index, split=part, spacing=SPACING[:2]
                )
            else:
                dropped += 1
    cut(top / "microUS_train_03.nii.gz")
    (top / "expert_annotation_test_02.nii.gz").unlink()
    save_nifti(top / "nonexpert_annotation_train_09.nii.gz", stack([5]), SPACING)
    save_nifti(top / "expert_annotation_train_08.nii.gz", stack([5]), SPACING)
    images = {name: image for name, image in images.items() if image.case not in ("train-03", "test-02")}
    litter(top)
    problems = {
        "MUP/microUS_train_03.nii.gz": "cannot be read",
        "MUP/nonexpert_annotation_train_04.nii.gz": "1 slices, its image 2",
        "MUP/microUS_test_02.nii.gz": "has no mask",
        "MUP/expert_annotation_train_08.nii.gz": "has no image",
        "MUP/nonexpert_annotation_train_09.nii.gz": "no scan with a mask of the expert",
    }
    return Truth(images, problems, dropped)


def write_as_micro_seg(root: Path) -> Truth:
    """The same record as it is published now."""
    return raw_micro_seg.write(root)
