"""PSFHS: pubic symphysis and fetal head during birth, in the form of FH-PS-AOP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ultrasam.datasets.readers.stacks import channel_records
from ultrasam.datasets.record import Found

NAMES = {1: "pubic_symphysis", 2: "fetal_head"}


def records(raw: Path) -> Iterator[Found]:
    yield from channel_records(raw, NAMES)
