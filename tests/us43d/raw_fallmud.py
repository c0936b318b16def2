"""FALLMUD: two sources with an image and two masks of one stem, whose endings differ; of one source the masks
of aponeuroses are stored on their side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.us43d.truth import (
    Grey,
    Mask,
    TrueImage,
    TrueObject,
    Truth,
    cut,
    ellipse,
    litter,
    save,
    save_jpeg,
    save_text,
    scan,
    white,
)

SIZE = (90, 140)
SQUARE = (100, 100)
# Source and stem: size, quarter turns of the mask of aponeuroses as it is stored.
IMAGES = {
    ("NeilCronin", "img_1"): (SIZE, 0),
    ("NeilCronin", "img_2"): ((67, 101), 0),
    ("NeilCronin", "img_3"): (SIZE, 0),
    ("NeilCronin", "img_4"): (SIZE, 0),
    ("NeilCronin", "img_5"): (SIZE, 1),
    ("NeilCronin", "img_6"): (SIZE, 0),
    ("RyanCunningham", "img_1"): (SIZE, 1),
    ("RyanCunningham", "r2"): (SIZE, 1),
    ("RyanCunningham", "r3"): (SQUARE, 1),
    ("RyanCunningham", "r4"): (SQUARE, 1),
    ("RyanCunningham", "r5"): (SIZE, 0),
    ("RyanCunningham", "r6"): (SIZE, 1),
    ("RyanCunningham", "r7"): (SIZE, 1),
}


def bands(size: tuple[int, int]) -> list[Mask]:
    """Two aponeuroses, not in the same place when turned by half."""
    height, width = size
    return [
        ellipse(size, 0.5 * width, 0.15 * height, 0.4 * width, 0.04 * height, 0.02),
        ellipse(size, 0.4 * width, 0.7 * height, 0.35 * width, 0.05 * height, -0.1),
    ]


def fascicles(size: tuple[int, int]) -> list[Mask]:
    height, width = size
    return [ellipse(size, x * width, 0.45 * height, 0.12 * width, 2.2, -0.5) for x in (0.3, 0.6)]


def soft(mask: Mask) -> Grey:
    """A mask whose border is grey, as after resampling: on the border dark, so that black and white stay."""
    painted = white(mask)
    rows = np.flatnonzero(mask.any(axis=1))
    painted[rows[0] - 1, mask[rows[0]]] = 110
    return painted


def write(root: Path, side: int = 1) -> Truth:
    """Masks are turned to the left, or with `side` -1 to the right."""
    top = root / "FALLMUD"
    images = {}
    for seed, ((source, stem), (size, turns)) in enumerate(IMAGES.items()):
        deep, thin = bands(size), fascicles(size)
        pixels = scan(size, seed)
        for mask in deep:
            pixels[mask] = np.clip(pixels[mask].astype(int) + 90, 0, 255)
        if stem == "r6":
            pixels[:] = 60  # here nothing tells up from down, but others do
        folder = top / source
        deep_painted = np.ascontiguousarray(np.rot90(soft(np.any(deep, axis=0)), side * turns))
        if source == "NeilCronin":
            save(folder / "images" / f"{stem}.tif", pixels)
            save(folder / "aponeurosis_masks" / f"{stem}.png", deep_painted)
            save(folder / "fascicle_masks" / f"{stem}.tif", soft(np.any(thin, axis=0)))
            edge = 0
        else:
            pixels = save_jpeg(folder / "images" / f"{stem}.jpg", pixels, quality=95)
            save_jpeg(folder / "aponeurosis_masks" / f"{stem}.jpg", deep_painted, quality=95)
            (folder / "fascicle_masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(white(np.any(thin, axis=0))).save(folder / "fascicle_masks" / f"{stem}.bmp")
            edge = 1
        name = f"{source}-{stem}"
        images[f"{name}.png"] = TrueImage(
            name,
            pixels,
            (
                *(TrueObject("aponeurosis", mask, edge=edge) for mask in deep),
                *(TrueObject("fascicle", mask) for mask in thin),
            ),
            attributes={"source": source},
        )
    neil, ryan = top / "NeilCronin", top / "RyanCunningham"
    save(neil / "aponeurosis_masks" / "img_2.png", np.zeros((67, 101), np.uint8))
    save(neil / "fascicle_masks" / "img_2.tif", np.zeros((67, 101), np.uint8))
    cut(neil / "images" / "img_3.tif")
    (neil / "fascicle_masks" / "img_4.tif").unlink()
    save(neil / "images" / "img_6.png", scan(SIZE, 99))
    (ryan / "images" / "r7.jpg").unlink()
    for name in ("NeilCronin-img_2", "NeilCronin-img_3", "NeilCronin-img_4", "NeilCronin-img_5"):
        del images[f"{name}.png"]
    for name in ("NeilCronin-img_6", "RyanCunningham-r7"):
        del images[f"{name}.png"]
    save_text(top / "README.txt", "Two sources\n")
    litter(top)
    litter(neil / "images")
    problems = {
        "FALLMUD/NeilCronin/images/img_3.tif": "damaged",
        "FALLMUD/NeilCronin/images/img_4.tif": "fascicle_masks",
        "FALLMUD/NeilCronin/images/img_5.tif": "90 x 140",
        "FALLMUD/NeilCronin/images/img_6.tif": "same name as img_6.png",
        "FALLMUD/NeilCronin/images/img_6.png": "same name as img_6.tif",
        "FALLMUD/RyanCunningham/aponeurosis_masks/r7.jpg": "images",
    }
    return Truth(images, problems, dropped=1)


def write_turned_right(root: Path) -> Truth:
    return write(root, -1)
