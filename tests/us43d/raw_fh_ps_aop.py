"""FH-PS-AOP: images as MHA files with the channels before the rows, and flat masks of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    Grey,
    Mask,
    TrueImage,
    TrueObject,
    Truth,
    cut,
    ellipse,
    litter,
    save_mha,
    save_text,
    scan,
)

SIZE = (64, 64)
NAMES = {1: "pubic_symphysis", 2: "fetal_head"}
# Number: size, masks with their labels. The head of 00003 is drawn in two parts.
DRAWN: dict[str, tuple[tuple[int, int], list[tuple[int, Mask]]]] = {
    "00001": (SIZE, [(1, ellipse(SIZE, 16, 18, 9, 4, 0.6)), (2, ellipse(SIZE, 40, 40, 18, 14))]),
    "00002": (SIZE, [(2, ellipse(SIZE, 34, 44, 28, 22, 0.3))]),
    "00003": (SIZE, [(2, ellipse(SIZE, 18, 40, 10, 8)), (2, ellipse(SIZE, 46, 40, 12, 9))]),
    "00004": ((45, 71), [(1, ellipse((45, 71), 12, 12, 8, 4)), (2, ellipse((45, 71), 50, 28, 16, 12))]),
    "04000": (SIZE, [(1, ellipse(SIZE, 14, 20, 8, 5)), (2, ellipse(SIZE, 42, 36, 16, 16))]),
}


def channels(pixels: Grey) -> Grey:
    """A grey picture three times, the channels first."""
    return np.repeat(pixels[None], 3, axis=0)


def save_pairs(folder: Path, spacing: tuple[float, ...], split: str) -> dict[str, TrueImage]:
    """`DRAWN` in the folders image_mha and label_mha; what must come of it. 04000 has a mark in colour."""
    images = {}
    for seed, (number, (size, masks)) in enumerate(DRAWN.items()):
        labels = np.zeros(size, np.uint8)
        for label, mask in masks:
            labels[mask] = label
        stored = channels(scan(size, seed, *(mask for _, mask in masks)))
        pixels = stored[0]
        if number == "04000":
            stored[:, 2:5, 2:9] = np.array([250, 180, 20], np.uint8)[:, None, None]
            pixels = np.moveaxis(stored, 0, 2)
        save_mha(folder / "image_mha" / f"{number}.mha", stored, spacing, packed=seed % 2 == 0)
        save_mha(folder / "label_mha" / f"{number}.mha", labels, spacing[:2], packed=seed % 2 == 1)
        images[f"{number}.png"] = TrueImage(
            number,
            pixels,
            tuple(TrueObject(NAMES[label], mask) for label, mask in masks),
            split=split,
            spacing=(spacing[0], spacing[1]) if spacing else None,
        )
    return images


def write(root: Path) -> Truth:
    folder = root / "Pubic Symphysis-Fetal Head Segmentation and Angle of Progression"
    images = save_pairs(folder, (), "train")
    plain, empty = scan(SIZE, 9), np.zeros(SIZE, np.uint8)
    head = ellipse(SIZE, 30, 30, 12, 10).astype(np.uint8) * 2
    # Nothing drawn; a label of no structure; a mask of another size, of three slices; two channels; damage.
    for number, stored, labels in (
        ("00010", channels(plain), empty),
        ("00011", channels(plain), np.where(head > 0, np.uint8(3), empty)),
        ("00012", channels(plain), head[:-4]),
        ("00013", channels(plain), channels(head)),
        ("00014", channels(plain)[:2], head),
        ("00015", channels(plain), head),
        ("00016", channels(plain), head),
        ("00017", channels(plain), head),
        ("00018", channels(plain), head),
    ):
        save_mha(folder / "image_mha" / f"{number}.mha", stored, packed=number == "00016")
        save_mha(folder / "label_mha" / f"{number}.mha", labels)
    cut(folder / "image_mha" / "00015.mha")
    cut(folder / "image_mha" / "00016.mha", 0.7)
    (folder / "label_mha" / "00017.mha").unlink()
    (folder / "image_mha" / "00018.mha").unlink()
    litter(folder / "image_mha")
    litter(folder)
    save_text(folder / "image_mha" / "readme.txt", "Images of the challenge\n")
    where = f"{folder.name}/image_mha"
    problems = {
        f"{where}/00011.mha": "has the label 3",
        f"{where}/00012.mha": "64 x 60 pixels, its image 64 x 64",
        f"{where}/00013.mha": "has 3 slices",
        f"{where}/00014.mha": "has 2 channels",
        f"{where}/00015.mha": "cannot be read",
        f"{where}/00016.mha": "cannot be read",
        f"{where}/00017.mha": "has no mask",
        f"{folder.name}/label_mha/00018.mha": "has no image",
    }
    return Truth(images, problems, dropped=1)
