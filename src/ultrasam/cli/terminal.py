"""What several verbs tell on the standard error: remarks, and a line on a terminal that is rewritten."""

from __future__ import annotations

import sys

from ultrasam.cli.main import one_line
from ultrasam.core.errors import UltrasamError

MAX_JOBS = 64


def remark(text: str) -> None:
    print(f"ultrasam: {one_line(text)}", file=sys.stderr)


def check_jobs(jobs: int) -> int:
    """The value of --jobs itself. Raises UltrasamError if it is out of range."""
    if not 1 <= jobs <= MAX_JOBS:
        raise UltrasamError(f"--jobs {jobs}: give a whole number from 1 to {MAX_JOBS}")
    return jobs


class StatusLine:
    """The line of a terminal, shown there only: `shown` is False where nobody would see it."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()

    def write(self, text: str) -> None:
        """Put the text in the place of what stands there; "" clears it."""
        if self.shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
