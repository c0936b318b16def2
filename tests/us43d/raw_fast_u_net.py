"""Fast-U-Net: the repository with its archives unpacked where they lie; its heads are those of HC18."""

from __future__ import annotations

from dataclasses import replace
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
    save,
    save_text,
    scan,
    white,
)

SIZE = (80, 120)
ODD = (67, 101)
# Name: folder, part, size, abdomen.
ABDOMENS = {
    "0001": (1, "train", SIZE, (60, 40, 40, 30, 0.2)),
    "0002": (1, "val", SIZE, (55, 45, 35, 25, -0.4)),
    "fa_0001": (1, "train", ODD, (50, 33, 30, 24, 0.0)),
    "fa_0002": (2, "val", SIZE, (60, 40, 36, 34, 1.0)),
    "fa_0215": (2, "", SIZE, (58, 38, 30, 30, 0.0)),  # in no list
}
HEADS = {
    "000_HC": (1, "train", (60, 40, 40, 30, 0.2)),
    "001_HC": (1, "train", (60, 44, 30, 24, 0.5)),
    "001_2HC": (1, "val", (50, 40, 45, 28, -0.2)),
    "002_HC": (2, "train", (60, 40, 33, 30, 0.0)),
}


def blot(mask: Mask) -> Mask:
    """The mask and a few pixels away from it, as a slip of the hand leaves them."""
    drawn = np.array(mask)
    drawn[1:4, 1:4] = True
    return drawn


def smooth(mask: Mask) -> Grey:
    """White with grey below the middle level round it."""
    picture = white(mask)
    for axis in (0, 1):
        for step in (1, -1):
            picture[np.roll(mask, step, axis) & ~mask] = 100
    return picture


def lists(folder: Path, parts: dict[str, str], suffix: str = "") -> None:
    for part in ("train", "val"):
        names = [name for name, its in parts.items() if its == part]
        text = "".join(f"resized_data/image/{n}.png resized_data/mask/{n}{suffix}.png\n" for n in names)
        save_text(folder / f"{part}.txt", text)


def true_image(half: str, name: str, pixels: Grey, mask: Mask, part: str) -> tuple[str, TrueImage]:
    case, _, view = name.partition("_") if half == "HC" else (name, "", "")
    category = {"AC": "fetal_abdomen", "HC": "fetal_head"}[half]
    case = f"{half}-{case}"
    image = TrueImage(case, pixels, (TrueObject(category, mask),), view=view, split=part)
    return f"{case}__{view}.png" if view else f"{case}.png", image


def save_abdomens(folder: Path, images: str, masks: str) -> dict[str, TrueImage]:
    """`ABDOMENS` in folders, of which that of the images is numbered."""
    found = {}
    for seed, (name, (number, part, size, drawn)) in enumerate(ABDOMENS.items()):
        mask = ellipse(size, *drawn)
        pixels = scan(size, seed, mask)
        save(folder / images.format(number) / f"{name}.png", pixels)
        drawing = {"0001": white(blot(mask)), "0002": smooth(mask)}.get(name, white(mask))
        save(folder / masks / f"{name}.png", drawing)
        key, image = true_image("AC", name, pixels, mask, part)
        found[key] = image
    lists(folder, {name: part for name, (_, part, _, _) in ABDOMENS.items()})
    return found


def save_heads(folder: Path) -> dict[str, TrueImage]:
    """`HEADS`, which count only if images of other sets are asked for."""
    found = {}
    for seed, (name, (number, part, drawn)) in enumerate(HEADS.items()):
        mask = ellipse(SIZE, *drawn)
        pixels = scan(SIZE, 20 + seed, mask)
        save(folder / f"HC_image{number}" / "image" / f"{name}.png", pixels)
        save(folder / "HC_mask" / "mask" / f"{name}_Annotation.png", white(mask))
        key, image = true_image("HC", name, pixels, mask, part)
        found[key] = replace(image, attributes={"duplicate_of": "hc18"})
    # An image of which the mask is gone.
    save(folder / "HC_image3" / "image" / "003_HC.png", scan(SIZE, 30))
    lists(folder, {name: part for name, (_, part, _) in HEADS.items()} | {"003_HC": "train"}, "_Annotation")
    return found


def write(root: Path) -> Truth:
    top = root / "Fast-U-Net-main"
    ac = top / "Dataset" / "AC"
    images = save_abdomens(ac, "AC_image{}/image", "AC_mask/mask")
    save_heads(top / "Dataset" / "HC")
    mask = ellipse(SIZE, 60, 40, 30, 20)
    line = mask & ~ellipse(SIZE, 60, 40, 28, 18)
    # Nothing drawn; an outline; another size; a picture for a mask; cut off; no mask; no image.
    for name, drawn in (
        ("0010", white(mask & False)),
        ("0011", white(line)),
        ("0012", white(mask[1:])),
        ("0013", scan(SIZE, 40)),
        ("0014", white(mask)),
        ("0015", white(mask)),
        ("0016", white(mask)),
    ):
        save(ac / "AC_image1" / "image" / f"{name}.png", scan(SIZE, 41))
        save(ac / "AC_mask" / "mask" / f"{name}.png", drawn)
    with (ac / "train.txt").open("a") as file:
        file.writelines(f"image/00{number}.png mask/00{number}.png\n" for number in range(10, 17))
    cut(ac / "AC_image1" / "image" / "0014.png")
    (ac / "AC_mask" / "mask" / "0015.png").unlink()
    (ac / "AC_image1" / "image" / "0016.png").unlink()
    for name in ("AC_image1", "AC_image2", "AC_mask"):
        save_text(ac / f"{name}.rar", "Rar!")
    save(top / "test_data" / "image" / "1582.png", scan(SIZE, 42))
    save_text(top / "README.md", "# Fast-U-Net\n")
    save_text(top / "test.py", "import keras\n")
    litter(ac / "AC_image1" / "image")
    litter(ac)
    where = "Fast-U-Net-main/Dataset/AC/AC_image1/image"
    problems = {
        "Fast-U-Net-main/Dataset/AC/AC_image2/image/fa_0215.png": "in no list",
        f"{where}/0011.png": "is an outline",
        f"{where}/0012.png": "120 x 79 pixels, its image 120 x 80",
        f"{where}/0013.png": "looks like a picture",
        f"{where}/0014.png": "damaged",
        f"{where}/0015.png": "has no mask",
        "Fast-U-Net-main/Dataset/AC/AC_mask/mask/0016.png": "has no image",
        "Fast-U-Net-main/Dataset/HC/HC_image3/image/003_HC.png": "has no mask",
    }
    heads = {f"Fast-U-Net-main/Dataset/HC/{name}" for name in ("HC_image1/image", "HC_image2/image")}
    heads |= {"Fast-U-Net-main/Dataset/HC/HC_mask/mask", "Fast-U-Net-main/test_data"}
    return Truth(images, problems, dropped=1, left_out=frozenset(heads))


def write_combined(root: Path) -> Truth:
    """All images in one folder, as the authors advise, and the archives of the heads as they are."""
    images = save_abdomens(root / "Dataset" / "AC", "image", "mask")
    for name in ("HC_image1", "HC_image2", "HC_image3", "HC_mask"):
        save_text(root / "Dataset" / "HC" / f"{name}.rar", "Rar!")
    (root / "Dataset" / "AC" / "val.txt").unlink()
    problems = {"Dataset/AC/val.txt": "is missing"}
    for name, (_, part, _, _) in ABDOMENS.items():
        if part != "train":
            problems[f"Dataset/AC/image/{name}.png"] = "in no list"
            images[f"AC-{name}.png"] = replace(images[f"AC-{name}.png"], split="")
    return Truth(images, problems, left_out=frozenset({"Dataset/HC"}))
