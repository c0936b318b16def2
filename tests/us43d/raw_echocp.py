"""EchoCP: for each patient a video at rest and one in the Valsalva manoeuvre, some frames with chambers."""

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
    save_nifti,
    save_text,
    scan,
)

SIZE = (70, 90)
SPACING = (0.4, 0.5, 1.0)
NAMES = {1: "left_ventricle", 2: "left_atrium", 3: "right_atrium", 4: "right_ventricle"}
MANOEUVRES = {"r": "rest", "v": "valsalva"}
# Patient, manoeuvre: the chambers of each frame, and whether image and mask are stored from their other end.
VIDEOS: dict[tuple[str, str], tuple[list[tuple[int, ...]], tuple[bool, bool]]] = {
    ("1", "r"): ([(1, 2, 3, 4), (), (1, 2, 3, 4)], (False, False)),
    ("1", "v"): ([(), (2, 3)], (True, True)),
    ("2", "r"): ([(1,), (1, 4)], (True, True)),
    ("10", "r"): ([(1, 2, 3, 4)], (False, False)),
    ("11", "r"): ([(1, 2)], (False, False)),  # cut off
    ("11", "v"): ([(1, 2), (1, 2)], (False, False)),  # a mask of one frame
    ("12", "r"): ([(1, 2)], (False, False)),  # no mask
    ("12", "v"): ([(1, 2)], (False, False)),  # no image
    ("13", "r"): ([(1, 2, 3, 4), (2, 3)], (False, False)),  # one frame has a label 5
    ("14", "r"): ([(1, 2, 3, 4), (1, 2)], (False, False)),  # upside down
    ("15", "r"): ([(4,), (), (4,)], (False, False)),  # nothing to compare with
}


def chambers(size: tuple[int, int], labels: tuple[int, ...], shift: float = 0) -> Grey:
    """Four chambers as the apical view shows them, ventricles above and the right heart on the left. Left
    ventricle and left atrium touch.
    """
    height, width = size
    drawn = np.zeros(size, np.uint8)
    places = {1: (0.65, 0.3, 12, 14), 2: (0.65, 0.7, 11, 13), 3: (0.3, 0.72, 9, 10), 4: (0.3, 0.35, 8, 12)}
    for label in sorted(labels, reverse=True):
        x, y, a, b = places[label]
        drawn[ellipse(size, x * width + shift, y * height, a, b)] = label
    return drawn


def write(root: Path) -> Truth:
    top = root / "EchoCP_dataset"
    images = {}
    dropped = 0
    for seed, ((patient, manoeuvre), (frames, turned)) in enumerate(VIDEOS.items()):
        size = (67, 101) if patient == "2" else SIZE
        labels = np.stack([chambers(size, drawn, index) for index, drawn in enumerate(frames)])
        pixels = np.stack(
            [scan(size, 10 * seed + i, *(one == value for value in NAMES)) for i, one in enumerate(labels)]
        )
        stem = f"{patient}_{manoeuvre}"
        save_nifti(top / f"{stem}_image.nii.gz", pixels, SPACING, turned[0])
        save_nifti(top / f"{stem}_label.nii.gz", labels, SPACING, turned[1])
        for index, one in enumerate(labels):
            drawn = tuple(
                TrueObject(name, one == value) for value, name in NAMES.items() if (one == value).any()
            )
            dropped += not drawn
            if drawn:
                images[f"{stem.replace('_', '__')}__{index:05d}.png"] = TrueImage(
                    patient,
                    pixels[index],
                    drawn,
                    view=manoeuvre,
                    frame=index,
                    spacing=SPACING[:2],
                    attributes={"manoeuvre": MANOEUVRES[manoeuvre]},
                )
    cut(top / "11_r_image.nii.gz")
    save_nifti(top / "11_v_label.nii.gz", chambers(SIZE, (1, 2))[None], SPACING)
    (top / "12_r_label.nii.gz").unlink()
    (top / "12_v_image.nii.gz").unlink()
    other = np.stack([chambers(SIZE, (1, 2, 3, 4)), chambers(SIZE, (2, 3), 1)])
    other[0][other[0] == 4] = 5
    save_nifti(top / "13_r_label.nii.gz", other, SPACING)
    wrong = np.stack([chambers(SIZE, (1, 2, 3, 4)), chambers(SIZE, (1, 2), 1)])[:, ::-1]
    save_nifti(top / "14_r_label.nii.gz", wrong, SPACING)
    lost = ("11__", "12__", "13__r__00000", "14__", "15__")
    images = {name: image for name, image in images.items() if not name.startswith(lost)}
    save_text(top / "notes.txt", "EchoCP\n")
    litter(top)
    litter(root)
    where = "EchoCP_dataset"
    problems = {
        f"{where}/11_r_image.nii.gz": "cannot be read",
        f"{where}/11_v_image.nii.gz": "1 slices, its image 2",
        f"{where}/12_r_image.nii.gz": "no mask",
        f"{where}/12_v_label.nii.gz": "no image",
        f"{where}/13_r_image.nii.gz": "label 5",
        f"{where}/14_r_image.nii.gz": "label 1 below label 2",
        f"{where}/15_r_image.nii.gz": "no frame with two chambers",
    }
    return Truth(images, problems, dropped)
