"""A folder that one run at a time writes to, and what a killed run leaves in it."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import ensure_writable_dir, reason, shown

HIDDEN = ".ultrasam"
"""The name of the folder, inside the one with the results, where a run keeps its own files."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


@contextmanager
def own_folder(out: Path, part: str = "") -> Iterator[Path]:
    """Make `out` and the hidden folder in it, which is returned, and keep other runs out while in the
    context.

    With `part` only runs of the same part are kept out, and those of the whole. Raises UltrasamError if the
    folders cannot be written or another run uses them. A killed run does not hold them.
    """
    ensure_writable_dir(out)
    folder = ensure_writable_dir(out / HIDDEN)
    # Held by the system for this process.
    locks = [("lock", bool(part)), *([(f"lock.{part}", False)] if part else [])]
    with ExitStack() as held:
        for name, shared in locks:
            try:
                # To be read and written: where locks of a network are those of `fcntl`, a shared one needs
                # the first, another the second.
                lock = held.enter_context((folder / name).open("a+b"))
            except OSError as error:
                raise UltrasamError(f"{shown(folder)} cannot be written ({reason(error)})") from error
            if not try_lock(lock.fileno(), shared):
                raise UltrasamError(
                    f"another run is writing to {shown(out)}: wait for it or choose another folder"
                )
        yield folder


def is_temporary(name: str) -> bool:
    """Whether a file of this name is what `atomic_write` of a killed run has left."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_temporary_files(folder: Path) -> None:
    """Remove what `atomic_write` of a killed run has left directly in a folder; call it while it is one's
    own.
    """
    try:
        for file in filter(is_temporary, os.listdir(folder)):
            os.unlink(folder / file)
    except OSError:  # what cannot be removed does no harm
        return


def try_lock(descriptor: int, shared: bool = False) -> bool:
    """Whether this process has an open file, or a folder, for itself until it is closed, or together with
    others that take it `shared`.

    True too where the file system has no locks. Windows locks files only, and shares none: those stay free.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            if shared:
                return True
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True
