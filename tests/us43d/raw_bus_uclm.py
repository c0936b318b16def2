"""BUS-UCLM: several images of each patient, masks in colour, and a table of flags."""

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
    litter,
    save,
    save_text,
    scan,
)

SIZE = (92, 120)
FLAGS = ("doppler", "marks", "combined")


def painted(size: tuple[int, int], benign: Mask | None, malignant: Mask | None) -> Grey:
    picture = np.zeros((*size, 3), np.uint8)
    for channel, mask in ((1, benign), (0, malignant)):
        if mask is not None:
            picture[mask, channel] = 255
    return picture


def drawn(name: str, size: tuple[int, int], seed: int) -> tuple[list[Mask], list[Mask]]:
    """The benign and the malignant lesions of an image."""
    first, second = blob(size, 40, 34, 15, seed), blob(size, 92, 62, 12, 50)
    match name:
        case "ALWI_001":
            return [first, second], []
        case "FUHI_000":
            return [], [first]
        case "FUHI_002":
            return [first], [second]
        case "ANFO_000" | "ANFO_001":
            return [], []
    return [first], []


def write(root: Path, table: bool = True) -> Truth:
    top = root / "BUS-UCLM"
    images = {}
    rows = ["Image;Label;Doppler;Marks;Combined"]
    names = [f"ALWI_{number:03d}" for number in range(3)] + [f"FUHI_{number:03d}" for number in range(4)]
    names += ["ANFO_000", "ANFO_001", "ANFO_010", "ANFO_011", "ANFO_012", "ANFO_013", "ANFO_014"]
    for seed, name in enumerate(names):
        size = (67, 101) if name == "ALWI_002" else SIZE
        benign, malignant = drawn(name, size, seed)
        pixels = colour(scan(size, seed, *benign, *malignant))
        nothing = np.zeros(size, np.bool_)
        whole = [np.any([nothing, *masks], axis=0) for masks in (benign, malignant)]
        mask = painted(size, *whole)
        if name == "FUHI_003":  # smooth edges
            mask = np.rint(ndimage.gaussian_filter(mask * 1.0, (1.2, 1.2, 0))).astype(np.uint8)
            benign = [mask[..., 1] > 127]
        save(top / "images" / f"{name}.png", pixels)
        save(top / "masks" / f"{name}.png", mask, "P" if name == "FUHI_000" else None)
        flags = {flag: (seed + place) % 3 == 0 for place, flag in enumerate(FLAGS)}
        rows.append(f"{name}.png;Benign;{';'.join(str(int(flag)) for flag in flags.values())}")
        objects = [TrueObject("breast_lesion_benign", one) for one in benign]
        objects += [TrueObject("breast_lesion_malignant", one) for one in malignant]
        patient, _, number = name.partition("_")
        if objects:
            images[f"{patient}__{number}.png"] = TrueImage(
                patient, pixels, tuple(objects), view=number, attributes=flags if table else {}
            )
    lesion = blob(SIZE, 40, 34, 15, 1)
    blue = np.zeros((*SIZE, 3), np.uint8)
    blue[lesion] = (0, 0, 255)
    save(top / "masks" / "ANFO_010.png", blue)
    save(top / "masks" / "ANFO_011.png", painted(SIZE, lesion, None) // 255)
    save(top / "masks" / "ANFO_012.png", painted((92, 121), None, None))
    cut(top / "images" / "ANFO_013.png")
    (top / "masks" / "ANFO_014.png").unlink()
    for broken in range(10, 15):
        del images[f"ANFO__{broken:03d}.png"]
    problems = {
        "BUS-UCLM/images/ANFO_010.png": "colour (0, 0, 255)",
        "BUS-UCLM/images/ANFO_011.png": "values up to 1 only",
        "BUS-UCLM/images/ANFO_012.png": "121 x 92",
        "BUS-UCLM/images/ANFO_013.png": "damaged",
        "BUS-UCLM/images/ANFO_014.png": "has no mask",
    }
    if table:
        save_text(top / "INFO.csv", "\n".join([*rows, ""]))
    litter(top)
    litter(top / "masks")
    return Truth(images, problems, dropped=2)


def write_without_table(root: Path) -> Truth:
    return write(root, table=False)
