"""Processes that share the work on a set, and end with the one that started them."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait


def process_pool(count: int) -> ProcessPoolExecutor:
    """A pool of `count` processes, each with one thread of OpenCV."""
    # Started afresh: a copy of this process would have the locks of its threads in whatever state they are.
    return ProcessPoolExecutor(count, get_context("spawn"), initializer=_prepare)


def _prepare() -> None:
    import cv2

    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed tells nobody: without this its processes would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
