"""Ultrasound Nerve Segmentation: the brachial plexus, TIFF images; more than half of them show no nerve."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, pairs
from ultrasam.datasets.readers.masks import load_pair
from ultrasam.datasets.record import Found, Record, Skipped


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "train/*_mask.tif")
    if (root / "test").exists():
        yield Skipped(root / "test", "the test set has no masks")
    images = files(root / "train", ".tif")
    matched, problems = pairs(images, images, r"(\d+)_(\d+)\.tif", r"(\d+)_(\d+)_mask\.tif")
    yield from problems
    for key, image, mask in matched:
        subject, number = key.split("-")
        load = partial(load_pair, image, mask, "brachial_plexus")
        yield Record(case=subject, frame=int(number), files=(image, mask), load=load, split="train")
