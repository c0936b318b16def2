"""kidneyUS: capsule and regions by two sonographers, and the table of the VGG Image Annotator."""

from __future__ import annotations

import csv
import io
import json
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
)

SIZE = (100, 130)
REGIONS = {1: "central_echo_complex", 2: "medulla", 3: "cortex"}
COLUMNS = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
)


def kidney(size: tuple[int, int], shift: int = 0) -> tuple[Mask, Grey, list[Mask]]:
    """The capsule, the labels of the regions within it, and the regions one by one: medulla in two parts."""
    x, y = size[1] / 2 + shift, size[0] / 2
    capsule = ellipse(size, x, y, 40, 25)
    centre = ellipse(size, x, y, 18, 6)
    medullas = [ellipse(size, x - 18, y - 13, 8, 5), ellipse(size, x + 18, y - 13, 8, 5)]
    cortex = ellipse(size, x, y + 16, 20, 5)
    labels = centre * 1 + np.any(medullas, axis=0) * 2 + cortex * 3
    return capsule, labels.astype(np.uint8), [centre, *medullas, cortex]


def via_rows(name: str, quality: str, view: str) -> list[list[str]]:
    """The rows of an image: its facts stand in each."""
    facts = json.dumps({"Quality": quality, "View": view, "Comments": "n/a"}, separators=(",", ":"))
    shape = {"name": "polygon", "all_points_x": [40, 90, 60], "all_points_y": [30, 40, 70]}
    parts = ("Capsule", "Central Echo Complex")
    return [
        [name, "140645", facts, "2", str(number), json.dumps(shape), json.dumps({"Anatomy": part})]
        for number, part in enumerate(parts)
    ]


def write(root: Path, images_in: str = "kidneyUS_images_14_june_2022") -> Truth:
    pictures, labels = root / images_in, root / "kidneyUS-main" / "labels"
    images = {}
    rows = [COLUMNS.split(",")]
    # Name: size, view, what the first and the second sonographer have drawn: c for capsule, r for regions.
    drawn = {
        "1_IM-0001-0059": (SIZE, "Transverse", "cr", "cr"),
        "2_IM-0383-0001": ((67, 101), "Longitudinal", "cr", "c"),
        "2_IM-0383-0007": (SIZE, "Longitudinal", "c", ""),
        "11_IM-0288-0017-0002": (SIZE, "Other", "", "c"),
        "12_IM-0464-17664": (SIZE, "Longitudinal", "e", "e"),
        "13_IM-0293-0055": (SIZE, "Longitudinal", "c", "c"),
        "14_IM-0001-0001": (SIZE, "", "c", "c"),
        "15_IM-0001-0001": (SIZE, "Longitudinal", "", ""),
    }
    for seed, (name, (size, view, *by)) in enumerate(drawn.items()):
        file = f"{name}_anon.png"
        pixels = scan(size, seed, kidney(size)[0])
        save(pictures / file, pixels)
        objects = []
        for number, what in enumerate(by, 1):
            capsule, numbers, regions = kidney(size, shift=number - 1)
            annotator = "" if number == 1 else "second"
            folder = labels / f"reviewed_masks_{number}"
            if "c" in what:
                save(folder / "capsule" / file, capsule.astype(np.uint8))
                objects.append(TrueObject("kidney_capsule", capsule, annotator))
            if "e" in what:
                save(folder / "capsule" / file, np.zeros(size, np.uint8))
            if "r" in what:
                save(folder / "regions" / file, numbers)
                names = ["central_echo_complex", "medulla", "medulla", "cortex"]
                objects += [
                    TrueObject(name, mask, annotator) for name, mask in zip(names, regions, strict=True)
                ]
        if view:
            rows += via_rows(file, "Fair", view)
        case, _, rest = name.partition("_")
        images[f"{case}__{rest}.png"] = TrueImage(
            case,
            pixels,
            tuple(objects),
            view=rest,
            attributes={"quality": "Fair", "view": view} if view else {},
        )
    capsule_2 = labels / "reviewed_masks_2" / "capsule"
    cut(capsule_2 / "13_IM-0293-0055_anon.png")
    save(capsule_2 / "104_IM-0112-0078_anon.png", np.zeros(SIZE, np.uint8))
    for name in ("12__IM-0464-17664", "13__IM-0293-0055", "15__IM-0001-0001"):
        del images[f"{name}.png"]
    for number in (1, 2):
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        save_text(labels / f"reviewed_labels_{number}.csv", text.getvalue())
    save_text(labels / "README_labels", "Masks: 0 background, 1 central echo complex, 2 medulla, 3 cortex\n")
    save_text(root / "kidneyUS-main" / "README.md", "# Open kidney data\n")
    save(root / "kidneyUS-main" / "kidneyUSlogo.png", scan((20, 20), 3))
    litter(pictures)
    litter(labels)
    problems = {
        f"{images_in}/13_IM-0293-0055_anon.png": "13_IM-0293-0055_anon.png is damaged",
        f"{images_in}/14_IM-0001-0001_anon.png": "no row",
        f"{images_in}/15_IM-0001-0001_anon.png": "has no mask",
        "kidneyUS-main/labels/reviewed_masks_2/capsule/104_IM-0112-0078_anon.png": "has no image",
    }
    return Truth(images, problems, dropped=1)


def write_inside(root: Path) -> Truth:
    """The images within the checkout, as it once had them."""
    return write(root, "kidneyUS-main/labels/images")
