"""DDTI in both its forms: image and mask files within TN3K, and cases in XML with polygons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    TrueImage,
    TrueObject,
    Truth,
    blob,
    cut,
    ellipse,
    ellipse_points,
    litter,
    save,
    save_jpeg,
    save_text,
    scan,
    white,
)

SIZE = (90, 140)


def write(root: Path) -> Truth:
    top = root / "Thyroid Dataset" / "DDTI dataset" / "DDTI"
    images = {}
    for number, size in ((1, SIZE), (2, SIZE), (10, (67, 101)), (11, SIZE), (12, SIZE), (13, SIZE)):
        masks = [blob(size, 40, 30, 14, number)]
        masks += [blob(size, 100, 55, 12, 50)] if number == 2 else []
        masks = [] if number == 11 else masks
        pixels = scan(size, number, *masks)
        name = f"{number:04d}"
        save(top / "1_or_data" / "image" / f"{name}.PNG", pixels)
        painted = white(np.any([np.zeros(size, np.bool_), *masks], axis=0))
        save(top / "1_or_data" / "mask" / f"{name}.PNG", painted)
        stage = top / "2_preprocessed_data" / "stage1"
        save(stage / "p_image" / f"{name}.PNG", pixels[5:, 5:])
        save(stage / "p_mask" / f"{name}.PNG", painted[5:, 5:])
        images[f"{name}.png"] = TrueImage(
            name, pixels, tuple(TrueObject("thyroid_nodule", mask) for mask in masks)
        )
    cut(top / "1_or_data" / "mask" / "0012.PNG")
    save(top / "1_or_data" / "mask" / "0013.PNG", white(np.ones((90, 139), np.bool_)))
    for name in ("0011", "0012", "0013"):
        del images[f"{name}.png"]
    save_text(top / "1_or_data" / "category.csv", "ID,CATE\n1,1\n")
    save_text(top / "2_preprocessed_data" / "stage1" / "train.csv", "ID,CATE\n1,1\n")
    litter(top / "1_or_data" / "image")
    where = "Thyroid Dataset/DDTI dataset/DDTI"
    problems = {
        f"{where}/1_or_data/image/0012.PNG": "0012.PNG is damaged",
        f"{where}/1_or_data/image/0013.PNG": "139 x 90",
    }
    left_out = frozenset({f"{where}/2_preprocessed_data"})
    return Truth(images, problems, dropped=1, left_out=left_out)


def case_xml(number: int, tirads: str, marks: dict[int, list[tuple[float, ...]]]) -> str:
    """A case as the source has it: facts, and for each image its nodules as points in JSON."""
    parts = []
    for image, nodules in marks.items():
        regions = [
            {
                "points": [{"x": round(x), "y": round(y)} for x, y in ellipse_points(*nodule)],
                "annotation": {},
                "regionType": "freehand",
            }
            for nodule in nodules
        ]
        svg = json.dumps(regions) if regions else ""
        parts.append(f"<mark><image>{image}</image><svg>{svg}</svg></mark>")
    return (
        f"<case><number>{number}</number><age>45</age><sex>F</sex><composition>solid</composition>"
        f"<echogenicity/><margins/><calcifications>non</calcifications><tirads>{tirads}</tirads>"
        f"<reportbacaf/><reporteco/>{''.join(parts)}</case>"
    )


def write_source(root: Path) -> Truth:
    folder = root / "thyroid"
    cases: dict[int, tuple[str, dict[int, list[tuple[float, ...]]]]] = {
        1: ("2", {1: [(50, 40, 25, 18)], 2: [(40, 40, 20, 14), (100, 50, 16, 20)]}),
        2: ("", {1: [(70, 50, 30, 25)]}),
        10: ("4b", {1: [(128, 40, 20, 18)]}),  # reaches the border
        11: ("3", {1: []}),
        12: ("5", {1: [(60, 40, 20, 18)], 2: [(60, 40, 20, 18)]}),
    }
    images = {}
    for number, (tirads, marks) in cases.items():
        save_text(folder / f"{number}.xml", case_xml(number, tirads, marks))
        for image, nodules in marks.items():
            size = (67, 101) if number == 2 else SIZE
            masks = [ellipse(size, *nodule) for nodule in nodules]
            pixels = save_jpeg(folder / f"{number}_{image}.jpg", scan(size, 10 * number + image, *masks))
            images[f"{number}__{image}.png"] = TrueImage(
                str(number),
                pixels,
                tuple(TrueObject("thyroid_nodule", mask, edge=2) for mask in masks),
                view=str(image),
                attributes={"tirads": tirads} if tirads else {},
            )
    cut(folder / "12_1.jpg", 0.8)
    (folder / "12_2.jpg").unlink()
    for name in ("11__1", "12__1", "12__2"):
        del images[f"{name}.png"]
    save_text(folder / "13.xml", case_xml(13, "3", {1: [(60, 40, 20, 18)]}))
    cut(folder / "13.xml", 0.7)
    save_jpeg(folder / "13_1.jpg", scan(SIZE, 9))
    save_text(folder / "README.txt", "Digital database of thyroid images\n")
    litter(folder)
    problems = {
        "thyroid/11_1.jpg": "no polygon",
        "thyroid/12_1.jpg": "damaged",
        "thyroid/12.xml": "no image 2",
        "thyroid/13.xml": "damaged",
        "thyroid/13_1.jpg": "in no XML file",
    }
    return Truth(images, problems)
