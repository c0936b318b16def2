"""The archives that public data sets come in, unpacked so that nothing leaves its folder or is half there."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import check_file, reason, shown
from ultrasam.datasets.readers.whole_folder import make_whole, writing

_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".rar")
_DEPTH = 3  # archives in archives in archives in the archive
_BLOCK = 1 << 20
_YOURSELF = "unpack it yourself and give the folder"
_ENCRYPTED = "is encrypted: unpack it yourself with its password and give the folder"

_JUNK = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini"}
_WINDOWS = os.name == "nt"
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)

_LONGEST_HEADER = 16 << 20  # tarfile reads whole what a header says of its own length
_MOST_OF_SOLID = 100  # members of a solid RAR archive: for each, all before it is unpacked again

_ZIP_KINDS = dict.fromkeys((stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK), "special file")
_ZIP_KINDS[stat.S_IFLNK] = "symbolic link"
_TAR_KINDS = {tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link"}

# What exceptions mean, by name: rarfile may be absent.
_MEANINGS = {
    "NeedFirstVolume": "is a later part of an archive: give its first part, with the others beside it",
    "RarCannotExec": f"needs one of the programs unar, unrar, 7z: install one, or {_YOURSELF}",
    "NotImplementedError": f"is compressed in a way that is not read here: {_YOURSELF}",
}


@dataclass(frozen=True)
class Limits:
    """What an archive may become, together with the archives inside it.

    `total_bytes` are bytes written, `members` entries of all archives. Once `ratio_from` bytes are written,
    no more may be than `ratio` times the size of the archive on disk.
    """

    total_bytes: int = 400 << 30
    members: int = 5_000_000
    ratio: float = 200.0
    ratio_from: int = 100 << 20


_LIMITS = Limits()


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive which `unpack` reads; a NIfTI file (.nii.gz) is none."""
    return stem_of(path.name) != ""


def unpack(archive: Path, target: Path, *, limit: Limits = _LIMITS) -> Path:
    """Unpack a .zip, .tar, .tgz, .tar.gz, .tar.bz2, .tar.xz or .rar into the new folder `target`.

    A folder `target` that exists is taken as complete and returned as it is; `archive` may be gone by then.
    Until all is there, it lies in ".NAME.unpacking" beside `target`, which the next run removes if this one
    is killed. Two runs at once: the second is refused, where the system has locks (`make_whole`).

    Archives inside are unpacked where they lie, into a folder of their name without suffix, and removed;
    after three levels they stay packed. What macOS and Windows add (__MACOSX, ._*, .DS_Store, Thumbs.db,
    desktop.ini) is left out. Files keep their times, not their permissions. Memory holds the names and a few
    MiB.

    Returns `target`. Raises UltrasamError if the archive is damaged, cut off, encrypted, without a file or
    beyond `limit`; for a name that leads out of `target`, links and special files; for a name that comes
    twice, also where only case differs; if the disk is or would be full; for a .rar without the package
    rarfile or, where it is compressed, without a program that reads it. Then nothing is left, except folders
    above `target` that had to be made.
    """
    archive = Path(archive)

    def fill(folder: Path) -> None:
        check_file(archive)
        if not is_archive(archive):
            raise UltrasamError(f"{shown(archive)} is no archive: give a file with {', '.join(_SUFFIXES)}")
        work = _Unpacking(archive, folder, limit)
        work.unpack(archive, (), 0)
        if not work.files:
            raise UltrasamError(f"{shown(archive)} holds no files: download it again")

    return make_whole(Path(target), fill)


@dataclass(frozen=True)
class _Member:
    """An entry as its archive tells it; `kind` is "file", "folder", "encrypted" or what is refused."""

    name: str
    kind: str
    size: int
    mtime: float | None
    open: Callable[[], Any]
    block: int = _BLOCK


@dataclass(frozen=True)
class _Contents:
    """An open archive: its parts on disk, the bytes that it will need at least, its entries in order."""

    parts: Sequence[Path]
    needed: int
    members: Iterator[_Member]


class _Unpacking:
    """One call of `unpack`: what came of the archive and those inside it so far."""

    def __init__(self, archive: Path, root: Path, limit: Limits) -> None:
        self.name = shown(archive)
        self.root = root
        self.limit = limit
        self.size = 0  # of the outermost archive
        self.written = self.members = self.files = 0
        self.seen: dict[str, tuple[str, bool]] = {}  # name without case -> (name, whether a folder)

    def unpack(self, path: Path, base: tuple[str, ...], depth: int) -> None:
        """Write the members of `path` below the folder `base`, then unpack the archives among them."""
        label = f"{_short(path.relative_to(self.root).as_posix())} in {self.name}" if depth else self.name
        inner: list[tuple[str, ...]] = []
        with ExitStack() as stack:
            with _reading(label):
                contents = stack.enter_context(_opened(path, label))
            if not depth:
                self.size = sum(part.stat().st_size for part in contents.parts)
            self._check_space(contents.needed, label)
            while True:
                with _reading(label):
                    member = next(contents.members, None)
                if member is None:
                    break
                self._count(label, members=1)
                parts = _safe_parts(member.name, label)
                if not parts or any(part.lower() in _JUNK or part.startswith("._") for part in parts):
                    continue
                self._write(member, base + parts, label)
                if member.kind == "file" and depth < _DEPTH and stem_of(parts[-1]):
                    inner.append(base + parts)
        if depth:
            for part in contents.parts:
                with self._placing(part):
                    part.unlink()
        for parts in sorted(inner):
            place = self.root.joinpath(*parts)
            if place.exists():  # else it was a part of one before it
                folder = parts[:-1] + _safe_parts(stem_of(parts[-1]), label)
                self._claim(folder, True, label)
                self.unpack(place, folder, depth + 1)

    def _write(self, member: _Member, parts: tuple[str, ...], label: str) -> None:
        if member.kind == "encrypted":
            raise UltrasamError(f"{label} {_ENCRYPTED}")
        if member.kind not in ("file", "folder"):
            raise UltrasamError(f"{label} holds a {member.kind}, {_short(member.name)}: {_YOURSELF}")
        self._claim(parts, member.kind == "folder", label)
        if member.kind == "folder":
            return
        self._check_space(member.size, label)
        path = self.root.joinpath(*parts)
        with _reading(label):
            source = member.open()
        with closing(source):
            self._copy(source, path, member.block, label)
        self.files += 1
        if member.mtime is not None:
            with suppress(OSError, ValueError, OverflowError):
                os.utime(path, (member.mtime, member.mtime))

    def _copy(self, source: IO[bytes], path: Path, block: int, label: str) -> None:
        # "x", for what else a file system may take for one name.
        with self._placing(path), path.open("xb") as file:
            while True:
                with _reading(label):
                    data = source.read(block)
                if not data:
                    break
                self._count(label, written=len(data))
                file.write(data)

    def _claim(self, parts: tuple[str, ...], folder: bool, label: str) -> None:
        """Take the name of a new file or folder and make the folders that it needs."""
        for end in range(1, len(parts) + 1):
            wanted = ("/".join(parts[:end]), folder or end < len(parts))
            # Linux tells names apart that macOS and Windows take for one.
            key = unicodedata.normalize("NFC", wanted[0]).casefold()
            known = self.seen.get(key)
            if known is None:
                self.seen[key] = wanted
                if wanted[1]:
                    with self._placing(path := self.root.joinpath(*parts[:end])):
                        path.mkdir()
            elif known != wanted or not known[1]:
                what = f"{_short(known[0])}, which is there already"
                if known[0] != wanted[0]:
                    what = f"{_short(known[0])} and {_short(wanted[0])}, one name to some systems"
                elif known[1] != wanted[1]:
                    what = f"{_short(known[0])} as a file and as a folder"
                raise UltrasamError(f"{label} holds {what}: {_YOURSELF}")

    def _placing(self, path: Path) -> Any:
        return writing(f"{_short(path.relative_to(self.root).as_posix())} of {self.name}")

    def _count(self, label: str, members: int = 0, written: int = 0) -> None:
        self.members += members
        self.written += written
        trusted = f"if you trust it, {_YOURSELF}"
        if self.members > self.limit.members:
            raise UltrasamError(f"{label} holds more than {self.limit.members:,} entries: {trusted}")
        if self.written > self.limit.total_bytes:
            most = self.limit.total_bytes / 1e9
            raise UltrasamError(f"{label} unpacks to more than {most:.3g} GB: {trusted}")
        if self.written > max(self.limit.ratio_from, self.limit.ratio * self.size):
            times = self.limit.ratio
            raise UltrasamError(f"{label} unpacks to more than {times:g} times its size: {trusted}")

    def _check_space(self, needed: int, label: str) -> None:
        with self._placing(self.root):
            free = shutil.disk_usage(self.root).free
        if needed > free:
            sizes = f"{needed / 1e9:.3g} GB, {shown(self.root.parent)} has {free / 1e9:.3g} GB free"
            raise UltrasamError(f"{label} needs {sizes}: free some space or choose another folder")


@contextmanager
def _opened(path: Path, label: str) -> Iterator[_Contents]:
    suffix = _suffix(path.name)
    if suffix == ".rar":
        yield _rar_contents(path, label)
    elif suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            needed = sum(info.file_size for info in infos)
            yield _Contents([path], needed, (_zip_member(archive, info) for info in infos))
    else:
        openers: dict[str, Any] = {".tar": open, ".tar.bz2": bz2.open, ".tar.xz": lzma.open}
        with openers.get(suffix, gzip.open)(path, "rb") as file:
            # The sizes stand scattered in it, so its own is the least that is needed.
            yield _Contents([path], path.stat().st_size, _tar_members(_Forward(file)))


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    # zipfile cuts `filename` off at a NUL.
    name = info.orig_filename if "\0" in info.orig_filename else info.filename
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):  # macOS writes UTF-8 without saying so
            name = name.encode("cp437").decode("utf-8")
    kind = "encrypted" if info.flag_bits & 0x41 else "file"
    kind = "folder" if name.endswith(("/", "\\")) else kind
    kind = _ZIP_KINDS.get(stat.S_IFMT(info.external_attr >> 16), kind)
    # Of other methods, zipfile unpacks at once all that it has read.
    block = _BLOCK if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else 4096
    return _Member(name, kind, info.file_size, _local(info.date_time), partial(archive.open, info), block)


class _Forward:
    """A file for tarfile that refuses what only damaged or hostile headers ask for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell, self.seekable = file.tell, file.seekable
        self.last = b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError("a header with an impossible length")
        self.last = self._file.read(size)
        return self.last

    def seek(self, position: int) -> int:
        if position < self.tell():
            raise tarfile.ReadError("a header that points backwards")
        return self._file.seek(position)


def _tar_members(file: _Forward) -> Iterator[_Member]:
    with tarfile.TarFile(fileobj=file, encoding="utf-8") as archive:  # type: ignore[arg-type]
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            kind = "file" if info.isreg() else _TAR_KINDS.get(info.type, "special file")
            yield _Member(info.name, kind, info.size, info.mtime, partial(archive.extractfile, info))
    # tarfile takes a damaged header for the end, and what checks a compressed stream follows the last member.
    if file.last != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing")
    for _ in range(_LONGEST_HEADER // _BLOCK):
        if not file.read(_BLOCK):
            break


def _rar_contents(path: Path, label: str) -> _Contents:
    try:
        import rarfile
    except ModuleNotFoundError:
        raise UltrasamError(f"{label} needs the package rarfile: pip install 'ultrasam[data]'") from None
    last: deque[Any] = deque(maxlen=1)
    archive = rarfile.RarFile(path, errors="strict", info_callback=last.append)
    if archive.needs_password():
        raise UltrasamError(f"{label} {_ENCRYPTED}")
    if not last or last[0].type != rarfile.RAR_BLOCK_ENDARC:
        raise rarfile.BadRarFile("its end is missing")
    infos = archive.infolist()
    packed = sum(info.is_file() and info.compress_type != rarfile.RAR_M0 for info in infos)
    if packed:
        # Now, not after the stored ones. What rarfile 4.5 asks of bsdtar, bsdtar does not understand.
        rarfile.tool_setup(bsdtar=False, force=True)
    if packed > _MOST_OF_SOLID and archive.is_solid():
        raise UltrasamError(f"{label} is solid, which is read too slowly here: {_YOURSELF}")

    def member(info: Any) -> _Member:
        kind = "folder" if info.is_dir() else "symbolic link" if info.is_symlink() else "file"
        if kind == "file" and info.file_redir and info.file_redir[0] != rarfile.RAR5_XREDIR_FILE_COPY:
            kind = "hard link"
        mtime = info.mtime.timestamp() if info.mtime else _local(info.date_time)
        return _Member(info.filename, kind, info.file_size, mtime, partial(archive.open, info))

    parts = [Path(part) for part in archive.volumelist()]
    return _Contents(parts, sum(info.file_size for info in infos), map(member, infos))


def _safe_parts(name: str, label: str) -> tuple[str, ...]:
    """The folders and the name of a member, () for the target itself. Raises UltrasamError if it leaves."""
    path = name.replace("\\", "/")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    drive = re.match("[A-Za-z]:", parts[0]) if parts else None
    if path.startswith("/") or ".." in parts or "\0" in path or drive:
        where = f"{_short(name)} leads out of its folder"
        raise UltrasamError(f"{label} is not safe, {where}: download it again from its source")
    if _WINDOWS and any(_NOT_ON_WINDOWS.search(part) for part in parts):
        raise UltrasamError(f"{label} holds {_short(name)}, which Windows cannot name: {_YOURSELF}")
    return parts


def _suffix(name: str) -> str:
    return next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), "")


def stem_of(name: str) -> str:
    """The name of an archive without its suffix, "" for other names and where nothing is left."""
    suffix = _suffix(name)
    stem = name[: len(name) - len(suffix)] if suffix else ""
    if suffix == ".rar":
        stem = re.sub(r"\.part\d+$", "", stem, flags=re.IGNORECASE)
    return stem if stem.strip(".") else ""


def _local(date_time: Sequence[int] | None) -> float | None:
    """Seconds since 1970 of year, month, day, hour, minute and second in local time."""
    if date_time is not None:
        with suppress(ValueError, OverflowError):
            year, month, day, hour, minute, second = date_time[:6]
            return datetime(year, month, day, hour, minute, second).timestamp()
    return None


def _short(name: str) -> str:
    text = shown(name)
    return text if len(text) <= 160 else f"{text[:160]}..."


@contextmanager
def _reading(label: str) -> Iterator[None]:
    """What a library raises for an archive becomes one UltrasamError."""
    try:
        yield
    except UltrasamError:
        raise
    except Exception as error:  # damaged archives make the libraries raise nearly anything
        meaning = _MEANINGS.get(type(error).__name__)
        why = reason(error)
        if "span multiple disks" in why:
            meaning = f"is one of several parts: {_YOURSELF}"
        elif isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            meaning = f"cannot be read ({why}): copy it again"
        # A program may fail at what it does not know.
        rar = f", with all its parts, or {_YOURSELF}" if type(error).__module__ == "rarfile" else ""
        damaged = f"is cut off or damaged ({why}): download it again{rar}"
        raise UltrasamError(f"{label} {meaning or damaged}") from error
