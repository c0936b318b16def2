"""mu-RegPro: volumes and label volumes of six channels, stored along other axes; MR files lie beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from tests.us43d.truth import Mask, TrueImage, TrueObject, Truth, cut, ellipse, litter, scan

# Sagittal slices, rows from head to feet, columns from front to back.
SHAPE = (7, 45, 61)
# mm from right to left, front to back, feet to head.
STEPS = (0.9, 0.8, 0.7)
CHANNELS = 6
# The way of the three axes of a file: L is from right to left, P to the back, S to the head.
AXES = {"case000001": "RAS", "case000002": "LPS", "case000003": "PSL", "case000070": "RAS"}


def regions(seed: int) -> dict[int, NDArray[np.bool_]]:
    """By channel: the gland in all slices but the outer ones, a landmark in it, one that is cut twice."""
    size = SHAPE[1:]
    found = {channel: np.zeros(SHAPE, np.bool_) for channel in range(CHANNELS)}
    for index in range(1, SHAPE[0] - 1):
        found[0][index] = ellipse(size, 30 + seed, 24, 20 + index, 14, 0.2)
    for index in (2, 3):
        found[2][index] = ellipse(size, 25 + seed, 20, 5, 4)
    found[5][3] = ellipse(size, 38, 30, 4, 3) | ellipse(size, 50, 12, 3, 4)
    return found


def stored(values: NDArray[Any], axes: str) -> NDArray[Any]:
    """Sagittal slices as an array whose last axis is the first of the file."""
    # To (S, P, L), each in the direction of its letter.
    array = values[:, ::-1, :].transpose(1, 2, 0)
    places = {"S": 0, "P": 1, "L": 2}
    opposite = {"I": "S", "A": "P", "R": "L"}
    order = [places[opposite.get(letter, letter)] for letter in reversed(axes)]
    turned = array.transpose(order)
    back = tuple(slice(None, None, -1 if letter in opposite else 1) for letter in reversed(axes))
    return np.ascontiguousarray(turned[back])


def save_volume(path: Path, channels: Sequence[NDArray[Any]], axes: str) -> None:
    """One volume of sagittal slices, or several along a fourth axis."""
    vectors = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1)}
    direction = np.eye(4)
    direction[:3, :3] = np.array([vectors[letter] for letter in axes]).T
    steps = [STEPS[int(np.flatnonzero(vectors[letter])[0])] for letter in axes]
    arrays = [stored(values, axes) for values in channels]
    many = len(arrays) > 1
    image: Any = sitk.GetImageFromArray(np.stack(arrays) if many else arrays[0], isVector=False)
    image.SetDirection((direction if many else direction[:3, :3]).ravel().tolist())
    image.SetSpacing([*steps, 1.0] if many else steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def write(root: Path, top: str = "regPro/{}") -> Truth:
    images: dict[str, TrueImage] = {}
    dropped = 0
    cases = {"train": list(AXES)[:3], "val": list(AXES)[3:]}

    def folder(part: str) -> Path:
        return root / top.format(part)

    for part, names in cases.items():
        for name in names:
            seed = int(name[-2:]) % 5
            drawn = regions(seed)
            pixels = np.stack(
                [scan(SHAPE[1:], 10 * seed + index, drawn[0][index]) for index in range(SHAPE[0])]
            )
            pixels[0, 0, 0] = 255
            kind = np.float32 if name == "case000002" else np.uint8
            save_volume(folder(part) / "us_images" / f"{name}.nii.gz", [pixels.astype(kind)], AXES[name])
            numbers = [drawn[channel].astype(kind) for channel in range(CHANNELS)]
            save_volume(folder(part) / "us_labels" / f"{name}.nii.gz", numbers, AXES[name])
            for index in range(SHAPE[0]):
                there: dict[int, Mask] = {
                    channel: masks[index] for channel, masks in drawn.items() if masks[index].any()
                }
                if not there:
                    dropped += 1
                    continue
                landmarks = " ".join(str(channel) for channel in there if channel)
                images[f"{name}__{index:05d}.png"] = TrueImage(
                    name,
                    pixels[index],
                    tuple(
                        TrueObject("prostate_landmark" if channel else "prostate_gland", mask)
                        for channel, mask in there.items()
                    ),
                    frame=index,
                    split=part,
                    spacing=(STEPS[1], STEPS[2]),
                    attributes={"landmarks": landmarks} if landmarks else {},
                )
        for name in ("mr_images", "mr_labels"):
            save_volume(folder(part) / name / f"{names[0]}.nii.gz", [np.zeros(SHAPE, np.uint8)], "RAS")
    # Cut off, of other directions, of fewer slices, of five channels, with a label of 2, and without labels.
    us, labelled = folder("train") / "us_images", folder("train") / "us_labels"
    drawn_in: list[NDArray[Any]] = [values.astype(np.uint8) for values in regions(1).values()]
    volume = np.stack([scan(SHAPE[1:], index) for index in range(SHAPE[0])])
    wrong: dict[str, tuple[list[NDArray[Any]], str]] = {
        "case000010": (drawn_in, "RAS"),
        "case000011": (drawn_in, "LPS"),
        "case000012": ([values[1:] for values in drawn_in], "RAS"),
        "case000013": (drawn_in[:5], "RAS"),
        "case000014": ([2 * drawn_in[0], *drawn_in[1:]], "RAS"),
    }
    for name, (labels, axes) in wrong.items():
        save_volume(us / f"{name}.nii.gz", [volume], "RAS")
        save_volume(labelled / f"{name}.nii.gz", labels, axes)
    cut(us / "case000010.nii.gz")
    save_volume(us / "case000015.nii.gz", [volume], "RAS")
    # The slices of 14 in which the label stands cannot be used; in the outer two nothing is drawn.
    dropped += 2
    litter(us)
    litter(labelled)
    base = us.parent.relative_to(root).as_posix()
    problems = {
        f"{base}/us_images/case000010.nii.gz": "cannot be read",
        f"{base}/us_images/case000011.nii.gz": "other directions",
        f"{base}/us_images/case000012.nii.gz": "6 slices, its image 7",
        f"{base}/us_images/case000013.nii.gz": "5 channels, not 6",
        f"{base}/us_images/case000014.nii.gz": "label 2",
        f"{base}/us_images/case000015.nii.gz": "has no mask",
    }
    magnetic = {folder(part) / name for part in cases for name in ("mr_images", "mr_labels")}
    return Truth(images, problems, dropped, frozenset(path.relative_to(root).as_posix() for path in magnetic))


def write_archives(root: Path) -> Truth:
    """Each part in a folder of the name of its archive."""
    return write(root, "{0}/{0}")
