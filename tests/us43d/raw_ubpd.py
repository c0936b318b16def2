"""UBPD: JPEG images with files of labelme of the same names, in some folder; labels are Chinese words in
Latin letters.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    Points,
    TrueImage,
    TrueObject,
    Truth,
    colour,
    cut,
    ellipse,
    ellipse_points,
    litter,
    save_jpeg,
    save_text,
    scan,
)

SIZE = (90, 140)
LABELS = {
    "artery": "dongmai",
    "vein": "jingmai",
    "muscle": "jirouzuzhi",
    "nerve": "shenjing",
    "fat": "zhifang",
    "spine": "jizhu",
}
Drawn = list[tuple[str, tuple[float, float, float, float]]]
# By folder and name.
IMAGES: dict[tuple[str, str], Drawn] = {
    # Two nerves that touch are two objects.
    ("a", "1"): [("nerve", (40, 30, 14, 10)), ("nerve", (62, 30, 12, 9)), ("artery", (100, 60, 14, 12))],
    ("a", "2"): [("muscle", (70, 70, 40, 15)), ("fat", (60, 10, 50, 6)), ("spine", (110, 45, 18, 14))],
    ("b", "1"): [("vein", (136, 40, 20, 15))],  # reaches the border
    ("b", "odd"): [("nerve", (50, 30, 20, 12))],
    ("b", "2"): [],
    ("b", "3"): [("nerve", (40, 30, 14, 10))],
    ("b", "4"): [("nerve", (40, 30, 14, 10))],
    ("b", "5"): [("nerve", (40, 30, 14, 10))],
    ("b", "6"): [("nerve", (40, 30, 14, 10))],
    ("b", "7"): [("nerve", (40, 30, 14, 10))],
    # Images of one patient.
    ("a", "12_1"): [("nerve", (42, 30, 14, 10))],
    ("b", "12_1"): [("nerve", (44, 32, 14, 10))],
    ("b", "12_10"): [("nerve", (46, 34, 14, 10))],
}


def labelme(name: str, size: tuple[int, int], shapes: list[tuple[str, Points]]) -> str:
    entries: list[dict[str, object]] = [
        {"label": label, "points": points, "group_id": None, "shape_type": "polygon", "flags": {}}
        for label, points in shapes
    ]
    content: dict[str, object] = {
        "version": "4.5.6",
        "flags": {},
        "shapes": entries,
        "imagePath": f"..\\超声\u4e57\\{name}.jpg",
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
    return json.dumps(content, ensure_ascii=False, indent=2)


def write(root: Path, folders: tuple[str, str] = ("{folder}", "{folder}")) -> Truth:
    """`folders` are those of images and JSON files below the top of the set."""
    top = root / "UBPD"
    images = {}
    used: dict[str, tuple[Path, Path]] = {}
    for seed, ((folder, name), drawn) in enumerate(IMAGES.items()):
        if folders[0] == "images" and (folder, name) in (("b", "1"), ("b", "2"), ("b", "12_1")):
            continue  # there names do not repeat
        size = (67, 101) if name == "odd" else SIZE
        masks = [(category, ellipse(size, *nodule)) for category, nodule in drawn]
        pixels = scan(size, seed, *(mask for _, mask in masks))
        place, drawings = (top / where.format(folder=folder) for where in folders)
        pixels = save_jpeg(place / f"{name}.jpg", colour(pixels) if (folder, name) == ("a", "2") else pixels)
        shapes = [(LABELS[category], ellipse_points(*nodule)) for category, nodule in drawn]
        if (folder, name) == ("a", "2"):
            # Below the image the legs are joined: one object in two parts.
            legs = np.zeros(size, np.bool_)
            legs[60:, 10:16] = legs[60:, 22:28] = True
            masks.append(("vein", legs))
            corners = [(10, 60), (16, 60), (16, 94), (22, 94), (22, 60), (28, 60), (28, 98), (10, 98)]
            shapes.append(("jingmai", [(float(x), float(y)) for x, y in corners]))
        # Two points enclose nothing.
        shapes.append(("shenjing", [(3.0, 3.0), (9.0, 9.0)]))
        if name == "3":
            shapes.append(("jirou", ellipse_points(90, 50, 10, 10)))
        text = labelme(name, (SIZE[0] - 1, SIZE[1]) if name == "4" else size, shapes)
        path = drawings / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("gbk" if name in ("1", "3") else "utf-8"))
        case, view = "-".join([*place.relative_to(top).parts, name]), ""
        if name.startswith("12_"):
            case, view = "12", "-".join([*place.relative_to(top).parts, name[3:]])
        used[name] = (place / f"{name}.jpg", path)
        images[f"{case}__{view}.png" if view else f"{case}.png"] = TrueImage(
            case, pixels, tuple(TrueObject(category, mask, edge=2) for category, mask in masks), view=view
        )
    cut(used["5"][1])
    used["6"][1].unlink()
    used["7"][0].unlink()
    for name in [name for name in images if name[-5] in "34567" or name == "b-2.png"]:
        del images[name]
    save_text(top / "readme.txt", "Outlines\n")
    litter(used["1"][0].parent)
    named = {name: [path.relative_to(root).as_posix() for path in paths] for name, paths in used.items()}
    problems = {
        named["3"][0]: "the label 'jirou'",
        named["4"][0]: "140 x 89",
        named["5"][0]: "not JSON",
        named["6"][0]: "no JSON file",
        named["7"][1]: "has no image",
    }
    return Truth(images, problems, dropped=int(folders[0] != "images"))


def write_apart(root: Path) -> Truth:
    """With all images in one folder and all JSON files in another."""
    return write(root, ("images", "json"))
