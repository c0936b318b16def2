"""Files read and written so that a user's mistake gives one clear line and nothing is half written."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ultrasam.core.errors import UltrasamError

AnyPath = str | os.PathLike[str]

# Some libraries quote what they read.
_LONGEST = 160

_ADVICE = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOENT: "create the folder first",
}


def shown(path: AnyPath) -> str:
    """The path as it stands in a message: always one printable line."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def reason(error: BaseException) -> str:
    """What another library's exception says, as one line of at most `_LONGEST` characters without a full stop
    at its end.
    """
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = " ".join(text.split()).rstrip(".:") or type(error).__name__
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def check_file(path: AnyPath) -> Path:
    """The path of a regular file that can be opened and has content, else UltrasamError."""
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UltrasamError(f"{shown(path)} is a folder: give the path of a file")
        if not stat.S_ISREG(status.st_mode):
            raise UltrasamError(f"{shown(path)} is not a regular file: give the path of a file")
        if status.st_size == 0:
            raise UltrasamError(f"{shown(path)} is empty (0 bytes): copy or export it again")
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise UltrasamError(f"{shown(path)} does not exist: check the path") from None
    except PermissionError:
        raise UltrasamError(f"{shown(path)} may not be read by you: change its permissions") from None
    except (OSError, ValueError) as error:
        raise UltrasamError(f"{shown(path)} cannot be opened ({reason(error)}): check the path") from error
    return path


def ensure_writable_dir(path: AnyPath) -> Path:
    """Create a folder with its parents and prove that a file can be written there; call it before long work.

    Returns the path. Raises UltrasamError if it is a file or may not be written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = _temporary_name(path)
        try:
            probe.touch(exist_ok=False)
        finally:
            probe.unlink(missing_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UltrasamError(
            f"{shown(path)} cannot be a folder, a file is in the way: choose another folder"
        ) from None
    except (OSError, ValueError) as error:
        raise _not_written(path, error) from error
    return path


def check_output(path: AnyPath) -> Path:
    """The file that is meant by `path`, which may be a link; call it before long work.

    Raises UltrasamError if it is a folder or a device or if its name is no name for a file.
    """
    try:
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            what = "folder" if target.is_dir() else "device, not a file"
            raise UltrasamError(f"{shown(path)} is a {what}: give the path of a file to write")
    except (OSError, ValueError) as error:
        raise _not_written(path, error) from error
    return target


def atomic_write(path: AnyPath, data: bytes) -> None:
    """Write `data` so that the file holds either its old content or all of the new, even after a kill.

    The bytes go to a temporary name in the same folder, are synced to disk and then take the file's name. A
    symbolic link stays and its target is replaced. Raises UltrasamError if the file cannot be written;
    nothing is left behind.
    """
    atomic_write_all({Path(path): data})


def atomic_write_all(contents: Mapping[Path, bytes]) -> None:
    """`atomic_write` of files that belong together: none takes its name before all are on disk.

    Raises UltrasamError for the first that cannot be written; then none is.
    """
    written: list[tuple[Path, Path]] = []
    path: AnyPath = ""
    try:
        targets = {path: check_output(path) for path in contents}
        try:
            for path, target in targets.items():
                temporary = _temporary_name(target.parent)
                written.append((temporary, target))
                with temporary.open("xb") as file:
                    file.write(contents[path])
                    file.flush()
                    os.fsync(file.fileno())
            for path, (temporary, target) in zip(targets, written, strict=True):  # noqa: B007
                os.replace(temporary, target)
        except BaseException:
            for temporary, _ in written:
                temporary.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise _not_written(path, error) from error


@contextmanager
def atomic_open(path: AnyPath) -> Iterator[BinaryIO]:
    """A file to write in pieces, which takes the place of `path` when the context ends without an exception.

    As `atomic_write` otherwise. Raises UltrasamError if it cannot be written.
    """
    try:
        target = check_output(path)
        temporary = _temporary_name(target.parent)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _not_written(path, error) from error


def atomic_write_text(path: AnyPath, text: str) -> None:
    """`atomic_write` of UTF-8 text, line ends as they are."""
    atomic_write(path, text.encode("utf-8"))


def sha256_of(path: AnyPath) -> str:
    """SHA-256 of a file's bytes as 64 lower-case hex digits. Raises UltrasamError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with check_file(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UltrasamError(f"{shown(path)} cannot be read ({reason(error)}): copy it again") from error
    return digest.hexdigest()


def _temporary_name(folder: Path) -> Path:
    # Not derived from the final name, which may already be as long as the file system allows.
    return folder / f".{secrets.token_hex(8)}.tmp"


def _not_written(path: AnyPath, error: OSError | ValueError) -> UltrasamError:
    advice = _ADVICE.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    advice = advice or "choose another path"
    return UltrasamError(f"{shown(path)} cannot be written ({reason(error)}): {advice}")
