"""FALLMUD: aponeuroses and fascicles of lower-leg muscles, from two sources, in a mask each. Those of one
source are stored turned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import BoolArray
from ultrasam.datasets.readers.folders import files, find_folder, keyed
from ultrasam.datasets.readers.masks import on_grid, read_binary, read_grey, read_pixels
from ultrasam.datasets.record import Found, Object, Problem, Record, Sample

FOLDERS = ("images", "aponeurosis_masks", "fascicle_masks")
SOURCES = ("NeilCronin", "RyanCunningham")
TURNED = "RyanCunningham"
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# How much brighter the tissue below the masks must be than below the same masks turned otherwise, and of how
# many images that is asked.
CLEARLY = 1.05
ASKED = 32
TURNS = (0, 1, 3)
Pairs = tuple[tuple[Path, Path], ...]


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
        whole: list[tuple[Path, ...]] = []
        for stem in sorted(set().union(*kinds) - twice):
            paths = tuple(kind[stem] for kind in kinds if stem in kind)
            if len(paths) == len(FOLDERS):
                whole.append(paths)
                continue
            without = [name for name, kind in zip(FOLDERS, kinds, strict=True) if stem not in kind]
            yield Problem(paths[0], f"has no file of its name in {' and '.join(without)}", paths[1:])
        step = -(-len(whole) // ASKED) or 1
        asked = tuple((paths[0], paths[1]) for paths in whole[::step]) if source == TURNED else ()
        for paths in whole:
            load = partial(_load, asked, *paths)
            case = f"{source}-{paths[0].stem}"
            yield Record(case=case, files=paths, load=load, attributes={"source": source})


def _load(asked: Pairs, image: Path, aponeurosis: Path, fascicle: Path) -> Sample:
    """An image with its masks; that of aponeuroses is turned as those `asked` are."""
    pixels = read_pixels(image)
    mask = read_binary(aponeurosis)
    if asked:
        mask = _turned_back(mask, asked, pixels.shape[:2], aponeurosis)
    return Sample(
        pixels,
        (
            Object("aponeurosis", on_grid(mask, pixels.shape, aponeurosis)),
            Object("fascicle", read_binary(fascicle, pixels.shape)),
        ),
    )


def _turned_back(mask: BoolArray, asked: Pairs, shape: tuple[int, ...], path: Path) -> BoolArray:
    """The mask as its image stands. Raises UltrasamError if the turn of its source is not known."""
    if mask.shape == shape != mask.shape[::-1]:
        return mask  # it cannot be on its side
    turn = _turn(asked)
    if turn is None:
        raise UltrasamError(f"{shown(path)} may be turned: the images of its source do not tell how")
    return np.ascontiguousarray(np.rot90(mask, turn))


@lru_cache(maxsize=2)
def _turn(asked: Pairs) -> int | None:
    """The quarter turns to the left that put the masks of a source upright; None if the images do not tell.

    To which side they are turned is not documented, only that all are. Aponeuroses are the brightest bands of
    a muscle: the turn is that under which the masks cover the brightest tissue. One image alone may mislead,
    for its two aponeuroses can lie where they lie upside down.
    """
    gains: dict[int, list[float]] = {turn: [] for turn in TURNS}
    for image, path in asked:
        try:
            grey, mask = read_grey(image).astype(np.float64) + 1, read_binary(path)
        except UltrasamError:  # its own record tells
            continue
        fitting = {turn: np.rot90(mask, turn) for turn in TURNS}
        levels = {turn: grey[one].mean() for turn, one in fitting.items() if one.shape == grey.shape}
        if mask.any() and len(levels) > 1:
            for turn, level in levels.items():
                gains[turn].append(float(np.log(level) - np.mean(np.log([*levels.values()]))))
    known = sorted((float(np.median(found)), turn) for turn, found in gains.items() if found)
    if len(known) < 2 or known[-1][0] - known[-2][0] < np.log(CLEARLY):
        return None
    return known[-1][1]
