"""MicroSeg: stacks in NIfTI files, numbered anew in each part; non-experts have drawn them too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    Grey,
    TrueImage,
    TrueObject,
    Truth,
    blob,
    cut,
    litter,
    save_nifti,
    save_text,
    scan,
)

SPACING = (0.05, 0.06, 1.0)
SIZE = (67, 101)
# Part, number: slices with their prostates, by seed (0: none), stored backwards or not (scan, mask).
VOLUMES = {
    ("train", 1): ([0, 1, 2, 0], (False, False)),
    ("train", 2): ([3, 4], (True, True)),
    ("train", 3): ([5, 6], (False, False)),
    ("test", 1): ([7, 8], (True, True)),
    ("test", 2): ([9], (False, False)),
    ("test", 3): ([10, 11], (False, False)),
}
# What the others have drawn, by slice; of train 1 the first slice, where the expert has seen nothing.
FLAT = {("train", 1): [20, 21, 0, 0]}
STUDENT = {("test", 1): [22, 23]}
CLINICIAN = {("test", 1): [24, 25], ("test", 2): [26]}


def stack(seeds: list[int]) -> Grey:
    masks = [blob(SIZE, 45 + seed % 5, 33, 20, seed) if seed else np.zeros(SIZE, np.bool_) for seed in seeds]
    return np.stack(masks).astype(np.uint8)


def write(root: Path) -> Truth:
    top = root / "Micro_Ultrasound_Prostate_Segmentation_Dataset"
    images: dict[str, TrueImage] = {}
    dropped = 0
    for (part, number), (seeds, (backwards, mask_backwards)) in VOLUMES.items():
        folder, end = top / part, f"{part}_{number:02d}.nii.gz"
        by = {"": stack(seeds)}
        save_nifti(
            folder / "expert_annotations" / f"expert_annotation_{end}", by[""], SPACING, mask_backwards
        )
        others = (("non_expert", FLAT), ("master_student", STUDENT), ("clinician", CLINICIAN))
        for person, volumes in others:
            if (part, number) in volumes:
                drawn = stack(volumes[part, number])
                path = folder / f"{person}_annotations" / f"{person}_annotation_{end}"
                save_nifti(path, drawn, SPACING, mask_backwards)
                by[person.replace("_", "-")] = drawn
        # Values of the real scans go up to 254.
        pixels = np.minimum(
            np.stack([scan(SIZE, 40 + 9 * number + s, m > 0) for s, m in enumerate(by[""])]), 254
        )
        save_nifti(folder / "micro_ultrasound_scans" / f"microUS_{end}", pixels, SPACING, backwards)
        for index in range(len(seeds)):
            objects = [
                TrueObject("prostate", masks[index] > 0, annotator)
                for annotator, masks in by.items()
                if masks[index].any()
            ]
            if not objects:
                dropped += 1
                continue
            images[f"{part}-{number:02d}__{index:05d}.png"] = TrueImage(
                f"{part}-{number:02d}",
                pixels[index],
                tuple(objects),
                frame=index,
                split=part,
                spacing=SPACING[:2],
            )
    cut(top / "train" / "micro_ultrasound_scans" / "microUS_train_03.nii.gz")
    # A mask of another number of slices.
    other = top / "test" / "expert_annotations" / "expert_annotation_test_03.nii.gz"
    save_nifti(other, stack([10, 11, 12]), SPACING)
    for name in list(images):
        if name.startswith(("train-03", "test-03")):
            del images[name]
    save_text(top / "readme.txt", "Micro-ultrasound prostate segmentation\n")
    litter(top / "train" / "micro_ultrasound_scans")
    litter(top)
    where = "Micro_Ultrasound_Prostate_Segmentation_Dataset"
    problems = {
        f"{where}/train/micro_ultrasound_scans/microUS_train_03.nii.gz": "cannot be read",
        f"{where}/test/micro_ultrasound_scans/microUS_test_03.nii.gz": "3 slices, its image 2",
    }
    return Truth(images, problems, dropped)
