"""datasets/readers/archives.py: good archives, hostile and damaged ones, runs that end early."""

from __future__ import annotations

import errno
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
import unicodedata
import zipfile
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.archives import Files, refused, tarred, tree, write, zipped

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers import archives
from ultrasam.datasets.readers.archives import Limits, is_archive, unpack

pytest.importorskip("rarfile", reason="needs the extra data")

KINDS = ["zip", "tar", "tgz", "tar.gz", "tar.bz2", "tar.xz", "rar"]
FILES = {"images/a.png": random.Random(0).randbytes(300), "images/b.png": b"b" * 700, "read me.txt": b"text"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_unpacked(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "new" / "set"
    assert unpack(write(tmp_path / f"set.{kind}", FILES), target) == target
    assert tree(target) == FILES
    assert os.listdir(target.parent) == ["set"]
    for file in target.rglob("*.*"):
        known = 1_600_000_000 if "t" in kind else datetime(2020, 2, 3, 4, 5, 6).timestamp()
        assert file.stat().st_mtime == known
        assert not file.stat().st_mode & 0o111


@pytest.mark.parametrize("name", [*(f"a.{kind}" for kind in KINDS), "A.ZIP", "b.c.Tar.Gz", "x.part1.rar"])
def test_names_of_archives(name: str) -> None:
    assert is_archive(Path("folder") / name)


@pytest.mark.parametrize(
    "name", ["a.nii.gz", "a.gz", "zip", ".zip", "...zip", "a.zip.txt", "a.7z", ".part1.rar"]
)
def test_names_of_other_files(name: str) -> None:
    assert not is_archive(Path(name))


JUNK = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini"}
COMPONENT = (
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\:"), min_size=1, max_size=12
    )
    .filter(lambda name: name.strip(".") and not name.startswith("._"))
    .filter(lambda name: name.lower() not in JUNK and not is_archive(Path(name)))
)
TREES = st.dictionaries(st.lists(COMPONENT, min_size=1, max_size=4).map("/".join), st.binary(max_size=200))


def without_collisions(files: Files) -> Files:
    kept: dict[str, bytes] = {}
    spellings: dict[str, str] = {}
    for name, data in files.items():
        prefixes = list(accumulate(name.split("/"), "{}/{}".format))
        folded = {unicodedata.normalize("NFC", prefix).casefold(): prefix for prefix in prefixes}
        clash = any(spellings.get(key, prefix) != prefix for key, prefix in folded.items())
        if not clash and name not in spellings.values() and not kept.keys() & set(prefixes):
            kept[name] = data
            spellings.update(folded)
    return kept


@settings(max_examples=60)
@given(TREES.map(without_collisions).filter(bool), st.sampled_from(["zip", "tar", "tgz", "rar"]))
def test_what_was_packed_comes_out(files: Files, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert tree(unpack(write(Path(folder, f"a.{kind}"), files), Path(folder, "a"))) == files


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_zip(tmp_path: Path, method: int) -> None:
    files = {"zeros": bytes(3 << 20), **FILES}
    (tmp_path / "a.zip").write_bytes(zipped(files, method=method))
    assert tree(unpack(tmp_path / "a.zip", tmp_path / "a")) == files


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_empty_folders_and_useless_parts_of_names(tmp_path: Path, kind: str) -> None:
    files = {"./a//b/./c": b"1", "..d/e..": b"2", "f\\g": b"3"}
    archive = write(tmp_path / f"a.{kind}", files, folders=(".", "empty/inside", "a"))
    found = {"a/b/c": b"1", "..d/e..": b"2", "f/g": b"3", "empty/inside/": b""}
    assert tree(unpack(archive, tmp_path / "out")) == found


def test_zip_names_of_dos_and_macos(tmp_path: Path) -> None:
    data = zipped({"gr_n.png": b"1", "gr__n.jpg": b"2"})
    data = data.replace(b"gr_n", "gr\u00fcn".encode("cp437")).replace(b"gr__n", "gr\u00fcn".encode())
    (tmp_path / "a.zip").write_bytes(data)
    assert tree(unpack(tmp_path / "a.zip", tmp_path / "a")) == {"gr\u00fcn.png": b"1", "gr\u00fcn.jpg": b"2"}


def test_what_systems_add_is_left_out(tmp_path: Path) -> None:
    junk = ["__MACOSX/a/._b.png", "a/._b.png", ".DS_Store", "a/Thumbs.db", "a/Desktop.ini", "._c/d"]
    archive = write(tmp_path / "a.zip", {"a/b.png": b"b", **dict.fromkeys(junk, b"junk")})
    assert tree(unpack(archive, tmp_path / "a")) == {"a/b.png": b"b"}
    refused(write(tmp_path / "b.zip", dict.fromkeys(junk, b"junk")), "b.zip holds no files")


def test_a_folder_that_is_there_is_complete(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert unpack(tmp_path / "absent.zip", tmp_path / "set") == tmp_path / "set"
    assert tree(tmp_path / "set") == {"./": b""}


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.zip", FILES).rename(tmp_path / "a.7z"), "a.7z is no archive", ".tar.xz")
    refused(tmp_path / "absent.zip", "does not exist")
    (tmp_path / "p.zip").write_text("<html>Log in first</html>" * 50)
    refused(tmp_path / "p.zip", "p.zip is cut off or damaged", "download it again")
    (tmp_path / "hollow.tar").write_bytes(bytes(1 << 20))
    refused(tmp_path / "hollow.tar", "hollow.tar holds no files")
    (tmp_path / "out").write_text("mine")
    refused(write(tmp_path / "b.zip", FILES), "out is there and no folder")
    assert (tmp_path / "out").read_text() == "mine"


OUTSIDE = [
    "../x",
    "a/../../x",
    "a/..",
    "..",
    "/x",
    "//host/x",
    "\\x",
    "a\\..\\..\\x",
    "C:x",
    "c:\\x",
    "./C:/x",
]


@pytest.mark.parametrize("kind", ["zip", "tar", "rar"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out(tmp_path: Path, kind: str, name: str) -> None:
    archive = write(tmp_path / "in" / f"a.{kind}", {"good": b"1", name: b"2"})
    refused(archive, "is not safe", "leads out of its folder")
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_name_has_a_nul_and_no_folder_leads_out(tmp_path: Path, kind: str) -> None:
    refused(write(tmp_path / f"a.{kind}", {"good\0/x": b"1"}), r"'good\x00/x' leads out")
    refused(write(tmp_path / f"b.{kind}", FILES, folders=("../x",)), "is not safe, ../x")


@pytest.mark.parametrize("name", ["a:b.txt", "sub/C:/x", "con", "sub/Nul.png", "what?", "end./x", "end "])
def test_names_that_windows_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(archives, "_WINDOWS", True)
    refused(write(tmp_path / "a.tar", {name: b""}), "a.tar")
    assert tree(unpack(write(tmp_path / "b.tar", {"console/com.png": b""}), tmp_path / "b")) != {}


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "special file"),
        (tarfile.FIFOTYPE, "special file"),
    ],
)
def test_links_and_devices_of_tar(tmp_path: Path, kind: bytes, what: str) -> None:
    info = tarfile.TarInfo("images/odd")
    info.type, info.linkname = kind, "good"
    head = tarred({"good": b"1"})[:2048]  # extended header, its data, header, data
    (tmp_path / "a.tar").write_bytes(head + info.tobuf() + bytes(1024))
    refused(tmp_path / "a.tar", f"a.tar holds a {what}, images/odd", "unpack it yourself")


@pytest.mark.parametrize(("mode", "what"), [(0o120777, "symbolic link"), (0o020666, "special file")])
def test_links_and_devices_of_zip(tmp_path: Path, mode: int, what: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("images/odd")
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "a.zip", f"a.zip holds a {what}, images/odd")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/x.png", "a/X.png"], "a/x.png and a/X.png, one name to some systems"),
        (["Train/1.png", "train/2.png"], "Train and train, one name"),
        (["\u00e9", "e\u0301"], "\u00e9 and e\u0301, one name"),
        (["a", "a/b"], "a as a file and as a folder"),
        (["a/b", "a"], "a as a file and as a folder"),
        (["a/b", "a//b"], "a/b, which is there already"),
    ],
)
def test_names_that_collide(tmp_path: Path, kind: str, names: list[str], words: str) -> None:
    refused(write(tmp_path / f"s.{kind}", dict.fromkeys(names, b"1")), f"s.{kind} holds {words}")


def test_encrypted_zip(tmp_path: Path) -> None:
    data = bytearray(zipped(FILES))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path / "a.zip", "a.zip is encrypted: unpack it yourself with its password")


def test_bombs(tmp_path: Path) -> None:
    zeros = bytes(3 << 20)
    for kind in KINDS[:-1]:
        archive = write(tmp_path / f"a.{kind}", {"zeros": zeros})
        refused(
            archive, "unpacks to more than 0.002 GB", "if you trust it", limit=Limits(total_bytes=2_000_000)
        )
        if kind != "tar":
            refused(archive, "more than 20 times its size", limit=Limits(ratio=20, ratio_from=1 << 20))
        unpack(archive, tmp_path / kind, limit=Limits(total_bytes=3 << 20, members=1, ratio=20))
    small = write(tmp_path / "b.zip", FILES)
    refused(small, "holds more than 2 entries", limit=Limits(members=2))
    inner = write(tmp_path / "c.zip", {"1.zip": zipped({"x": zeros}), "2.zip": zipped({"x": zeros})})
    refused(inner, "2.zip in", "unpacks to more than", limit=Limits(total_bytes=5 << 20))
    refused(inner, "2.zip in", "3 entries", limit=Limits(members=3))
    refused(inner, "2.zip in", "times its size", limit=Limits(ratio=1, ratio_from=5 << 20))


def test_memory_holds_only_a_part(tmp_path: Path) -> None:
    archive = write(
        tmp_path / "a.tgz", {"inner.zip": zipped({"zeros": bytes(64 << 20)}), "x": bytes(64 << 20)}
    )
    tracemalloc.start()
    try:
        unpack(archive, tmp_path / "a", limit=Limits(ratio=1e9))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kind", "size", "what"),
    [(tarfile.XHDTYPE, 1 << 31, "an impossible length"), (tarfile.REGTYPE, -512, "points backwards")],
)
def test_hostile_headers_of_tar(tmp_path: Path, kind: bytes, size: int, what: str) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    good = tarfile.TarInfo("good").tobuf()
    (tmp_path / "a.tar").write_bytes(good + info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(tmp_path / "a.tar", "a.tar is cut off or damaged", what)


def test_too_little_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4_000_000))
    zeros = {"a": bytes(2 << 20), "b": bytes(2 << 20)}
    monkeypatch.setattr(archives._Unpacking, "_copy", lambda *_: pytest.fail("it has begun"))
    refused(write(tmp_path / "a.zip", zeros), "a.zip needs 0.00419 GB", "0.004 GB free: free some space")
    refused(write(tmp_path / "a.tgz", {"c": bytes(5 << 20)}), "a.tgz needs 0.00524 GB", "0.004 GB free")


@pytest.mark.parametrize("size", [10, 3 << 20])  # noticed when the file is closed, when it is written
def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    archive = write(tmp_path / "a.zip", {"x.png": bytes(size)})
    monkeypatch.setattr(Path, "open", lambda path, mode: io.BufferedWriter(Full(path, mode)))
    monkeypatch.setattr(archives, "check_file", Path)  # it opens the archive
    refused(archive, "x.png of", "cannot be written (No space left on device): free some space")


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off_anywhere(tmp_path: Path, kind: str) -> None:
    archive = write(tmp_path / f"a.{kind}", FILES)
    data = archive.read_bytes()
    # A tar ends with zeros of which only the first 512 matter.
    end = (len(data.rstrip(b"\0")) + 511) // 512 * 512 + 512 if kind == "tar" else len(data)
    for length in range(1, end, 37 if kind == "tar" else 1):
        archive.write_bytes(data[:length])
        refused(archive, f"a.{kind} is cut off or damaged", "download it again")
    archive.write_bytes(data[:end])
    assert tree(unpack(archive, tmp_path / "out")) == FILES


@pytest.mark.parametrize("kind", ["zip", "tgz", "tar.bz2", "tar.xz", "rar"])
def test_a_damaged_byte_is_noticed_or_does_no_harm(tmp_path: Path, kind: str) -> None:
    archive = write(tmp_path / f"a.{kind}", FILES)
    data = archive.read_bytes()
    noticed = 0
    # zipfile does not compare its list of files with the number that should be there.
    places = range(data.index(b"PK\1\2") if kind == "zip" else len(data))
    for place in places:
        archive.write_bytes(data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :])
        try:
            assert tree(unpack(archive, tmp_path / "out")) == FILES
            shutil.rmtree(tmp_path / "out")
        except UltrasamError:
            noticed += 1
            assert os.listdir(tmp_path) == [archive.name]
    assert noticed > 0.8 * len(places)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    archive = write(tmp_path / "a.zip", FILES)

    def copy(self: Any, source: Any, path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        if path.name == "b.png":
            raise error

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(archives._Unpacking, "_copy", copy)
        unpack(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.zip"]
    assert tree(unpack(archive, tmp_path / "out")) == FILES


def test_what_a_killed_run_leaves_is_removed(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", FILES)
    code = """
        import os, sys
        from pathlib import Path
        from ultrasam.datasets.readers import archives
        whole = archives._Unpacking._copy
        def copy(self, source, path, *rest):
            whole(self, source, path.with_name("old"), *rest)
            os._exit(9)
        archives._Unpacking._copy = copy
        archives.unpack(Path("a.zip"), Path("out"))
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], cwd=tmp_path, timeout=120)
    assert (done.returncode, sorted(os.listdir(tmp_path))) == (9, [".out.unpacking", "a.zip"])
    assert tree(unpack(archive, tmp_path / "out")) == FILES
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "out"]


def test_archives_in_archives(tmp_path: Path) -> None:
    arrays = zipped({"x/array.npy": b"2"})
    files = {"S 1/DDTI.zip": zipped({"1.png": b"1", "A.tar.gz": tarred({"a": b"3"}, "gz")}), "S 1/b": b"4"}
    archive = write(tmp_path / "a.tar.gz", {**files, "ASUS/Data.zip": arrays, "...zip": arrays})
    found = {"S 1/DDTI/1.png": b"1", "S 1/DDTI/A/a": b"3", "S 1/b": b"4", "ASUS/Data/x/array.npy": b"2"}
    assert tree(unpack(archive, tmp_path / "a")) == {**found, "...zip": arrays}


def test_archives_in_archives_end_after_three(tmp_path: Path) -> None:
    data = packed = zipped({"x": b"x"})
    for level in range(5):
        data, packed = zipped({f"{level}.zip": data}), data if level == 1 else packed
    (tmp_path / "a.zip").write_bytes(data)
    assert tree(unpack(tmp_path / "a.zip", tmp_path / "a")) == {"4/3/2/1.zip": packed}


def test_archives_in_archives_merge_but_do_not_overwrite(tmp_path: Path) -> None:
    inner = {"a.zip": zipped({"2": b"2", "b/3": b"3"})}
    archive = write(tmp_path / "good.zip", {**inner, "a/1": b"1", "a/b/4": b"4"})
    assert tree(unpack(archive, tmp_path / "x")) == {"a/1": b"1", "a/2": b"2", "a/b/3": b"3", "a/b/4": b"4"}
    refused(write(tmp_path / "b.zip", {**inner, "a/2": b"1"}), "a.zip in", "a/2, which is there already")
    refused(write(tmp_path / "c.zip", {**inner, "A/1": b"1"}), "A and a, one name")
    refused(write(tmp_path / "d.zip", {**inner, "a": b"1"}), "a as a file and as a folder")
    refused(
        write(tmp_path / "e.zip", {"a.zip": zipped({"../x": b"1"})}), "a.zip in", "is not safe, ../x leads"
    )
    refused(write(tmp_path / "f.zip", {"in/a.zip": zipped(FILES)[:-9]}), "in/a.zip in", "f.zip is cut off")
