"""FASS: PNG images, and dictionaries of arrays as NumPy pickles them, one of them with code to run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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
    save_text,
    scan,
)

SIZE = (72, 96)
ODD = (67, 101)
# Name: size, structures; the liver of P01 overlaps the vein, P010 has two arteries.
DRAWN: dict[str, tuple[tuple[int, int], dict[str, list[Mask]]]] = {
    "P01_IMG1": (
        SIZE,
        {
            "liver": [blob(SIZE, 40, 36, 22, 1)],
            "vein": [ellipse(SIZE, 48, 36, 10, 3)],
            "stomach": [ellipse(SIZE, 76, 24, 10, 8)],
            "artery": [ellipse(SIZE, 60, 60, 3, 3)],
        },
    ),
    "P01_IMG2": (SIZE, {"liver": [blob(SIZE, 30, 30, 15, 2)], "stomach": []}),
    "P010_IMG1": (ODD, {"artery": [ellipse(ODD, 20, 20, 4, 4), ellipse(ODD, 70, 40, 5, 4)], "vein": []}),
    "P02_IMG11": (SIZE, {"vein": [blob(SIZE, 60, 40, 9, 3)]}),
    "P02_IMG3": (SIZE, {"stomach": [blob(SIZE, 30, 40, 9, 4)]}),
}


def save_arrays(path: Path, image: Grey, structures: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array({"image": image, "structures": structures}, dtype=object))


def as_older_numpy(path: Path) -> None:
    """Store the array of objects as NumPy 1 does: another protocol and another name of its module."""
    array = np.load(path, allow_pickle=True)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(pickle.dumps(array, protocol=3).replace(b"numpy._core.", b"numpy.core."))


class Harmful:
    """What makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def write(root: Path) -> Truth:
    top = root / "Fetal Abdominal Structures Segmentation Dataset Using Ultrasonic Images"
    images = {}
    for seed, (name, (size, drawn)) in enumerate(DRAWN.items()):
        masks = {key: np.logical_or.reduce(parts or [np.zeros(size, bool)]) for key, parts in drawn.items()}
        grey = scan(size, seed, *masks.values())
        pixels = grey if name == "P02_IMG11" else colour(grey)
        # Bytes, truth values, numbers by columns, floating numbers and white.
        kind: Any = {"P01_IMG2": np.bool_, "P02_IMG11": np.float32}.get(name, np.uint8)
        arrays = {key: mask.astype(kind) for key, mask in masks.items()}
        if name == "P010_IMG1":
            arrays = {key: np.asfortranarray(array) for key, array in arrays.items()}
        if name == "P02_IMG3":
            arrays = {key: array * np.uint8(255) for key, array in arrays.items()}
        save(top / "IMAGES" / f"{name}.png", pixels)
        # The image in the array is not always the same.
        save_arrays(top / "ARRAY_FORMAT" / f"{name}.npy", 255 - pixels, arrays)
        case, view = name.split("_")
        objects = [TrueObject(f"fetal_{key}", part) for key, parts in drawn.items() for part in parts]
        images[f"{case}__{view}.png"] = TrueImage(case, pixels, tuple(objects), view=view)
    as_older_numpy(top / "ARRAY_FORMAT" / "P01_IMG1.npy")

    liver = blob(SIZE, 40, 36, 20, 9).astype(np.uint8)
    odd: dict[str, Mapping[str, Any]] = {
        "P03_IMG1": {"liver": liver * 0},  # nothing drawn
        "P03_IMG2": {"spine": liver},
        "P03_IMG3": {"liver": liver[:, 1:]},
        "P03_IMG4": {"liver": liver + 1},
        "P03_IMG5": {"liver": np.stack([liver, liver])},
        "P03_IMG6": {"liver": Harmful(root / "harm")},
        "P03_IMG7": {"liver": "one in the text"},
        "P04_IMG1": {"liver": liver},  # the image is cut off
        "P04_IMG2": {"liver": liver},  # the arrays are cut off
        "P04_IMG3": {"liver": liver},  # no arrays
        "P04_IMG4": {"liver": liver},  # no image
        "P04_IMG5": {"liver": liver},  # an array of numbers alone
    }
    for name, structures in odd.items():
        save(top / "IMAGES" / f"{name}.png", scan(SIZE, 20))
        save_arrays(top / "ARRAY_FORMAT" / f"{name}.npy", scan(SIZE, 20), structures)
    cut(top / "IMAGES" / "P04_IMG1.png")
    cut(top / "ARRAY_FORMAT" / "P04_IMG2.npy")
    (top / "ARRAY_FORMAT" / "P04_IMG3.npy").unlink()
    (top / "IMAGES" / "P04_IMG4.png").unlink()
    np.save(top / "ARRAY_FORMAT" / "P04_IMG5.npy", liver)
    save_text(top / "README.txt", "Fetal abdominal structures\n")
    litter(top / "IMAGES")
    litter(top)
    where = f"{top.name}/IMAGES"
    problems = {
        f"{where}/P03_IMG2.png": "has the structure 'spine'",
        f"{where}/P03_IMG3.png": "95 x 72 pixels, its image 96 x 72",
        f"{where}/P03_IMG4.png": "other values than 0 and 1",
        f"{where}/P03_IMG5.png": "no mask",
        f"{where}/P03_IMG6.png": "could run code",
        f"{where}/P03_IMG7.png": "has a str in the place of an array",
        f"{where}/P04_IMG1.png": "damaged",
        f"{where}/P04_IMG2.png": "P04_IMG2.npy is damaged",
        f"{where}/P04_IMG3.png": "has no mask",
        f"{top.name}/ARRAY_FORMAT/P04_IMG4.npy": "has no image",
        f"{where}/P04_IMG5.png": "a dictionary of arrays was expected",
    }
    return Truth(images, problems, dropped=1)
