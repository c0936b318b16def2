"""How many threads a model should use."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ultrasam.core.errors import UltrasamError

# Beyond this the small matrices of a laptop model gain nothing from more cores.
MOST_USEFUL = 8
# Far more threads than processors wait for each other: with 1000 on a laptop one image takes minutes.
MOST = 64


def checked_threads(threads: int | None) -> int:
    """`threads` if given, else the physical cores this process may use, at most 8."""
    if threads is None:
        return min(usable_cores(), MOST_USEFUL)
    most = max(MOST, os.cpu_count() or 1)
    if not isinstance(threads, int) or not 1 <= threads <= most:
        raise UltrasamError(f"{threads!r:.40} threads: give a whole number from 1 to {most}")
    return threads


def usable_cores() -> int:
    """Physical cores this process may use: hyper-threads do not count, container limits do."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = _cores_of(_read("/proc/cpuinfo"), set(usable)) or len(usable)
    return max(1, min(cores, _quota(_read("/sys/fs/cgroup/cpu.max")) or cores))


def _cores_of(cpuinfo: str, usable: set[int]) -> int:
    """Number of (package, core) pairs among the `usable` processors; 0 where the text does not tell."""
    cores = set()
    for block in cpuinfo.split("\n\n"):
        fields = dict(re.findall(r"^(processor|physical id|core id)\s*:\s*(\d+)$", block, re.MULTILINE))
        if len(fields) == 3 and int(fields["processor"]) in usable:
            cores.add((fields["physical id"], fields["core id"]))
    return len(cores)


def _quota(cpu_max: str) -> int:
    """Whole processors that a control group allows ("quota period" in microseconds); 0 for no limit."""
    match = re.match(r"(\d+) (\d+)", cpu_max)
    return max(1, int(match[1]) // int(match[2])) if match and int(match[2]) else 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
