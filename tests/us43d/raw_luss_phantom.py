"""LUSS phantom: images and masks of numbers, in two folders with the same file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    Mask,
    TrueImage,
    TrueObject,
    Truth,
    blob,
    cut,
    ellipse,
    litter,
    save,
    save_text,
    scan,
)

SIZE = (96, 120)
NUMBERS = {"rib": 1, "pleural_line": 2, "a_line": 3, "b_line": 4, "b_line_confluence": 5}


def drawn(name: str, size: tuple[int, int]) -> list[tuple[str, Mask]]:
    """What is drawn in an image, by its name."""
    pleura = ("pleural_line", ellipse(size, 50, 22, 40, 3))
    lines = [("b_line", ellipse(size, x, 55, 4, 25)) for x in (25, 60)]
    if name == "0001":
        return [pleura, *lines]
    if name == "0002":
        return [("rib", blob(size, 30, 14, 9, 2)), ("a_line", ellipse(size, 70, 60, 25, 2))]
    if name == "0003":
        return []
    return [pleura, ("b_line_confluence", ellipse(size, 60, 42, 18, 14))]


def write(root: Path, parts: tuple[str, ...] = ("",)) -> Truth:
    top = root / "LUSS_phantom"
    images: dict[str, TrueImage] = {}
    problems: dict[str, str] = {}
    for shift, part in enumerate(parts):
        folder = top / part if part else top
        where = folder.relative_to(root).as_posix()
        start = f"{part}-" if part else ""
        for number in range(1, 9):
            name = f"{number:04d}"
            size = (67, 101) if number == 4 else SIZE
            objects = drawn(name, size)
            pixels = scan(size, number + 20 * shift, *(mask for _, mask in objects))
            save(folder / "images" / f"{name}.png", pixels)
            labels = np.zeros(size, np.uint8)
            for category, mask in objects:
                labels[mask] = NUMBERS[category]
            if number == 6:
                labels[-4:, -4:] = 7
            if number == 7:
                labels = labels[:-1]
            if number != 8:
                save(folder / "masks" / f"{name}.png", labels)
            images[f"{start}{name}.png"] = TrueImage(
                f"{start}{name}",
                pixels,
                tuple(TrueObject(category, mask) for category, mask in objects),
                split=part,
            )
        save(folder / "masks" / "0009.png", np.zeros(SIZE, np.uint8))
        cut(folder / "images" / "0005.png")
        for name in ("0003", "0005", "0006", "0007", "0008"):
            del images[f"{start}{name}.png"]
        problems |= {
            f"{where}/images/0005.png": "damaged",
            f"{where}/images/0006.png": "the label 7",
            f"{where}/images/0007.png": "120 x 95",
            f"{where}/images/0008.png": "has no mask",
            f"{where}/masks/0009.png": "has no image",
        }
        litter(folder / "images")
    save_text(top / "readme.txt", "1 rib, 2 pleural line, 3 A-line, 4 B-line, 5 confluent B-lines\n")
    litter(top)
    return Truth(images, problems, dropped=len(parts))


def write_parts(root: Path) -> Truth:
    """With a folder for each part of the set, in which the names begin anew."""
    return write(root, ("train", "test"))
