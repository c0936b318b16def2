"""Whose an image is: what a split between training and tests must not divide."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.own.files import SPLITS, plain

# Folders with a digit in their name that hold no patient.
_NO_PATIENTS = re.compile(
    r"(fold|class|grade|birads|stage|type|category|batch|part|set|site|cent(er|re)|hospital|device|label|version"
    r"|dataset|data)\d+"
)
# Names of files have an end; case and view share one.
_LONGEST = 90


@dataclass(frozen=True)
class Named:
    """How an image is told from the others of its set, as in `Record`."""

    case: str
    view: str
    split: str


@dataclass(frozen=True)
class Cases:
    """The rule by which images of a folder get their case, and what is to be said of it."""

    pattern: str
    by_folder: bool
    told: str

    def named(self, place: tuple[str, ...], path: PurePosixPath) -> Named:
        """The names of the image at `place` (`files.place_of`), whose path below the raw folder is `path`.

        Raises UltrasamError if the pattern does not fit or the folders name two parts of a split.
        """
        split = split_of(place)
        if self.pattern:
            match = re.search(self.pattern, path.as_posix())
            case = (match[1] if match else "") or ""
            if not case.strip():
                raise UltrasamError(f"has a path that --case-pattern {self.pattern!r} finds no case in")
            return Named(short(case), short("/".join(place)), split)
        if self.by_folder:
            patient = _patient(place)
            rest = _without_splits(place)[len(patient) :]
            return Named(short("/".join(patient)), short("/".join((*_splits(place), *rest))), split)
        return Named(short("/".join(place)), "", split)


def cases_of(places: Sequence[tuple[str, ...]], pattern: str) -> Cases:
    """The rule for images at these places.

    Without a pattern a case is the folder of a patient, if each image lies in one and there are several: a
    folder whose name has a digit, but for such as fold1. Else each image is a case of its own.
    """
    if pattern:
        return Cases(pattern, False, f"a case is what {pattern} finds in the path of an image")
    patients = {_patient(place) for place in places}
    if len(patients) > 1 and all(patients):
        names = ", ".join("/".join(patient) for patient in sorted(patients)[:3])
        more = ", ..." if len(patients) > 3 else ""
        told = f"a case is the folder of an image ({len(patients)}: {names}{more}), but for --case-pattern"
        return Cases("", True, told)
    told = "each file is a case: where patients have several, name them with --case-pattern, or a split may "
    return Cases("", False, f"{told}divide them")


def check_pattern(pattern: str) -> str:
    """A value of --case-pattern itself. Raises UltrasamError if it is no expression with a group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise UltrasamError(f"--case-pattern {pattern!r:.80} is no regular expression: {error}") from None
    if not groups:
        raise UltrasamError(
            f"--case-pattern {pattern!r:.80} has no group: put what names the patient into ()"
        )
    return pattern


def split_of(place: Sequence[str]) -> str:
    """The part of a split that the folders of a place name, "" if none."""
    parts = _splits(place)
    if len(set(parts)) > 1:
        raise UltrasamError(f"lies in folders for {' and '.join(parts)}: which is meant?")
    return parts[0] if parts else ""


def short(text: str) -> str:
    """The text, or where it is too long for the name of a file its end and a hash of all."""
    return text if len(text) <= _LONGEST else f"{text[-60:]}-{sha256(os.fsencode(text)).hexdigest()[:12]}"


def _splits(place: Sequence[str]) -> tuple[str, ...]:
    return tuple(SPLITS[plain(folder)] for folder in place[:-1] if plain(folder) in SPLITS)


def _without_splits(place: tuple[str, ...]) -> tuple[str, ...]:
    return (*(folder for folder in place[:-1] if plain(folder) not in SPLITS), place[-1])


def _patient(place: tuple[str, ...]) -> tuple[str, ...]:
    """The folders down to the first that seems to be a patient's; () if none does."""
    folders = _without_splits(place)[:-1]
    for depth, folder in enumerate(folders, 1):
        if re.search(r"\d", folder) and not _NO_PATIENTS.fullmatch(plain(folder)):
            return folders[:depth]
    return ()
