"""Which scans are meant by files, folders and patterns, and what the results of each are called."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.io.scan import SUFFIXES, suffix_of

RESULT = re.compile(r"_(mask\d*|labels|overlay)\.png$", re.IGNORECASE)
"""How the names of pictures end that `ultrasam segment` writes."""
_FRAME = re.compile(r"_frame\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """The scans to read, in order, what could not be looked into, and how many files were left out."""

    files: tuple[Path, ...]
    problems: tuple[tuple[Path, str], ...]
    others: int


def find_scans(names: Sequence[str], out: Path) -> Found:
    """The scans meant by `names`: files, folders with all below them, and patterns such as DIR/*.dcm.

    DIR/**/*.dcm means all folders below DIR. In a folder and among the files of a pattern only scans count,
    and neither hidden files nor what `ultrasam segment` wrote: the folder `out` and names that end in
    _mask.png, _labels.png or _overlay.png. A folder reached a second time, as by a link to a folder above it,
    is not walked again. Files of a folder come in the order of their names, after them its DICOM files in
    the order of their series and instance numbers. Raises UltrasamError if a name leads to nothing or no scan
    is found.
    """
    walk = _Walk(os.path.realpath(out))
    for name in names:
        path = Path(name)
        if os.path.isdir(path):
            walk.folder(path)
        elif os.path.lexists(path) or not glob.has_magic(name):
            walk.file(path)
        else:
            _follow(name, walk)
    if not walk.files and not walk.problems:
        where = ", ".join(map(shown, names))
        raise UltrasamError(
            f"there is no scan in {where:.200} ({walk.others} other files): "
            "give a folder with images or DICOM files"
        )
    return Found(tuple(walk.files), tuple(walk.problems), walk.others)


def _follow(pattern: str, walk: _Walk) -> None:
    top, deep, last = pattern.partition("**")
    if deep:
        # Not left to `glob`, which follows links round in circles.
        last = last.strip("/" + os.sep) or "*"
        if "**" in last or "/" in last or os.sep in last:
            raise UltrasamError(f"the pattern {shown(pattern)} is not understood: write DIR/**/*.dcm")
        for folder in sorted(glob.glob(top or ".")):
            if os.path.isdir(folder):
                walk.folder(Path(folder), last)
        return
    matches = [Path(match) for match in sorted(glob.glob(pattern))]
    if not matches:
        raise UltrasamError(f"no file matches {shown(pattern)}: check the pattern")
    walk.members([path for path in matches if not os.path.isdir(path)])
    for path in matches:
        if os.path.isdir(path) and os.path.realpath(path) != walk.out:
            walk.folder(path)


class _Walk:
    """What has been found so far; `out` is the real path of the folder of the results."""

    def __init__(self, out: str) -> None:
        self.out = out
        self._seen: set[tuple[str, str]] = set()
        self.files: list[Path] = []
        self.problems: list[tuple[Path, str]] = []
        self.others = 0

    def folder(self, top: Path, pattern: str = "*") -> None:
        """All scans below a folder that the user named, which may itself be the folder of the results."""
        walked: set[str] = set()
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            real = os.path.realpath(folder)
            if real in walked or (real == self.out and folder != top):
                continue
            walked.add(real)
            try:
                names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
            except OSError as error:
                self.problems.append((folder, f"{shown(folder)} cannot be looked into ({reason(error)})"))
                continue
            folders = {name for name in names if os.path.isdir(folder / name)}
            files = [name for name in names if name not in folders]
            self.members([folder / name for name in fnmatch.filter(files, pattern)])
            waiting += [folder / name for name in sorted(folders, reverse=True)]

    def members(self, paths: Sequence[Path]) -> None:
        """Those of the files of one folder that are scans and no results."""
        files = [path for path in paths if not RESULT.search(path.name)]
        scans = [path for path in files if _is_scan(path)]
        self.others += len(files) - len(scans)
        for path in in_series_order(scans):
            self._add(path)

    def file(self, path: Path) -> None:
        """A file that the user named; its name may come from a shell's pattern, so results do not count."""
        if not (RESULT.search(path.name) and os.path.realpath(path.parent) == self.out):
            if not os.path.exists(path):
                raise UltrasamError(f"{shown(path)} does not exist: check the path")
            self._add(path)

    def _add(self, path: Path) -> None:
        key = os.path.realpath(path.parent), path.name
        if key not in self._seen:
            self._seen.add(key)
            self.files.append(path)


def _is_scan(path: Path) -> bool:
    if not os.path.isfile(path):
        return os.path.islink(path) and suffix_of(path) in SUFFIXES  # told as missing when its turn comes
    try:
        return looks_like_scan(path)
    except (UltrasamError, OSError):
        return True  # what cannot be opened is told when its turn comes


def in_series_order(paths: Sequence[Path]) -> list[Path]:
    """By folder, then images by name, then DICOM files by series number, instance number and name."""
    return sorted(paths, key=lambda path: (str(path.parent), *_place_in_series(path), path.name))


def _place_in_series(path: Path) -> tuple[int, int, int]:
    """(0, 0, 0) for what is no DICOM file."""
    try:
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                return 0, 0, 0
        from pydicom import dcmread

        header = dcmread(path, stop_before_pixels=True, specific_tags=["SeriesNumber", "InstanceNumber"])
        return 1, int(header.get("SeriesNumber") or 0), int(header.get("InstanceNumber") or 0)
    except Exception:  # damaged headers make pydicom raise nearly anything, which is told when it is read
        return 0, 0, 0


def places_of(paths: Sequence[Path]) -> list[PurePosixPath]:
    """The path of each file below the common parent of all."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    try:
        common = Path(os.path.commonpath([path.parent for path in absolute])) if absolute else Path()
        places = [path.relative_to(common) for path in absolute]
    except ValueError:  # on different drives
        places = [Path(*path.parts[1:]) for path in absolute]
    return [PurePosixPath(place.as_posix()) for place in places]


def names_in(places: Sequence[PurePosixPath]) -> list[str]:
    """For the place of each file what its results are called, in the same folders and without their endings.

    A file is called by its name without suffix, or with it where two of a folder would be called the same
    (a.png and a.dcm; upper and lower case do not count, nor does _frameN at the end, which is how the results
    of frames are told apart).
    """
    short = [str(place.with_name(stem_of(place.name))) for place in places]
    counts = Counter(map(_without_frame, short))
    return numbered(
        name if counts[_without_frame(name)] == 1 else str(place)
        for name, place in zip(short, places, strict=True)
    )


def numbered(names: Iterable[str]) -> list[str]:
    """The names, from the second time on with -2, -3, ...; upper and lower case do not count."""
    taken: set[str] = set()
    unique = []
    for name in names:
        number, chosen = 1, name
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{name}-{number}"
        taken.add(chosen.casefold())
        unique.append(chosen)
    return unique


def stem_of(name: str) -> str:
    """A file's name without its suffix; .nii.gz is one suffix."""
    path = PurePosixPath(name)
    if path.suffix.lower() == ".gz" and PurePosixPath(path.stem).suffix:
        path = PurePosixPath(path.stem)
    return path.stem or name


def _without_frame(name: str) -> str:
    return _FRAME.sub("", name).casefold()


def looks_like_scan(path: Path) -> bool:
    with path.open("rb") as file:
        is_dicom = file.read(132)[128:] == b"DICM"
    return (is_dicom and path.name.upper() != "DICOMDIR") or suffix_of(path) in SUFFIXES
