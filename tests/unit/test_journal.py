"""The journal of a folder of results."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ultrasam.core.errors import UltrasamError
from ultrasam.predict.journal import Journal, fingerprint_of

MASK, OVERLAY = "_mask.png", "_overlay.png"


def test_an_item_is_finished_with_its_fingerprint_and_files(tmp_path: Path) -> None:
    with Journal(tmp_path / "out") as journal:
        assert journal.finished("x/a", "f1") is None
        written = journal.write("x/a", "f1", {"note": 3}, {MASK: b"m", OVERLAY: b"o"})
        assert written == {"fingerprint": "f1", "note": 3, "endings": [MASK, OVERLAY]}
        assert journal.finished("x/a", "f1") == written
        assert journal.finished("x/a", "f2") is None and journal.finished("a", "f1") is None
        assert (journal.out / "x" / "a_mask.png").read_bytes() == b"m"
    with Journal(tmp_path / "out", overwrite=True) as journal:
        assert journal.finished("x/a", "f1") is None
    with Journal(tmp_path / "out") as journal:
        assert journal.finished("x/a", "f1") == written
        (journal.out / "x" / "a_overlay.png").unlink()
        assert journal.finished("x/a", "f1") is None


def test_files_that_an_item_no_longer_has_are_removed(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write("a", "f1", {}, {"_mask1.png": b"1", "_mask2.png": b"2", OVERLAY: b"o"})
        journal.write("a", "f2", {}, {"_mask1.png": b"new", "_labels.png": b"l"})
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["a_labels.png", "a_mask1.png"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"null",
        b"[" * 100_000,
        b'{"fingerprint": "f1"}',
        b'{"fingerprint": "f1", "endings": 7}',
        b'{"fingerprint": "f1", "endings": [7]}',
        b'{"fingerprint": "f1", "endings": ["/../../precious_mask.png"]}',
        b'{"fingerprint": "f1", "endings": ["/../precious"]}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_or_made_up_record_does_no_harm(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "precious_mask.png").write_text("mine")
    with Journal(tmp_path / "out") as journal:
        (journal.out / "a").mkdir()
        (journal.out / ".ultrasam" / "a.json").write_bytes(content)
        assert journal.finished("a", "f1") is None
        journal.check("a", [MASK])
        journal.write("a", "f1", {}, {MASK: b"m"})
        assert journal.finished("a", "f1") is not None
    assert (tmp_path / "precious").exists() and (tmp_path / "precious_mask.png").exists()


def test_a_file_that_no_run_has_written_is_not_free(tmp_path: Path) -> None:
    (tmp_path / "a_mask.png").write_text("mine")
    os.symlink("nowhere", tmp_path / "b_mask.png")
    with Journal(tmp_path) as journal:
        for name in "ab":
            with pytest.raises(UltrasamError, match="not from an earlier run"):
                journal.check(name, [OVERLAY, MASK])
            journal.check(name, [OVERLAY])
        journal.write("a", "f1", {}, {MASK: b"m"})
        journal.check("a", [MASK])
    with Journal(tmp_path, overwrite=True) as journal:
        journal.check("b", [MASK])


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write("x/a", "f1", {}, {MASK: b"m"})
    left = [
        folder / ".00112233445566ff.tmp" for folder in (tmp_path, tmp_path / "x", tmp_path / ".ultrasam/x")
    ]
    (tmp_path / "mine").mkdir()
    kept = [tmp_path / ".0011.tmp", tmp_path / "a.tmp", tmp_path / "mine" / ".00112233445566ff.tmp"]
    for path in left + kept:
        path.write_text("half")
    with Journal(tmp_path):
        pass
    assert not any(path.exists() for path in left) and all(path.exists() for path in kept)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path):
        with pytest.raises(UltrasamError, match="another run"), Journal(tmp_path):
            pass
        with Journal(tmp_path / "other"):
            pass
    with Journal(tmp_path):
        pass


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/ultrasam"])
def test_a_folder_that_cannot_be(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("-")
    with pytest.raises(UltrasamError), Journal(tmp_path / place):
        pass


def test_fingerprints_do_not_depend_on_the_order_of_facts() -> None:
    assert fingerprint_of({"a": 1, "b": [2.5, None]}) == fingerprint_of({"b": [2.5, None], "a": 1})
    assert fingerprint_of({"a": 1}) != fingerprint_of({"a": 2})
    assert json.loads(json.dumps(fingerprint_of({}))) == fingerprint_of({})
