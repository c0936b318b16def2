"""What a converter makes of a raw data set.

A converter is a module `converters/ID.py` with one function

    def records(raw: Path) -> Iterator[Found]: ...

that lists what lies in the raw folder: quick, without pixels, in an order that does not depend on that of the
directory. It writes nothing and keeps nothing. Pixels are read later, by `Record.load`, in any process and
order: so one damaged file costs one image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import ByteArray
from ultrasam.core.masks import BoolArray

Attribute = str | int | float | bool


@dataclass(frozen=True)
class Object:
    """One labelled region: `mask` (H, W) bool on the grid of the image.

    With `instance` it is one object, as its source tells objects apart, even in several parts. Without it
    each 8-connected part becomes an object. An empty mask is no object. `annotator` is set where more than
    one person has drawn: each of them gets a COCO file, and the unnamed one is the main one.
    """

    category: str
    mask: BoolArray
    instance: bool = False
    annotator: str = ""


@dataclass(frozen=True)
class Sample:
    """The pixels of a record: `image` (H, W) or (H, W, 3) uint8, and what is drawn in it.

    `spacing` is mm per pixel in (x, y), None if the files do not say.
    """

    image: ByteArray
    objects: tuple[Object, ...]
    spacing: tuple[float, float] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """What only the pixels tell, such as a grade that the values of a mask stand for; the rest is told by the
    record.
    """


@dataclass(frozen=True)
class Record:
    """One image of a raw set and the way to its pixels.

    `case`, `view` and `frame` together name it within the set; a split never divides a case. `files` are
    those that `load` reads, the image first. `load` can be sent to another process (a module's function or a
    `partial` of one) and raises UltrasamError for files that are damaged or do not fit together.
    """

    case: str
    files: tuple[Path, ...]
    load: Callable[[], Sample]
    view: str = ""
    frame: int | None = None
    split: str = ""
    """The part of the source that it belongs to: "train", "val" or "test"; "" where there are no parts."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """What else the source says: pathology, phase of the heart, device, quality of the view."""
    duplicate_of: str = ""
    """The set that has this very image too: such images are left out unless they are asked for."""

    @property
    def name(self) -> str:
        """case[__view][__frame], as it stands before .png in the name of a file: letters, digits and . _ -
        only.
        """
        parts = [self.case, self.view, "" if self.frame is None else f"{self.frame:05d}"]
        text = "__".join(part for part in parts if part)
        # Nothing is left of a name without Latin letters and digits.
        return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or sha256(os.fsencode(text)).hexdigest()[:12]


@dataclass(frozen=True)
class Table:
    """A file that the converter itself has read, such as a CSV of labels."""

    path: Path


@dataclass(frozen=True)
class Skipped:
    """A file, or all in a folder, left out on purpose: a test set without masks, a copy, another modality.

    Of a folder with records in it, what they do not read: most of the frames of a video.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used, in words that say what is wrong; the rest goes on.

    `also` are further files of the same image, such as its mask, which are of no use without it.
    """

    path: Path
    reason: str
    also: tuple[Path, ...] = ()

    @classmethod
    def of(cls, path: Path, error: UltrasamError, also: tuple[Path, ...] = ()) -> Problem:
        """What an error says of a file, which need not name it again."""
        return cls(path, str(error).removeprefix(f"{shown(path)} "), also)


@dataclass(frozen=True)
class Missing:
    """Files that a table lists and that are not there: a problem, unless a part of the set is meant."""

    table: Path
    names: tuple[str, ...]


Found = Record | Table | Skipped | Problem | Missing
