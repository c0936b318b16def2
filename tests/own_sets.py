"""Own data made for the tests, converted, and what came out, read without the package under test."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

from tests.us43d.truth import Grey, Mask, ellipse, save, scan, white
from ultrasam.datasets.build import build
from ultrasam.datasets.own.source import own_dataset
from ultrasam.datasets.results import Outcome

SIZE = (40, 57)
ONE = ellipse(SIZE, 15, 20, 9, 6)
TWO = ellipse(SIZE, 42, 16, 8, 10)
BOTH = ONE | TWO


@dataclass(frozen=True, eq=False)
class Result:
    """A converted set; `told` is what the run had to remark."""

    outcome: Outcome
    folder: Path
    told: str

    @property
    def coco(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "annotations.json").read_bytes())
        return content

    @property
    def names(self) -> dict[str, dict[str, Any]]:
        """The images of the COCO file by name."""
        return {image["file_name"]: image for image in self.coco["images"]}

    @property
    def categories(self) -> list[str]:
        return [category["name"] for category in self.coco["categories"]]

    @property
    def problems(self) -> dict[str, str]:
        return dict(self.outcome.problems)

    def objects(self, name: str) -> list[tuple[str, Mask]]:
        """(category, mask) of each object of an image."""
        coco, number = self.coco, self.names[name]["id"]
        category = {one["id"]: one["name"] for one in coco["categories"]}
        return [
            (category[one["category_id"]], mask_api.decode(one["segmentation"]).astype(bool))
            for one in coco["annotations"]
            if one["image_id"] == number
        ]

    def region(self, name: str, category: str) -> Mask:
        """All that is of one category in an image."""
        masks = [mask for found, mask in self.objects(name) if found == category]
        image = self.names[name]
        return np.any(masks, axis=0) if masks else np.zeros((image["height"], image["width"]), bool)

    def pixels(self, name: str) -> Grey:
        with Image.open(self.folder / "images" / name) as picture:
            return np.array(picture)


def convert(
    raw: Path, out: Path, classes: str | None = None, pattern: str | None = None, jobs: int = 1
) -> Result:
    """Build the set `mine`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcome = build(own_dataset("mine", classes, pattern), raw, out, jobs)
    return Result(outcome, out / "mine", "; ".join(str(one.message) for one in caught))


def failure(raw: Path, out: Path, classes: str | None = None, pattern: str | None = None) -> str:
    """Why nothing of own data can be used."""
    outcome = convert(raw, out, classes, pattern).outcome
    assert outcome.status == "failed"
    ((_, why),) = outcome.problems
    return why


def image(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> Grey:
    """A file of speckle."""
    pixels = scan(size, seed)
    save(path, pixels)
    return pixels


def mask(path: Path, region: Mask = ONE, level: int = 255) -> None:
    """A file in black and one level."""
    save(path, white(region) // 255 * np.uint8(level))


def pair(image_path: Path, mask_path: Path, region: Mask = ONE, seed: int = 0) -> None:
    image(image_path, seed)
    mask(mask_path, region)


def hashes(out: Path) -> dict[str, str]:
    """What a user sees of the results."""
    paths = (path for path in sorted(out.rglob("*")) if path.is_file() and ".ultrasam" not in path.parts)
    return {path.relative_to(out).as_posix(): sha256(path.read_bytes()).hexdigest() for path in paths}
