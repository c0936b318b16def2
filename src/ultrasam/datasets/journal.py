"""The groups of a set that are done, on disk, so that a killed run loses only those under way.

One line of JSON for each group, appended and synced when its images are on disk. A line that was cut off is
no line. Entries stay on disk and are read again when they are needed: memory does not grow with the set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_open, reason, shown
from ultrasam.datasets.convert import BuildStopped, Converted, Json


class Journal:
    """The file `path`, read if it is there; the caller owns the folder. Raises BuildStopped if unreadable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}
        try:
            self._file = path.open("a+b")
            self._file.seek(0)
            place = 0
            for line in self._file:
                group = _parsed(line)
                if group is not None:
                    self._places[group["group"]] = (place, len(line))
                place += len(line)
            if place and not line.endswith(b"\n"):
                self._file.write(b"\n")
        except OSError as error:
            raise BuildStopped(f"{shown(path)} cannot be used ({reason(error)}): remove it") from error

    def __contains__(self, group: str) -> bool:
        return group in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._places))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        # Of what cannot be written `_sync` has told.
        with suppress(OSError):
            self._file.close()

    def add(self, group: str, done: Converted, root: Path) -> None:
        """Remember what became of a group, its files by their path below `root`."""
        content = {
            "group": group,
            "entries": done.entries,
            "problems": [[relative(problem.path, root), problem.reason] for problem in done.problems],
            "inputs": [[relative(Path(file), root), size, sha] for file, size, sha in done.inputs],
            "empty": done.empty,
        }
        self._append(group, _line(content))
        self._sync()

    def adopt(self, path: Path) -> None:
        """Take over what the journal of a part has remembered, and remove that file."""
        try:
            with path.open("rb") as file:
                for line in file:
                    group = _parsed(line)
                    if group is not None and group["group"] not in self:
                        self._append(group["group"], line)
            self._sync()
            path.unlink()
        except OSError as error:
            raise BuildStopped(f"{shown(path)} cannot be used ({reason(error)}): remove it") from error

    def read(self, group: str) -> Json:
        """What `add` has remembered of a group."""
        place, length = self._places[group]
        try:
            self._file.seek(place)
            content = _parsed(self._file.read(length))
        except OSError as error:
            raise BuildStopped(f"{shown(self.path)} cannot be read ({reason(error)}): remove it") from error
        if content is None:
            raise UltrasamError(f"{shown(self.path)} has changed while it was used: run again")
        return content

    def all_of(self, groups: Iterable[str]) -> Iterator[Json]:
        """The groups in this order, one at a time."""
        return map(self.read, groups)

    def keep(self, groups: Sequence[str]) -> None:
        """Forget every other group, on disk too. Call it last."""
        with atomic_open(self.path) as file:
            for group in groups:
                file.write(_line(self.read(group)))

    def _append(self, group: str, line: bytes) -> None:
        with self._written():
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(line)
        self._places[group] = (place, len(line))

    def _sync(self) -> None:
        with self._written():
            self._file.flush()
            os.fsync(self._file.fileno())

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BuildStopped(
                f"{shown(self.path)} cannot be written ({reason(error)}): free some space"
            ) from error


def relative(path: Path, root: Path) -> str:
    """The path below `root`, with /; the whole path if it lies elsewhere."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()


def _line(content: Json) -> bytes:
    """A checksum and the content: what is damaged, or from elsewhere, is not taken for a line."""
    data = json.dumps(content, allow_nan=False).encode()
    return sha256(data).hexdigest().encode() + b" " + data + b"\n"


def _parsed(line: bytes) -> Json | None:
    checksum, _, data = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or sha256(data).hexdigest().encode() != checksum:
        return None
    content: Json = json.loads(data)
    return content
