"""Which items of a folder of results are finished, so that a run that was stopped can go on.

Each item has a record, `.ultrasam/NAME.json` in the folder of the results. Before the item's files take their
names the record says only which they are, after that it says that they are finished.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write, atomic_write_all, ensure_writable_dir, shown
from ultrasam.core.workplace import HIDDEN, own_folder, remove_temporary_files
from ultrasam.io.inputs import RESULT


class Journal:
    """The finished items of the folder `out`, made if missing; a context in which no other run may have it.

    Names are paths relative to `out`, with / and without endings. On entry whatever temporary files a killed
    run has left are removed. With `overwrite` nothing counts as finished, and files that no run has written
    are replaced. Raises UltrasamError if the folder cannot be written or another run uses it.
    """

    def __init__(self, out: Path, overwrite: bool = False) -> None:
        self.out = out
        self._overwrite = overwrite
        self._ready: set[Path] = set()
        self._own = contextlib.ExitStack()

    def __enter__(self) -> Journal:
        self._own.enter_context(own_folder(self.out))
        self._clean()
        return self

    def __exit__(self, *_: object) -> None:
        self._own.close()

    def finished(self, name: str, fingerprint: str) -> dict[str, Any] | None:
        """The record of an item, if it has this fingerprint and its files are there.

        A file that somebody has changed since, as by correcting a mask, counts as it is.
        """
        record = None if self._overwrite else self._read(name)
        if record is None or record.get("fingerprint") != fingerprint:
            return None
        return record if all(map(os.path.exists, self._files(name, record["endings"]))) else None

    def check(self, name: str, endings: Iterable[str]) -> None:
        """Raises UltrasamError if one of an item's files is there and no run of this item has written it."""
        if self._overwrite:
            return
        ours = (self._read(name) or {}).get("endings", [])
        for path in self._files(name, [ending for ending in endings if ending not in ours]):
            if os.path.lexists(path):
                raise not_ours(path)

    def write(
        self, name: str, fingerprint: str, record: Mapping[str, Any], contents: Mapping[str, bytes]
    ) -> dict[str, Any]:
        """Write the files of an item, `contents` by ending, and its record; returns that.

        Files of an earlier run of the item that has other ones now are removed.
        """
        own = self._path(name)
        for parent in ((self.out / name).parent, own.parent):
            if parent not in self._ready:
                ensure_writable_dir(parent)
                self._ready.add(parent)
        before = [e for e in (self._read(name) or {}).get("endings", []) if e not in contents]
        atomic_write(own, json.dumps({"endings": [*before, *contents]}).encode())
        for path in self._files(name, before):
            with contextlib.suppress(OSError):
                path.unlink()
        entry = {"fingerprint": fingerprint, **record, "endings": list(contents)}
        paths = dict(zip(self._files(name, contents), contents.values(), strict=True))
        atomic_write_all(paths | {own: json.dumps(entry, allow_nan=False).encode()})
        return entry

    def _files(self, name: str, endings: Iterable[str]) -> list[Path]:
        return [self.out / f"{name}{ending}" for ending in endings]

    def _read(self, name: str) -> dict[str, Any] | None:
        """The record of an item, finished or not; None if there is none that this class has written."""
        try:
            record = json.loads(self._path(name).read_bytes())
            endings = record["endings"]
            # What is read here may be removed later: only what `write` writes.
            known = isinstance(endings, list) and all(map(RESULT.fullmatch, endings))
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return dict(record) if known else None

    def _path(self, name: str) -> Path:
        return self.out / HIDDEN / f"{name}.json"

    def _clean(self) -> None:
        hidden = self.out / HIDDEN
        for folder, _, _ in os.walk(hidden):
            for place in (Path(folder), self.out / os.path.relpath(folder, hidden)):
                remove_temporary_files(place)


def not_ours(path: Path) -> UltrasamError:
    """What is said of a file that would be replaced although no run has written it."""
    return UltrasamError(
        f"{shown(path)} is there and not from an earlier run: choose another folder with --out DIR, "
        "or replace it with --overwrite"
    )


def fingerprint_of(facts: Mapping[str, Any]) -> str:
    """Equal for equal facts: 64 hex digits of whatever JSON can hold."""
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
