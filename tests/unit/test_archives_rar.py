"""datasets/readers/archives.py: what only RAR archives have."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from zlib import crc32

import pytest
from tests.archives import RAR, RAR_END, rar, rar_block, rar_file, rar_main, refused, tree, write

from ultrasam.datasets.readers.archives import Limits, unpack

rarfile = pytest.importorskip("rarfile", reason="needs the extra data")

FILES = {"images/a.png": b"first" * 40, "b.png": bytes(range(256))}
PACKED = 0x33  # the method, as the default of WinRAR


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where programs are looked for."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(rarfile, "CURRENT_SETUP", None)
    return folder


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def saved(path: Path, *blocks: bytes, main: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(RAR + rar_main(main) + b"".join(blocks) + RAR_END)
    return path


def volumes(folder: Path, pattern: str, pieces: list[bytes]) -> Path:
    """One stored file, whole.bin, in several parts; returns the first."""
    whole = b"".join(pieces)
    for i, piece in enumerate(pieces):
        last = i == len(pieces) - 1
        part = rar_file("whole.bin", piece, flags=bool(i) | 2 * (not last), crc=crc32(whole))
        # The sizes of a part are its own on disk and that of the whole.
        part = rar_block(0x74, 0x8200 | bool(i) | 2 * (not last), _whole_size(part, len(whole))) + piece
        end = rar_block(0x7B, 0x4000 | (not last), b"")
        path = folder / pattern.format(i + 1)
        path.write_bytes(RAR + rar_main(0x0011 | (0 if i else 0x0100)) + part + end)
    return folder / pattern.format(1)


def _whole_size(block: bytes, size: int) -> bytes:
    header = block[7 : int.from_bytes(block[5:7], "little")]
    return header[:4] + size.to_bytes(4, "little") + header[8:]


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rarfile", None)
    refused(write(tmp_path / "a.rar", FILES), "a.rar needs the package rarfile: pip install 'ultrasam[data]'")


def test_stored_files_need_no_program(tmp_path: Path, programs: Path) -> None:
    archive = write(tmp_path / "in" / "a.rar", FILES)
    assert tree(unpack(archive, tmp_path / "out")) == FILES


def test_compressed_files_without_a_program(tmp_path: Path, programs: Path) -> None:
    program(programs / "bsdtar", "exit 0")  # rarfile knows it, but calls it wrongly
    archive = saved(tmp_path / "in" / "a.rar", rar_file("s", b"s"), rar_file("x", b"12", PACKED))
    refused(
        archive, "a.rar needs one of the programs unar, unrar, 7z", "unpack it yourself and give the folder"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_compressed_files_with_a_program(tmp_path: Path, programs: Path) -> None:
    files = [rar_file("x", b"12", PACKED, crc=crc32(b"ab")), rar_file("y/z", b"3")]
    archive = saved(tmp_path / "in" / "a.rar", *files)
    program(programs / "unrar", "printf ab")
    assert tree(unpack(archive, tmp_path / "out")) == {"x": b"ab", "y/z": b"3"}
    for wrong in ("printf ac", "printf a", "kill -9 $$"):
        program(programs / "unrar", f'[ "$1" = -inul ] && exit 0; {wrong}')
        refused(archive, "a.rar is cut off or damaged", "download it again", "unpack it yourself")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_many_files_of_a_solid_archive(tmp_path: Path, programs: Path) -> None:
    program(programs / "unrar", "printf ab")
    files = [rar_file(str(i), b"12", PACKED, crc=crc32(b"ab")) for i in range(101)]
    refused(saved(tmp_path / "in" / "a.rar", *files, main=8), "a.rar is solid", "unpack it yourself")
    few = saved(tmp_path / "in" / "b.rar", *files[:100], main=8)
    assert len(tree(unpack(few, tmp_path / "few"))) == 100


@pytest.mark.parametrize(("flags", "main"), [(4, 0), (0, 0x80)])  # the files, the list of files too
def test_encrypted(tmp_path: Path, flags: int, main: int) -> None:
    archive = saved(tmp_path / "a.rar", rar_file("x", b"1", flags=flags), main=main)
    refused(archive, "a.rar is encrypted: unpack it yourself with its password")


def test_links(tmp_path: Path) -> None:
    archive = saved(tmp_path / "a.rar", rar_file("good", b"1"), rar_file("odd", b"/etc", mode=0o120777))
    refused(archive, "a.rar holds a symbolic link, odd")


def test_several_parts(tmp_path: Path) -> None:
    pieces = [b"1" * 1000, b"2" * 500, b"3"]
    first = volumes(tmp_path, "a.part{}.rar", pieces)
    assert tree(unpack(first, tmp_path / "a")) == {"whole.bin": b"".join(pieces)}
    later = tmp_path / "a.part2.rar"
    refused(later, "a.part2.rar is a later part of an archive: give its first part")
    later.unlink()
    refused(first, "a.part1.rar is cut off or damaged", "download it again, with all its parts")


def test_several_parts_inside_an_archive(tmp_path: Path) -> None:
    pieces = [b"1", b"2", b"3"]
    volumes(tmp_path, "in.part{}.rar", pieces)
    inside = {f"data/{path.name}": path.read_bytes() for path in tmp_path.glob("in.*")}
    assert len(inside) == 3
    archive = write(tmp_path / "a.zip", dict(reversed(inside.items())))
    assert tree(unpack(archive, tmp_path / "a")) == {"data/in/whole.bin": b"123"}
    del inside["data/in.part1.rar"]
    refused(write(tmp_path / "b.zip", inside), "data/in.part2.rar in", "is a later part")


def test_inside_an_archive_with_one_inside(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", {"x.rar": rar({"y.rar": rar(FILES)})})
    assert tree(unpack(archive, tmp_path / "a")) == {f"x/y/{name}": data for name, data in FILES.items()}
    refused(archive, "y.rar in", "unpacks to more than", limit=Limits(total_bytes=1500))
    assert os.listdir(tmp_path / "a") == ["x"]
