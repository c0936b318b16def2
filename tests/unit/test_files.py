"""core/files.py: atomic writing, folders, checks before reading."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from ultrasam.core import files
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import (
    atomic_write,
    atomic_write_all,
    atomic_write_text,
    check_file,
    check_output,
    ensure_writable_dir,
    sha256_of,
)


def test_atomic_write_replaces_the_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "mask.bin"
    atomic_write(path, b"old")
    atomic_write(path, b"new \x00 bytes")
    assert path.read_bytes() == b"new \x00 bytes"
    assert os.listdir(tmp_path) == ["mask.bin"]


def test_atomic_write_gives_the_permissions_that_open_gives(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    atomic_write(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_atomic_write_takes_a_name_of_the_greatest_length(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 251 + ".png")
    atomic_write(path, b"x")
    assert path.read_bytes() == b"x"


def test_atomic_write_follows_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    atomic_write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_atomic_write_text_is_utf8_with_unchanged_line_ends(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "note.txt", "Grö\u00dfe\r\n1\n")
    assert (tmp_path / "note.txt").read_bytes() == "Grö\u00dfe\r\n1\n".encode()


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "mask.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UltrasamError, match="mask.png cannot be written.*No space left.*free some space"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["mask.png"]


def test_an_interrupted_write_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "mask.png", b"new")
    assert os.listdir(tmp_path) == []


def test_atomic_write_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UltrasamError, match="a.png cannot be written.*create the folder first"):
        atomic_write(tmp_path / "missing" / "a.png", b"")


def test_atomic_write_onto_a_folder_or_a_device(tmp_path: Path) -> None:
    with pytest.raises(UltrasamError, match="is a folder"):
        atomic_write(tmp_path, b"")
    if os.path.exists(os.devnull) and os.name == "posix":
        with pytest.raises(UltrasamError, match="is a device"):
            atomic_write(os.devnull, b"")
        assert not os.path.isfile(os.devnull)


def test_files_that_belong_together_are_written_all_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    wanted = {tmp_path / "a.png": b"new", tmp_path / "b.png": b"b"}
    with pytest.raises(UltrasamError, match="c.png cannot be written.*create the folder first"):
        atomic_write_all({**wanted, tmp_path / "missing" / "c.png": b"c"})
    assert os.listdir(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_bytes() == b"old"
    atomic_write_all(wanted)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"new", "b.png": b"b"}


def test_check_output_takes_what_can_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    assert check_output(tmp_path / "link") == (tmp_path / "target").resolve()
    for name, message in (("x" * 300, "cannot be written"), ("a\0b", "cannot be written"), (".", "a folder")):
        with pytest.raises(UltrasamError, match=message):
            check_output(tmp_path / name)
    assert os.listdir(tmp_path) == ["link"]


def test_ensure_writable_dir_creates_parents_and_leaves_no_trace(tmp_path: Path) -> None:
    folder = ensure_writable_dir(tmp_path / "a" / "b")
    assert folder == tmp_path / "a" / "b"
    assert os.listdir(folder) == []
    assert ensure_writable_dir(str(folder)) == folder


def test_ensure_writable_dir_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"x")
    for path in (tmp_path / "out", tmp_path / "out" / "masks"):
        with pytest.raises(UltrasamError, match="out.* a file is in the way: choose another folder"):
            ensure_writable_dir(path)
    assert (tmp_path / "out").read_bytes() == b"x"


def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write everywhere")
    for write in (ensure_writable_dir, lambda path: atomic_write(path / "a.png", b"")):
        with pytest.raises(UltrasamError, match="cannot be written.*choose a folder that you may write to"):
            write(tmp_path)


def test_a_refused_write_gives_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(UltrasamError, match="cannot be written.*choose a folder that you may write to"):
        ensure_writable_dir(tmp_path)


def test_check_file_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "file").write_bytes(b"x")
    for path, message in (
        (tmp_path / "missing.png", "missing.png does not exist"),
        (tmp_path / "file" / "below", "below does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty.png", "empty.png is empty"),
        (Path("a\0b"), "cannot be opened"),
        (tmp_path / ("a" * 300), "cannot be opened"),
    ):
        with pytest.raises(UltrasamError, match=message) as caught:
            check_file(path)
        assert str(caught.value).isprintable()  # one line, also with odd names
    assert check_file(str(tmp_path / "file")) == tmp_path / "file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_check_file_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UltrasamError, match="not a regular file"):
        check_file(tmp_path / "pipe")


def test_check_file_without_the_right_to_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(UltrasamError, match="secret.png may not be read by you"):
        check_file(path)


def test_sha256_of_a_file_longer_than_one_block(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "weights").write_bytes(data)
    assert sha256_of(tmp_path / "weights") == hashlib.sha256(data).hexdigest()
    with pytest.raises(UltrasamError, match="does not exist"):
        sha256_of(tmp_path / "missing")
