"""AUL: three classes of liver images; polygons of the liver and of the mass in JSON files of their own."""

from __future__ import annotations

import json
from pathlib import Path

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

SIZE = (90, 120)
LIVER = (55, 48, 40, 30, 0.2)
# Whatever is in the picture.
OUTLINE = (60, 45, 56, 43)
MASSES = {number: (40 + 3 * (number % 7), 44, 11, 8, 0.3) for number in range(500)}
# Class and number: whether liver and mass are there, and the size.
IMAGES: dict[tuple[str, int], tuple[bool, bool, tuple[int, int]]] = {
    ("Benign", 1): (True, True, SIZE),
    ("Benign", 194): (True, True, (79, 113)),
    ("Malignant", 2): (True, True, SIZE),
    ("Malignant", 229): (True, True, SIZE),  # the liver stands under outline, and nothing else
    ("Malignant", 306): (True, True, SIZE),  # liver and outline stand in each other's place
    ("Malignant", 374): (False, True, SIZE),
    ("Normal", 3): (True, False, SIZE),
    ("Normal", 5): (True, False, SIZE),
    # What cannot be used.
    ("Benign", 10): (False, True, SIZE),
    ("Benign", 11): (True, False, SIZE),
    ("Normal", 12): (True, True, SIZE),
    ("Malignant", 13): (True, True, SIZE),
    ("Malignant", 14): (True, True, SIZE),
    ("Malignant", 15): (True, True, SIZE),
    ("Malignant", 16): (True, True, SIZE),
    ("Malignant", 17): (True, True, SIZE),
    ("Malignant", 18): (True, True, SIZE),
}
WRONG = range(10, 19)


def save_points(path: Path, points: Points) -> None:
    save_text(path, json.dumps([[round(x, 2), round(y, 2)] for x, y in points]))


def write(root: Path, twice: bool = False) -> Truth:
    images = {}

    def folder(name: str) -> Path:
        return root / "AUL" / name / name if twice else root / "AUL" / name

    for (name, number), (liver, mass, size) in IMAGES.items():
        drawn = folder(name) / "segmentation"
        regions = {"liver": LIVER, "liver_mass": MASSES[number]}
        there = [kind for kind, is_there in zip(regions, (liver, mass), strict=True) if is_there]
        masks = {kind: ellipse(size, *regions[kind]) for kind in there}
        pixels = colour(scan(size, number, *masks.values()))
        pixels = save_jpeg(folder(name) / "image" / f"{number}.jpg", pixels)
        place = {"liver": "liver", "liver_mass": "mass", "outline": "outline"}
        if number in (229, 306):
            place |= {"liver": "outline", "outline": "liver"}
        for kind in there:
            save_points(drawn / place[kind] / f"{number}.json", ellipse_points(*regions[kind]))
        if number != 229:
            save_points(drawn / place["outline"] / f"{number}.json", ellipse_points(*OUTLINE))
        if number not in WRONG:
            case = f"{name.lower()}-{number}"
            objects = tuple(TrueObject(kind, mask, edge=1) for kind, mask in masks.items())
            images[f"{case}.png"] = TrueImage(case, pixels, objects, attributes={"pathology": name.lower()})
    malignant = folder("Malignant")
    cut(malignant / "image" / "13.jpg", 0.8)
    cut(malignant / "segmentation" / "liver" / "14.json")
    save_points(malignant / "segmentation" / "mass" / "15.json", [(10, 10), (30, 30)])
    save_points(malignant / "segmentation" / "mass" / "16.json", ellipse_points(400, 300, 20, 20))
    save_text(malignant / "segmentation" / "liver" / "17.json", '{"points": [[1, 2], [3, 4], [5, 1]]}')
    save_jpeg(malignant / "image" / "18.jpeg", scan(SIZE, 18))
    save_points(folder("Normal") / "segmentation" / "liver" / "99.json", ellipse_points(*LIVER))
    litter(root / "AUL")
    litter(malignant / "image")
    litter(malignant / "segmentation" / "liver")
    problems = {
        "Benign/image/10.jpg": "no polygon of the liver",
        "Benign/image/11.jpg": "is benign and has no polygon of a mass",
        "Normal/image/12.jpg": "is normal and has a polygon of a mass",
        "Malignant/image/13.jpg": "damaged",
        "Malignant/image/14.jpg": "14.json is not JSON",
        "Malignant/image/15.jpg": "2 points",
        "Malignant/image/16.jpg": "outside its image",
        "Malignant/image/17.jpg": "no list of points",
        "Malignant/image/18.jpg": "same name as 18.jpeg",
        "Malignant/image/18.jpeg": "same name as 18.jpg",
        "Normal/segmentation/liver/99.json": "has no image",
    }
    left_out = [folder(name) / "segmentation" / "outline" for name in ("Benign", "Malignant", "Normal")]
    problems = {
        (folder(file.partition("/")[0]) / file.partition("/")[2]).relative_to(root).as_posix(): words
        for file, words in problems.items()
    }
    return Truth(images, problems, left_out=frozenset(path.relative_to(root).as_posix() for path in left_out))


def write_twice(root: Path) -> Truth:
    """The folder of each class in one of the same name."""
    return write(root, twice=True)
