"""Where annotations are kept: values by key for each scan, each change on disk at once, any number of undos.

The store knows nothing of masks. A value is never changed: a change puts other values in the place of those
that are current, and remembers both, so that undo and redo only move what is current. One SQLite file holds
it all. After `apply`, `undo` and the like return, the change survives a kill of the process and a loss of
power.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown

FORMAT = "1"

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS scans (
    id INTEGER PRIMARY KEY, place TEXT NOT NULL UNIQUE, next INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT NOT NULL, summary TEXT NOT NULL, data BLOB);
CREATE TABLE IF NOT EXISTS current (
    scan INTEGER NOT NULL REFERENCES scans, key TEXT NOT NULL, version INTEGER NOT NULL REFERENCES versions,
    PRIMARY KEY (scan, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, scan INTEGER NOT NULL REFERENCES scans, client TEXT NOT NULL,
    focus TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('done', 'undone', 'dropped')),
    run TEXT, first INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS changes_of_scan ON changes (scan, state, id);
CREATE TABLE IF NOT EXISTS parts (
    change INTEGER NOT NULL REFERENCES changes, key TEXT NOT NULL, before INTEGER, after INTEGER,
    PRIMARY KEY (change, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, scan INTEGER NOT NULL, client TEXT NOT NULL, job TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_of_scan ON events (scan, id);
CREATE INDEX IF NOT EXISTS events_by_job ON events (job) WHERE job != '';
CREATE INDEX IF NOT EXISTS changes_of_run ON changes (run) WHERE run IS NOT NULL;
"""


@dataclass(frozen=True)
class By:
    """Who makes a step: the tab of a browser, and a name of its own for this step, "" for none."""

    client: str
    job: str = ""


class Conflict(UltrasamError):
    """A change that was based on something that is not current any more; nothing was changed."""


class OthersChange(UltrasamError):
    """The step to undo or redo was made by somebody else who is still there; nothing was changed."""


@dataclass(frozen=True)
class Value:
    """What is kept under a key: JSON, a short part of it that lists are made of, and bytes beside it."""

    value: Mapping[str, Any]
    summary: Mapping[str, Any]
    data: bytes | None = None


@dataclass(frozen=True)
class Stored(Value):
    """A value and the number of this version of it, which no other value of the store has."""

    version: int = 0


@dataclass(frozen=True)
class Edit:
    """What takes the place of version `base` under a key (None: of nothing); a `value` of None removes it."""

    base: int | None
    value: Value | None


@dataclass(frozen=True)
class Applied:
    """What a change, undo or redo did: the keys that are different now, and the `focus` of the change."""

    keys: tuple[str, ...]
    focus: Mapping[str, Any]


class Store:
    """The SQLite file of a project. Threads may share it; one process at a time may have it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RLock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            # Where the file system has no shared memory, SQLite stays with its older journal by itself.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_TABLES)
            written = self.setting("format")
            if written is None:
                self.set_setting("format", FORMAT)
        except (sqlite3.Error, NotKept) as error:
            raise _not_opened(path, error) from error
        if written not in (None, FORMAT):
            raise UltrasamError(f"{shown(path)} is of a newer ultrasam (format {written}): update ultrasam")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # Settings of the project.

    def setting(self, name: str, default: Any = None) -> Any:
        """What was kept under a name with `set_setting`, a JSON value."""
        with self._reading():
            row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def set_setting(self, name: str, value: Any) -> None:
        self.set_settings({name: value})

    def set_settings(self, values: Mapping[str, Any]) -> None:
        """Keep all of these, or none."""
        rows = [(name, json.dumps(value)) for name, value in values.items()]
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)

    # Scans.

    def scans(self, places: list[str]) -> dict[str, int]:
        """The number of each scan, by its path in the project."""
        with self._reading():
            known = dict(self._db.execute("SELECT place, id FROM scans"))
        new = [(place,) for place in places if place not in known]
        if new:
            with self._transaction():
                self._db.executemany("INSERT INTO scans (place) VALUES (?)", new)
                known = dict(self._db.execute("SELECT place, id FROM scans"))
        return {place: known[place] for place in places}

    def next_number(self, scan: int, count: int = 1) -> int:
        """The first of so many numbers for new objects of a scan; from 1 on, never the same again."""
        with self._transaction():
            self._db.execute("UPDATE scans SET next = next + ? WHERE id = ?", (count, scan))
            row = self._db.execute("SELECT next FROM scans WHERE id = ?", (scan,)).fetchone()
        return int(row[0]) - count

    # Values.

    def get(self, scan: int, key: str) -> Stored | None:
        """The current value under a key; None if there is none."""
        with self._reading():
            row = self._db.execute(
                "SELECT value, summary, data, versions.id FROM current "
                "JOIN versions ON version = versions.id WHERE scan = ? AND key = ?",
                (scan, key),
            ).fetchone()
        return None if row is None else Stored(json.loads(row[0]), json.loads(row[1]), row[2], row[3])

    def items(self, scan: int, prefix: str = "") -> dict[str, Stored]:
        """All current values of a scan whose key begins with `prefix`, in the order of the keys."""
        with self._reading():
            rows = self._db.execute(
                "SELECT key, value, summary, data, versions.id FROM current "
                "JOIN versions ON version = versions.id "
                "WHERE scan = ? AND substr(key, 1, length(?2)) = ?2 ORDER BY key",
                (scan, prefix),
            ).fetchall()
        return {row[0]: Stored(json.loads(row[1]), json.loads(row[2]), row[3], row[4]) for row in rows}

    def summaries(self, scan: int | None = None) -> list[tuple[int, str, int, dict[str, Any]]]:
        """(scan, key, version, summary) of every current value, of one scan or of all."""
        where, values = ("", ()) if scan is None else ("WHERE scan = ?", (scan,))
        with self._reading():
            rows = self._db.execute(
                "SELECT scan, key, version, summary FROM current JOIN versions ON version = versions.id "
                f"{where} ORDER BY scan, key",
                values,
            ).fetchall()
        return [(row[0], row[1], row[2], json.loads(row[3])) for row in rows]

    # Changes.

    def apply(
        self,
        scan: int,
        by: By,
        edits: Mapping[str, Edit],
        focus: Mapping[str, Any] | None = None,
        *,
        requires: Collection[str] = (),
        run: str | None = None,
    ) -> Applied:
        """Make all edits in one step; it ends what could be redone.

        `focus` is kept with the step and comes back when it is undone. Steps of one `run`, a name that is
        used once, are undone and redone together where no other step came between. Raises Conflict if an
        edit is not based on the current version, a key of `requires` has no value, or a step of the run was
        undone; then nothing is changed.
        """
        with self._transaction():
            for key in requires:
                if self._version(scan, key) is None:
                    raise Conflict("this object was deleted meanwhile, in another tab or by another user")
            change = self._begin(scan, by, focus, run)
            for key, edit in edits.items():
                before = self._version(scan, key)
                if before != edit.base:
                    raise Conflict("this was changed meanwhile, in another tab or by another user")
                after = None if edit.value is None else self._add(edit.value)
                self._set(scan, key, after)
                self._db.execute("INSERT INTO parts VALUES (?, ?, ?, ?)", (change, key, before, after))
            self._happened(scan, by)
        return Applied(tuple(edits), focus or {})

    def undo(self, scan: int, by: By, others: frozenset[str] = frozenset()) -> Applied | None:
        """Take back the last step of a scan; None if there is none.

        Raises OthersChange if it was made by one of the clients `others`.
        """
        return self._move(scan, by, others, back=True)

    def redo(self, scan: int, by: By, others: frozenset[str] = frozenset()) -> Applied | None:
        """Make the step again that was taken back last; None if there is none. Raises as `undo`."""
        return self._move(scan, by, others, back=False)

    def steps(self, scan: int) -> tuple[int, int]:
        """How many steps of a scan can be undone, and how many redone."""
        with self._reading():
            rows = self._db.execute(
                "SELECT state, count(*) FROM changes "
                "WHERE scan = ? AND state IN ('done', 'undone') AND first GROUP BY state",
                (scan,),
            )
            counts = dict(rows.fetchall())
        return counts.get("done", 0), counts.get("undone", 0)

    def event(self, scan: int) -> int:
        """The number of the last thing that happened to a scan; 0 if nothing did."""
        with self._reading():
            row = self._db.execute("SELECT max(id) FROM events WHERE scan = ?", (scan,)).fetchone()
        return int(row[0] or 0)

    def others_event(self, scan: int, since: int, client: str) -> str | None:
        """Who else changed a scan last after the event `since`; None if nobody did."""
        with self._reading():
            row = self._db.execute(
                "SELECT client FROM events WHERE scan = ? AND id > ? AND client != ? "
                "ORDER BY id DESC LIMIT 1",
                (scan, since, client),
            ).fetchone()
        return None if row is None else str(row[0])

    def has_arrived(self, job: str) -> bool:
        """Whether the step of this name was made."""
        with self._reading():
            row = self._db.execute("SELECT 1 FROM events WHERE job = ? AND job != ''", (job,)).fetchone()
        return row is not None

    def _begin(self, scan: int, by: By, focus: Mapping[str, Any] | None, run: str | None) -> int:
        if run is not None:
            ended = self._db.execute("SELECT 1 FROM changes WHERE run = ? AND state != 'done'", (run,))
            if ended.fetchone() is not None:
                raise Conflict("this run was undone meanwhile")
        self._db.execute("UPDATE changes SET state = 'dropped' WHERE scan = ? AND state = 'undone'", (scan,))
        last = self._db.execute(
            "SELECT run FROM changes WHERE scan = ? AND state = 'done' ORDER BY id DESC LIMIT 1", (scan,)
        ).fetchone()
        first = run is None or last is None or last[0] != run
        row = self._db.execute(
            "INSERT INTO changes (scan, client, focus, state, run, first) VALUES (?, ?, ?, 'done', ?, ?)",
            (scan, by.client, json.dumps(dict(focus or {})), run, first),
        )
        assert row.lastrowid is not None
        return row.lastrowid

    def _move(self, scan: int, by: By, others: frozenset[str], *, back: bool) -> Applied | None:
        """Undo or redo one step: one change, or the changes of a run that lie side by side."""
        old, new, side, order = (
            ("done", "undone", "before", "DESC") if back else ("undone", "done", "after", "")
        )
        keys: dict[str, None] = {}
        focus = "{}"
        with self._transaction():
            rows = self._db.execute(
                "SELECT id, client, focus, first FROM changes WHERE scan = ? AND state = ? "
                f"ORDER BY id {order}",
                (scan, old),
            )
            moved: list[int] = []
            for change, author, its_focus, first in rows:
                if moved and first and not back:
                    break  # the next step begins
                if author != by.client and author in others:
                    raise OthersChange("the last step was made in another tab or by another user")
                moved.append(change)
                focus = its_focus if first else focus
                if first and back:
                    break
            rows.close()
            if not moved:
                return None
            for change in moved:
                parts = self._db.execute(f"SELECT key, {side} FROM parts WHERE change = ?", (change,))
                for key, version in parts.fetchall():
                    self._set(scan, key, version)
                    keys[key] = None
                # Whoever moved a step last is the one to whom it belongs.
                self._db.execute(
                    "UPDATE changes SET state = ?, client = ? WHERE id = ?", (new, by.client, change)
                )
            self._happened(scan, by)
        return Applied(tuple(keys), json.loads(focus))

    def _version(self, scan: int, key: str) -> int | None:
        row = self._db.execute(
            "SELECT version FROM current WHERE scan = ? AND key = ?", (scan, key)
        ).fetchone()
        return None if row is None else int(row[0])

    def _add(self, value: Value) -> int:
        row = self._db.execute(
            "INSERT INTO versions (value, summary, data) VALUES (?, ?, ?)",
            (json.dumps(dict(value.value)), json.dumps(dict(value.summary)), value.data),
        )
        assert row.lastrowid is not None
        return row.lastrowid

    def _set(self, scan: int, key: str, version: int | None) -> None:
        if version is None:
            self._db.execute("DELETE FROM current WHERE scan = ? AND key = ?", (scan, key))
        else:
            self._db.execute("INSERT OR REPLACE INTO current VALUES (?, ?, ?)", (scan, key, version))

    def _happened(self, scan: int, by: By) -> None:
        self._db.execute("INSERT INTO events (scan, client, job) VALUES (?, ?, ?)", (scan, by.client, by.job))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise _damaged(self.path, error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; inside of it the file is synced once, at its end."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._db.execute("COMMIT")
                except BaseException:
                    # A full disk may have ended the transaction already.
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise _damaged(self.path, error) from error


class NotKept(UltrasamError):
    """The file of the annotations cannot be read or written: nothing was changed."""


def _not_opened(path: Path, error: Exception) -> NotKept:
    if getattr(error.__cause__ or error, "sqlite_errorname", "") == "SQLITE_FULL":
        return NotKept(f"{shown(path)} cannot be used, the disk is full: free some space")
    return error if isinstance(error, NotKept) else _damaged(path, error)


def _damaged(path: Path, error: Exception) -> NotKept:
    code = getattr(error, "sqlite_errorname", "")
    if code == "SQLITE_FULL":
        return NotKept(
            "the disk is full: this step is not kept, everything before it is; free some space and repeat it"
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return NotKept(f"{shown(path)} cannot be written: change its permissions, or choose --project DIR")
    if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return NotKept(f"{shown(path)} is damaged: put a copy of it there, or move it away to begin anew")
    return NotKept(f"{shown(path)} cannot be used ({error}): this step is not kept, everything before it is")
