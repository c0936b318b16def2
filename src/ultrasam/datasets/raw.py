"""Where the raw files of a data set lie, and whether they have changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.datasets.catalogue import Dataset
from ultrasam.datasets.readers.archives import is_archive, stem_of, unpack
from ultrasam.datasets.readers.folders import is_junk, listing


def find_raw(dataset: Dataset, raw: Path | None, sources: Mapping[str, Path]) -> Path | None:
    """The raw folder or archive of a set: `sources[id]`, else RAW/id, RAW/NAME or an archive of such a name.

    None if there is none. NAME are the names under which it is published; their case does not count, and a
    folder comes before an archive. Raises UltrasamError if a source does not exist, if `raw` cannot be read
    or if two folders have one name but for its case.
    """
    if dataset.id in sources:
        path = sources[dataset.id]
        if not (path.is_dir() or (path.is_file() and is_archive(path))):
            what = "is no folder, zip, tar or rar file" if path.exists() else "does not exist"
            raise UltrasamError(f"{shown(path)}, given for {dataset.id}, {what}: check --source")
        return path
    if raw is None:
        return None
    entries = listing(raw)
    for name in dict.fromkeys((dataset.id, *dataset.folders)):
        found = [path for path in entries if path.is_dir() and path.name.lower() == name.lower()]
        if len(found) > 1:
            raise UltrasamError(
                f"{shown(found[0])} and {shown(found[1])} could both be {dataset.id}: name one with --source"
            )
        found += [path for path in entries if is_archive(path) and stem_of(path.name).lower() == name.lower()]
        if found:
            return found[0]
    return None


def opened_raw(path: Path, unpacked: Path) -> Path:
    """The folder with the raw files: `path` itself, or what is in it if it is an archive or holds only
    archives.

    Archives are unpacked into the folder `unpacked`, once. Raises UltrasamError for a damaged one.
    """
    if path.is_file():
        return unpack(path, unpacked / stem_of(path.name))
    inside = listing(path)
    archives = [entry for entry in inside if is_archive(entry)]
    if archives and not any(entry.is_dir() for entry in inside):
        # Of an archive in parts the first brings the others.
        first = {stem_of(archive.name): archive for archive in reversed(archives)}
        for stem, archive in first.items():
            unpack(archive, unpacked / stem)
        # Tables may be downloads of their own.
        for entry in inside:
            if entry not in archives:
                _link(entry, unpacked / entry.name)
        return unpacked
    return path


def _link(file: Path, place: Path) -> None:
    """Let a file be found at another place too."""
    if not place.exists():
        try:
            place.symlink_to(file.absolute())
        except OSError:  # a file system or a user without links
            shutil.copy2(file, place)


def signature(path: Path) -> str:
    """Equal as long as no file at or below `path` changes its name, size or time: 64 hex digits."""
    digest = sha256()
    for file in all_files(path):
        digest.update(os.fsencode(f"{os.path.relpath(file, path)}\0{file_state(file)}\n"))
    return digest.hexdigest()


def bytes_at(path: Path) -> int:
    """Bytes of a file, or of all files below a folder but for junk. Raises UltrasamError if unreadable."""
    return sum(file.stat().st_size for file in all_files(path) if file.exists())


def file_state(file: Path) -> str:
    """Size and time of a file; "absent" if it is not there."""
    try:
        status = file.stat()
    except OSError:
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"


def all_files(path: Path) -> list[Path]:
    """The files below a folder but for junk, in the order of their names; of a file, itself.

    Raises UltrasamError if a folder cannot be read.
    """
    if path.is_file():
        return [path]
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise UltrasamError(f"{shown(error.filename)} cannot be read ({reason(error)}): check the path")

    seen: set[str] = set()
    for folder, below, names in os.walk(path, onerror=refuse, followlinks=True):
        # A link may lead back to where it lies.
        here = os.path.realpath(folder)
        if here in seen:
            below.clear()
            continue
        seen.add(here)
        below[:] = sorted(name for name in below if not is_junk(Path(name)))
        found += (Path(folder, name) for name in sorted(names) if not is_junk(Path(name)))
    return found
