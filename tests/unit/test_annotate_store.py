"""The store of annotations: steps, undo and redo against a plain model, conflicts, kills and full disks."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultrasam.annotate.store import By, Conflict, Edit, NotKept, OthersChange, Store, Value
from ultrasam.core.errors import UltrasamError

ME = By("a")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


def scan_of(store: Store, place: str) -> int:
    return store.scans([place])[place]


def value(number: int) -> Value:
    return Value({"number": number}, {"short": number}, bytes([number % 256]))


def put(store: Store, scan: int, key: str, number: int | None, client: str = "a") -> None:
    before = store.get(scan, key)
    edit = Edit(None if before is None else before.version, None if number is None else value(number))
    store.apply(scan, By(client), {key: edit}, {"frame": 3})


def content(store: Store, scan: int) -> dict[str, int]:
    return {key: stored.value["number"] for key, stored in store.items(scan).items()}


def test_a_value_comes_back_whole(store: Store) -> None:
    scan = scan_of(store, "a/b.png")
    put(store, scan, "mask/1/0", 7)
    stored = store.get(scan, "mask/1/0")
    assert stored is not None
    assert (stored.value, stored.summary, stored.data) == ({"number": 7}, {"short": 7}, b"\x07")
    assert store.summaries(scan) == [(scan, "mask/1/0", stored.version, {"short": 7})]
    assert store.items(scan, "mask/1/")["mask/1/0"] == stored
    assert store.items(scan, "mask/2/") == {}


def test_scans_keep_their_numbers_and_are_apart(store: Store, tmp_path: Path) -> None:
    first, second = scan_of(store, "a.png"), scan_of(store, "b.png")
    assert first != second and scan_of(store, "a.png") == first
    put(store, first, "k", 1)
    assert store.get(second, "k") is None and store.undo(second, ME) is None
    assert [store.next_number(first), store.next_number(first), store.next_number(second)] == [1, 2, 1]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.dictionaries(st.sampled_from("abc"), st.integers(0, 99), min_size=1)),
        st.tuples(st.just("remove"), st.sampled_from("abc")),
        st.tuples(st.just("undo"), st.none()),
        st.tuples(st.just("redo"), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_undo_and_redo_are_those_of_a_list_of_states(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    store = Store(path)
    scan = scan_of(store, "scan")
    states: list[dict[str, int]] = [{}]
    place = 0
    for kind, what in steps:
        if kind in ("put", "remove"):
            changes = what if kind == "put" else {what: None}
            state = {key: n for key, n in (states[place] | changes).items() if n is not None}
            edits = {}
            for key, number in changes.items():
                before = store.get(scan, key)
                base = None if before is None else before.version
                edits[key] = Edit(base, None if number is None else value(number))
            store.apply(scan, ME, edits)
            states = [*states[: place + 1], state]
            place += 1
        elif kind == "undo":
            assert (store.undo(scan, ME) is None) == (place == 0)
            place = max(0, place - 1)
        else:
            assert (store.redo(scan, ME) is None) == (place == len(states) - 1)
            place = min(len(states) - 1, place + 1)
        assert content(store, scan) == states[place]
        assert store.steps(scan) == (place, len(states) - 1 - place)
    store.close()
    again = Store(path)  # and all of it is there the next day
    assert content(again, scan) == states[place]
    assert again.steps(scan) == (place, len(states) - 1 - place)
    again.close()


def test_a_step_based_on_something_old_changes_nothing(store: Store) -> None:
    scan = scan_of(store, "scan")
    put(store, scan, "a", 1)
    seen = store.get(scan, "a")
    assert seen is not None
    put(store, scan, "a", 2, "other")
    with pytest.raises(Conflict):
        store.apply(scan, ME, {"b": Edit(None, value(5)), "a": Edit(seen.version, value(3))})
    assert content(store, scan) == {"a": 2}
    assert store.steps(scan) == (2, 0)
    with pytest.raises(Conflict):
        store.apply(scan, ME, {"a": Edit(None, value(3))})


def test_a_step_of_somebody_else_is_only_undone_on_purpose(store: Store) -> None:
    scan = scan_of(store, "scan")
    put(store, scan, "a", 1, "them")
    with pytest.raises(OthersChange):
        store.undo(scan, By("me"), frozenset({"them"}))
    assert content(store, scan) == {"a": 1}
    assert store.undo(scan, By("me"), frozenset({"somebody"})) is not None
    assert content(store, scan) == {}


def test_who_else_changed_a_scan(store: Store) -> None:
    scan = scan_of(store, "scan")
    put(store, scan, "a", 1, "me")
    seen = store.event(scan)
    put(store, scan, "a", 2, "me")
    assert store.others_event(scan, seen, "me") is None
    put(store, scan, "a", 3, "them")
    assert store.others_event(scan, seen, "me") == "them"
    assert store.others_event(scan, store.event(scan), "me") is None


def run_step(store: Store, scan: int, key: str, number: int, run: str = "run", by: By = ME) -> None:
    before = store.get(scan, key)
    edit = Edit(None if before is None else before.version, value(number))
    store.apply(scan, by, {key: edit}, {"frame": 9}, run=run)


def test_the_steps_of_a_run_are_undone_as_one(store: Store) -> None:
    scan = scan_of(store, "scan")
    put(store, scan, "1", 0)
    run_step(store, scan, "1", 1)
    run_step(store, scan, "2", 2)
    run_step(store, scan, "2", 3)
    assert content(store, scan) == {"1": 1, "2": 3} and store.steps(scan) == (2, 0)
    undone = store.undo(scan, ME)
    assert undone is not None and undone.focus == {"frame": 9} and set(undone.keys) == {"1", "2"}
    assert content(store, scan) == {"1": 0} and store.steps(scan) == (1, 1)
    with pytest.raises(Conflict, match="undone meanwhile"):
        run_step(store, scan, "3", 4)
    store.redo(scan, ME)
    assert content(store, scan) == {"1": 1, "2": 3} and store.steps(scan) == (2, 0)


def test_steps_that_come_between_those_of_a_run_are_undone_in_their_turn(store: Store) -> None:
    scan = scan_of(store, "scan")
    run_step(store, scan, "1", 1)
    put(store, scan, "50", 7)  # somebody draws on a frame that the run has not reached
    put(store, scan, "50", None)
    run_step(store, scan, "2", 2)
    run_step(store, scan, "50", 3)
    states = [content(store, scan)]
    while store.undo(scan, ME) is not None:
        states.append(content(store, scan))
    assert states == [{"1": 1, "2": 2, "50": 3}, {"1": 1}, {"1": 1, "50": 7}, {"1": 1}, {}]
    for state in states[-2::-1]:
        assert store.redo(scan, ME) is not None
        assert content(store, scan) == state
    assert store.redo(scan, ME) is None


def test_going_on_with_a_run_ends_what_could_be_redone(store: Store) -> None:
    scan = scan_of(store, "scan")
    run_step(store, scan, "1", 1)
    put(store, scan, "2", 2)
    store.undo(scan, ME)
    run_step(store, scan, "2", 3)
    assert store.redo(scan, ME) is None and store.steps(scan) == (1, 0)
    assert content(store, scan) == {"1": 1, "2": 3}
    store.undo(scan, ME)
    assert content(store, scan) == {}


def test_a_step_on_what_was_deleted_is_a_conflict(store: Store) -> None:
    scan = scan_of(store, "scan")
    put(store, scan, "object", 1)
    store.apply(scan, ME, {"mask": Edit(None, value(2))}, requires=["object"])
    put(store, scan, "object", None)
    with pytest.raises(Conflict, match="deleted meanwhile"):
        store.apply(scan, ME, {"other": Edit(None, value(3))}, requires=["object"])
    assert content(store, scan) == {"mask": 2}


def test_a_step_that_was_made_is_known_by_its_name(store: Store) -> None:
    scan = scan_of(store, "scan")
    store.apply(scan, By("a", "job-1"), {"k": Edit(None, value(1))})
    assert store.has_arrived("job-1") and not store.has_arrived("job-2")
    put(store, scan, "j", 1)
    assert not store.has_arrived("")


def test_numbers_are_given_once(store: Store) -> None:
    scan = scan_of(store, "scan")
    assert [store.next_number(scan, 3), store.next_number(scan)] == [1, 4]


def test_settings_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    assert store.setting("classes", []) == []
    store.set_setting("classes", [{"name": "é"}])
    store.close()
    again = Store(tmp_path / "s")
    assert again.setting("classes") == [{"name": "é"}]
    again.close()


def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(UltrasamError, match="damaged: put a copy"):
        Store(path)
    assert path.read_bytes().startswith(b"something else")


def test_a_store_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.set_setting("format", "99")
    store.close()
    with pytest.raises(UltrasamError, match="newer ultrasam"):
        Store(tmp_path / "s")


def test_a_full_disk_loses_nothing_that_was_kept(store: Store) -> None:
    scan = scan_of(store, "scan")
    put(store, scan, "a", 1)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(NotKept, match="disk is full"):
        store.apply(scan, ME, {"b": Edit(None, Value({"long": "x" * 10**6}, {}))})
    assert content(store, scan) == {"a": 1} and store.steps(scan) == (1, 0)
    store._db.execute(f"PRAGMA max_page_count = {pages + 1000}")
    put(store, scan, "b", 2)
    assert content(store, scan) == {"a": 1, "b": 2}


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of Unix")
def test_kill_9_loses_at_most_the_step_under_way(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from ultrasam.annotate.store import By, Edit, Store, Value
        store = Store(Path(sys.argv[1]))
        scan = store.scans(["scan"])["scan"]
        for number in range(10_000):
            store.apply(scan, By("a"), {f"k{number}": Edit(None, Value({"number": number}, {}))})
            print(number, flush=True)
    """
    path = tmp_path / "store.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    told = -1
    for line in child.stdout:
        told = int(line)
        if told == 40:
            os.kill(child.pid, signal.SIGKILL)
            break
    rest = child.stdout.read().split()
    told = int(rest[-1]) if rest and rest[-1].isdigit() else told
    child.wait(30)
    child.stdout.close()
    store = Store(path)
    kept = content(store, scan_of(store, "scan"))
    assert told >= 40 and len(kept) in (told + 1, told + 2)
    assert kept == {f"k{number}": number for number in range(len(kept))}
    assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_steps_are_synced_to_disk(store: Store) -> None:
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert isinstance(store._db, sqlite3.Connection)
