"""Processes that share the work on a set, and end with the one that started them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from typing import TypeVar

from ultrasam.core.errors import UltrasamError

# Items given to the processes beyond those that they work on: few are in memory at a time.
AHEAD = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


class ProcessKilled(UltrasamError):
    """One of the processes is gone, which the system does when memory is short."""


def in_processes(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """`function` of each item, in their order, a few at a time under way; with one job, in this process.

    Function, items and results have to be picklable. `function` raises nothing but UltrasamError, which is
    raised here too. Raises ProcessKilled if a process is killed.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    # Started afresh: a copy of this process would have the locks of its threads in whatever state they are.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_prepare)
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) >= jobs + AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except (OSError, RuntimeError):  # of the pool, which tells a loss in many ways
        # Python waits for the other processes, and they may wait for the one that is gone.
        for process in active_children():
            process.kill()
        raise ProcessKilled(
            "a process was killed, perhaps for want of memory: run again, with fewer --jobs"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare() -> None:
    """One thread of OpenCV for each process, and an eye on the one that started it."""
    import cv2

    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed tells nobody: without this its processes would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
