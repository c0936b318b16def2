"""CardiacUDC: four views of the heart from two sites as areas, and a part in which outlines are drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from scipy import ndimage

from tests.us43d.truth import (
    Grey,
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

SIZE = (120, 160)
SPACING = (0.3, 0.25, 1.0)
# What label 1 and the next ones mean in a view.
LABELS = {
    1: ("left_ventricle", "right_ventricle"),
    2: ("pulmonary_artery",),
    3: ("left_ventricle", "right_ventricle"),
    4: ("left_ventricle", "left_atrium", "right_atrium", "right_ventricle"),
}
# Middle and half axes of what a label covers; in view 4 the left chambers share a border.
SHAPES = {
    1: ((60, 70, 34, 24), (120, 40, 22, 16)),
    2: ((80, 60, 20, 40),),
    3: ((60, 70, 30, 28), (118, 70, 18, 26)),
    4: ((110, 40, 20, 22), (110, 82, 20, 19), (50, 85, 22, 18), (50, 40, 18, 20)),
}


def areas(size: tuple[int, int], view: int, shift: float = 0) -> Grey:
    """The labels of a frame, of which each covers the later ones."""
    labels = np.zeros(size, np.uint8)
    for label, (x, y, a, b) in reversed([*enumerate(SHAPES[view], 1)]):
        labels[ellipse(size, x + shift, y, a, b)] = label
    return labels


def line(mask: Mask) -> Mask:
    """The outermost pixels of a region."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask))


def outlined(labels: Grey) -> Grey:
    """Only the outlines; of two regions that touch, the line of the second lies upon that of the first."""
    drawn = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        drawn[line(labels == label)] = label
    return drawn


def crossing(size: tuple[int, int]) -> tuple[Grey, Grey]:
    """Two ventricles and what is drawn of them: the outline of the right one lies upon that of the left."""
    left, right = np.zeros((2, *size), np.bool_)
    left[30:80, 30:81] = True
    right[40:70, 80:120] = True
    drawn = line(left) * np.uint8(1)
    drawn[line(right)] = 2
    return np.where(right, np.uint8(2), left.astype(np.uint8)), drawn


def video(folder: Path, name: str, labels: Grey, backwards: tuple[bool, bool] = (False, False)) -> Grey:
    """Write the frames of a video and its labels (frames, H, W); returns the frames."""
    seed = sum(name.encode())
    pixels = np.stack(
        [
            scan(labels.shape[1:], 7 * seed + i, *(one == v for v in (1, 2, 3, 4)))
            for i, one in enumerate(labels)
        ]
    )
    save_nifti(folder / f"{name}_image.nii.gz", pixels, SPACING, backwards[0])
    save_nifti(folder / f"{name}_label.nii.gz", labels, SPACING, backwards[1])
    return pixels


def true_images(
    case: str, name: str, pixels: Grey, labels: Grey, outlines: bool = False
) -> dict[str, TrueImage]:
    view = int(name.rpartition("-")[2])
    text = f"{view}-all-frames" if outlines else str(view)
    found = {}
    for index, one in enumerate(labels):
        drawn = [(label, one == value) for value, label in enumerate(LABELS[view], 1)]
        objects = tuple(TrueObject(label, mask) for label, mask in drawn if mask.any())
        if objects:
            found[f"{case}__{text}__{index:05d}.png"] = TrueImage(
                case, pixels[index], objects, view=text, frame=index, spacing=SPACING[:2]
            )
    return found


def write(root: Path) -> Truth:
    top = root / "cardiacUDC_dataset"
    nothing = np.zeros(SIZE, np.uint8)
    images: dict[str, TrueImage] = {}
    problems: dict[str, str] = {}
    left_out: set[str] = set()
    # Site, patient and view; shifts of the frames, None for one without labels; how both files are stored.
    videos: list[tuple[str, str, list[float | None], tuple[bool, bool]]] = [
        ("Site_G_20", "patient1-1", [0, None, 4], (False, False)),
        ("Site_G_20", "patient1-2", [None, 0], (True, True)),
        ("Site_G_20", "patient1-3", [0], (True, True)),
        ("Site_G_20", "patient1-4", [0, 3], (True, True)),
        ("Site_G_20", "patient12-4", [-4], (False, False)),
        ("Site_R_52", "patient1-4", [2, None], (False, False)),
        ("Site_R_52", "patient-1-4", [1], (False, False)),
    ]
    dropped = 0
    sites: dict[str, Grey] = {}
    for place, name, shifts, backwards in videos:
        size = (97, 140) if name == "patient1-3" else SIZE
        view = int(name[-1])
        labels = np.stack([np.zeros(size, np.uint8) if s is None else areas(size, view, s) for s in shifts])
        pixels = sites[f"{place}/{name}"] = video(top / place, name, labels, backwards)
        images |= true_images(f"{place}-{name.rpartition('-')[0]}", name, pixels, labels)
        dropped += shifts.count(None)
    site = top / "Site_R_52"
    where = "cardiacUDC_dataset/Site_R_52"
    # A few pixels by accident, with a label that means nothing, and a frame with such a label on purpose.
    labels = np.stack([areas(SIZE, 2), nothing, areas(SIZE, 1)])
    labels[1, 50, 50:58] = 6
    pixels = video(site, "patient2-2", labels)
    images |= true_images("Site_R_52-patient2", "patient2-2", pixels, labels[:1])
    dropped += 1
    problems[f"{where}/patient2-2_image.nii.gz"] = "label 2, which means nothing"
    for name, words in (
        ("patient3-1_image", "cannot be read"),
        ("patient4-1_image", "2 slices, its image 1"),
        ("patient5-1_image", "no mask"),
        ("patient6-1_label", "no image"),
    ):
        video(site, name[:-6], areas(SIZE, 1)[None])
        problems[f"{where}/{name}.nii.gz"] = words
    cut(site / "patient3-1_image.nii.gz")
    save_nifti(site / "patient4-1_label.nii.gz", np.stack([nothing, nothing]), SPACING)
    (site / "patient5-1_label.nii.gz").unlink()
    (site / "patient6-1_image.nii.gz").unlink()
    for view in (5, 7):
        save_nifti(site / f"patient1-{view}_image.nii.gz", scan(SIZE, view)[None], SPACING)
        left_out.add(f"{where}/patient1-{view}_image.nii.gz")
    save_nifti(site / "patient1-6_label.nii.gz", nothing[None], SPACING)
    problems[f"{where}/patient1-6_label.nii.gz"] = "view 6"
    for view in (1, 4):
        save_nifti(top / "Site_R_73" / f"patient-53-{view}_image.nii.gz", scan(SIZE, view)[None], SPACING)
    left_out.add("cardiacUDC_dataset/Site_R_73")
    part = top / "label_all_frame"
    _outlines(part, images, problems)
    # The same video as in a site: the patient is the same.
    shutil.copy(site / "patient1-4_image.nii.gz", part / "patient3-4_image.nii.gz")
    labels = np.stack([areas(SIZE, 4, 2), areas(SIZE, 4)])
    save_nifti(part / "patient3-4_label.nii.gz", np.stack([*map(outlined, labels)]), SPACING)
    images |= true_images("Site_R_52-patient1", "patient3-4", sites["Site_R_52/patient1-4"], labels, True)
    save_text(top / "readme.txt", "CardiacUDA\n")
    litter(site)
    litter(top)
    return Truth(images, problems, dropped, frozenset(left_out))


def _outlines(part: Path, images: dict[str, TrueImage], problems: dict[str, str]) -> None:
    labels = np.stack([areas(SIZE, 1), areas(SIZE, 1, 5), areas(SIZE, 1)])
    drawn = np.stack([*map(outlined, labels)])
    across = crossing(SIZE)
    labels[1], drawn[1] = across
    # The outline of the left ventricle is open.
    drawn[2, :, 50:53][drawn[2, :, 50:53] == 1] = 0
    pixels = video(part, "patient1-1", drawn)
    case = "label_all_frame-patient1"
    images |= true_images(case, "patient1-1", pixels, labels[:2], True)
    problems["cardiacUDC_dataset/label_all_frame/patient1-1_image.nii.gz"] = "label 1 that enclose nothing"
    labels = areas(SIZE, 4, -3)[None]
    pixels = video(part, "normal-23-4", np.stack([*map(outlined, labels)]))
    images |= true_images("label_all_frame-normal-23", "normal-23-4", pixels, labels, True)
    # Left and right atrium have each other's number.
    video(part, "normal-24-4", np.array([0, 1, 3, 2, 4], np.uint8)[np.stack([*map(outlined, labels)])])
    problems["cardiacUDC_dataset/label_all_frame/normal-24-4_image.nii.gz"] = "may have other labels"
    # Another view of the patient who is in a site too.
    labels = areas(SIZE, 2)[None]
    pixels = video(part, "patient3-2", np.stack([*map(outlined, labels)]))
    images |= true_images("Site_R_52-patient1", "patient3-2", pixels, labels, True)
