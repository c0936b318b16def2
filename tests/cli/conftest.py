"""Fixtures of the tests of `ultrasam segment`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ultrasam.cli.main import main


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def segment(tiny_folder: Path, out: Path) -> Callable[..., int]:
    """Run the verb in this process on the tiny model."""

    def run(*words: object) -> int:
        return main(["segment", *map(str, words), f"--out={out}", f"--model={tiny_folder}", "--threads=1"])

    return run
