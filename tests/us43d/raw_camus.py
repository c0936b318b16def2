"""CAMUS as NIfTI: half sequences, copies of their first and last frame, and the lists of the split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    Grey,
    TrueImage,
    TrueObject,
    Truth,
    cut,
    ellipse,
    litter,
    save_mhd,
    save_nifti,
    save_text,
    scan,
)

SPACING = (0.308, 0.154, 1.0)
MHD_SPACING = (0.308, 0.154, 1.54)
MHD_SIZES = {"2CH": (67, 101), "4CH": (90, 70)}
NAMES = {1: "lv_endocardium", 2: "lv_myocardium", 3: "left_atrium"}


def heart(size: tuple[int, int], grow: float) -> Grey:
    """Labels of a left heart, smaller or larger: a cavity, the muscle round it, the atrium below."""
    x, y = 0.5 * size[1], 0.4 * size[0]
    labels = np.zeros(size, np.uint8)
    labels[ellipse(size, x, 0.8 * size[0], grow * 14, grow * 8)] = 3
    labels[ellipse(size, x, y, grow * 20, grow * 16)] = 2
    labels[ellipse(size, x, y, grow * 13, grow * 10)] = 1
    return labels


def frames(size: tuple[int, int], grow: list[float], seed: int) -> tuple[Grey, Grey]:
    """A stack of images and one of labels; a factor of 0 gives a frame without labels."""
    labels = np.stack([heart(size, g) if g else np.zeros(size, np.uint8) for g in grow])
    scans = [scan(size, seed + index, *(one == value for value in NAMES)) for index, one in enumerate(labels)]
    return np.stack(scans), labels


def info(last: int, quality: str) -> str:
    return f"ED: 1\nES: {last}\nNbFrame: {last}\nSex: F\nAge: 56\nImageQuality: {quality}\nEF: 63\n"


def true_image(patient: str, view: str, pixels: Grey, labels: Grey, **more: object) -> TrueImage:
    objects = (TrueObject(name, labels == value) for value, name in NAMES.items())
    return TrueImage(patient, pixels, tuple(one for one in objects if one.mask.any()), view=view, **more)


def write(root: Path) -> Truth:
    top = root / "CAMUS_public"
    images: dict[str, TrueImage] = {}
    left_out: set[str] = set()
    dropped = 0
    # Patient, view, size, growth by frame, part, quality, image stored backwards, mask stored backwards
    views = [
        (1, "2CH", (67, 101), [1.0, 0.9, 0.8], "train", "Good", False, False),
        (1, "4CH", (80, 60), [1.0, 0.0], "train", "Poor", True, True),
        (2, "2CH", (67, 101), [1.0, 0.8], "val", "Medium", True, True),
        (2, "4CH", (67, 101), [1.0, 0.8], "val", "Good", False, False),
        (3, "2CH", (67, 101), [0.7], "test", "Good", False, False),
        (3, "4CH", (67, 101), [1.0, 0.8], "test", "Good", False, False),
        (5, "2CH", (67, 101), [1.0], "train", "Good", False, False),
        (5, "4CH", (67, 101), [1.0], "train", "Good", False, False),
    ]
    for seed, (number, view, size, grow, split, quality, backwards, mask_backwards) in enumerate(views):
        patient = f"patient{number:04d}"
        folder, stem = top / "database_nifti" / patient, f"{patient}_{view}"
        scans, labels = frames(size, grow, 10 * seed)
        save_nifti(folder / f"{stem}_half_sequence.nii.gz", scans, SPACING, backwards)
        save_nifti(folder / f"{stem}_half_sequence_gt.nii.gz", labels, SPACING, mask_backwards)
        for phase, index in (("ED", 0), ("ES", -1)):
            for end, stack in (("", scans), ("_gt", labels)):
                save_nifti(folder / f"{stem}_{phase}{end}.nii.gz", stack[[index]], SPACING)
                left_out.add(f"CAMUS_public/database_nifti/{patient}/{stem}_{phase}{end}.nii.gz")
        save_text(folder / f"Info_{view}.cfg", info(len(grow), quality))
        for index in range(len(grow)):
            if not grow[index]:
                dropped += 1
                continue
            phases = {len(grow) - 1: "ES", 0: "ED"}
            images[f"{patient}__{view}__{index:05d}.png"] = true_image(
                patient,
                view,
                scans[index],
                labels[index],
                frame=index,
                split=split,
                spacing=SPACING[:2],
                attributes={"quality": quality} | ({"phase": phases[index]} if index in phases else {}),
            )
    base = top / "database_nifti"
    cut(base / "patient0003" / "patient0003_4CH_half_sequence.nii.gz")
    (base / "patient0005" / "patient0005_4CH_half_sequence_gt.nii.gz").unlink()
    for name in list(images):
        if name.startswith(("patient0003__4CH", "patient0005__4CH")):
            del images[name]
    save_text(base / "patient0004" / "Info_2CH.cfg", info(2, "Good"))
    lists = {"training": [5, 1], "validation": [2], "testing": [3]}
    for part, numbers in lists.items():
        lines = "".join(f"patient{number:04d}\n" for number in numbers)
        save_text(top / "database_split" / f"subgroup_{part}.txt", lines)
    save_text(top / "database_split" / "README.md", "The split of the challenge.\n")
    save_text(top / "MANDATORY_CITATION.md", "Leclerc et al. 2019\n")
    litter(base)
    litter(base / "patient0001")
    where = "CAMUS_public/database_nifti"
    problems = {
        f"{where}/patient0003/patient0003_4CH_half_sequence.nii.gz": "cannot be read",
        f"{where}/patient0004": "in no list",
        f"{where}/patient0005/patient0005_4CH_half_sequence_gt.nii.gz": "is missing",
    }
    return Truth(images, problems, dropped, frozenset(left_out))


def write_mhd(root: Path) -> Truth:
    """The older form: single frames as .mhd and .raw, and a folder of test patients without masks."""
    images = {}
    left_out = {"testing"}
    for number in (1, 2):
        patient = f"patient{number:04d}"
        folder = root / "training" / patient
        for view, size in MHD_SIZES.items():
            # The last frame of patient 2 has no labels in the first view.
            grow = [1.0, 0.0 if (number, view) == (2, "2CH") else 0.8]
            scans, labels = frames(size, grow, 20 * number + len(images))
            save_text(folder / f"Info_{view}.cfg", info(18, "Medium"))
            # Without the .raw file too, as some copies have it.
            save_mhd(folder / f"{patient}_{view}_sequence.mhd", scans, MHD_SPACING, data=number == 2)
            left_out.add(f"training/{patient}/{patient}_{view}_sequence.mhd")
            if number == 2:
                left_out.add(f"training/{patient}/{patient}_{view}_sequence.raw")
            for index, phase in enumerate(("ED", "ES")):
                save_mhd(folder / f"{patient}_{view}_{phase}.mhd", scans[[index]], MHD_SPACING)
                save_mhd(folder / f"{patient}_{view}_{phase}_gt.mhd", labels[[index]], MHD_SPACING)
                if labels[index].any():
                    images[f"{patient}__{view}-{phase}.png"] = true_image(
                        patient,
                        f"{view}-{phase}",
                        scans[index],
                        labels[index],
                        spacing=MHD_SPACING[:2],
                        attributes={"quality": "Medium", "phase": phase},
                    )
    second = root / "training" / "patient0002"
    cut(second / "patient0002_4CH_ED.raw")
    (second / "patient0002_4CH_ES_gt.raw").unlink()
    for phase in ("ED", "ES"):
        del images[f"patient0002__4CH-{phase}.png"]
    scans, _ = frames(MHD_SIZES["2CH"], [1.0], 99)
    for phase in ("ED", "ES"):
        save_mhd(root / "testing" / "patient0001" / f"patient0001_2CH_{phase}.mhd", scans, MHD_SPACING)
    save_text(root / "testing" / "patient0001" / "Info_2CH.cfg", "ED: 1\nES: 18\nImageQuality: Good\n")
    save_text(root / "training" / "patient0001" / "MANDATORY_CITATION.md", "Leclerc et al. 2019\n")
    litter(root / "training")
    problems = {
        "training/patient0002/patient0002_4CH_ED.mhd": "cannot be read",
        "training/patient0002/patient0002_4CH_ES_gt.raw": "is missing",
    }
    return Truth(images, problems, dropped=1, left_out=frozenset(left_out))
