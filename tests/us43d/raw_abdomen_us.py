"""AbdomenUS: real images, few of them with masks in colours, and simulated ones of the same names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from tests.us43d.truth import (
    Grey,
    Mask,
    TrueImage,
    TrueObject,
    Truth,
    blob,
    colour,
    cut,
    ellipse,
    litter,
    save,
    save_jpeg,
    scan,
    white,
)

SIZE = (90, 120)
COLOURS = {
    "liver": (100, 0, 100),
    "kidney": (255, 255, 0),
    "pancreas": (0, 0, 255),
    "vessels": (255, 0, 0),
    "adrenals": (0, 255, 255),
    "gallbladder": (0, 255, 0),
    "bones": (255, 255, 255),
    "spleen": (255, 0, 255),
}
Organs = list[tuple[str, Mask]]


def painted(organs: Organs, size: tuple[int, int] = SIZE) -> Grey:
    picture = np.zeros((*size, 3), np.uint8)
    for organ, mask in organs:
        picture[mask] = COLOURS[organ]
    return picture


def organs_of(seed: int, size: tuple[int, int] = SIZE) -> Organs:
    """Two organs that touch, two vessels apart in the first, and one more."""
    names = list(COLOURS)
    left = ellipse(size, 30, 40, 24, 30)
    vessels = [ellipse(size, 25, 30, 4, 4), ellipse(size, 35, 50, 5, 3)]
    right = ellipse(size, 70, 40, 20, 26) & ~left
    low = ellipse(size, 100, 60, 8, 6) & ~right
    first, second, third = (names[(seed + step) % len(names)] for step in (0, 1, 4))
    inside = [("vessels", mask) for mask in vessels] if "vessels" not in (first, second, third) else []
    hole = left & ~np.any([mask for _, mask in inside], axis=0) if inside else left
    return [(first, hole), *inside, (second, right), (third, low)]


def write(root: Path, parts: tuple[str, ...] = ("test",)) -> Truth:
    top = root / "AbdomenUS" / "abdominal_US"
    real = top / "RUS"
    images = {}
    for part in parts:
        for number in range(9):
            size = (67, 115) if number == 3 else SIZE
            seed = number + 3 * (part == "train")
            organs = organs_of(seed, size) if number != 8 else []
            stem = f"ct{number % 4}-{number}"
            pixels = scan(size, seed, *(mask for _, mask in organs))
            if number % 2:
                pixels = colour(pixels)
            if number == 4:
                pixels = save_jpeg(real / "images" / part / f"{stem}.jpg", pixels)
            else:
                save(real / "images" / part / f"{stem}.png", pixels)
            save(real / "annotations" / part / f"{stem}.png", painted(organs, size))
            if organs:
                objects = tuple(TrueObject(organ, mask) for organ, mask in organs)
                case = f"{part}-{stem}"
                images[f"{case}.png"] = TrueImage(case, pixels, objects, split=part)
    where, drawings = real / "images" / "test", real / "annotations" / "test"
    spleen = ndimage.gaussian_filter(white(blob(SIZE, 60, 45, 30, 1)).astype(float), 1.5).astype(np.uint8)
    wrong = {
        # A colour of no organ, smooth edges that pass through another organ's colour, another size.
        "odd": blob(SIZE, 60, 45, 20, 2)[..., None] * np.array([255, 128, 0], np.uint8),
        "smooth": np.stack([spleen, 0 * spleen, spleen], axis=2),
        "small": painted(organs_of(1, (60, 80)), (60, 80)),
        "cut": painted(organs_of(2)),
    }
    for stem, picture in wrong.items():
        save(where / f"{stem}.png", scan(SIZE, 50))
        save(drawings / f"{stem}.png", picture)
    cut(drawings / "cut.png", 0.8)
    save(drawings / "alone.png", painted(organs_of(3)))
    # Real images without masks, one of them among those with.
    save(where / "plain.png", scan(SIZE, 60))
    left_out = {"AUS", "RUS/images/test/plain.png"}
    if "train" not in parts:
        save(real / "images" / "train" / "ct1-1.png", scan(SIZE, 61))
        left_out.add("RUS/images/train")
    for part in ("train", "test"):
        save(top / "AUS" / "images" / part / "ct0-0.png", scan(SIZE, 62))
        save(top / "AUS" / "annotations" / part / "ct0-0.png", painted(organs_of(5)))
    litter(where)
    litter(real / "annotations")
    base = "AbdomenUS/abdominal_US"
    problems = {
        "images/test/odd.png": "colour (255, 128, 0)",
        "images/test/smooth.png": "means nothing here",
        "images/test/small.png": "80 x 60 pixels, its image 120 x 90",
        "images/test/cut.png": "cut.png is damaged",
        "annotations/test/alone.png": "has no image",
    }
    return Truth(
        images,
        {f"{base}/RUS/{file}": words for file, words in problems.items()},
        dropped=len(parts),
        left_out=frozenset(f"{base}/{path}" for path in left_out),
    )


def write_both(root: Path) -> Truth:
    """Masks in both parts, whose images have the same names."""
    return write(root, ("train", "test"))
