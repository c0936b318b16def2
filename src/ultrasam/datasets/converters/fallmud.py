"""FALLMUD: aponeuroses and fascicles of lower-leg muscles, from two sources, in a mask each. Those of one
source are stored turned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import BoolArray, ByteArray
from ultrasam.datasets.readers.folders import files, find_folder, keyed
from ultrasam.datasets.readers.masks import on_grid, read_binary, read_pixels
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample

FOLDERS = ("images", "aponeurosis_masks", "fascicle_masks")
SOURCES = ("NeilCronin", "RyanCunningham")
TURNED = "RyanCunningham"
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# How much brighter the tissue below a mask must be than below the same mask turned otherwise.
CLEARLY = 1.05


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, *(f"*/{name}" for name in FOLDERS))
    for source in SOURCES:
        lacking = [root / source / name for name in FOLDERS if not (root / source / name).is_dir()]
        if lacking:
            yield Problem(lacking[0], f"is missing: nothing of {source} can be used")
            continue
        # The same stem has other endings from folder to folder.
        by_kind = [keyed(files(root / source / name, *ENDINGS), r"(.+)\.\w+") for name in FOLDERS]
        kinds = [{stem.lower(): path for stem, path in found.items()} for found, _ in by_kind]
        twice = set()
        for problem in (problem for _, problems in by_kind for problem in problems):
            stem = problem.path.stem.lower()
            twice.add(stem)
            yield replace(problem, also=tuple(kind[stem] for kind in kinds if stem in kind))
        for stem in sorted(set().union(*kinds) - twice):
            paths = tuple(kind[stem] for kind in kinds if stem in kind)
            if len(paths) < len(FOLDERS):
                without = [name for name, kind in zip(FOLDERS, kinds, strict=True) if stem not in kind]
                yield Problem(paths[0], f"has no file of its name in {' and '.join(without)}", paths[1:])
                continue
            load = partial(_load, source == TURNED, *paths)
            case = f"{source}-{paths[0].stem}"
            yield Record(case=case, files=paths, load=load, attributes={"source": source})


def _load(turned: bool, image: Path, aponeurosis: Path, fascicle: Path) -> Sample:
    pixels = read_pixels(image)
    mask = read_binary(aponeurosis)
    mask = _turned_back(mask, pixels, aponeurosis) if turned else on_grid(mask, pixels.shape, aponeurosis)
    return Sample(
        pixels,
        (Object("aponeurosis", mask), Object("fascicle", read_binary(fascicle, pixels.shape))),
    )


def _turned_back(mask: BoolArray, pixels: ByteArray, path: Path) -> BoolArray:
    """The mask as it is, or by a quarter turn to the left or right, so that it fits the image.

    Which turn was made is not documented. Aponeuroses are the brightest bands of a muscle: the turn is that
    under which the mask covers the brightest tissue. Raises UltrasamError if none fits or two are as good.
    """
    grey = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
    turns = [np.rot90(mask, count) for count in (0, 1, 3)]
    fitting = [turn for turn in turns if turn.shape == pixels.shape[:2]]
    if not fitting or not mask.any():
        return on_grid(mask if not fitting else fitting[0], pixels.shape, path)
    brightness = [float(grey[turn].mean()) for turn in fitting]
    best = int(np.argmax(brightness))
    for turn, level in zip(fitting, brightness, strict=True):
        if brightness[best] < CLEARLY * level and not np.array_equal(turn, fitting[best]):
            raise UltrasamError(f"{shown(path)} fits its image as well in two directions: it may be turned")
    return np.ascontiguousarray(fitting[best])
