"""The opened folder: its scans, the file of its annotations, and the classes."""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultrasam.annotate.classes import Classes
from ultrasam.annotate.document import AnnotatedScan
from ultrasam.annotate.recent import Recent
from ultrasam.annotate.store import Store, Stored
from ultrasam.annotate.values import SCAN, annotation_of, object_of, place_of
from ultrasam.core.errors import UltrasamError, UltrasamWarning
from ultrasam.core.files import AnyPath, check_file, shown
from ultrasam.core.workplace import own_folder
from ultrasam.io.inputs import find_scans
from ultrasam.io.scan import Scan, kind_of, read_scan

DATABASE = "annotate.sqlite"
OPENED_AT_ONCE = 8


class Gone(UltrasamError):
    """A scan, frame or object that is not there."""


class OtherAxis(UltrasamError):
    """A volume that is annotated along one axis was asked for along another."""


@dataclass(frozen=True)
class Entry:
    """A scan of the folder, not opened: its number in the store, its path there, and its file."""

    id: int
    place: str
    path: Path

    @property
    def kind(self) -> str:
        return kind_of(self.path)

    def told(self, problem: Exception | str) -> UltrasamError:
        """What is wrong with the scan, with its place: where the folder lies is nobody's business."""
        return UltrasamError(str(problem).replace(shown(self.path), shown(self.place)))


@dataclass(frozen=True)
class Opened:
    """A scan that is open, the axis that it is cut along ("" unless it is a volume), what was remarked."""

    entry: Entry
    scan: Scan
    axis: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Project:
    """Made by `open_project`. Threads may share it."""

    name: str
    entries: Mapping[int, Entry]
    store: Store
    problems: tuple[str, ...] = ()
    _opened: Recent[Opened] = field(default_factory=lambda: Recent(OPENED_AT_ONCE, lambda _: 1), repr=False)

    def entry(self, scan: int) -> Entry:
        """A scan by its number. Raises Gone if the folder has no such scan."""
        if scan not in self.entries:
            raise Gone(f"this folder has no scan {scan}: reload the page")
        return self.entries[scan]

    def opened(self, scan: int, axis: str | None = None) -> Opened:
        """Open a scan, or take it from the few that are open; nothing of its pixels is read here.

        `axis`: of a volume, by default the one that it is annotated along, else "z". Raises Gone, OtherAxis,
        and UltrasamError for a file that cannot be read.
        """
        entry = self.entry(scan)
        volume = entry.kind == "volume"
        kept = self.about(scan).get("axis") if volume else ""
        if volume and kept and axis not in (None, "", kept):
            raise OtherAxis(
                f"{shown(entry.place)} is annotated along the axis {kept}: go on along it, or delete its "
                "objects"
            )
        axis = (kept or axis or "z") if volume else ""
        return self._opened.get((scan, axis), lambda: self._read(entry, axis))

    def _read(self, entry: Entry, axis: str) -> Opened:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UltrasamWarning)
            try:
                found = read_scan(entry.path, axis or "z")
            except UltrasamError as error:
                raise entry.told(error) from error
        ours = [warning for warning in caught if issubclass(warning.category, UltrasamWarning)]
        remarks = tuple(str(entry.told(warning.message)) for warning in ours)
        return Opened(entry, found, axis, remarks)

    def about(self, scan: int) -> Mapping[str, Any]:
        """What is kept of a scan as a whole: `axis`, `done`."""
        stored = self.store.get(scan, SCAN)
        return {} if stored is None else stored.value

    def annotated(self, scan: int) -> AnnotatedScan:
        """A scan and all that is annotated in it, as plain values."""
        entry, items = self.entry(scan), self.store.items(scan)
        about = items[SCAN].value if SCAN in items else {}
        names = self.classes.names()
        objects = [
            object_of(stored.summary, names) for key, stored in items.items() if key.startswith("object/")
        ]
        annotations = [annotation_of(key, stored) for key, stored in _masks(items)]
        return AnnotatedScan(
            scan,
            entry.place,
            entry.path,
            about.get("axis") or "",
            tuple(sorted(objects, key=lambda found: found.id)),
            tuple(sorted(annotations, key=lambda found: (found.frame, found.object))),
            bool(about.get("done")),
        )

    @property
    def classes(self) -> Classes:
        return Classes(self.store)

    def to_export(self, scans: Iterable[int]) -> tuple[list[AnnotatedScan], list[str]]:
        """Those of the scans in which something is annotated or that are finished, and the names of the
        classes in order. Raises UltrasamError if there is none.
        """
        annotated = [self.annotated(scan) for scan in scans]
        annotated = [found for found in annotated if found.annotations or found.done]
        if not annotated:
            raise UltrasamError("there is nothing to export yet: annotate an object first")
        used = {found.label for scan in annotated for found in scan.objects}
        kinds = [kind for kind in self.classes.all() if not kind.gone or kind.name in used]
        return annotated, [kind.name for kind in kinds]

    @property
    def salt(self) -> bytes:
        """Random bytes of this project, which its pseudonyms are made with."""
        kept = self.store.setting("salt")
        if kept is None:
            kept = secrets.token_hex(32)
            self.store.set_setting("salt", kept)
        return bytes.fromhex(kept)


def _masks(items: Mapping[str, Stored]) -> Iterator[tuple[str, Stored]]:
    return ((key, stored) for key, stored in items.items() if place_of(key) is not None)


@contextmanager
def open_project(path: AnyPath, keep_in: AnyPath | None = None) -> Iterator[Project]:
    """A folder with all scans below it, or the folder of one scan with that alone; for one process at a time.

    Annotations are kept in the hidden folder `.ultrasam` of `path`, or of the folder `keep_in`. Raises
    UltrasamError if nothing is there, no scan is found, the folder cannot be written or is open elsewhere.
    """
    path = Path(path)
    root = path if os.path.isdir(path) else check_file(path).parent
    keep = Path(keep_in) if keep_in is not None else root
    found = find_scans([str(path)], keep)
    try:
        with own_folder(keep, "annotate") as hidden:
            store = Store(hidden / DATABASE)
            try:
                inside = [file for file in found.files if _is_inside(file, root)]
                readable = [file for file in inside if is_text(_place(root, file))]
                places = {_place(root, file): file for file in readable}
                numbers = store.scans(list(places))
                entries = {
                    numbers[place]: Entry(numbers[place], place, file) for place, file in places.items()
                }
                name = os.path.basename(os.path.realpath(path))
                problems = [text for _, text in found.problems]
                if len(inside) < len(found.files):
                    problems.append(
                        f"{len(found.files) - len(inside)} links lead out of {shown(root)} and are not opened"
                    )
                if len(readable) < len(inside):
                    problems.append(
                        f"{len(inside) - len(readable)} files have names that are no text and are not "
                        "opened: rename them"
                    )
                name = name.encode("utf-8", "replace").decode()
                yield Project(name, entries, store, tuple(problems))
            finally:
                store.close()
    except UltrasamError as error:
        if keep_in is None and "cannot be written" in str(error):
            raise UltrasamError(f"{error}; or keep the annotations elsewhere with --project DIR") from error
        raise


def is_text(name: str) -> bool:
    """Whether a name can be told to others: Unix has file names of any bytes."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_inside(file: Path, root: Path) -> bool:
    return Path(os.path.realpath(file)).is_relative_to(os.path.realpath(root))


def _place(root: Path, file: Path) -> str:
    return Path(os.path.relpath(file, root)).as_posix()
