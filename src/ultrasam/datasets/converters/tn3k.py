"""TN3K: thyroid nodules, with masks as JPEG files, so their edges are frayed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import opened, read_binary, read_pixels
from ultrasam.datasets.readers.tables import read_list
from ultrasam.datasets.record import Attribute, Found, Object, Problem, Record, Sample, Table


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "trainval-image", "trainval-mask", "test-image", "test-mask")
    for part, split in (("trainval", "train"), ("test", "test")):
        table = root / f"label4{part}.csv"
        malignant: dict[str, str] = {}
        if table.exists():
            yield Table(table)
            malignant = read_list(table)
        else:
            yield Problem(table, "is missing: malignancy is not known")
        images, masks = files(root / f"{part}-image"), files(root / f"{part}-mask")
        matched, problems = pairs(images, masks, r"(\d+)\.jpe?g", r"(\d+)\.jpe?g")
        yield from problems
        yield from missing_from(table, malignant, (path.name for path in images))
        for number, image, mask in matched:
            label = malignant.get(image.name)
            known = label in ("0", "1")
            if malignant and not known:
                what = f"has the label {label!r}" if label else "has no row"
                yield Problem(image, f"{what} in {table.name}: it is kept without malignancy")
            about: dict[str, Attribute] = {"malignant": label == "1"} if known else {}
            load = partial(_load, image, mask)
            name = f"{part}-{number}"
            yield Record(case=name, files=(image, mask), load=load, split=split, attributes=about)


def _load(image: Path, mask: Path) -> Sample:
    pixels = read_pixels(image)
    return Sample(pixels, (Object("thyroid_nodule", opened(read_binary(mask, pixels.shape))),))
