"""datasets/readers/whole_folder.py: folders that are complete or not there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.archives import tree

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.whole_folder import make_whole

locks = pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks")


def fill(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_bytes(b"new")


NEW = {"deep/file": b"new"}


def test_it_is_made_once(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    assert make_whole(target, fill) == target
    assert make_whole(target, lambda _: pytest.fail("it is there")) == target
    assert tree(tmp_path) == {f"a/b/{name}": data for name, data in NEW.items()}


def test_what_is_left_is_not_taken_over(tmp_path: Path) -> None:
    left = tmp_path / ".out.unpacking"
    left.mkdir()
    fill(left)
    (left / "old").write_bytes(b"old")
    assert tree(make_whole(tmp_path / "out", fill)) == NEW
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_in_place_of_the_temporary_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my").write_bytes(b"own")
    (tmp_path / ".out.unpacking").symlink_to(tmp_path / "mine")
    assert tree(make_whole(tmp_path / "out", fill)) == NEW
    assert tree(tmp_path / "mine") == {"my": b"own"}


def test_what_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UltrasamError, match="file is there and no folder"):
        make_whole(tmp_path / "file", fill)
    with pytest.raises(UltrasamError, match="cannot be a folder, a file is in the way"):
        make_whole(tmp_path / "file" / "out", fill)
    with pytest.raises(UltrasamError, match="cannot be written .* too long"):
        make_whole(tmp_path / ("n" * 250), fill)
    assert os.listdir(tmp_path) == ["file"]


@locks
def test_a_second_run_does_not_disturb_the_first(tmp_path: Path) -> None:
    def slow(folder: Path) -> None:
        fill(folder)
        with pytest.raises(UltrasamError, match="out is being made by another run: wait"):
            make_whole(tmp_path / "out", fill)

    assert tree(make_whole(tmp_path / "out", slow)) == NEW
    assert os.listdir(tmp_path) == ["out"]


@locks
def test_a_run_that_ends_while_another_starts_keeps_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    whole = fcntl.flock

    def late(*arguments: Any) -> None:  # the first takes its name before the second has the lock
        os.rename(tmp_path / ".out.unpacking", tmp_path / "out")
        fill(tmp_path / "out")
        whole(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(UltrasamError, match="another run"):
        make_whole(tmp_path / "out", lambda _: pytest.fail("it is not ours"))
    assert tree(tmp_path / "out") == NEW


@locks
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def none(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    assert tree(make_whole(tmp_path / "out", fill)) == NEW
