"""STMUS_NDA: a folder for each muscle, with masks beside the images; file names repeat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.us43d.truth import TrueImage, TrueObject, Truth, blob, cut, litter, save, save_text, scan, white

SIZE = (84, 110)
MUSCLES = {"BB": "biceps_brachii", "GM": "gastrocnemius_medialis", "TA": "tibialis_anterior"}
IN_MUSCLE = ("{muscle}/Images", "{muscle}/Masks")


def write(root: Path, folders: tuple[str, str] = IN_MUSCLE, parts: tuple[str, ...] = ("",)) -> Truth:
    """`folders` are those of images and masks below the top of the set; the parts lie below them."""
    top = root / "DATASET_10.1016j.compbiomed.2021.104623" / "Polito-Radboud-DeepLearningUS"
    images: dict[str, TrueImage] = {}
    problems: dict[str, str] = {}
    dropped = seed = 0
    for muscle, category in MUSCLES.items():
        for part in parts:
            place, masks_in = (top / folder.format(muscle=muscle) / part for folder in folders)
            where = place.relative_to(root).as_posix()
            start = f"{part}-" if part else ""
            for number in range(1, 6):
                seed += 1
                name = f"S{number:03d}"
                size = (67, 101) if (muscle, number) == ("GM", 2) else SIZE
                masks = [blob(size, 40, 34, 18, seed)]
                masks += [blob(size, 86, 50, 10, seed)] if (muscle, number) == ("TA", 1) else []
                masks = [np.zeros(size, np.bool_)] if number == 3 else masks
                pixels = scan(size, seed, *masks)
                save(place / f"{name}.png", pixels)
                painted = white(np.any(masks, axis=0))
                # The brightness of the muscle is not the same everywhere.
                painted[painted > 0] = {"BB": 255, "GM": 1, "TA": 128}[muscle]
                if (muscle, number) == ("BB", 2):
                    painted[0, :2] = (40, 90)  # a smooth edge
                if number != 5:
                    save(masks_in / f"{name}.png", painted)
                images[f"{start}{name}__{muscle}.png"] = TrueImage(
                    f"{start}{name}",
                    pixels,
                    tuple(TrueObject(category, mask) for mask in masks if mask.any()),
                    view=muscle,
                    split=part,
                )
            cut(place / "S004.png")
            for number in (3, 4, 5):
                del images[f"{start}S{number:03d}__{muscle}.png"]
            dropped += 1
            problems |= {f"{where}/S004.png": "damaged", f"{where}/S005.png": "has no mask"}
            litter(place)
    save(top / "code" / "figure.png", scan((20, 20), 1))
    save_text(top / "readme.txt", "The folders are BB, GM and TA\n")
    litter(top)
    return Truth(images, problems, dropped)


def write_masks_apart(root: Path) -> Truth:
    """With one folder of masks for all muscles, and the parts that its authors made."""
    return write(root, ("Images/{muscle}", "Masks/{muscle}"), ("train", "test"))


def write_masks_within(root: Path) -> Truth:
    """With the images directly in the folders of the muscles."""
    truth = write(root, ("{muscle}", "{muscle}/Masks"))
    code = "DATASET_10.1016j.compbiomed.2021.104623/Polito-Radboud-DeepLearningUS/code"
    return replace(truth, left_out=frozenset({code}))
