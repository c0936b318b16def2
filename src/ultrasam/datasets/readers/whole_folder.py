"""Folders that appear when they are complete, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import ensure_writable_dir, reason, shown
from ultrasam.core.workplace import try_lock


def make_whole(target: Path, fill: Callable[[Path], None]) -> Path:
    """Make the folder `target` with what `fill` writes into the folder it is given; returns `target`.

    That folder is ".NAME.unpacking" beside `target` and takes the name of `target` when `fill` returns. A
    folder `target` that exists is taken as complete: `fill` is not called. If `fill` raises, nothing is left
    except folders above `target` that had to be made. A killed run leaves ".NAME.unpacking", which the next
    one removes. Two runs at once for one `target`: the second is refused. Windows and file systems without
    locks cannot tell; there the caller sees to it.

    Raises UltrasamError if `target` is a file, cannot be written or is being made by another run.
    """
    if target.is_dir():
        return target
    if os.path.lexists(target):
        raise UltrasamError(f"{shown(target)} is there and no folder: choose another folder")
    ensure_writable_dir(target.parent)
    with _temporary_folder(target) as folder:
        if not target.is_dir():  # else another run has finished since the first look
            fill(folder)
            with writing(shown(target)):
                os.rename(folder, target)
    return target


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Failures to write, named by `what`, become one UltrasamError."""
    try:
        yield
    except (OSError, ValueError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space or choose another folder" if full else "choose another folder"
        raise UltrasamError(f"{what} cannot be written ({reason(error)}): {advice}") from error


@contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    """An empty folder that no other run uses, gone afterwards unless it was renamed."""
    folder = target.parent / f".{target.name}.unpacking"
    with writing(shown(folder)):
        if folder.is_symlink():  # what lies behind it is not ours to empty
            folder.unlink()
        folder.mkdir(exist_ok=True)
    lock = _lock(folder, target)
    try:
        with writing(shown(folder)):
            for left in folder.iterdir():
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, target: Path) -> int | None:
    """A descriptor that holds the folder for this run until it is closed; None on Windows."""
    if sys.platform == "win32":
        return None
    with writing(shown(folder)):
        descriptor = os.open(folder, os.O_RDONLY)
    held = try_lock(descriptor)
    with suppress(FileNotFoundError):
        # It may have become the target of the run that held it before.
        if held and os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            return descriptor
    os.close(descriptor)
    raise UltrasamError(f"{shown(target)} is being made by another run: wait until it has ended")
