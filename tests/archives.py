"""Archives for the tests, among them RAR files, which no program here can write."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

import pytest

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.archives import Limits, unpack

Files = Mapping[str, bytes]


def write(path: Path, files: Files, folders: tuple[str, ...] = ()) -> Path:
    """An archive of the kind that its name says."""
    path.parent.mkdir(exist_ok=True)
    if path.name.endswith(".zip"):
        path.write_bytes(zipped(files, folders))
    elif path.name.endswith(".rar"):
        path.write_bytes(rar(files))
    else:
        path.write_bytes(tarred(files, path.name.rpartition(".")[2], folders))
    return path


def zipped(files: Files, folders: tuple[str, ...] = (), method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in folders:
            archive.writestr(f"{name}/", b"")
        for name, data in files.items():
            info = zipfile.ZipInfo("x", (2020, 2, 3, 4, 5, 6))
            info.filename = name  # unchanged, whatever zipfile thinks of it
            info.compress_type = method
            archive.writestr(info, data)
    return buffer.getvalue()


def tarred(files: Files, kind: str = "tar", folders: tuple[str, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    compression = {"tar": "", "tgz": "gz"}.get(kind, kind)
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}", format=tarfile.PAX_FORMAT) as archive:
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_600_000_000, 0o777
            info.pax_headers = {"path": name}
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


RAR = b"Rar!\x1a\x07\x00"
RAR_END = struct.pack("<HBHH", 0x3DC4, 0x7B, 0x4000, 7)


def rar_block(kind: int, flags: int, fields: bytes) -> bytes:
    body = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", crc32(body) & 0xFFFF) + body


def rar_main(flags: int = 0) -> bytes:
    return rar_block(0x73, flags, bytes(6))


def rar_file(
    name: str, data: bytes, method: int = 0x30, flags: int = 0, mode: int = 0o100644, crc: int | None = None
) -> bytes:
    """A file of RAR 4 on Unix of 3 February 2020, 04:05:06; method 0x30 is stored."""
    encoded = name.encode()
    moment = (2020 - 1980) << 25 | 2 << 21 | 3 << 16 | 4 << 11 | 5 << 5 | 6 >> 1
    checksum = crc32(data) if crc is None else crc
    numbers = (len(data), len(data), 3, checksum, moment, 29, method, len(encoded), mode)
    return rar_block(0x74, 0x8200 | flags, struct.pack("<LLBLLBBHL", *numbers) + encoded) + data


def rar(files: Files) -> bytes:
    return RAR + rar_main() + b"".join(rar_file(name, data) for name, data in files.items()) + RAR_END


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder by name; empty folders as "name/"."""
    found = {}
    for place, folders, names in os.walk(folder):
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        found.update({os.path.normpath(f"{below}/{name}"): Path(place, name).read_bytes() for name in names})
        if not folders and not names:
            found[f"{below}/"] = b""
    return found


def refused(archive: Path, *words: str, limit: Limits | None = None) -> None:
    """Unpacking fails with one line that has all the words and leaves nothing."""
    before = sorted(os.listdir(archive.parent))
    with pytest.raises(UltrasamError) as caught:
        unpack(archive, archive.parent / "out", limit=limit or Limits())
    message = str(caught.value)
    assert message.isprintable(), message
    assert [word for word in words if word not in message] == [], message
    assert sorted(os.listdir(archive.parent)) == before
