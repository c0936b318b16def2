"""Find the folders and files of a raw data set, whatever else lies around them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.datasets.readers.archives import is_archive
from ultrasam.datasets.record import Missing, Problem

# An archive unpacked by hand lies in a folder of its name, often twice, and some sets add a level of their
# own.
DEEPEST = 6
_SPLIT = re.compile(r"(train|val|test)(?:ing|idation)?(?:[ _-]?set)?", re.IGNORECASE)
# A zip whose owner has changed its ending, so that Kaggle leaves it packed.
_RENAMED = ".change2zip"
_JUNK = re.compile(r"\..*|__MACOSX|Thumbs\.db|desktop\.ini", re.IGNORECASE)


class FolderNotFound(UltrasamError):
    """No folder has what a set has; one that has it twice is another error."""


class Pair(NamedTuple):
    """An image, its mask and the part of the name that they share."""

    key: str
    image: Path
    mask: Path


def is_junk(path: Path) -> bool:
    """Whether the system has left it there: .DS_Store, __MACOSX, Thumbs.db and hidden files."""
    return _JUNK.fullmatch(path.name) is not None


def listing(folder: Path) -> list[Path]:
    """What lies directly in a folder, sorted by name, without junk. Raises UltrasamError if it cannot be
    read.
    """
    try:
        return sorted((path for path in folder.iterdir() if not is_junk(path)), key=lambda path: path.name)
    except OSError as error:
        raise UltrasamError(f"{shown(folder)} cannot be read ({reason(error)}): check the path") from error


def files(folder: Path, *suffixes: str) -> list[Path]:
    """The files directly in a folder, sorted by name; with `suffixes` (".png", ...; any case) only those."""
    wanted = tuple(suffix.lower() for suffix in suffixes)
    return [path for path in listing(folder) if path.is_file() and path.name.lower().endswith(wanted or "")]


def files_below(folder: Path, *suffixes: str) -> list[Path]:
    """`files` of a folder and of those in it, at most `DEEPEST` levels down, level by level."""
    found: list[Path] = []
    level = [folder]
    for _ in range(DEEPEST + 1):
        found += [path for below in level for path in files(below, *suffixes)]
        level = [path for below in level for path in listing(below) if path.is_dir()]
    return found


def is_in_masks(path: Path, root: Path) -> bool:
    """Whether a folder between `root` and the file has "mask" in its name."""
    return any("mask" in name.lower() for name in path.relative_to(root).parts[:-1])


def split_of(path: Path, root: Path) -> str:
    """The part that a folder between `root` and the file names: "train", "val", "test" or ""."""
    names = path.relative_to(root).parts[:-1]
    found = [match[1].lower() for name in names if (match := _SPLIT.fullmatch(name))]
    return found[-1] if found else ""


def find_folder(raw: Path, *inside: str, besides: Path | None = None) -> Path:
    """The folder at or below `raw`, at most `DEEPEST` levels down, that has all of `inside` in it.

    `inside` are names, paths with / or patterns such as "patient[0-9]*". `besides` and what lies in it is
    left out. Raises UltrasamError if no folder has them all or two at the same depth have: one of those would
    be taken by chance.
    """
    level = [raw]
    archives: list[Path] = []
    renamed: list[Path] = []
    for _ in range(DEEPEST + 1):
        found = [folder for folder in level if all(any(folder.glob(name)) for name in inside)]
        if len(found) > 1:
            raise UltrasamError(
                f"{shown(found[0])} and {shown(found[1])} both look like the set: remove one, or name the "
                "right one with --source ID=PATH"
            )
        if found:
            return found[0]
        below = [path for folder in level for path in listing(folder) if path != besides]
        archives += filter(is_archive, below)
        renamed += (path for path in below if path.suffix == _RENAMED)
        level = [path for path in below if path.is_dir()]
    advice = "the download is not complete, or its layout has changed"
    if archives:
        advice = f"unpack {archives[0].name} where it lies"
    if renamed:
        advice = f"{renamed[0].name} is a zip: name it .zip and unpack it where it lies"
    raise FolderNotFound(f"{shown(raw)} holds no folder with {' and '.join(inside)} in it: {advice}")


def find_file(raw: Path, name: str) -> Path | None:
    """The file of this name at or below `raw`, the nearest and first by name; None if there is none."""
    level = [raw]
    for _ in range(DEEPEST + 1):
        for folder in level:
            if (folder / name).is_file():
                return folder / name
        level = [path for folder in level for path in listing(folder) if path.is_dir()]
    return None


def missing_from(table: Path, listed: Iterable[str], there: Iterable[str]) -> Iterator[Missing]:
    """What a table lists and is not there, if anything."""
    names = sorted(set(listed) - set(there))
    if names:
        yield Missing(table, tuple(names))


def pairs(
    images: Iterable[Path], masks: Iterable[Path], image_name: str, mask_name: str
) -> tuple[list[Pair], list[Problem]]:
    """Match images with masks by name; `images` and `masks` may be the same files.

    `image_name` and `mask_name` are regular expressions for the whole name, with one group: what both have in
    common. Case does not count. An image without mask, a mask without image and two files with one key become
    problems. Raises UltrasamError if no image at all, or no mask, has such a name.
    """
    problems: list[Problem] = []
    images, masks = list(images), list(masks)
    by_key = [keyed(images, image_name), keyed(masks, mask_name)]
    for paths, others, (found, _), what, pattern in zip(
        (images, masks), (masks, images), by_key, ("image", "mask"), (image_name, mask_name), strict=True
    ):
        if not found:
            where = f"in {shown(paths[0].parent)}" if paths else "in the set"
            if not paths and others:
                where = f"for {shown(others[0].parent)}"
            raise UltrasamError(
                f"no {what} {where} has a name like {pattern!r}: the download is not complete, or its "
                "layout has changed"
            )
    (image_of, twice), (mask_of, also_twice) = by_key
    problems += [*twice, *also_twice]
    torn = {problem.path for problem in problems}
    problems += [Problem(image_of[key], "has no mask") for key in image_of if key not in mask_of]
    problems += [Problem(mask_of[key], "has no image") for key in mask_of if key not in image_of]
    # Of a key that stands twice nothing is used, on either side.
    other = [
        path
        for key in image_of.keys() & mask_of.keys()
        if torn & {image_of[key], mask_of[key]}
        for path in (image_of[key], mask_of[key])
    ]
    if other:
        problems[0] = replace(problems[0], also=tuple(sorted(other)))
    matched = [
        Pair(key, image_of[key], mask_of[key])
        for key in image_of
        if key in mask_of and not torn & {image_of[key], mask_of[key]}
    ]
    return matched, problems


def keyed(paths: Sequence[Path], pattern: str) -> tuple[dict[str, Path], list[Problem]]:
    """{key: path} of the files whose whole name fits `pattern`, key being its group(s) joined by "-".

    Of two files with one key neither can be trusted: both stay in the problems, the first in the dictionary.
    """
    expression = re.compile(pattern, re.IGNORECASE)
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in paths:
        match = expression.fullmatch(path.name)
        if match is None:
            continue
        key = "-".join(group for group in match.groups() if group is not None)
        if key in found:
            problems += [
                Problem(one, f"has the same name as {other.name}: keep one of them")
                for one, other in ((found[key], path), (path, found[key]))
            ]
        else:
            found[key] = path
    return found, problems
