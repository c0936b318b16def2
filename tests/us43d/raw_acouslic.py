"""ACOUSLIC-AI: stacks of sweeps with masks in a few of their frames, and a table of the women."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import (
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

SPACING = (0.28, 0.28, 0.28)
# Six sweeps of 140 frames in small pictures.
WHOLE = (840, (24, 32))
SHORT = (4, (45, 71))
TABLE = "circumferences/fetal_abdominal_circumferences_per_sweep.csv"
# Stack: woman, frames and size, frame -> (value of the mask, centres of its parts).
STACKS: dict[str, tuple[str, tuple[int, tuple[int, int]], dict[int, tuple[int, list[tuple[int, int]]]]]] = {
    "0a1b-11ee": (
        "7",
        WHOLE,
        {0: (1, [(16, 12)]), 139: (2, [(14, 12)]), 140: (2, [(18, 12)]), 839: (1, [(16, 10)])},
    ),
    "0a1b-22ee": ("7", SHORT, {1: (2, [(20, 20), (54, 24)]), 3: (1, [(36, 22)])}),
    "0c3d-33ee": ("12", SHORT, {0: (1, [(30, 20)]), 1: (1, [(32, 20)])}),
    "0c3d-44ee": ("", SHORT, {2: (2, [(34, 24)])}),  # its woman is not known
}
PLANES = {1: "optimal", 2: "suboptimal"}


def draw(size: tuple[int, int], x: int, y: int) -> Mask:
    return ellipse(size, x, y, 0.12 * size[1], 0.2 * size[0], 0.3)


def save_stacks(top: Path, folder: str, women: bool) -> tuple[dict[str, TrueImage], int]:
    """`STACKS` below `top`; what must come of them, and how many frames show nothing."""
    images: dict[str, TrueImage] = {}
    dropped = 0
    for seed, (uuid, (woman, (count, size), drawn)) in enumerate(STACKS.items()):
        known = women and woman
        labels = np.zeros((count, *size), np.uint8)
        pixels = np.repeat(scan(size, seed)[None], count, axis=0)
        for index, (value, centres) in drawn.items():
            masks = [draw(size, *centre) for centre in centres]
            labels[index][np.logical_or.reduce(masks)] = value
            pixels[index] = scan(size, 100 * seed + index, *masks)
            case, view = (f"subject-{woman}", uuid) if known else (uuid, "")
            name = "__".join(part for part in (case, view, f"{index:05d}") if part)
            sweep = {"sweep": index // 140 + 1} if count == 840 else {}
            images[f"{name}.png"] = TrueImage(
                case,
                pixels[index],
                tuple(TrueObject("fetal_abdomen", mask) for mask in masks),
                view=view,
                frame=index,
                split="train",
                spacing=SPACING[:2],
                attributes={"plane": PLANES[value], **sweep},
            )
        dropped += count - len(drawn)
        save_mha(top / "images" / folder / f"{uuid}.mha", pixels, SPACING, packed=seed == 0)
        save_mha(top / "masks" / "stacked_fetal_abdomen" / f"{uuid}.mha", labels, SPACING, packed=True)
    return images, dropped


def write(root: Path) -> Truth:
    top = root / "acouslic-ai-train-set"
    images, dropped = save_stacks(top, "stacked_fetal_ultrasound", women=True)
    count, size = SHORT
    stack = np.stack([scan(size, 50 + index) for index in range(count)])
    mask = np.repeat(draw(size, 30, 20)[None], count, axis=0).astype(np.uint8)
    mask[1:] = 0
    # Frame 0 has both values, so how good its plane is is not known.
    both = mask.copy()
    both[0][:20] *= 2
    other = mask * 3
    for uuid, labels in (
        ("1111-aa", both),
        ("1111-bb", other),  # a value of no meaning in frame 0
        ("1111-cc", mask[:3]),  # a frame less
        ("1111-dd", mask),  # the image is cut off
        ("1111-ee", mask),  # no mask
        ("1111-ff", mask),  # no image
    ):
        save_mha(top / "images" / "stacked_fetal_ultrasound" / f"{uuid}.mha", stack, SPACING)
        save_mha(top / "masks" / "stacked_fetal_abdomen" / f"{uuid}.mha", labels, SPACING)
    images["subject-20__1111-aa__00000.png"] = TrueImage(
        "subject-20",
        stack[0],
        (TrueObject("fetal_abdomen", mask[0] > 0),),
        view="1111-aa",
        frame=0,
        split="train",
        spacing=SPACING[:2],
    )
    cut(top / "images" / "stacked_fetal_ultrasound" / "1111-dd.mha", 0.6)
    (top / "masks" / "stacked_fetal_abdomen" / "1111-ee.mha").unlink()
    (top / "images" / "stacked_fetal_ultrasound" / "1111-ff.mha").unlink()
    women = {uuid: woman for uuid, (woman, _, _) in STACKS.items() if woman}
    women |= dict.fromkeys(("1111-aa", "1111-bb", "1111-cc", "1111-dd", "1111-ee", "9999-zz"), "20")
    sweeps = ",".join(f"sweep_{number}_ac_mm" for number in range(1, 7))
    rows = [f"{uuid},{woman},301.5,,,,," for uuid, woman in women.items()]
    save_text(top / TABLE, "\n".join([f"uuid,subject_id,{sweeps}", *rows, ""]))
    litter(top / "images" / "stacked_fetal_ultrasound")
    litter(top)
    where = f"{top.name}/images/stacked_fetal_ultrasound"
    problems = {
        f"{where}/0c3d-44ee.mha": "has no subject",
        f"{where}/1111-bb.mha": "has the label 3",
        f"{where}/1111-cc.mha": "has 3 slices, its image 4",
        f"{where}/1111-dd.mha": "cannot be read",
        f"{where}/1111-ee.mha": "has no mask",
        f"{top.name}/masks/stacked_fetal_abdomen/1111-ff.mha": "has no image",
    }
    return Truth(images, problems, dropped=dropped + 3 + 3)


def write_without_table(root: Path) -> Truth:
    """The folder of images as the challenge spells it, and no table: each stack is a case."""
    images, dropped = save_stacks(root, "stacked-fetal-ultrasound", women=False)
    return Truth(images, {TABLE: "is missing"}, dropped)
