"""What is to be converted in a raw folder: records in groups, and what is left out."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.convert import Group, grouped
from ultrasam.datasets.journal import relative
from ultrasam.datasets.readers.archives import is_archive
from ultrasam.datasets.readers.folders import files, is_junk, listing
from ultrasam.datasets.record import Found, Missing, Problem, Record, Skipped, Table

# Texts that come with data sets, and pictures of no patient cannot be told from others: only texts are passed
# over.
_TEXTS = (".txt", ".md", ".pdf", ".doc", ".docx", ".rtf", ".html", ".url", ".py", ".m", ".log", ".xlsx")
_NAMED = 3


@dataclass(frozen=True)
class Plan:
    """The records of a raw folder in groups, in the order of the converter, and what cannot or need not be
    read.
    """

    root: Path
    groups: tuple[Group, ...]
    tables: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    problems: tuple[Problem, ...]
    missing: tuple[Missing, ...]

    @property
    def images(self) -> int:
        return sum(len(group.records) for group in self.groups)


def make_plan(records: Callable[[Path], Iterable[Found]], root: Path, duplicates: bool = False) -> Plan:
    """List a raw folder with its converter; images that another set has too only with `duplicates`.

    Two records of one name are a problem, and neither is used; a file beside those of the set that nobody has
    mentioned is one too. Raises UltrasamError if the converter cannot make sense of the folder or finds
    nothing.
    """
    found: list[Record] = []
    tables: list[Path] = []
    skipped: list[Skipped] = []
    problems: list[Problem] = []
    missing: list[Missing] = []
    again: dict[Path, str] = {}
    for entry in _listed(records, root):
        match entry:
            case Record() if entry.duplicate_of and not duplicates:
                again |= {path: entry.duplicate_of for path in entry.files}
            case Record():
                found.append(entry)
            case Table(path):
                tables.append(path)
            case Skipped():
                skipped.append(entry)
            case Problem():
                problems.append(entry)
            case Missing():
                missing.append(entry)
    skipped += _duplicates(again)
    unique = list(_unique(found, problems))
    if not unique:
        first = f": {problems[0].path.name} {problems[0].reason}" if problems else ""
        raise UltrasamError(f"nothing in {root} can be used{first}")
    mentioned = {path for record in found for path in record.files}
    mentioned |= {*tables, *(entry.path for entry in skipped), *(problem.path for problem in problems)}
    mentioned |= {path for problem in problems for path in problem.also}
    folders = {path.parent for record in found for path in record.files}
    problems += _unexpected(mentioned, _whole(folders, {entry.path for entry in skipped}))
    for folder in _unknown_folders(mentioned, folders, root):
        if listing(folder):
            skipped.append(Skipped(folder, "a folder that the converter does not know"))
        else:
            problems.append(Problem(folder, "is an empty folder: the download is not complete"))
    return Plan(root, tuple(grouped(unique)), tuple(tables), tuple(skipped), tuple(problems), tuple(missing))


def _listed(records: Callable[[Path], Iterable[Found]], root: Path) -> list[Found]:
    """What a converter finds. If it makes no sense of the folder, the empty ones in it may be why."""
    try:
        return list(records(root))
    except UltrasamError as error:
        empty = first_of([relative(folder, root) for folder in _empty_folders(root)])
        raise UltrasamError(f"{error}; empty folders: {empty}" if empty else str(error)) from None


def _empty_folders(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not is_junk(Path(name)))
        if not below and all(is_junk(Path(name)) for name in names) and Path(folder) != root:
            yield Path(folder)


def _duplicates(again: Mapping[Path, str]) -> Iterator[Skipped]:
    """What is left out because another set has it: one line for each folder, or file beside others."""
    for folder in sorted({path.parent for path in again}):
        inside = [path for path in again if path.parent == folder]
        for path in [folder] if set(inside) == set(files(folder)) else sorted(inside):
            yield Skipped(path, f"{again[inside[0]]} has it too: --with-duplicates converts it again")


def _unique(records: list[Record], problems: list[Problem]) -> Iterator[Record]:
    """The records whose name no other has; the case of letters does not count, as on some disks."""
    named: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        named[record.name.lower()].append(record)
    for record in records:
        same = named[record.name.lower()]
        if len(same) == 1:
            yield record
        else:
            other = next(one for one in same if one is not record).files[0]
            problems.append(
                Problem(
                    record.files[0], f"and {other.name} would both become {record.name}.png: keep one of them"
                )
            )


def _unknown_folders(mentioned: set[Path], folders: set[Path], root: Path) -> Iterator[Path]:
    """Folders beside those of the records in which nothing was looked for or found."""
    known = {parent for path in mentioned for parent in (path, *path.parents)}
    for parent in sorted({folder.parent for folder in folders if folder != root}):
        for folder in listing(parent):
            if folder.is_dir() and folder not in known:
                yield folder


def _whole(folders: set[Path], skipped: set[Path]) -> set[Path]:
    """Those of `folders` of which nothing is left out on purpose: elsewhere the converter knows all files."""
    return {folder for folder in folders if skipped.isdisjoint((folder, *folder.parents))}


def _unexpected(mentioned: set[Path], folders: set[Path]) -> Iterator[Problem]:
    for folder in sorted(folders):
        extra = [
            path
            for path in files(folder)
            if path not in mentioned
            and path.suffix.lower() not in _TEXTS
            and path.suffix
            and not is_archive(path)
        ]
        if extra:
            names = first_of([path.name for path in extra])
            what = "a file that belongs" if len(extra) == 1 else f"{len(extra)} files that belong"
            yield Problem(folder, f"has {what} to no image: {names}")


def first_of(names: Sequence[str]) -> str:
    """The first few of many names, for a message."""
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
